"""The newest reading of every metric: the owner's value first, the other sources' beside it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from telemetry_mcp.catalog import Catalog
from telemetry_mcp.merge import Difference, Part, collected, weighed
from telemetry_mcp.model import Outcome, Series


@dataclass(frozen=True, slots=True)
class Reading:
    """The newest value of one metric of one service; `others` are the other sources' newest."""

    service: str
    metric: str
    unit: str
    value: float
    at_ms: int
    source: str
    query: str
    others: tuple[tuple[str, float, int, Difference], ...] = ()


def latest(outcomes: Iterable[Outcome[Series]], catalog: Catalog) -> tuple[list[Reading], list[str]]:
    """The newest reading of every (service, metric), the owner's first; and what could not be merged."""
    readings: list[Reading] = []
    warnings: list[str] = []
    for (service, metric), (parts, said) in collected(outcomes, catalog).items():
        warnings += said
        usable = [part for part in parts if part.factor is not None and part.samples]
        if usable:
            readings.append(reading_of(service, metric, usable, catalog[metric].unit))
    return readings, warnings


def reading_of(service: str, metric: str, parts: Sequence[Part], unit: str) -> Reading:
    newest = [(part, float(part.values[-1]), int(part.timestamps_ms[-1])) for part in parts]
    (owner, value, at_ms), *rest = newest
    return Reading(
        service=service,
        metric=metric,
        unit=unit or owner.unit,
        value=value,
        at_ms=at_ms,
        source=owner.source,
        query=owner.query,
        others=tuple(
            (part.source, other, at, weighed(other - value, abs(value), 1, unit)) for part, other, at in rest
        ),
    )
