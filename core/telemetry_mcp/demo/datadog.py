"""An emulator of the Datadog API over the simulated estate: cpu, memory and p95 latency, with its own noise.

Keys go in DD-API-KEY and DD-APPLICATION-KEY. Its agents report a few seconds beside the full minute, and the
longer the window, the longer the interval it rolls up to.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import numpy as np
from numpy.typing import NDArray
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from telemetry_mcp.demo import noise
from telemetry_mcp.demo.dogql import MetricQuery, QueryError, parse
from telemetry_mcp.demo.estate import Estate
from telemetry_mcp.demo.fault import Fault, Faults
from telemetry_mcp.demo.topology import ENVIRONMENT, Member
from telemetry_mcp.demo.wire import answer, emulator

API_KEY = "demo-datadog-api-key"
APP_KEY = "demo-datadog-app-key"
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

_PERCENT = {
    "family": "percentage",
    "scale_factor": 1.0,
    "name": "percent",
    "short_name": "%",
    "plural": "percent",
    "id": 17,
}
_SECOND = {
    "family": "time",
    "scale_factor": 1.0,
    "name": "second",
    "short_name": "s",
    "plural": "seconds",
    "id": 11,
}
# What a metric is in the estate, its factor and its unit.
_METRICS: dict[str, tuple[str, float, dict[str, object]]] = {
    "system.cpu.total": ("cpu", 1.0, _PERCENT),
    "system.mem.pct_used": ("memory", 1.0, _PERCENT),
    "trace.http.request.duration.by.service.95p": ("latency_p95", 0.001, _SECOND),
}
# The longest window in seconds of each interval.
_INTERVALS = ((4 * 3600, 60), (86_400, 300), (2 * 86_400, 600), (7 * 86_400, 3600))
_LONGEST_INTERVAL = 14_400
_OFFSET_S = 7
_NOISE = 0.01
_REDUCE: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "sum": lambda rows: rows.sum(axis=0),
    "avg": lambda rows: rows.mean(axis=0),
    "min": lambda rows: rows.min(axis=0),
    "max": lambda rows: rows.max(axis=0),
}


class Refused(Exception):
    """A status and the vendor's words."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def app(estate: Estate, clock: Callable[[], int], faults: Faults) -> Starlette:
    """The API of one organization; `clock` gives epoch ms."""
    vendor = _Datadog(estate, clock)
    routes = [
        Route("/api/v1/validate", vendor.validate),
        Route("/api/v1/query", _guarded(vendor.query)),
        Route("/api/v1/service_dependencies", _guarded(vendor.dependencies)),
        Route("/api/v2/apm/services", _guarded(vendor.apm_services)),
        Route("/api/v2/catalog/entity", _guarded(vendor.catalog)),
        Route("/api/v2/services/definitions", _guarded(vendor.definitions)),
    ]
    return emulator(routes, faults, {404: _not_found})


def _guarded(handler: Callable[[Request], object]) -> Callable[[Request], Any]:
    """An endpoint behind both keys, with the rate limit's headers."""
    left = 300

    async def endpoint(request: Request) -> Response:
        nonlocal left
        left = left - 1 if left else 299
        headers = {
            "x-ratelimit-limit": "300",
            "x-ratelimit-period": "60",
            "x-ratelimit-remaining": str(left),
            "x-ratelimit-reset": "42",
            "x-ratelimit-name": "batch_query",
        }
        if "dd-api-key" not in request.headers:
            return answer({"errors": ["Unauthorized"]}, 401, headers)
        keys = (request.headers["dd-api-key"], request.headers.get("dd-application-key"))
        if keys != (API_KEY, APP_KEY):
            return answer({"errors": ["Forbidden"]}, 403, headers)
        try:
            return answer(handler(request), headers=headers)
        except Refused as refused:
            return answer({"status": "error", "error": str(refused)}, refused.status, headers)
        except QueryError as error:
            return answer(
                {"status": "error", "error": f"Error parsing query: unable to parse {error}"}, 400, headers
            )

    return endpoint


async def _not_found(request: Request, error: Exception) -> Response:
    return answer({"errors": ["Not found"]}, 404)


