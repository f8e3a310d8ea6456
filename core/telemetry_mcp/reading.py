"""The newest reading of every metric: the owner's value first, the other sources' beside it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from telemetry_mcp.analysis.agreement import tolerance
from telemetry_mcp.catalog import Catalog
from telemetry_mcp.model import Outcome, Series
from telemetry_mcp.part import Part, collected
from telemetry_mcp.unit import TOLERATED


@dataclass(frozen=True, slots=True)
class Other:
    """Another source's newest value; `difference` is it minus the one shown. One reading of each can agree or
    differ: whether that is noise, a lag or an offset, only a series can say."""

    source: str
    value: float
    at_ms: int
    difference: float
    agrees: bool


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
    others: tuple[Other, ...] = ()


def latest(outcomes: Iterable[Outcome[Series]], catalog: Catalog) -> tuple[list[Reading], list[str]]:
    """The newest reading of every (service, metric), the owner's first; and what could not be merged."""
    readings: list[Reading] = []
    warnings: list[str] = []
    for (service, metric), shares in collected(outcomes, catalog).items():
        warnings += shares.warnings
        usable = [part for part in shares.parts if part.factor is not None and part.samples]
        if usable:
            readings.append(reading_of(service, metric, usable, shares.unit))
    return readings, warnings


def reading_of(service: str, metric: str, parts: Sequence[Part], unit: str) -> Reading:
    (owner, value, at_ms), *rest = [(p, float(p.values[-1]), int(p.timestamps_ms[-1])) for p in parts]
    allowed = tolerance(abs(value), TOLERATED.get(unit, 0.0))
    return Reading(
        service=service,
        metric=metric,
        unit=unit,
        value=value,
        at_ms=at_ms,
        source=owner.source,
        query=owner.query,
        others=tuple(
            Other(part.source, other, at, other - value, abs(other - value) <= allowed) for part, other, at in rest
        ),
    )
