"""Many sources' series into one, with provenance: units converted, an epoch-aligned common grid, the owner's
value first and the others' beside it with their difference. Sources that disagree are never averaged.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from telemetry_mcp.catalog import Catalog, Metric
from telemetry_mcp.model import Outcome, Series
from telemetry_mcp.question import Window
from telemetry_mcp.unit import factor

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

AGREE_RELATIVE = 0.05
"""Two sources agree while their median difference stays within this share of the owner's median size."""
AGREE_POINTS = {"percent": 1.0, "ratio": 0.01}
"""Or within this many units: near zero a share says nothing."""
MIN_SAMPLES = 0.5
"""A bucket needs this share of the samples its source should have there."""

Agreement = Literal["agree", "differ", "unknown"]


@dataclass(frozen=True, slots=True)
class Difference:
    """How another source's values relate to the owner's: `median` is other minus owner, in the metric's unit."""

    median: float | None
    relative: float | None
    shared: int
    agreement: Agreement


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One source's share in a merged series, already in the metric's unit and on its own grid.

    `factor` is what its values were multiplied by; None where its unit cannot be converted, and then the
    part is shown but never chosen or compared.
    """

    source: str
    query: str
    unit: str
    factor: float | None
    step_ms: int | None
    samples: int
    timestamps_ms: Ints
    values: Floats
    difference: Difference | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Merged:
    """One metric of one service over the window. `timestamps_ms` are the starts of evenly spaced buckets;
    a bucket without data is NaN. `parts` has the owner first."""

    service: str
    metric: str
    unit: str
    step_ms: int
    timestamps_ms: Ints
    values: Floats
    parts: tuple[Part, ...]
    warnings: tuple[str, ...] = ()


def numbers(merged: Merged | None) -> tuple[Ints, Floats]:
    """Times and values of a merged series; both empty where there is none."""
    if merged is None:
        return np.empty(0, np.int64), np.empty(0)
    return merged.timestamps_ms, merged.values


def merge(outcomes: Iterable[Outcome[Series]], catalog: Catalog, window: Window, step_ms: int) -> list[Merged]:
    """Every (service, metric) that any source answered, in the order of the sources and their replies."""
    return [
        on_grid(service, metric, parts, catalog[metric], window, step_ms, warnings)
        for (service, metric), (parts, warnings) in collected(outcomes, catalog).items()
        if parts
    ]


def collected(
    outcomes: Iterable[Outcome[Series]], catalog: Catalog
) -> dict[tuple[str, str], tuple[list[Part], list[str]]]:
    """The parts of each (service, metric), the configured owner's first."""
    found: dict[tuple[str, str], tuple[list[Part], list[str]]] = {}
    for outcome in outcomes:
        for (service, metric), several in grouped(outcome.reply.items).items():
            if metric not in catalog:
                continue
            parts, warnings = found.setdefault((service, metric), ([], []))
            part = part_of(outcome.source, several, catalog[metric])
            parts.append(part)
            if part.factor is None:
                what = f"{outcome.source} gives {metric} of {service} in {part.unit}"
                warnings.append(f"{what}, which is not convertible to {catalog[metric].unit}: not merged")
            if len(several) > 1:
                what = f"{outcome.source} gave {len(several)} series of {metric} for {service}"
                warnings.append(f"{what}: their {catalog[metric].aggregate} is used; aggregate in its query")
    for (_, metric), (parts, _) in found.items():
        parts.sort(key=lambda part: (part.factor is None, part.source != catalog[metric].owner))
    return found


def grouped(items: Sequence[Series]) -> dict[tuple[str, str], list[Series]]:
    groups: dict[tuple[str, str], list[Series]] = {}
    for series in items:
        groups.setdefault((series.service, series.metric), []).append(series)
    return groups


def part_of(source: str, several: Sequence[Series], metric: Metric) -> Part:
    """One source's series of a metric, sorted, without non-numbers, in the metric's unit."""
    first = several[0]
    by = 1.0 if not first.unit or not metric.unit else factor(first.unit, metric.unit)
    timestamps, values = first.timestamps_ms, first.values
    if len(several) > 1:
        timestamps = np.concatenate([series.timestamps_ms for series in several])
        values = np.concatenate([series.values for series in several])
    step_ms = None
    if len(timestamps) > 1:
        steps = np.diff(timestamps)
        if steps.min() <= 0:
            steps = np.diff(np.unique(timestamps))
            timestamps, values = instants(timestamps, values, metric.aggregate)
        step_ms = int(median(steps)) if len(steps) else None
    numbers = np.isfinite(values)
    if not numbers.all():
        # After the step is known: a sample that is no number still shows at which distance the source measures.
        timestamps, values = timestamps[numbers], values[numbers]
    return Part(
        source=source,
        query=first.query,
        unit=first.unit or metric.unit,
        factor=by,
        step_ms=step_ms,
        samples=len(values),
        timestamps_ms=timestamps,
        values=values if by is None or by == 1.0 else values * by,
    )


