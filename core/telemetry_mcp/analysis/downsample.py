"""Fewer points for the reader's eye, without losing what the eye looks for."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from telemetry_mcp.analysis.sample import Values

Places = NDArray[np.intp]

PEAK_SHARE = 6
"""At most one point in so many is spent on peaks of episodes that the buckets do not show."""


@dataclass(frozen=True, slots=True, eq=False)
class Downsampled:
    """Evenly spaced values; each stands for `every` points of the series (1: the series as it was).

    `peaks` are places in the series of points that are to be shown besides, in the order of time: what the buckets
    left out of what was asked for.
    """

    values: Values
    every: float
    peaks: Places = field(default_factory=lambda: np.empty(0, np.intp))

    @property
    def points(self) -> int:
        return len(self.values) + len(self.peaks)


def min_max(values: Values, max_points: int, peaks: Sequence[int] = ()) -> Downsampled:
    """At most `max_points` of an evenly spaced series: the smallest and the largest value of equal buckets
    (MinMax), in the order in which the two occurred, and the `peaks` that these do not hold.

    `peaks` are places in `values`, the most important first: where episodes have their peaks. A small one in a
    bucket with a larger one would be lost; a sixth of the points at most is spent on those. Every spike survives,
    as do the extremes of the series; the time of a bucket's value is known to a bucket. A bucket without a
    number gives NaN twice. A series that fits is kept as it is. Raises ValueError for `max_points` under 2.
    """
    if max_points < 2:
        raise ValueError(f"at least 2 points are needed to keep both extremes: {max_points}")
    if len(values) <= max_points:
        return Downsampled(values, 1)
    wanted = list(dict.fromkeys(peaks))[: max_points // PEAK_SHARE]
    spare = 0
    while True:
        places, size = extremes(values, max_points - spare)
        missing = sorted(set(wanted).difference(places.tolist()))
        if len(missing) <= spare:
            break
        spare = len(missing)
    kept = values[places]
    shown = np.where(np.isfinite(kept), kept, np.nan)
    return Downsampled(shown, size / 2, np.array(missing, dtype=np.intp))


def extremes(values: Values, max_points: int) -> tuple[Places, int]:
    """Where the smallest and the largest number of each bucket stand, in time order; and the buckets' size."""
    size = -(-len(values) // (max_points // 2))
    buckets = -(-len(values) // size)
    padded = np.full(buckets * size, np.nan)
    padded[: len(values)] = values
    table = padded.reshape(buckets, size)
    numbers = np.isfinite(table)
    lowest = np.where(numbers, table, np.inf).argmin(axis=1)
    highest = np.where(numbers, table, -np.inf).argmax(axis=1)
    first = size * np.arange(buckets)[:, None]
    return (first + np.sort(np.column_stack([lowest, highest]), axis=1)).ravel(), size
