"""An emulator of the Prometheus HTTP API over the simulated estate: scraped every 15 s, no credentials."""

import re
from collections.abc import Callable, Iterator
from datetime import datetime
from email.utils import formatdate
from functools import partial
from math import isnan
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from telemetry_mcp.demo import prometheus_alert
from telemetry_mcp.demo.estate import Estate
from telemetry_mcp.demo.fault import Fault, Faults
from telemetry_mcp.demo.prometheus_engine import Engine
from telemetry_mcp.demo.prometheus_store import METRICS, Labels
from telemetry_mcp.demo.promql import Expression, Number, ParseError, parse
from telemetry_mcp.demo.wire import answer, emulator, fields

LIMITED = Fault("rate_limit", body=b"too many outstanding requests\n", headers={"content-type": "text/plain"})

_MOST_POINTS = 11_000
_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?")


class BadData(ValueError):
    """A parameter that the server refuses, in its own words."""


def app(estate: Estate, clock: Callable[[], int], faults: Faults) -> Starlette:
    """The API of one server; `clock` gives epoch ms, and nothing later than it has been scraped."""
    server = _Server(estate, clock)
    guarded = partial(_guarded, clock)
    both = ["GET", "POST"]
    routes = [
        Route("/api/v1/query", guarded(server.query), methods=both),
        Route("/api/v1/query_range", guarded(server.query_range), methods=both),
        Route("/api/v1/labels", guarded(server.labels), methods=both),
        Route("/api/v1/label/{name}/values", guarded(server.label_values)),
        Route("/api/v1/series", guarded(server.series), methods=both),
        Route("/api/v1/metadata", guarded(server.metadata)),
        Route("/api/v1/alerts", guarded(server.alerts)),
        Route("/api/v1/rules", guarded(server.rules)),
        Route("/api/v1/status/buildinfo", guarded(server.buildinfo)),
        Route("/-/healthy", _healthy),
        Route("/-/ready", _ready),
    ]
    return emulator(routes, faults, {404: _not_found})


Form = dict[str, list[str]]


def _guarded(clock: Callable[[], int], handler: Callable[[Form, Request], object]) -> Callable[[Request], Any]:
    """An endpoint in the envelope of the API, with its errors as 400 bad_data."""

    async def endpoint(request: Request) -> Response:
        date = {"date": formatdate(clock() / 1000, usegmt=True)}
        try:
            return answer({"status": "success", "data": handler(await fields(request), request)}, headers=date)
        except BadData as error:
            return answer({"status": "error", "errorType": "bad_data", "error": str(error)}, 400, date)

    return endpoint


async def _healthy(request: Request) -> Response:
    return PlainTextResponse("Prometheus Server is Healthy.\n")


async def _ready(request: Request) -> Response:
    return PlainTextResponse("Prometheus Server is Ready.\n")


async def _not_found(request: Request, error: Exception) -> Response:
    return PlainTextResponse("404 page not found\n", 404)