def instants(timestamps: Ints, values: Floats, aggregate: str) -> tuple[Ints, Floats]:
    """Sorted, one value an instant: what several label sets say at the same time is put together."""
    numbers = np.isfinite(values)
    unique, place = np.unique(timestamps[numbers], return_inverse=True)
    return unique, aggregated(place, values[numbers], len(unique), aggregate)[0]


def median(values: NDArray[Any]) -> float:
    """np.median without its checks, which cost more than the median of a short series."""
    half = len(values) // 2
    if len(values) % 2:
        return float(np.partition(values, half)[half])
    low, high = np.partition(values, (half - 1, half))[half - 1 : half + 1]
    return (float(low) + float(high)) / 2


def aggregated(place: Ints, values: Floats, size: int, aggregate: str) -> tuple[Floats, Ints]:
    """The mean or max of the values of each place, NaN where there is none; and how many there were."""
    counts = np.bincount(place, minlength=size)
    if aggregate == "max":
        out = np.full(size, -np.inf)
        np.maximum.at(out, place, values)
    else:
        out = np.bincount(place, weights=values, minlength=size) / np.maximum(counts, 1)
    out[counts == 0] = np.nan
    return out, counts


def bucketed(part: Part, window: Window, step_ms: int, aggregate: str) -> Floats:
    """The part on the grid of epoch-aligned buckets of `step_ms` that the window covers; gaps only where its
    unit cannot be converted."""
    first = window.start_ms // step_ms
    size = max(1, -(-window.end_ms // step_ms) - first)
    if part.factor is None:
        return np.full(size, np.nan)
    place = part.timestamps_ms // step_ms - first
    values = part.values
    if len(place) and (place[0] < 0 or place[-1] >= size):
        inside = (place >= 0) & (place < size)
        place, values = place[inside], values[inside]
    if part.step_ms == step_ms and (len(place) < 2 or np.diff(place).min() > 0):
        grid = np.full(size, np.nan)
        grid[place] = values
        return grid
    grid, counts = aggregated(place, values, size, aggregate)
    expected = step_ms / part.step_ms if part.step_ms else 1.0
    grid[counts < MIN_SAMPLES * expected] = np.nan
    return grid


def on_grid(
    service: str,
    metric: str,
    parts: Sequence[Part],
    spec: Metric,
    window: Window,
    step_ms: int,
    warnings: Sequence[str] = (),
) -> Merged:
    """The owner's values on the grid, and every other part compared with them on the coarser of both steps: by
    means, also where the larger value is shown, for a vendor's coarse sample is a mean itself."""
    owner = next((part for part in parts if part.factor is not None and part.samples), parts[0])
    step = coarser(step_ms, owner)
    first = window.start_ms // step * step
    values = bucketed(owner, window, step, spec.aggregate)
    grids: dict[int, Floats] = {}
    ordered = [owner]
    for part in parts:
        if part is not owner:
            shared = coarser(step, part)
            if shared not in grids:
                grids[shared] = bucketed(owner, window, shared, "mean")
            other = bucketed(part, window, shared, "mean")
            ordered.append(replace(part, difference=difference(grids[shared], other, spec.unit)))
    return Merged(
        service=service,
        metric=metric,
        unit=spec.unit or owner.unit,
        step_ms=step,
        timestamps_ms=first + step * np.arange(len(values), dtype=np.int64),
        values=values,
        parts=tuple(ordered),
        warnings=tuple(warnings),
    )


def coarser(step_ms: int, part: Part) -> int:
    """A step that both have: the larger one, in whole multiples of the smaller."""
    native = part.step_ms or step_ms
    return step_ms if native <= step_ms * 1.5 else -(-native // step_ms) * step_ms


def difference(x: Floats, y: Floats, unit: str) -> Difference:
    """Of values on one grid: METHODS 5.4 in its first form, the median of y - x against a tolerance."""
    apart = y - x
    both = np.isfinite(apart)
    if not both.all():
        apart, x = apart[both], x[both]
    if not len(x):
        return Difference(None, None, 0, "unknown")
    return weighed(median(apart), median(np.abs(x)), len(x), unit)


def weighed(apart: float, size: float, shared: int, unit: str) -> Difference:
    tolerance = max(AGREE_RELATIVE * size, AGREE_POINTS.get(unit, 0.0))
    return Difference(
        apart, apart / size if size else None, shared, "agree" if abs(apart) <= tolerance else "differ"
    )
