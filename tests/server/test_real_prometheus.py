"""A real Prometheus behind the tools: they agree with PromQL asked directly, and survive its death."""

from __future__ import annotations

import asyncio
import signal
from datetime import datetime
from time import monotonic
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import numpy as np
import pytest
from anyio.lowlevel import checkpoint
from mcp import Client

from telemetry_mcp.analysis.sli import compliance
from telemetry_mcp.breaker import OPEN_S
from telemetry_mcp.config import Config, read
from telemetry_mcp.engine import opened
from telemetry_mcp.fanout import Deadline
from telemetry_mcp.merge import merge
from telemetry_mcp.question import SeriesQuery, Window
from telemetry_mcp.reading import latest
from telemetry_mcp.server.call import Call

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import StartPrometheus
    from tests.real.prometheus import PrometheusServer
    from tests.server.conftest import Desk, OpenDesk, OverStdio, Serve

pytestmark = pytest.mark.real

PAYMENT = "payment-processor"
HOUR_MS, MINUTE_MS = 3_600_000, 60_000
EVIL = 'x"} or vector(1) or {a="'
# What the catalog calls it, the query, its unit, and the factor to the catalog's unit.
METRICS = {
    "cpu": ('avg by (service) (cpu_percent{service=~"$service"})', "percent", 1.0),
    "memory": ('avg by (service) (memory_percent{service=~"$service"})', "percent", 1.0),
    "latency_p95": ('avg by (service) (latency_seconds{service=~"$service"})', "s", 1000.0),
    "error_rate": (
        'sum by (service) (rate(http_requests_total{service=~"$service",code="500"}[10m]))'
        ' / sum by (service) (rate(http_requests_total{service=~"$service"}[10m]))',
        "ratio",
        100.0,
    ),
}


def written(url: str, folder: Path) -> Path:
    """A plugins.toml whose only source is the Prometheus at `url`."""
    metrics = "".join(
        f"{name} = {{ query = '{query}', unit = '{unit}' }}\n" for name, (query, unit, _) in METRICS.items()
    )
    path = folder / "plugins.toml"
    path.write_text(
        f'[sources.real]\nplugin = "prometheus"\nurl = "{url}"\nservice_metric = "cpu_percent"\n'
        f"allow_native = true\n[sources.real.metrics]\n{metrics}"
    )
    return path


@pytest.fixture
def path(prometheus: PrometheusServer, tmp_path: Path) -> Path:
    return written(prometheus.url, tmp_path)


class Direct:
    """PromQL without us in between; values are in the catalog's unit."""

    def __init__(self, url: str) -> None:
        self.client = httpx.Client(base_url=url, trust_env=False)

    def result(self, path: str, metric: str, **params: Any) -> Any:
        query = METRICS[metric][0].replace("$service", ".+")
        answer = self.client.get(f"/api/v1/{path}", params={"query": query, **params}).json()
        return {series["metric"]["service"]: series for series in answer["data"]["result"]}

    def at(self, metric: str, moment_ms: int) -> dict[str, float]:
        found = self.result("query", metric, time=moment_ms / 1000)
        return {name: float(series["value"][1]) * METRICS[metric][2] for name, series in found.items()}

    def over(self, metric: str, start_ms: int, end_ms: int, step_ms: int, service: str = PAYMENT) -> Any:
        """Values from the start to before the end."""
        window = {"start": start_ms / 1000, "end": (end_ms - step_ms) / 1000, "step": step_ms / 1000}
        found = self.result("query_range", metric, **window)[service]["values"]
        return np.array([float(value) for _, value in found]) * METRICS[metric][2]


@pytest.fixture
def direct(prometheus: PrometheusServer) -> Iterator[Direct]:
    direct = Direct(prometheus.url)
    with direct.client:
        yield direct


def four(value: float, digits: int = 4) -> float:
    return float(f"{value:.{digits}g}")


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


# The engine, to nine digits


@pytest.mark.parametrize("metric", METRICS)
async def test_merged_series_are_what_promql_says(
    prometheus: PrometheusServer, direct: Direct, path: Path, metric: str
) -> None:
    end = prometheus.now_ms // MINUTE_MS * MINUTE_MS
    window = Window(end - 6 * HOUR_MS, end)
    async with opened(read(path), clock_ms=lambda: end) as engine:
        call = Call(engine, Deadline(10))
        (outcome,) = await call.ask(SeriesQuery((PAYMENT,), (metric,), window, MINUTE_MS))
    (merged,) = merge([outcome], engine.config.catalog, window, MINUTE_MS)
    wanted = direct.over(metric, window.start_ms, window.end_ms, MINUTE_MS)
    assert len(wanted) == 360
    np.testing.assert_allclose(merged.values, wanted, rtol=1e-9)


async def test_newest_readings_are_what_promql_says_at_that_moment(
    prometheus: PrometheusServer, direct: Direct, path: Path
) -> None:
    now = prometheus.now_ms
    async with opened(read(path), clock_ms=lambda: now) as engine:
        question = SeriesQuery((), tuple(METRICS), Window(now - HOUR_MS, now), MINUTE_MS, latest=True)
        outcomes = await Call(engine, Deadline(10)).ask(question)
    readings, _ = latest(outcomes, engine.config.catalog)
    wanted = {(s, m): value for m in METRICS for s, value in direct.at(m, now - 1).items()}
    found = {(reading.service, reading.metric): reading.value for reading in readings}
    assert found == pytest.approx(wanted, rel=1e-9)
    assert len(found) == len(METRICS) * len(prometheus.services)