class _Datadog:
    def __init__(self, estate: Estate, clock: Callable[[], int]) -> None:
        self._estate = estate
        self._clock = clock

    async def validate(self, request: Request) -> Response:
        if request.headers.get("dd-api-key") != API_KEY:
            return answer({"errors": ["API key required"]}, 403)
        return answer({"valid": True})

    def query(self, request: Request) -> object:
        start, end = _seconds(request, "from"), _seconds(request, "to")
        if start >= end:
            raise Refused(400, "Invalid query input:\n'from' must be before 'to'")
        asking = parse(request.query_params.get("query", ""))
        series = self._series(asking, start, end) if asking.metric in _METRICS else []
        return {
            "status": "ok",
            "resp_version": 1,
            "series": series,
            "to_date": end * 1000,
            "query": asking.text,
            "message": "",
            "res_type": "time_series",
            "times": [],
            "from_date": start * 1000,
            "group_by": list(asking.by),
            "values": [],
        }

    def _series(self, asking: MetricQuery, start: int, end: int) -> list[dict[str, object]]:
        width = asking.rollup or _interval(end - start)
        first = -(-(start - _OFFSET_S) // width) * width + _OFFSET_S
        stamps = np.arange(first, min(end, self._clock() // 1000), width, dtype=np.int64) * 1000
        stamps = stamps[stamps >= self._estate.start_ms]
        groups: dict[str, list[NDArray[np.float64]]] = {}
        for member in self._estate.members.values():
            tags = _tags(member)
            if all(tags.get(tag) in let or "*" in let for tag, let in asking.scope.items()):
                group = ",".join(f"{tag}:{tags[tag]}" for tag in asking.by if tag in tags)
                groups.setdefault(group, []).append(self._points(member, asking.metric, stamps, width))
        if not len(stamps):
            return []
        reduce = _REDUCE[asking.aggregator or "avg"]
        return [
            _one_series(asking, group, stamps, reduce(np.stack(rows)), width) for group, rows in groups.items()
        ]

    def _points(self, member: Member, metric: str, stamps: NDArray[np.int64], width: int) -> NDArray[np.float64]:
        name, factor, _ = _METRICS[metric]
        values = self._estate.average(member.name, name, stamps, width * 1000)
        own = noise.normal(stamps // 1000, noise.salt(self._estate.seed, "datadog", member.name, name))
        return values * factor * (1 + _NOISE * own)

    def dependencies(self, request: Request) -> object:
        _environment(request, "env")
        return {member.name: {"calls": list(member.calls)} for member in self._estate.members.values()}

    def apm_services(self, request: Request) -> object:
        known = _environment(request, "filter[env]")
        traced = [member.name for member in self._estate.members.values() if member.kind == "app" and known]
        flags = [{"isTraced": True, "isUsm": False} for _ in traced]
        attributes = {"services": traced, "metadata": flags}
        return {"data": {"id": "services", "type": "services_list", "attributes": attributes}}

    def catalog(self, request: Request) -> object:
        offset = int(request.query_params.get("page[offset]", 0))
        limit = min(int(request.query_params.get("page[limit]", 100)), 100)
        kind = request.query_params.get("filter[kind]", "service")
        entities = [self._entity(member) for member in self._estate.members.values() if kind == "service"]
        page = entities[offset : offset + limit]
        path = f"/api/v2/catalog/entity?page%5Blimit%5D={limit}&page%5Boffset%5D="
        links = {"self": f"{path}{offset}"}
        if len(page) == limit:
            links["next"] = f"{path}{offset + limit}"
        return {"data": page, "meta": {"count": len(page), "includeCount": 0}, "links": links}

    def _entity(self, member: Member) -> dict[str, object]:
        born = datetime.fromtimestamp(self._estate.start_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {
            "id": _uuid(member),
            "type": "entity",
            "attributes": {
                "apiVersion": "v3",
                "kind": "service",
                "namespace": "default",
                "owner": member.team,
                "name": member.name,
                "displayName": member.name,
                "tags": _tag_list(member),
            },
            "meta": {
                "createdAt": born,
                "modifiedAt": born,
                "ingestionSource": "api",
                "origin": "unknown",
            },
        }

    def definitions(self, request: Request) -> object:
        size = int(request.query_params.get("page[size]", 10))
        start = int(request.query_params.get("page[number]", 0)) * size
        members = list(self._estate.members.values())[start : start + size]
        return {"data": [_definition(member) for member in members]}


def _definition(member: Member) -> dict[str, object]:
    return {
        "type": "service-definition",
        "id": _uuid(member).replace("-", ""),
        "attributes": {
            "meta": {"ingestion-source": "api", "origin": "unknown", "warnings": []},
            "schema": {
                "schema-version": "v2.2",
                "dd-service": member.name,
                "team": member.team,
                "tier": str(member.tier),
                "languages": [member.language],
                "tags": _tag_list(member),
            },
        },
    }


def _one_series(
    asking: MetricQuery, group: str, stamps: NDArray[np.int64], values: NDArray[np.float64], width: int
) -> dict[str, object]:
    scope = group or "*"
    return {
        "end": int(stamps[-1]) + width * 1000 - 1,
        "start": int(stamps[0]),
        "length": len(stamps),
        "attributes": {},
        "metric": asking.metric,
        "display_name": asking.metric,
        "interval": width,
        "tag_set": group.split(",") if group else [],
        "scope": scope,
        "query_index": 0,
        "aggr": asking.aggregator,
        "expression": f"{asking.metric}{{{scope}}}",
        "unit": [_METRICS[asking.metric][2], None],
        "pointlist": list(zip(stamps.tolist(), values.tolist(), strict=True)),
    }


def _tags(member: Member) -> dict[str, str]:
    return {
        "service": member.name,
        "team": member.team,
        "env": ENVIRONMENT,
        "tier": str(member.tier),
        "language": member.language,
    }


def _tag_list(member: Member) -> list[str]:
    return [f"{tag}:{value}" for tag, value in _tags(member).items()]


def _uuid(member: Member) -> str:
    return str(uuid5(NAMESPACE_URL, f"service:{member.name}"))


def _interval(span: int) -> int:
    return next((interval for longest, interval in _INTERVALS if span <= longest), _LONGEST_INTERVAL)


def _seconds(request: Request, name: str) -> int:
    text = request.query_params.get(name, "")
    if not text.lstrip("-").isdigit():
        raise Refused(400, f"Missing required param: {name}")
    return int(text)


def _environment(request: Request, name: str) -> bool:
    """Whether the environment asked for is the one there is; it has to be given."""
    if name not in request.query_params:
        raise Refused(400, f"Missing required param: {name}")
    return request.query_params[name] == ENVIRONMENT
