"""Two hundred services are investigated with tens of requests, and the answer stays short."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import orjson
import pytest

from telemetry_mcp.config import read
from tests.server.conftest import serving

if TYPE_CHECKING:
    from pathlib import Path

NOW_S = 20_500 * 86_400 + 15 * 3600
PAGE_S = NOW_S - 600
METRICS = ("cpu", "memory", "error_rate", "request_rate", "latency_p95", "latency_p99")
SERVICES = tuple(f"service-{n:03}" for n in range(200))
CULPRIT = "service-117"


class Backend(ThreadingHTTPServer):
    """A Prometheus with six metrics of all services, one of which is slow. Counts requests."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.asked: list[str] = []

    def answer(self, path: str, form: dict[str, list[str]]) -> dict[str, Any]:
        self.asked.append(path)
        query = form.get("query", [""])[0]
        metric = next((name for name in METRICS if query.startswith(f"{name}{{")), None)
        if path.endswith("/query_range") and metric:
            times = np.arange(float(form["start"][0]), float(form["end"][0]) + 1, float(form["step"][0]))
            named = [service for service in SERVICES if service in query] or SERVICES
            return success("matrix", [series(metric, service, times) for service in named])
        return success("vector", [])


def success(kind: str, result: list[Any]) -> dict[str, Any]:
    return {"status": "success", "data": {"resultType": kind, "result": result}}


def series(metric: str, service: str, times: np.ndarray[Any, np.dtype[np.float64]]) -> dict[str, Any]:
    values = 40 + np.sin(times / 60 + len(metric) + int(service[-3:]))
    if service == CULPRIT and metric.startswith("latency"):
        values = np.where(times >= PAGE_S - 240, 4 * values, values)
    pairs = [[at, f"{value:.4g}"] for at, value in zip(times.tolist(), values.tolist(), strict=True)]
    return {"metric": {"service": service}, "values": pairs}


class Answering(BaseHTTPRequestHandler):
    server: Backend

    def do_GET(self) -> None:
        self.reply(urlsplit(self.path).query)

    def do_POST(self) -> None:
        self.reply(self.rfile.read(int(self.headers["Content-Length"])).decode())

    def reply(self, form: str) -> None:
        body = orjson.dumps(self.server.answer(urlsplit(self.path).path, parse_qs(form)))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextmanager
def running(server: ThreadingHTTPServer) -> Iterator[str]:
    with server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("sources", [1, 2])
async def test_two_hundred_services_cost_tens_of_requests(sources: int, tmp_path: Path) -> None:
    backend = Backend()
    with running(backend) as url:
        queries = "\n".join(f"""{name} = '{name}{{service=~"$service"}}'""" for name in METRICS)
        path = tmp_path / "plugins.toml"
        path.write_text(
            "\n".join(
                f'[sources.s{n}]\nplugin = "prometheus"\nurl = "{url}"\n[sources.s{n}.metrics]\n{queries}'
                for n in range(sources)
            )
        )
        async with serving(read(path, {}), lambda: NOW_S * 1000) as desk:
            backend.asked.clear()
            told = await desk.ask(
                "investigate_incident", service=SERVICES[0], start=str(PAGE_S), symptom="latency"
            )

    assert not told.is_error
    assert told["conclusion"] == "suspects"
    assert [(row["service"], row["share"]) for row in told["suspects"]] == [(CULPRIT, 1)]
    assert len(backend.asked) <= 24 * sources
    assert len(told.text) < 16_000
