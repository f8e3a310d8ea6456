"""A series in a dozen numbers."""

from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from telemetry_mcp.analysis.sample import Samples, Timestamps, Values, clean

Trend = Literal["rising", "falling", "flat"]

HOUR_MS = 3_600_000
TREND_BLOCKS = 60
TREND_POINTS = 4
TREND_SHARE = 0.5
TREND_Z = 1.96


@dataclass(frozen=True, slots=True)
class Statistics:
    """What a series amounts to; a figure that the data do not give is None, never 0.

    `count` numbers, `missing` points without one. Percentiles are interpolated and, like the mean, unweighted by
    time. `last` is the newest number, taken at `last_ms`. `trend_per_hour` is the change of the values per hour,
    None for fewer than four numbers.
    """

    count: int
    missing: int
    min: float | None = None
    min_ms: int | None = None
    max: float | None = None
    max_ms: int | None = None
    mean: float | None = None
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    last: float | None = None
    last_ms: int | None = None
    trend_per_hour: float | None = None
    trend_direction: Trend | None = None


def summarize(timestamps_ms: Timestamps, values: Values) -> Statistics:
    """The figures of one series.

    The trend is the Theil-Sen slope (median over all pairs) of at most 60 block medians. Its direction is "flat"
    unless the change over the series exceeds half the spread between p5 and p95 and more pairs agree on it than
    chance explains (Kendall's test at 5 %).
    """
    samples = clean(timestamps_ms, values)
    numbers = samples.values
    if not numbers.size:
        return Statistics(count=0, missing=samples.missing)
    ordered = np.sort(numbers)
    p5, p50, p95, p99 = (_quantile(ordered, share) for share in (0.05, 0.5, 0.95, 0.99))
    slope, direction = _trend(samples, p95 - p5) if numbers.size >= TREND_POINTS else (None, None)
    return Statistics(
        count=numbers.size,
        missing=samples.missing,
        min=float(ordered[0]),
        min_ms=int(samples.timestamps_ms[numbers.argmin()]),
        max=float(ordered[-1]),
        max_ms=int(samples.timestamps_ms[numbers.argmax()]),
        mean=float(numbers.mean()),
        p50=p50,
        p95=p95,
        p99=p99,
        last=float(numbers[-1]),
        last_ms=int(samples.timestamps_ms[-1]),
        trend_per_hour=slope,
        trend_direction=direction,
    )


def _quantile(ordered: Values, share: float) -> float:
    """Of sorted values, interpolated linearly."""
    place = share * (ordered.size - 1)
    below = int(place)
    above = min(below + 1, ordered.size - 1)
    return float(ordered[below] + (ordered[above] - ordered[below]) * (place - below))


def _trend(samples: Samples, spread: float) -> tuple[float, Trend]:
    hours = (samples.timestamps_ms - samples.timestamps_ms[0]) / HOUR_MS
    size = -(-hours.size // TREND_BLOCKS)
    times, levels = _block_medians(hours, size), _block_medians(samples.values, size)
    blocks = levels.size
    earlier, later = _pairs(blocks)
    slopes = (levels[later] - levels[earlier]) / (times[later] - times[earlier])
    slope = float(np.median(slopes))
    agreement = float(np.sign(slopes).sum()) / np.sqrt(blocks * (blocks - 1) * (2 * blocks + 5) / 18)
    if abs(slope) * hours[-1] <= TREND_SHARE * spread or abs(agreement) < TREND_Z:
        return slope, "flat"
    return slope, "rising" if slope > 0 else "falling"


def _block_medians(values: Values, size: int) -> Values:
    """Medians of blocks of `size`; fewer than that are left over at the start and belong to none."""
    blocks = values.size // size
    return np.median(values[values.size - size * blocks :].reshape(blocks, size), axis=1)


@cache
def _pairs(blocks: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    earlier, later = np.triu_indices(blocks, k=1)
    return earlier, later


def median(values: NDArray[Any]) -> float:
    """np.median without its checks, which cost more than the median of a short series. The values are numbers,
    and there is at least one."""
    half = len(values) // 2
    if len(values) % 2:
        return float(np.partition(values, half)[half])
    low, high = np.partition(values, (half - 1, half))[half - 1 : half + 1]
    return (float(low) + float(high)) / 2
