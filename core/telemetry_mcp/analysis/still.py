"""Series that hold one value: always, until they leave it, or for a while although they normally move."""

import numpy as np
from numpy.typing import NDArray

from telemetry_mcp.analysis.sample import Samples, Values, median_step_ms
from telemetry_mcp.analysis.scale import RARE_EXCURSIONS, RESOLUTION

CONSTANT_SHARE = 2 / 3
FLAT_POINTS = 12
FLAT_MS = 3_600_000
MOVING_SHARE = 0.9


def constant(values: Values) -> float | None:
    """The value that a series holds but for what left it; None where it holds none.

    Two thirds of the points have it, and it is left three times at most: what comes more often is a habit.
    """
    centre = float(np.median(values))
    moved = np.flatnonzero(np.abs(values - centre) > RESOLUTION * abs(centre))
    if moved.size > (1 - CONSTANT_SHARE) * values.size:
        return None
    times_left = np.count_nonzero(np.diff(moved) > FLAT_POINTS) + 1
    return centre if times_left < RARE_EXCURSIONS else None


def flat(samples: Samples) -> Values:
    """For each point how many times longer than needed the flatline is that it lies in; 0 outside of one.

    A flatline is a run of equal values of at least 12 points and one hour in a series that normally moves: it has
    moved before, nine in ten of its other steps move, and they are the greater part.
    """
    values = samples.values
    lengths = np.zeros(values.size)
    if values.size <= FLAT_POINTS:
        return lengths
    step_ms = median_step_ms(samples.timestamps_ms) or 0.0
    needed = max(FLAT_POINTS, FLAT_MS / step_ms)
    moved = np.abs(np.diff(values)) > RESOLUTION * np.abs(values[1:])
    for first, last in _runs(~moved):
        steps = last - first
        others = moved.size - steps
        span_ms = samples.timestamps_ms[last] - samples.timestamps_ms[first] + step_ms
        if first > 0 and span_ms >= FLAT_MS and steps < others and moved.sum() >= MOVING_SHARE * others:
            lengths[first : last + 1] = max(1.0, (steps + 1) / needed)
    return lengths


def _runs(still: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """The first and last point of each run of at least 12 points between which no step moves."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], still, [False])).astype(np.int8)))
    starts, stops = edges[::2], edges[1::2]
    long = stops - starts + 1 >= FLAT_POINTS
    return list(zip(starts[long].tolist(), stops[long].tolist(), strict=True))
