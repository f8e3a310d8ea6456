"""Samples into the buckets of a grid, as their kind asks for."""

import numpy as np
from numpy.typing import NDArray

from telemetry_mcp.analysis.sample import Timestamps, Values

Counts = NDArray[np.int64]


def rates(timestamps_ms: Timestamps, counter: Values) -> tuple[Timestamps, Values]:
    """What a counter rose by per second between each two of its samples, at the time of the earlier one.

    A counter that falls was reset: all that it then shows came since. Nothing is extrapolated. The input is
    sorted, without duplicates and without NaN; of n samples come n - 1 rates.
    """
    return timestamps_ms[:-1], rise(counter) / (np.diff(timestamps_ms) / 1000)


def rise(counter: Values) -> Values:
    """What a counter rose by between each two of its samples, with the same rule for resets."""
    change = np.diff(counter)
    return np.where(change < 0, counter[1:], change)


def holding(timestamps_ms: Timestamps, step_ms: int) -> Values | None:
    """Which share of `step_ms`, the usual distance, each of the sorted samples stands for: the time until the next
    one, at most all of it, for what lies beyond was not measured. None where they all stand for the same.
    """
    distances = np.diff(timestamps_ms)
    if not len(distances) or distances.min() >= step_ms:
        return None
    held: Values = np.minimum(np.append(distances, step_ms), step_ms) / step_ms
    return held


def highest(place: NDArray[np.int64], values: Values, size: int) -> tuple[Values, Counts]:
    """The largest of the values of each of `size` places, NaN where there is none; and how many there were."""
    counts = np.bincount(place, minlength=size)
    out = np.full(size, -np.inf)
    np.maximum.at(out, place, values)
    out[counts == 0] = np.nan
    return out, counts


def mean(
    place: NDArray[np.int64], values: Values, size: int, weights: Values | None = None
) -> tuple[Values, Counts]:
    """The mean of the values of each of `size` places, NaN where there is none; and how many there were.

    `weights` are the times that samples stand for, or the denominators of ratios: weighted by them, a mean of
    ratios is the ratio of the sums. A place whose weights add up to nothing has no mean.
    """
    counts = np.bincount(place, minlength=size)
    total: NDArray[np.int64] | Values = counts
    if weights is not None:
        total = np.bincount(place, weights=weights, minlength=size)
        values = values * weights
    summed = np.bincount(place, weights=values, minlength=size)
    return np.divide(summed, total, out=np.full(size, np.nan), where=total > 0), counts


def spread(timestamps_ms: Timestamps, values: Values, step_ms: int, edges_ms: Timestamps) -> Values:
    """The mean over time between each two neighbouring edges of samples that hold from their timestamp until the
    next one, at most `step_ms`; NaN where less than half of that time is covered.

    For samples whose distance does not fit the grid: put whole into the bucket they begin in, they would be up to
    a bucket early. The input is sorted, without duplicates and without NaN.
    """
    ends = timestamps_ms + step_ms
    ends[:-1] = np.minimum(ends[:-1], timestamps_ms[1:])
    held = (ends - timestamps_ms).astype(np.float64)
    knots = np.column_stack([timestamps_ms, ends]).ravel()
    covered = np.diff(integral(knots, held, edges_ms))
    total = np.diff(integral(knots, held * values, edges_ms))
    enough = covered >= np.diff(edges_ms) / 2
    held_means: Values = np.divide(total, covered, out=np.full(len(covered), np.nan), where=enough)
    return held_means


def integral(knots: Timestamps, amounts: Values, edges_ms: Timestamps) -> Values:
    """How much has come by each edge, when every amount comes evenly between its two knots.

    Between edges where nothing comes it does not change by a single bit: 0 stays 0.
    """
    heights = np.concatenate(([0.0], np.repeat(np.cumsum(amounts), 2)[:-1]))
    come: Values = np.interp(edges_ms, knots, heights, left=0.0)
    return come
