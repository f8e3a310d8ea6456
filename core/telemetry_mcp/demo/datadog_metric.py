"""The metrics of Datadog's emulator: what its agents and tracers say about the estate, with their own noise."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from telemetry_mcp.demo import noise
from telemetry_mcp.demo.dogql import Formula, MetricQuery
from telemetry_mcp.demo.estate import Estate
from telemetry_mcp.demo.topology import ENVIRONMENT, Member

Values = NDArray[np.float64]

_NOISE = 0.01
_CORES = 4e9
_MEMORY = 8 * 2**30


def _unit(family: str, name: str, short: str, scale: float, number: int) -> dict[str, object]:
    plural = name if family == "percentage" else f"{name}s"
    named = {"name": name, "short_name": short, "plural": plural, "id": number}
    return {"family": family, "scale_factor": scale, **named}


PERCENT = _unit("percentage", "percent", "%", 1.0, 17)
FRACTION = _unit("percentage", "fraction", "", 100.0, 18)
SECOND = _unit("time", "second", "s", 1.0, 11)
BYTE = _unit("bytes", "byte", "B", 1.0, 2)
NANOCORE = _unit("cpu", "nanocore", "ncores", 1e-9, 121)
HIT = _unit("network", "hit", "hit", 1.0, 39)
ERROR = _unit("system", "error", "err", 1.0, 59)


@dataclass(frozen=True, slots=True)
class Metric:
    """`of` in the estate becomes the metric's values by `made`; what is `counted` adds up over an interval."""

    of: str
    made: Callable[[Values], Values]
    unit: dict[str, object]
    counted: bool = False


def _times(factor: float) -> Callable[[Values], Values]:
    return lambda values: values * factor


METRICS: Mapping[str, Metric] = {
    "system.cpu.total": Metric("cpu", _times(1.0), PERCENT),
    "system.cpu.idle": Metric("cpu", lambda values: 100 - values, PERCENT),
    "system.mem.pct_used": Metric("memory", _times(1.0), PERCENT),
    "system.mem.pct_usable": Metric("memory", lambda values: 1 - values / 100, FRACTION),
    "container.cpu.usage": Metric("cpu", _times(_CORES / 100), NANOCORE),
    "container.cpu.limit": Metric("cpu", lambda values: np.full_like(values, _CORES), NANOCORE),
    "container.memory.usage": Metric("memory", _times(_MEMORY / 100), BYTE),
    "container.memory.limit": Metric("memory", lambda values: np.full_like(values, float(_MEMORY)), BYTE),
    "trace.http.request": Metric("latency_p95", _times(0.001), SECOND),
    "trace.http.request.duration.by.service.95p": Metric("latency_p95", _times(0.001), SECOND),
    "trace.http.request.hits": Metric("request_rate", _times(1.0), HIT, counted=True),
    "trace.http.request.errors": Metric("request_rate", _times(1.0), ERROR, counted=True),
}


def _mean(rows: Values) -> Values:
    return np.asarray(rows.mean(axis=0))


_REDUCE: Mapping[str, Callable[[Values], Values]] = {
    "sum": lambda rows: rows.sum(axis=0),
    "min": lambda rows: rows.min(axis=0),
    "max": lambda rows: rows.max(axis=0),
}


def tags(member: Member) -> dict[str, str]:
    return {
        "service": member.name,
        "team": member.team,
        "env": ENVIRONMENT,
        "tier": str(member.tier),
        "language": member.language,
    }


def tag_list(member: Member) -> list[str]:
    return [f"{tag}:{value}" for tag, value in tags(member).items()]


def groups(estate: Estate, asking: Formula, stamps: NDArray[np.int64], width: int) -> dict[str, Values]:
    """Group of tags -> the values at `stamps` (ms), intervals of `width` seconds; nothing for a strange metric."""
    parts = {name: _grouped(estate, query, stamps, width) for name, query in asking.queries.items()}
    common = set.intersection(*(set(part) for part in parts.values()))
    first = next(iter(parts.values()))
    return {
        group: np.broadcast_to(asking.value({name: part[group] for name, part in parts.items()}), stamps.shape)
        for group in first
        if group in common
    }


def _grouped(estate: Estate, asking: MetricQuery, stamps: NDArray[np.int64], width: int) -> dict[str, Values]:
    if asking.metric not in METRICS:
        return {}
    found: dict[str, list[Values]] = {}
    for member in estate.members.values():
        named = tags(member)
        if all(named.get(tag) in let or "*" in let for tag, let in asking.scope.items()):
            group = ",".join(f"{tag}:{named[tag]}" for tag in asking.by if tag in named)
            found.setdefault(group, []).append(_points(estate, member, asking, stamps, width))
    reduce = _REDUCE.get(asking.aggregator or "avg", _mean)
    return {group: reduce(np.stack(rows)) for group, rows in found.items()}


def _points(estate: Estate, member: Member, asking: MetricQuery, stamps: NDArray[np.int64], width: int) -> Values:
    metric = METRICS[asking.metric]
    percentile = f"latency_{asking.aggregator}" if asking.metric == "trace.http.request" else metric.of
    of = percentile if percentile in ("latency_p50", "latency_p99") else metric.of
    values = metric.made(estate.average(member.name, of, stamps, width * 1000))
    if asking.metric.endswith(".errors"):
        values = values * estate.average(member.name, "error_rate", stamps, width * 1000) / 100
    if metric.counted and asking.counted:
        values = values * width
    # The same noise for all that is made of one thing, or errors could outnumber hits.
    own = noise.normal(stamps // 1000, noise.salt(estate.seed, "datadog", member.name, metric.of))
    return values * (1 + _NOISE * own)
