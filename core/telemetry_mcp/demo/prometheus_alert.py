"""The estate's incidents as Prometheus knows them: alerts that fire, their rules, and the series these write."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from telemetry_mcp.demo.estate import Estate, Incident
from telemetry_mcp.demo.topology import ENVIRONMENT, MEMBERS

_SEVERITY = {"P1": "critical", "P2": "critical", "P3": "warning"}
_FOREVER = np.iinfo(np.int64).max

Labels = dict[str, str]


@dataclass(frozen=True, slots=True)
class Firings:
    """The values of ALERTS (or with `state` of ALERTS_FOR_STATE) over all firings of one alert."""

    incidents: tuple[Incident, ...]
    state: bool

    def __call__(self, times: NDArray[np.int64]) -> NDArray[np.float64]:
        """NaN where it does not fire."""
        values = np.full(len(times), np.nan)
        for one in self.incidents:
            end_ms = _FOREVER if one.resolved_ms is None else one.resolved_ms
            inside = (times >= one.created_ms) & (times < end_ms)
            values[inside] = one.created_ms // 1000 if self.state else 1.0
        return values


def series(estate: Estate, now_ms: int) -> Iterator[tuple[Labels, Firings]]:
    """Labels and values of all that the rules have written by `now_ms`."""
    same: dict[tuple[tuple[str, str], ...], list[Incident]] = {}
    for one in estate.incidents(estate.start_ms, now_ms + 1):
        same.setdefault(tuple(_labels(one).items()), []).append(one)
    for labels, incidents in same.items():
        fixed = dict(labels)
        yield {"__name__": "ALERTS", "alertstate": "firing", **fixed}, Firings(tuple(incidents), state=False)
        yield {"__name__": "ALERTS_FOR_STATE", **fixed}, Firings(tuple(incidents), state=True)


def alerts(estate: Estate, now_ms: int) -> list[dict[str, Any]]:
    """The alerts that fire at `now_ms`, as /api/v1/alerts tells them."""
    return [
        {
            "labels": _labels(one),
            "annotations": {"summary": one.title},
            "state": "firing",
            "activeAt": _stamp(one.created_ms),
            "value": "1e+00",
        }
        for one in estate.incidents(estate.start_ms, now_ms + 1)
        if one.status(now_ms) != "resolved"
    ]


def rules(estate: Estate, now_ms: int) -> list[dict[str, Any]]:
    """The groups of rules, as /api/v1/rules tells them."""
    firing = alerts(estate, now_ms)
    names = sorted({_alertname(one) for one in estate.incidents(estate.start_ms, now_ms + 1)})
    evaluated = {"health": "ok", "evaluationTime": 0.0003, "lastEvaluation": _stamp(now_ms // 60_000 * 60_000)}
    return [
        {
            "name": "estate",
            "file": "/etc/prometheus/estate.yml",
            "rules": [_rule(name, firing) | evaluated for name in names],
            "interval": 60,
            "limit": 0,
            "evaluationTime": 0.004,
            "lastEvaluation": evaluated["lastEvaluation"],
        }
    ]


def _rule(name: str, firing: list[dict[str, Any]]) -> dict[str, Any]:
    own = [alert for alert in firing if alert["labels"]["alertname"] == name]
    return {
        "state": "firing" if own else "inactive",
        "name": name,
        "query": "service_error_ratio > 0.01",
        "duration": 120,
        "keepFiringFor": 0,
        "labels": {},
        "annotations": {"summary": "{{ $labels.service }}: {{ $labels.alertname }}"},
        "alerts": own,
        "type": "alerting",
    }


def _labels(one: Incident) -> Labels:
    return {
        "alertname": _alertname(one),
        "environment": ENVIRONMENT,
        "service": one.service,
        "severity": _SEVERITY.get(one.priority, "warning"),
        "team": MEMBERS[one.service].team,
    }


def _alertname(one: Incident) -> str:
    """`payment-processor: p95 latency above 1 s` -> `P95LatencyAbove1S`."""
    words = re.findall(r"[A-Za-z0-9]+", one.title.partition(": ")[2] or one.title)
    return "".join(word[0].upper() + word[1:] for word in words)


def _stamp(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat().replace("+00:00", "Z")
