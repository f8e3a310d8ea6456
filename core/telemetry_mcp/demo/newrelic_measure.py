"""What NRQL finds in the simulated estate: rows of columns, over time or by name, and raw events of changes."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from telemetry_mcp.demo import noise
from telemetry_mcp.demo.estate import Estate
from telemetry_mcp.demo.fault_plan import Change
from telemetry_mcp.demo.newrelic_entity import APPS, OTEL, guid_of
from telemetry_mcp.demo.nrql import RAW, Column, Query
from telemetry_mcp.demo.topology import MEMBERS, Member

_PERCENTILES = {"50": "latency_p50", "95": "latency_p95", "99": "latency_p99"}
_BYTES_A_REQUEST = 2_048
_CATEGORIES = {"deployment": ("Deployment", "Basic"), "config": ("Operational", "Configuration")}

Row = dict[str, object]


def result(estate: Estate, query: Query, text: str, now_ms: int) -> dict[str, Any]:
    """The object `nrql` of an answer."""
    raw = query.events[0] in RAW and query.columns[0].measure != "count"
    rest: Any = ([] if query.bucket_s else {}) if query.facet else None
    return {
        "results": events(estate, query, now_ms) if raw else rows(estate, query, now_ms),
        "totalResult": rest,
        "otherResult": rest,
        "nrql": text,
        "currentResults": None,
        "previousResults": None,
        "metadata": {
            "eventTypes": list(query.events),
            "facets": [query.attribute] if query.facet else None,
            "messages": [],
            "timeWindow": {
                "begin": query.since_ms,
                "end": query.until_ms,
                "compareWith": None,
                "since": str(query.since_ms),
                "until": str(query.until_ms),
            },
        },
    }


def rows(estate: Estate, query: Query, now_ms: int) -> list[Row]:
    known = {name: member for name, member in _named(query).items() if query.names is None or name in query.names}
    if query.events[0] in RAW:
        return [{query.columns[0].key: len(_events(estate, query, now_ms))}]
    if not query.facet:
        return _rows(estate, query, list(known.values()), now_ms)
    found: list[Row] = []
    for name in list(known)[: query.limit]:
        head: Row = {"facet": name, query.attribute: name}
        found += [{**head, **row} for row in _rows(estate, query, [known[name]], now_ms)]
    return found


def events(estate: Estate, query: Query, now_ms: int) -> list[Row]:
    """The changes of whoever New Relic watches, newest first, as rows of the asked attributes."""
    found = _events(estate, query, now_ms)[: query.limit]
    return [{column.key: event.get(column.measure) for column in query.columns} for event in found]


def _events(estate: Estate, query: Query, now_ms: int) -> list[Row]:
    changes = [
        _event(change)
        for change in reversed(estate.changes(query.since_ms, min(query.until_ms, now_ms)))
        if change.service in APPS and (query.names is None or change.service in query.names)
    ]
    return [event for event in changes if event["eventType()"] in query.events]


def _event(change: Change) -> Row:
    """Routine deployments are reported the old way, everything else by change tracking."""
    routine = change.id.startswith("deploy-")
    number = f"{noise.salt('change', change.id):032x}"
    category, kind = _CATEGORIES.get(change.kind, ("Other", "Other"))
    own: Row = (
        {"deploymentId": number} if routine else {"changeTrackingId": number, "category": category, "type": kind}
    )
    return {
        **own,
        "timestamp": change.time_ms,
        "eventType()": "Deployment" if routine else "ChangeTrackingEvent",
        "entity.guid": guid_of(APPS[change.service]),
        "entity.name": change.service,
        "version": change.version or None,
        "user": change.author,
        "description" if routine else "shortDescription": change.title,
    }


def _named(query: Query) -> Mapping[str, Member]:
    """Whom the events of a query can be about, by the name that its attribute has for them."""
    if query.guid is not None:
        return {name: app for name, app in APPS.items() if guid_of(app, "SERVICE_LEVEL") == query.guid}
    if query.attribute == "entityName":
        return {
            f"{member.name}-{number}": member
            for member in MEMBERS.values()
            for number, _ in enumerate(member.instances)
        }
    return APPS if query.attribute == "appName" else OTEL


def _rows(estate: Estate, query: Query, group: list[Member], now_ms: int) -> list[Row]:
    begins, width_ms = _buckets(query)
    known = (begins + width_ms > estate.start_ms) & (begins < now_ms) & bool(group)
    columns = {}
    for column in query.columns:
        values = _Measures(estate, group, begins[known], width_ms).column(column) if group else []
        columns[column.key] = _with_gaps(values, known, 0 if column.measure in ("count", "good") else None)
    found: list[Row] = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    if query.bucket_s is None:
        return found
    ends = np.minimum(begins + width_ms, query.until_ms) // 1000
    times = zip((begins // 1000).tolist(), ends.tolist(), found, strict=True)
    return [{"beginTimeSeconds": begin, "endTimeSeconds": end, **row} for begin, end, row in times]


class _Measures:
    """The columns of NRQL over the intervals [begin, begin + width), of one member or several together."""

    def __init__(self, estate: Estate, group: list[Member], begins: NDArray[np.int64], width_ms: int) -> None:
        self._width_s = width_ms / 1000
        self._begins = begins
        self._width_ms = width_ms
        self._estate = estate
        self._group = group
        self._rates = self._average("request_rate")

    def column(self, column: Column) -> list[Any]:
        """One value for each interval, of the type the vendor gives it."""
        total = self._rates.sum(axis=0)
        match column.measure:
            case "percentile" | "percentile_ms":
                scale = 1 if column.measure == "percentile_ms" else 1000
                found = [self._mean(_PERCENTILES.get(name, "latency_p95")) / scale for name in column.percentiles]
                return [
                    dict(zip(column.percentiles, row, strict=True)) for row in np.stack(found, axis=1).tolist()
                ]
            case "apdex":
                return [self._apdex(rate, count) for rate, count in zip(self._errors(), total, strict=True)]
            case "throughput":
                return list((total * 60).tolist())
            case "count":
                return list(np.round(total * self._width_s).astype(np.int64).tolist())
            case "good":
                good = total * self._width_s * self._mean("availability") / 100
                return list(np.round(good).astype(np.int64).tolist())
            case "average" | "average_ms":
                scale = 1 if column.measure == "average_ms" else 1000
                return list((self._mean("latency_p50") * 1.3 / scale).tolist())
            case "network":
                return list((total * _BYTES_A_REQUEST).tolist())
            case "disk":
                return [30.0 + noise.salt("disk", self._group[0].name) % 40] * len(self._begins)
        return list(self._mean("availability" if column.measure == "sli" else column.measure).tolist())

    def _apdex(self, errors: float, rate: float) -> dict[str, float]:
        count = round(rate * self._width_s)
        frustrated = round(count * errors / 100)
        return {
            "score": round(1 - errors / 100, 4),
            "count": count,
            "s": count - frustrated,
            "t": 0,
            "f": frustrated,
        }

    def _errors(self) -> list[float]:
        return list(self._mean("error_rate").tolist())

    def _average(self, metric: str) -> NDArray[np.float64]:
        """One row for each member."""
        found = [self._estate.average(member.name, metric, self._begins, self._width_ms) for member in self._group]
        return np.array(found).reshape(len(found), len(self._begins))

    def _mean(self, metric: str) -> NDArray[np.float64]:
        """Weighted by requests, as counting transactions does it."""
        return np.asarray((self._average(metric) * self._rates).sum(axis=0) / self._rates.sum(axis=0))


def _buckets(query: Query) -> tuple[NDArray[np.int64], int]:
    if query.bucket_s is None:
        return np.array([query.since_ms], dtype=np.int64), max(1, query.until_ms - query.since_ms)
    since_ms = query.since_ms // 1000 * 1000
    return np.arange(since_ms, query.until_ms, query.bucket_s * 1000, dtype=np.int64), query.bucket_s * 1000


def _with_gaps(values: list[Any], known: NDArray[np.bool_], gap: object) -> list[Any]:
    left = iter(values)
    return [next(left) if here else gap for here in known.tolist()]
