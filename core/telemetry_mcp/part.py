"""One source's share in a merged series: what it gave, in the metric's unit, and where that lies on a grid."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from telemetry_mcp.analysis import bucket
from telemetry_mcp.analysis.agreement import Difference
from telemetry_mcp.analysis.sample import clean
from telemetry_mcp.analysis.statistic import median
from telemetry_mcp.catalog import Catalog, Metric
from telemetry_mcp.model import Outcome, Series
from telemetry_mcp.question import Window
from telemetry_mcp.unit import COUNTED, canonical, factor

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

MIN_SAMPLES = 0.5
"""A bucket needs this share of the samples its source should have there."""
ALIKE = 1.5
"""Steps that differ by less than this are one and the same: sources jitter."""


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One source's share in a merged series, already in the metric's unit and on its own grid.

    `factor` is what its values were multiplied by; None where its unit cannot be converted, and then the
    part is shown but never chosen or compared. `weights` are those of a ratio whose source knows them. `declared`
    is whether the source says its unit; where it does not, the factor may have been `inferred` from another
    source. `series` counts those that were put together. `odd` is how many times the shown source's values it
    reads, where that is a factor of units although it declares its own. `filled` counts the gaps of the shown
    series that are filled from it.
    """

    source: str
    query: str
    unit: str
    factor: float | None
    step_ms: int | None
    samples: int
    timestamps_ms: Ints
    values: Floats
    weights: Floats | None = None
    declared: bool = True
    inferred: bool = False
    series: int = 1
    difference: Difference | None = None
    odd: float | None = None
    filled: int = 0


class Shares(NamedTuple):
    """What all sources gave of one metric of one service, the configured owner first, in `unit`."""

    unit: str
    parts: list[Part]
    warnings: list[str]


@np.errstate(over="ignore", invalid="ignore")
def collected(outcomes: Iterable[Outcome[Series]], catalog: Catalog) -> dict[tuple[str, str], Shares]:
    """The shares in each (service, metric); sources in their own order after the owner, what cannot be converted
    last. A metric without a unit in the catalog takes the first that a source declares."""
    given: dict[tuple[str, str], list[tuple[str, list[Series]]]] = {}
    for outcome in outcomes:
        for key, several in grouped(outcome.reply.items).items():
            if key[1] in catalog:
                given.setdefault(key, []).append((outcome.source, several))
    return {key: shares(*key, replies, catalog[key[1]]) for key, replies in given.items()}


def grouped(items: Sequence[Series]) -> dict[tuple[str, str], list[Series]]:
    groups: dict[tuple[str, str], list[Series]] = {}
    for series in items:
        groups.setdefault((series.service, series.metric), []).append(series)
    return groups


def shares(service: str, metric: str, replies: Sequence[tuple[str, list[Series]]], spec: Metric) -> Shares:
    ordered = sorted(replies, key=lambda reply: reply[0] != spec.owner)
    told = (first_unit(several, spec) for _, several in ordered)
    unit = spec.unit or next((unit for unit in told if unit), "")
    parts, warnings = [], []
    for source, several in ordered:
        part = part_of(source, several, spec, unit)
        parts.append(part)
        if part.factor is None:
            what = f"{source} gives {metric} of {service} in {part.unit}"
            warnings.append(f"{what}, which is not convertible to {unit}: not merged")
        if len(several) > 1:
            what = f"{source} gave {len(several)} series of {metric} for {service}"
            left = len(several) - part.series
            but = f" without the {left} whose unit is not convertible to {part.unit}" if left else ""
            warnings.append(f"{what}: their {spec.aggregate} is used{but}; aggregate in its query")
    parts.sort(key=lambda part: part.factor is None)
    return Shares(unit, parts, warnings)


def part_of(source: str, several: Sequence[Series], metric: Metric, unit: str = "") -> Part:
    """One source's series of a metric, sorted, without non-numbers, in `unit`; a counter's as rates. Of several
    those are left out whose unit cannot be converted to that of the first."""
    declared = first_unit(several, metric)
    own_unit = next((series.unit for series in several if series.unit), unit)
    several = [told for series in several if (told := in_unit(series, declared, metric)) is not None]
    by = 1.0 if not declared or not unit else factor(declared, unit)
    timestamps, values, weights = joined(several)
    if metric.kind != "ratio":
        weights = None
    step_ms = None
    if len(timestamps) > 1:
        steps = np.diff(timestamps)
        if steps.min() <= 0:
            steps = np.diff(np.unique(timestamps))
            timestamps, values, weights = instants(timestamps, values, weights, metric.aggregate)
        step_ms = int(median(steps)) if len(steps) else None
    numbers = known(values, weights)
    if not numbers.all():
        # After the step is known: a sample that is no number still shows at which distance the source measures.
        timestamps, values = timestamps[numbers], values[numbers]
        weights = None if weights is None else weights[numbers]
    return Part(
        source=source,
        query=several[0].query,
        unit=own_unit,
        factor=by,
        step_ms=step_ms,
        samples=len(values),
        timestamps_ms=timestamps,
        values=values if by is None or by == 1.0 else values * by,
        weights=weights,
        declared=bool(declared),
        series=len(several),
    )


