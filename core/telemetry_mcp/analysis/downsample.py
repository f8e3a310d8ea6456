"""Fewer points for the reader's eye, without losing what the eye looks for."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from telemetry_mcp.analysis.sample import Timestamps, Values, clean


def keep_extremes(
    timestamps_ms: Timestamps, values: Values, max_points: int, *, peaks: Sequence[int] = ()
) -> NDArray[np.int64]:
    """The indices of the points to keep, ascending, at most `max_points`: the extremes of equal buckets (MinMax).

    A series that fits is kept whole. Otherwise points without a number go, the smallest and largest value of the
    series and of every bucket stay, and so does every index in `peaks`, most important first: if they alone would
    fill the answer, the later ones give way to the two extremes. Raises ValueError for `max_points` under 2 and
    for a peak outside the series.
    """
    if max_points < 2:
        raise ValueError(f"at least 2 points are needed to keep both extremes: {max_points}")
    if any(not 0 <= peak < len(values) for peak in peaks):
        raise ValueError(f"peaks must be indices of the {len(values)} points: {list(peaks)}")
    samples = clean(timestamps_ms, values)
    if len(values) <= max_points:
        return np.arange(len(values), dtype=np.int64)
    kept = list(dict.fromkeys(peaks))[: max_points - 2]
    room = max_points - len(kept)
    chosen = samples.index if samples.index.size <= room else samples.index[_extremes(samples.values, room // 2)]
    return np.union1d(np.array(kept, dtype=np.int64), chosen)


def _extremes(values: Values, buckets: int) -> list[int]:
    edges = [values.size * bucket // buckets for bucket in range(buckets + 1)]
    lowest = [start + int(values[start:stop].argmin()) for start, stop in pairwise(edges)]
    highest = [start + int(values[start:stop].argmax()) for start, stop in pairwise(edges)]
    return lowest + highest
