"""When a metric was beyond its warning limit, from the series as it travels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any


@dataclass(frozen=True, slots=True)
class Crossing:
    """From the first to the last point beyond `limit`, RFC 3339; None and None when there is none."""

    metric: str
    limit: float | None
    start: str | None
    end: str | None


def crossing(history: Mapping[str, Any], spec: Mapping[str, Any]) -> Crossing:
    """`history` is an answer of query_historical_metrics, `spec` the metric's row of telemetry://catalog."""
    limit, points = spec["warning"], history["series"]
    sign = 1 if spec["bad"] == "above" else -1
    beyond = [
        place
        for place, value in enumerate(points["values"])
        if limit is not None and value is not None and sign * value >= sign * limit
    ]
    if not beyond:
        return Crossing(history["metric"], limit, None, None)
    return Crossing(history["metric"], limit, at(points, beyond[0]), at(points, beyond[-1]))


def at(points: Mapping[str, Any], place: int) -> str:
    moment = datetime.fromisoformat(points["start"]) + timedelta(seconds=points["step_s"] * place)
    return moment.isoformat().replace("+00:00", "Z")