def known(values: Floats, weights: Floats | None) -> NDArray[np.bool_]:
    """Which samples are numbers; one whose weight is none, or negative, is none either."""
    return np.isfinite(values) if weights is None else np.isfinite(values) & np.isfinite(weights) & (weights >= 0)


def declared_unit(series: Series, metric: Metric) -> str:
    """The unit that a source declares for the values as they are shown: of a counter, that of its rate."""
    return COUNTED.get(canonical(series.unit), series.unit) if metric.kind == "counter" else series.unit


def first_unit(several: Sequence[Series], metric: Metric) -> str:
    """The first unit that is declared, of several series of one source; empty where there is none."""
    return next((unit for series in several if (unit := declared_unit(series, metric))), "")


def in_unit(series: Series, unit: str, metric: Metric) -> Series | None:
    """A series in `unit`, a counter's as rates; one that declares no unit is taken to be in it. None where its own
    cannot be converted."""
    own = declared_unit(series, metric)
    by = factor(own, unit) if own else 1.0
    if by is None:
        return None
    if metric.kind == "counter" and (not own or own != series.unit):
        series = risen(series)
    return series if by == 1.0 else replace(series, values=series.values * by)


def joined(several: Sequence[Series]) -> tuple[Ints, Floats, Floats | None]:
    """Times, values and, where all of them have any, weights of several series, one after the other."""
    if len(several) == 1:
        return several[0].timestamps_ms, several[0].values, several[0].weights
    weights = [series.weights for series in several if series.weights is not None]
    return (
        np.concatenate([series.timestamps_ms for series in several]),
        np.concatenate([series.values for series in several]),
        np.concatenate(weights) if len(weights) == len(several) else None,
    )


def risen(series: Series) -> Series:
    """A counter as what it rises by per second."""
    samples = clean(series.timestamps_ms, series.values)
    timestamps, values = bucket.rates(samples.timestamps_ms, samples.values)
    return Series(series.service, series.metric, timestamps, values, series.unit, series.labels, series.query)


def instants(
    timestamps: Ints, values: Floats, weights: Floats | None, aggregate: str
) -> tuple[Ints, Floats, Floats | None]:
    """Sorted, one value an instant: what several label sets say at the same time is put together."""
    numbers = known(values, weights)
    unique, place = np.unique(timestamps[numbers], return_inverse=True)
    if aggregate == "max":
        return unique, bucket.highest(place, values[numbers], len(unique))[0], None
    if weights is None:
        return unique, bucket.mean(place, values[numbers], len(unique))[0], None
    together = np.bincount(place, weights=weights[numbers], minlength=len(unique)).astype(np.float64)
    return unique, bucket.mean(place, values[numbers], len(unique), weights[numbers])[0], together


def coarser(step_ms: int, part: Part) -> int:
    """A step that both have: the larger one, in whole multiples of the smaller."""
    native = part.step_ms or step_ms
    return step_ms if native <= step_ms * ALIKE else -(-native // step_ms) * step_ms


def finer(part: Part, step_ms: int) -> bool:
    """Whether several of the part's samples make one bucket of this step."""
    return part.step_ms is not None and part.step_ms * ALIKE < step_ms


def bucketed(part: Part, window: Window, step_ms: int, aggregate: str) -> Floats:
    """The part on the grid of epoch-aligned buckets of `step_ms` that the window covers; gaps only where its
    unit cannot be converted. Where several samples make a bucket, a mean is weighted by the time each stands for,
    and buckets that the window cuts are left empty."""
    first = window.start_ms // step_ms
    size = max(1, -(-window.end_ms // step_ms) - first)
    if part.factor is None:
        return np.full(size, np.nan)
    timestamps, values, weights = part.timestamps_ms, part.values, part.weights
    place = timestamps // step_ms - first
    if len(place) and (place[0] < 0 or place[-1] >= size):
        inside = (place >= 0) & (place < size)
        place, timestamps, values = place[inside], timestamps[inside], values[inside]
        weights = None if weights is None else weights[inside]
    if part.step_ms == step_ms and (len(place) < 2 or np.diff(place).min() > 0):
        grid = np.full(size, np.nan)
        grid[place] = values
        return grid
    if aggregate == "max":
        grid, counts = bucket.highest(place, values, size)
    else:
        if weights is None and part.step_ms:
            weights = bucket.holding(timestamps, part.step_ms)
        grid, counts = bucket.mean(place, values, size, weights)
    grid[counts < MIN_SAMPLES * (step_ms / part.step_ms if part.step_ms else 1.0)] = np.nan
    if finer(part, step_ms):
        grid[:1] = np.nan if window.start_ms % step_ms else grid[:1]
        grid[-1:] = np.nan if window.end_ms % step_ms else grid[-1:]
    return grid


def means(part: Part, window: Window, step_ms: int) -> Floats:
    """The part on the same grid for comparison: by means, each sample in the buckets whose time it stands for."""
    fits = part.step_ms == step_ms or finer(part, step_ms)
    if part.factor is None or part.step_ms is None or part.samples < 2 or fits:
        return bucketed(part, window, step_ms, "mean")
    first, end = window.start_ms // step_ms, max(-(-window.end_ms // step_ms), window.start_ms // step_ms + 1)
    edges = step_ms * np.arange(first, end + 1, dtype=np.int64)
    return bucket.spread(part.timestamps_ms, part.values, part.step_ms, edges)
