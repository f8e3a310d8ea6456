"""Medians and means over neighbouring points and over spans of time."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from telemetry_mcp.analysis.sample import Values

MOST_GROUPS = 2**16
"""Group numbers below this sort in linear time."""


def grouped_median(values: Values, groups: NDArray[np.int64], count: int) -> Values:
    """The median of each group 0 .. `count` - 1; NaN for a group without values."""
    kind = np.uint16 if count <= MOST_GROUPS else np.int64
    order = np.argsort(values)
    order = order[np.argsort(groups[order].astype(kind), kind="stable")]
    sizes = np.bincount(groups, minlength=count)
    starts = np.cumsum(sizes) - sizes
    held = sizes > 0
    low, high = (starts + (sizes - 1) // 2)[held], (starts + sizes // 2)[held]
    medians = np.full(count, np.nan)
    medians[held] = values[order[low]] / 2 + values[order[high]] / 2
    return medians


def row_median(rows: Values) -> Values:
    """The median of the numbers of each row; NaN for a row without any."""
    ordered = np.sort(rows, axis=1)  # puts NaN last
    counts = np.isfinite(ordered).sum(axis=1)
    lines = np.arange(len(ordered))
    low, high = ordered[lines, np.maximum(counts - 1, 0) // 2], ordered[lines, counts // 2]
    medians: Values = low / 2 + high / 2
    return medians


def trailing_mean(values: Values, size: int) -> Values:
    """The mean of each point and the `size` - 1 before it, of fewer at the start."""
    means = np.empty(values.size)
    head = min(size - 1, values.size)
    means[:head] = np.cumsum(values[:head]) / np.arange(1, head + 1)
    if values.size >= size:
        means[head:] = sliding_window_view(values, size).mean(axis=1)
    return means


def centred_mean(values: Values, size: int) -> Values:
    """The mean of `size` points around each; both ends have that of the `size` points at the end."""
    sums = np.concatenate(([0.0], np.cumsum(values)))
    means: Values = (sums[size:] - sums[:-size]) / size
    return np.pad(means, (size // 2, size - 1 - size // 2), mode="edge")


def off_neighbours(values: Values, size: int) -> Values:
    """How far each point is from the median of `size` points, an odd number, around it.

    At both ends the last such median may hold or go on as it went before: what lies between the two is not off.
    Either alone would find something in every slope, or in every bend.
    """
    if values.size < 2 * size:
        return values - np.median(values)
    half = size // 2
    inner = np.partition(sliding_window_view(values, size), half, axis=1)[:, half]
    medians = np.concatenate((values[:half], inner, values[values.size - half :]))
    ahead = np.arange(1, half + 1)
    for held, before, end in (
        (inner[0], inner[size], slice(half - 1, None, -1)),
        (inner[-1], inner[-1 - size], slice(values.size - half, None)),
    ):
        gone_on = held + (held - before) / size * ahead
        medians[end] = np.clip(values[end], np.minimum(held, gone_on), np.maximum(held, gone_on))
    return values - medians
