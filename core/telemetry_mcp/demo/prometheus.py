"""An emulator of the Prometheus HTTP API over the simulated estate: scraped every 15 s, no credentials."""

import re
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from telemetry_mcp.demo import noise
from telemetry_mcp.demo.estate import Estate
from telemetry_mcp.demo.fault import Fault, Faults
from telemetry_mcp.demo.promql import Aggregation, Expression, Number, ParseError, Scaling, Selector, parse
from telemetry_mcp.demo.topology import ENVIRONMENT, Member
from telemetry_mcp.demo.wire import answer, emulator, fields

LIMITED = Fault("rate_limit", body=b"too many outstanding requests\n", headers={"content-type": "text/plain"})

# What a metric of the estate is called here, what it is multiplied by, and the help text of its metadata.
_METRICS = {
    "service_cpu_percent": ("cpu", 1.0, "Processor time in use, in percent."),
    "service_memory_percent": ("memory", 1.0, "Memory in use, in percent."),
    "service_error_ratio": ("error_rate", 0.01, "Failed requests as a share of all."),
    "service_requests_per_second": ("request_rate", 1.0, "Requests a second."),
    "service_latency_seconds": ("latency_p", 0.001, "Quantiles of the response time."),
    "service_availability_ratio": ("availability", 0.01, "Requests that succeeded, as a share of all."),
    "up": ("", 1.0, "Whether the last scrape succeeded."),
}
_QUANTILES = {"0.5": "50", "0.95": "95", "0.99": "99"}
_LOOKBACK_MS = 300_000
_MOST_POINTS = 11_000
_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?")
_REDUCE: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "sum": lambda rows: rows.sum(axis=0),
    "avg": lambda rows: rows.mean(axis=0),
    "min": lambda rows: rows.min(axis=0),
    "max": lambda rows: rows.max(axis=0),
}

Labels = dict[str, str]
Vector = list[tuple[Labels, NDArray[np.float64]]]


class BadData(ValueError):
    """A parameter that the server refuses, in its own words."""


def app(estate: Estate, clock: Callable[[], int], faults: Faults) -> Starlette:
    """The API of one server; `clock` gives epoch ms, and nothing later than it has been scraped."""
    server = _Server(estate, clock)
    both = ["GET", "POST"]
    routes = [
        Route("/api/v1/query", _guarded(server.query), methods=both),
        Route("/api/v1/query_range", _guarded(server.query_range), methods=both),
        Route("/api/v1/labels", _guarded(server.labels), methods=both),
        Route("/api/v1/label/{name}/values", _guarded(server.label_values)),
        Route("/api/v1/series", _guarded(server.series), methods=both),
        Route("/api/v1/metadata", _guarded(server.metadata)),
        Route("/api/v1/status/buildinfo", _guarded(server.buildinfo)),
        Route("/-/healthy", _healthy),
        Route("/-/ready", _ready),
    ]
    return emulator(routes, faults, {404: _not_found})


Form = dict[str, list[str]]


def _guarded(handler: Callable[[Form, Request], object]) -> Callable[[Request], Any]:
    """An endpoint in the envelope of the API, with its errors as 400 bad_data."""

    async def endpoint(request: Request) -> Response:
        try:
            return answer({"status": "success", "data": handler(await fields(request), request)})
        except BadData as error:
            return answer({"status": "error", "errorType": "bad_data", "error": str(error)}, 400)

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

    def query(self, form: Form, request: Request) -> object:
        tree = _read(form)
        time = _time(form, "time") if "time" in form else self._clock() / 1000
        if isinstance(tree, Number):
            return {"resultType": "scalar", "result": [time, _text(tree.value)]}
        times = np.array([int(time * 1000)], dtype=np.int64)
        known = self._known(times)
        result = [
            {"metric": labels, "value": [time, _text(float(values[0]))]}
            for labels, values in self._evaluate(tree, times[known])
            if len(values)
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
            times = times[self._known(times)]
        stamps = [ms // 1000 if ms % 1000 == 0 else ms / 1000 for ms in times.tolist()]
        result = [
            {"metric": labels, "values": list(zip(stamps, map(_text, values.tolist()), strict=True))}
            for labels, values in self._evaluate(tree, times)
            if len(values)
        ]
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
        wanted = form.get("metric", list(_METRICS))
        return {
            name: [{"type": "gauge", "help": _METRICS[name][2], "unit": ""}] for name in wanted if name in _METRICS
        }

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
        """The series that any match[] names, or all."""
        trees = [_parsed("match[]", text) for text in form.get("match[]", ())]
        for labels, _, _ in self._all():
            if not trees or any(isinstance(tree, Selector) and _fits(tree, labels) for tree in trees):
                yield labels

    def _known(self, times: NDArray[np.int64]) -> NDArray[np.bool_]:
        return (times >= self._estate.start_ms) & (times <= self._clock() + _LOOKBACK_MS)

    def _all(self) -> Iterator[tuple[Labels, Member, str]]:
        """Labels, member and metric of the estate of every series there is."""
        for name, (metric, _, _) in _METRICS.items():
            for member in self._estate.members.values():
                for instance in member.instances:
                    labels = {
                        "__name__": name,
                        "environment": ENVIRONMENT,
                        "instance": instance,
                        "job": "estate",
                        "service": member.name,
                        "team": member.team,
                    }
                    if metric != "latency_p":
                        yield labels, member, metric
                        continue
                    for quantile, percentile in _QUANTILES.items():
                        yield {**labels, "quantile": quantile}, member, metric + percentile

    def _evaluate(self, tree: Expression, times: NDArray[np.int64]) -> Vector:
        if isinstance(tree, Number):
            return [({}, np.full(len(times), tree.value))]
        if isinstance(tree, Selector):
            scraped = np.minimum(times, self._clock())
            return [
                (labels, self._sample(labels, member, metric, scraped))
                for labels, member, metric in self._all()
                if _fits(tree, labels)
            ]
        inner = self._evaluate(tree.inner, times)
        if isinstance(tree, Scaling):
            factor = tree.number if tree.operator == "*" else 1 / tree.number if tree.number else np.inf
            return [(_nameless(labels), values * factor) for labels, values in inner]
        return _aggregate(tree, inner)

    def _sample(
        self, labels: Labels, member: Member, metric: str, times: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """The share of one instance: the two of an application lean to either side of the service's value."""
        if not metric:
            return np.ones(len(times))
        values = self._estate.values(member.name, metric, times) * _METRICS[labels["__name__"]][1]
        if len(member.instances) == 1 or metric == "availability":
            return values
        lean = 0.01 + noise.salt(self._estate.seed, member.name, metric) % 5 / 100
        share = 1 + lean if labels["instance"] == member.instances[0] else 1 - lean
        return values * (share / 2 if metric == "request_rate" else share)


def _aggregate(tree: Aggregation, inner: Vector) -> Vector:
    groups: dict[tuple[tuple[str, str], ...], list[NDArray[np.float64]]] = {}
    for labels, values in inner:
        key = tuple((label, labels[label]) for label in tree.by if label in labels)
        groups.setdefault(key, []).append(values)
    reduce = _REDUCE[tree.operator]
    return [(dict(key), reduce(np.stack(rows))) for key, rows in groups.items()]


def _fits(selector: Selector, labels: Labels) -> bool:
    return all(matcher.fits(labels) for matcher in selector.matchers)


def _nameless(labels: Labels) -> Labels:
    return {name: value for name, value in labels.items() if name != "__name__"}


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
