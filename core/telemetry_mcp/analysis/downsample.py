"""Fewer points for the reader's eye, without losing what the eye looks for."""

from dataclasses import dataclass

import numpy as np

from telemetry_mcp.analysis.sample import Values


@dataclass(frozen=True, slots=True, eq=False)
class Downsampled:
    """Evenly spaced values; each stands for `every` points of the series (1: the series as it was)."""

    values: Values
    every: float


def min_max(values: Values, max_points: int) -> Downsampled:
    """At most `max_points` of an evenly spaced series: the smallest and the largest value of equal buckets
    (MinMax), in the order in which the two occurred.

    Every spike survives, as do the extremes of the series; its time is known to half a bucket. A bucket without a
    number gives NaN twice. A series that fits is kept as it is. Raises ValueError for `max_points` under 2.
    """
    if max_points < 2:
        raise ValueError(f"at least 2 points are needed to keep both extremes: {max_points}")
    if len(values) <= max_points:
        return Downsampled(values, 1)
    size = -(-len(values) // (max_points // 2))
    buckets = -(-len(values) // size)
    padded = np.full(buckets * size, np.nan)
    padded[: len(values)] = np.where(np.isfinite(values), values, np.nan)
    table = padded.reshape(buckets, size)
    numbers = np.isfinite(table)
    lowest = np.where(numbers, table, np.inf).argmin(axis=1)
    highest = np.where(numbers, table, -np.inf).argmax(axis=1)
    places = np.sort(np.column_stack([lowest, highest]), axis=1)
    return Downsampled(np.take_along_axis(table, places, axis=1).ravel(), size / 2)
