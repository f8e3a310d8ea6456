"""What a service is judged by: its metrics, what kind each is of, and what changed."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from telemetry_mcp.analysis.sample import Timestamps, Values

Kind = Literal["availability", "error", "latency", "traffic", "resource"]
Direction = Literal["up", "down", "none"]

KINDS: tuple[Kind, ...] = get_args(Kind)

PROPAGATING: frozenset[Kind] = frozenset({"availability", "error", "latency"})
"""Kinds in which a caller suffers from what it calls."""

HARMLESS: frozenset[tuple[Kind, Direction]] = frozenset(
    {("availability", "up"), ("error", "down"), ("latency", "down")}
)
"""A change for the better."""


@dataclass(frozen=True, slots=True, eq=False)
class Signal:
    """One metric of one service. Neither order nor uniqueness of the timestamps is required; NaN is no number."""

    service: str
    metric: str
    kind: Kind
    timestamps_ms: Timestamps
    values: Values


@dataclass(frozen=True, slots=True)
class Change:
    """A deployment, a flag, an edit of the configuration."""

    service: str
    at_ms: int
    id: str = ""


def signals_of(given: Iterable[Signal | Sequence[Any]]) -> tuple[Signal, ...]:
    """Plain tuples made signals, lists made arrays. Raises ValueError for a kind that is none."""
    signals = tuple(_signal(one if isinstance(one, Signal) else Signal(*one)) for one in given)
    unknown = sorted({one.kind for one in signals} - set(KINDS))
    if unknown:
        raise ValueError(f"kinds are {', '.join(KINDS)}, not {', '.join(unknown)}")
    return signals


def _signal(given: Signal) -> Signal:
    times, values = np.asarray(given.timestamps_ms, dtype=np.int64), np.asarray(given.values, dtype=np.float64)
    return Signal(given.service, given.metric, given.kind, times, values)


def changes_of(given: Iterable[Change | Sequence[Any]]) -> tuple[Change, ...]:
    """Plain tuples made changes, of which no more than service, time and id is read."""
    return tuple(one if isinstance(one, Change) else Change(*one[:3]) for one in given)


_BY_WORD: tuple[tuple[str, Kind], ...] = (
    (r"success|avail|uptime|healthy|apdex", "availability"),
    (r"err|fail|fault|5xx|4xx|exception|panic|timeout|cancel|reject|drop|crash|restart", "error"),
    (r"cpu|memory|mem_|disk|heap|gc_|cores|saturation|utili[sz]ation|capacity|depth|buffer", "resource"),
    (r"throttle", "error"),
    (r"latency|duration|response_?time|wait|_age_|delay|lag|p50|p9\d", "latency"),
    (r"request|throughput|traffic|workload|rps|qps|ops|hits|calls|per_(s|sec|second|min|minute)\b", "traffic"),
)
_BY_UNIT: dict[str, Kind] = {
    **dict.fromkeys(("s", "ms", "us", "ns", "min"), "latency"),
    **dict.fromkeys(("per_s", "per_min", "per_h", "rps", "rpm"), "traffic"),
}


def kind_of(metric: str, unit: str = "") -> Kind:
    """The kind of a metric: by the words of its name, the first that fits, else by its unit, else "resource"."""
    name = metric.lower()
    for words, kind in _BY_WORD:
        if re.search(words, name):
            return kind
    return _BY_UNIT.get(unit, "resource")