@pytest.mark.parametrize("newest", [False, True])
async def test_a_name_that_looks_like_promql_finds_nothing(
    prometheus: PrometheusServer, path: Path, newest: bool
) -> None:
    now = prometheus.now_ms
    question = SeriesQuery((EVIL,), tuple(METRICS), Window(now - HOUR_MS, now), MINUTE_MS, latest=newest)
    async with opened(read(path), clock_ms=lambda: now) as engine:
        (outcome,) = await Call(engine, Deadline(10)).ask(question)
    assert (outcome.status, outcome.reply.items) == ("no_data", [])


async def test_a_name_that_looks_like_promql_is_answered_with_the_valid_ones(
    prometheus: PrometheusServer, path: Path, open_desk: OpenDesk
) -> None:
    desk = await open_desk(read(path), lambda: prometheus.now_ms)
    answer = await desk.ask("get_current_metrics", service=EVIL)
    assert answer.is_error
    assert answer.text.startswith(f"no service is called {EVIL!r};")
    assert answer.text.endswith(f"Valid: {', '.join(sorted(prometheus.services))}")


# The tools, over both transports


@pytest.mark.parametrize("transport", ["stdio", "http"])
async def test_each_of_the_five_tools_agrees_with_promql(
    direct: Direct, path: Path, over_stdio: OverStdio, serve: Serve, transport: str
) -> None:
    arguments = ("--config", str(path))
    async with Client(over_stdio(*arguments) if transport == "stdio" else serve(*arguments).url) as client:

        async def ask(tool: str, **asked: Any) -> Any:
            result = await client.call_tool(tool, asked)
            assert not result.is_error
            return result.structured_content

        check_services(direct, await ask("list_services"))
        check_current(direct, await ask("get_current_metrics", service=PAYMENT))
        history = await ask(
            "query_historical_metrics", service=PAYMENT, metric_type="latency_p95", hours=20, max_points=2000
        )
        check_history(direct, history)
        check_compliance(
            direct, await ask("check_sli_compliance", service=PAYMENT, metric="cpu", threshold=45.0, objective=50)
        )
        check_anomalies(direct, await ask("detect_anomalies", service=PAYMENT, metric="cpu", sensitivity=0.4))


def check_services(direct: Direct, answer: Any) -> None:
    at = ms(answer["window"]["end"]) - 1
    for metric in ("cpu", "memory", "error_rate"):
        wanted = {service: four(value) for service, value in direct.at(metric, at).items()}
        assert {row["name"]: row[metric] for row in answer["services"]} == wanted


def check_current(direct: Direct, answer: Any) -> None:
    shown = {reading["metric"]: reading["value"] for reading in answer["readings"]}
    assert shown == {m: four(direct.at(m, ms(answer["timestamp"]))[PAYMENT]) for m in METRICS}


def check_history(direct: Direct, answer: Any) -> None:
    start, end = ms(answer["window"]["start"]), ms(answer["window"]["end"])
    values = direct.over("latency_p95", start, end, round(1000 * answer["window"]["step_s"]))
    said = answer["statistics"]
    assert answer["series"]["values"] == [four(value) for value in values]
    assert (said["min"], said["max"], said["mean"]) == tuple(
        four(value) for value in (values.min(), values.max(), values.mean())
    )


def check_compliance(direct: Direct, answer: Any) -> None:
    start, end = ms(answer["window"]["start"]), ms(answer["window"]["end"])
    step = round(1000 * answer["window"]["step_s"])
    values = direct.over("cpu", start, end, step)
    times = start + step * np.arange(len(values), dtype=np.int64)
    kept = compliance(times, values, start_ms=start, end_ms=end, threshold=45.0, comparison="<=")
    assert kept.ratio is not None
    assert 0.1 < kept.ratio < 0.9
    assert answer["compliance_percentage"] == four(100 * kept.ratio, 6)
    assert answer["compliance_percentage"] == pytest.approx(100 * float((values <= 45).mean()), abs=0.1)


def check_anomalies(direct: Direct, answer: Any) -> None:
    assert answer["anomalies_detected"] >= 1
    for found in answer["anomalies"]:
        assert found["value"] == four(direct.at("cpu", ms(found["peak"]))[PAYMENT])


# Its death


@pytest.fixture
def config(start_prometheus: StartPrometheus, tmp_path: Path) -> Iterator[tuple[Config, PrometheusServer]]:
    server = start_prometheus()
    yield read(written(server.url, tmp_path)), server
    server.kill()


async def test_a_prometheus_that_dies_in_mid_call_is_told_of_and_taken_back_when_it_lives(
    config: tuple[Config, PrometheusServer], open_desk: OpenDesk
) -> None:
    settings, server = config
    desk = await open_desk(settings)
    assert (await desk.ask("list_services")).ledger["real"]["status"] == "no_data"

    assert server.process
    server.process.send_signal(signal.SIGSTOP)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(dies, desk)
            while not desk.engine.fanout.flights:
                await checkpoint()
            await asyncio.to_thread(server.kill)

    while desk.engine.registry["real"].guard.breaker.state == "closed":
        answer = await desk.ask("list_services", fresh=True)
        assert answer.kinds == {"real": "upstream"}
    assert (await desk.ask("list_services", fresh=True)).kinds == {"real": "breaker_open"}

    await asyncio.to_thread(server.start)
    assert (await desk.ask("list_services", fresh=True)).kinds == {"real": "breaker_open"}
    desk.engine.registry["real"].guard.breaker.clock = lambda: monotonic() + OPEN_S
    assert (await desk.ask("query_source", source="real", query="vector(1)")).ledger["real"]["status"] == "ok"
    assert (await desk.ask("list_sources")).row("sources", name="real")["breaker"]["state"] == "closed"


async def dies(desk: Desk) -> None:
    answer = await desk.ask("list_services", fresh=True, deadline_s=5)
    assert answer.is_error
    assert answer.kinds == {"real": "upstream"}
    assert answer.took_s < 2
