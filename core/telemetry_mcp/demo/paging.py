"""Which alarms a state of the estate rings: what a threshold on each service would say at a given minute."""

from dataclasses import dataclass

import numpy as np

from telemetry_mcp.demo.estate import STEP_MS, Estate
from telemetry_mcp.demo.fault_plan import MINUTE_MS
from telemetry_mcp.demo.topology import MEMBERS

_BEFORE_MS = 30 * MINUTE_MS
_STEPS = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)
_SERIOUS_ERRORS = 5.0


@dataclass(frozen=True, slots=True)
class Bell:
    """An alarm that rings: its words, and how bad it is."""

    service: str
    metric: str
    limit: float
    priority: str

    @property
    def title(self) -> str:
        name, unit = {
            "error_rate": ("error rate", "%"),
            "latency_p95": ("p95 latency", "ms"),
            "cpu": ("cpu", "%"),
            "memory": ("memory", "%"),
        }[self.metric]
        return f"{self.service}: {name} above {self.limit:g} {unit}"


def bells(estate: Estate, onset_ms: int, at_ms: int) -> list[Bell]:
    """All that ring at `at_ms` and were silent in the half hour before the onset, by service, the worst first."""
    return [
        Bell(service, metric, limit, _priority(service, metric, now))
        for service in estate.members
        for metric in ("error_rate", "latency_p95", "cpu", "memory")
        for before, now in [_levels(estate, service, metric, onset_ms, at_ms)]
        if (limit := threshold(metric, before, now)) is not None
    ]


def false(estate: Estate, service: str, metric: str, at_ms: int) -> Bell:
    """One that rings at `at_ms` without a reason: its limit is above all that the half hour before has seen."""
    before, _ = _levels(estate, service, metric, at_ms, at_ms)
    pretended = {"error_rate": 3.0, "latency_p95": 1.8 * before, "cpu": before + 15}[metric]
    limit = threshold(metric, before, pretended)
    assert limit is not None
    return Bell(service, metric, limit, _priority(service, metric, before))


def threshold(metric: str, before: float, now: float) -> float | None:
    """A round limit that `now` is over and `before`, the highest until then, was not; None: there is none."""
    if metric == "error_rate":
        return max((limit for limit in (1.0, 2.0, 5.0, 10.0, 20.0) if before < limit < 0.8 * now), default=None)
    if metric == "latency_p95":
        low, high = before * 1.1, now * 0.92
        round_ones = (step * 10.0**power for power in range(5) for step in _STEPS)
        return max((limit for limit in round_ones if low < limit < high), default=None)
    limit = now // 5 * 5
    return limit if limit >= before + 4 else None


def _levels(estate: Estate, service: str, metric: str, onset_ms: int, at_ms: int) -> tuple[float, float]:
    """The highest minute's mean before the onset, and the mean of the minute before `at_ms`."""
    before = np.arange(onset_ms - _BEFORE_MS, onset_ms - MINUTE_MS + 1, MINUTE_MS, dtype=np.int64)
    now = np.arange(at_ms - MINUTE_MS, at_ms, STEP_MS, dtype=np.int64)
    return (
        float(estate.average(service, metric, before, MINUTE_MS).max()),
        float(estate.values(service, metric, now).mean()),
    )


def _priority(service: str, metric: str, now: float) -> str:
    serious = metric == "error_rate" and now > _SERIOUS_ERRORS and MEMBERS[service].tier == 1
    return "P1" if serious else "P2"