class _Server:
    def __init__(self, estate: Estate, clock: Callable[[], int]) -> None:
        self._estate = estate
        self._clock = clock
        self._engine = Engine(estate, clock)

    def query(self, form: Form, request: Request) -> object:
        tree = _read(form)
        time = _time(form, "time") if "time" in form else self._clock() / 1000
        if isinstance(tree, Number):
            return {"resultType": "scalar", "result": [time, _text(tree.value)]}
        times = np.array([int(time * 1000)], dtype=np.int64)
        known = self._engine.known(times)
        result = [
            {"metric": labels, "value": [time, _text(float(values[0]))]}
            for labels, values in self._engine.evaluate(tree, times[known])
            if len(values) and not np.isnan(values[0])
        ]
        return {"resultType": "vector", "result": result}

    def query_range(self, form: Form, request: Request) -> object:
        start, end = _time(form, "start"), _time(form, "end")
        if end < start:
            raise BadData('invalid parameter "end": end timestamp must not be before start time')
        step = _step(form)
        if (end - start) / step > _MOST_POINTS:
            raise BadData(
                "exceeded maximum resolution of 11,000 points per timeseries. "
                "Try decreasing the query resolution (?step=XX)"
            )
        tree = _read(form)
        count = int((end - start) / step + 1e-9) + 1
        times = np.round((start + np.arange(count) * step) * 1000).astype(np.int64)
        if not isinstance(tree, Number):
            times = times[self._engine.known(times)]
        stamps = [ms // 1000 if ms % 1000 == 0 else ms / 1000 for ms in times.tolist()]
        found = [
            (labels, [(at, _text(one)) for at, one in zip(stamps, values.tolist(), strict=True) if not isnan(one)])
            for labels, values in self._engine.evaluate(tree, times)
        ]
        result = [{"metric": labels, "values": points} for labels, points in found if points]
        return {"resultType": "matrix", "result": result}

    def labels(self, form: Form, request: Request) -> object:
        return sorted({name for labels in self._matching(form) for name in labels})

    def label_values(self, form: Form, request: Request) -> object:
        name = request.path_params["name"]
        return sorted({labels[name] for labels in self._matching(form) if name in labels})

    def series(self, form: Form, request: Request) -> object:
        if "match[]" not in form:
            raise BadData("no match[] parameter provided")
        return list(self._matching(form))

    def metadata(self, form: Form, request: Request) -> object:
        wanted = form.get("metric", list(METRICS))
        return {
            name: [{"type": "gauge", "help": METRICS[name][2], "unit": ""}] for name in wanted if name in METRICS
        }

    def alerts(self, form: Form, request: Request) -> object:
        return {"alerts": prometheus_alert.alerts(self._estate, self._clock())}

    def rules(self, form: Form, request: Request) -> object:
        wanted = form.get("type", ["alert"])[-1] == "alert"
        return {"groups": prometheus_alert.rules(self._estate, self._clock()) if wanted else []}

    def buildinfo(self, form: Form, request: Request) -> object:
        return {
            "version": "2.53.0",
            "revision": "emulator",
            "branch": "HEAD",
            "buildUser": "telemetry-mcp",
            "buildDate": "20260101-00:00:00",
            "goVersion": "go1.22.4",
        }

    def _matching(self, form: Form) -> Iterator[Labels]:
        return self._engine.matching([_parsed("match[]", text) for text in form.get("match[]", ())])


def _text(value: float) -> str:
    if np.isfinite(value):
        return repr(int(value)) if value.is_integer() else repr(value)
    return "NaN" if np.isnan(value) else "+Inf" if value > 0 else "-Inf"


def _parsed(parameter: str, text: str) -> Expression:
    try:
        return parse(text)
    except ParseError as error:
        raise BadData(f'invalid parameter "{parameter}": {error}') from error


def _read(form: Form) -> Expression:
    return _parsed("query", form.get("query", [""])[-1])


def _time(form: Form, name: str) -> float:
    text = form.get(name, [""])[-1]
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        reason = f'cannot parse "{text}" to a valid timestamp'
        inner = f"Invalid time value for '{name}': " if name == "time" else ""
        raise BadData(f'invalid parameter "{name}": {inner}{reason}') from None


def _step(form: Form) -> float:
    text = form.get("step", [""])[-1]
    found = _DURATION.fullmatch(text)
    try:
        step = float(text)
    except ValueError:
        if not text or found is None:
            raise BadData(f'invalid parameter "step": cannot parse "{text}" to a valid duration') from None
        days, hours, minutes, seconds, millis = (int(part or 0) for part in found.groups())
        step = days * 86400 + hours * 3600 + minutes * 60 + seconds + millis / 1000
    if step <= 0:
        raise BadData(
            'invalid parameter "step": zero or negative query resolution step widths are not accepted. '
            "Try a positive integer"
        )
    return step
