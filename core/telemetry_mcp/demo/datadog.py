"""An emulator of the Datadog API over the simulated estate, with its own noise.

Keys go in DD-API-KEY and DD-APPLICATION-KEY. Its agents report a few seconds beside the full minute, and the
longer the window, the longer the interval it rolls up to.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from telemetry_mcp.demo.datadog_event import Events
from telemetry_mcp.demo.datadog_metric import METRICS, groups
from telemetry_mcp.demo.datadog_objective import Objectives
from telemetry_mcp.demo.datadog_service import Services
from telemetry_mcp.demo.datadog_wire import API_KEY, APP_KEY, Clock, Document, Gate, Refused, at
from telemetry_mcp.demo.dogql import Formula, formula, parse
from telemetry_mcp.demo.estate import Estate
from telemetry_mcp.demo.fault import Fault, Faults
from telemetry_mcp.demo.wire import answer, emulator

__all__ = ["API_KEY", "APP_KEY", "LIMITED", "app"]

LIMITED = Fault(
    "rate_limit",
    headers={
        "x-ratelimit-limit": "300",
        "x-ratelimit-period": "60",
        "x-ratelimit-remaining": "0",
        "x-ratelimit-reset": "7",
        "x-ratelimit-name": "batch_query",
    },
)

# The longest window in seconds of each interval.
_INTERVALS = ((4 * 3600, 60), (86_400, 300), (2 * 86_400, 600), (7 * 86_400, 3600))
_LONGEST_INTERVAL = 14_400
_OFFSET_S = 7


def app(estate: Estate, clock: Callable[[], int], faults: Faults) -> Starlette:
    """The API of one organization; `clock` gives epoch ms, and nothing that happens later is known yet."""
    gate, vendor = Gate(clock), _Datadog(estate, clock)
    services, events, objectives = Services(estate), Events(estate, clock), Objectives(estate, clock)

    async def validate(request: Request) -> Response:
        if request.headers.get("dd-api-key") != API_KEY:
            return answer({"errors": ["API key required"]}, 403, gate.date())
        return answer({"valid": True}, headers=gate.date())

    routes = [
        Route("/api/v1/validate", validate),
        Route("/api/v2/validate_keys", gate.behind(lambda request: {"status": "ok"})),
        Route("/api/v1/query", gate.behind(vendor.query, "batch_query")),
        Route("/api/v2/query/timeseries", gate.behind(vendor.timeseries, "query_timeseries"), methods=["POST"]),
        Route("/api/v2/metrics/{metric}/all-tags", gate.behind(services.tags, "metrics_all_tags")),
        Route("/api/v2/apm/services", gate.behind(services.apm)),
        Route("/api/v2/catalog/entity", gate.behind(services.catalog)),
        Route("/api/v2/catalog/relation", gate.behind(services.relations)),
        Route("/api/v2/services/definitions", gate.behind(services.definitions)),
        Route("/api/v2/incidents/search", gate.behind(events.incidents)),
        Route("/api/v1/monitor/groups/search", gate.behind(events.monitor_groups)),
        Route("/api/v2/events/search", gate.behind(events.search, "events_search"), methods=["POST"]),
        Route("/api/v2/dora/deployments", gate.behind(events.deployments), methods=["POST"]),
        Route("/api/v1/slo", gate.behind(objectives.listed)),
        Route("/api/v1/slo/{id}/history", gate.behind(objectives.history, "slo_history")),
    ]
    return emulator(routes, faults, {404: _not_found})


async def _not_found(request: Request, error: Exception) -> Response:
    return answer({"errors": ["Not found"]}, 404)


class _Datadog:
    """Metric queries, of both APIs."""

    def __init__(self, estate: Estate, clock: Clock) -> None:
        self._estate = estate
        self._clock = clock

    def query(self, request: Request) -> Document:
        start, end = _seconds(request, "from"), _seconds(request, "to")
        if start >= end:
            raise Refused(400, "Invalid query input:\n'from' must be before 'to'")
        asking = formula(request.query_params.get("query", ""))
        first = next(iter(asking.queries.values()))
        width = first.rollup or _interval(end - start)
        stamps = self._stamps(start, end, width)
        found = groups(self._estate, asking, stamps, width) if len(stamps) else {}
        return {
            "status": "ok",
            "resp_version": 1,
            "series": [_one_series(asking, group, stamps, values, width) for group, values in found.items()],
            "to_date": end * 1000,
            "query": asking.text,
            "message": "",
            "res_type": "time_series",
            "times": [],
            "from_date": start * 1000,
            "group_by": list(first.by),
            "values": [],
        }

    def timeseries(self, request: Request) -> Document:
        """As the real one it takes the wished interval (ms) for the least, and leaves empty buckets out."""
        if at(request.state.body, "data", "type") != "timeseries_request":
            raise Refused(400, 'API input validation failed: Invalid type. Expected "timeseries_request".')
        asked = at(request.state.body, "data", "attributes")
        queries = {at(one, "name"): parse(at(one, "query")) for one in at(asked, "queries")}
        text = at(at(asked, "formulas")[0], "formula")
        start, end = int(at(asked, "from")) // 1000, -(-int(at(asked, "to")) // 1000)
        width = max(int(asked.get("interval", 0)) // 1000, _interval(end - start))
        stamps = self._stamps(start, end, width)
        asking = Formula(text, text, queries)
        found = groups(self._estate, asking, stamps, width) if len(stamps) else {}
        series = [
            {"group_tags": group.split(",") if group else [], "query_index": 0, "unit": _unit(asking)}
            for group in found
        ]
        attributes = {"series": series, "times": stamps if found else [], "values": [*found.values()]}
        return {"data": {"id": "0", "type": "timeseries_response", "attributes": attributes}}

    def _stamps(self, start: int, end: int, width: int) -> NDArray[np.int64]:
        first = -(-(start - _OFFSET_S) // width) * width + _OFFSET_S
        stamps = np.arange(first, min(end, self._clock() // 1000), width, dtype=np.int64) * 1000
        return stamps[stamps >= self._estate.start_ms]


def _one_series(
    asking: Formula, group: str, stamps: NDArray[np.int64], values: NDArray[np.float64], width: int
) -> Document:
    first, scope = next(iter(asking.queries.values())), group or "*"
    return {
        "end": int(stamps[-1]) + width * 1000 - 1,
        "start": int(stamps[0]),
        "length": len(stamps),
        "attributes": {},
        "metric": first.metric,
        "display_name": first.metric,
        "interval": width,
        "tag_set": group.split(",") if group else [],
        "scope": scope,
        "query_index": 0,
        "aggr": first.aggregator,
        "expression": f"{first.metric}{{{scope}}}",
        "unit": _unit(asking),
        "pointlist": list(zip(stamps.tolist(), values.tolist(), strict=True)),
    }


def _unit(asking: Formula) -> list[object] | None:
    """Arithmetic has no unit."""
    (first, *others) = asking.queries.values()
    if others or asking.expression.strip() not in asking.queries:
        return None
    return [METRICS[first.metric].unit, None]


def _interval(span: int) -> int:
    return next((interval for longest, interval in _INTERVALS if span <= longest), _LONGEST_INTERVAL)


def _seconds(request: Request, name: str) -> int:
    text = request.query_params.get(name, "")
    if not text.lstrip("-").isdigit():
        raise Refused(400, f"Missing required param: {name}")
    return int(text)
