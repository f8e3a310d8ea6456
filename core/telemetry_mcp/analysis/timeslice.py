"""Time-slice indicators: whole slices are good or bad, and time is counted instead of events."""

from typing import Literal

import numpy as np

from telemetry_mcp.analysis.grid import Grid
from telemetry_mcp.analysis.sample import Timestamps, Values, clean
from telemetry_mcp.analysis.sli import Comparison, comparator
from telemetry_mcp.analysis.slo import MILLION, check_budget
from telemetry_mcp.analysis.tally import Amounts, Tally

Aggregate = Literal["mean", "min", "max", "p50", "p90", "p95", "p99"]
QUANTILE = {"min": 0.0, "p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "max": 1.0}


def of_slices(
    grid: Grid,
    timestamps_ms: Timestamps,
    values: Values,
    *,
    threshold: float,
    comparison: Comparison = "<=",
    aggregate: Aggregate = "mean",
) -> Tally:
    """A slice is good when the aggregate of the samples in it meets the threshold, bad when not, and missing when
    it has no sample: take slices no finer than the samples.

    The mean is one over samples; percentiles are interpolated. Raises ValueError for an unknown aggregate or
    comparison and for a threshold that is not finite.
    """
    meets = comparator(comparison, threshold)
    figures = aggregated(grid, timestamps_ms, values, aggregate)
    missing = np.isnan(figures)
    bad = np.where(meets(figures, threshold), 0.0, float(grid.slice_ms))
    bad[missing] = np.nan
    valid = np.where(missing, np.nan, float(grid.slice_ms))
    return Tally(grid.start_ms, grid.slice_ms, bad, valid, "time")


def aggregated(grid: Grid, timestamps_ms: Timestamps, values: Values, aggregate: Aggregate) -> Amounts:
    """One figure per slice of the samples in it, NaN where there is none."""
    if aggregate != "mean" and aggregate not in QUANTILE:
        raise ValueError(f"aggregate must be mean or one of {', '.join(QUANTILE)}: {aggregate}")
    samples = clean(timestamps_ms, values)
    place = grid.place(samples.timestamps_ms)
    inside = (place >= 0) & (place < grid.size)
    place, numbers = place[inside], samples.values[inside]
    count = np.bincount(place, minlength=grid.size)
    some = count > 0
    found = np.full(grid.size, np.nan)
    if aggregate == "mean":
        found[some] = np.bincount(place, numbers, grid.size)[some] / count[some]
        return found
    numbers = numbers[np.lexsort((numbers, place))]
    at = (np.cumsum(count) - count)[some] + QUANTILE[aggregate] * (count[some] - 1)
    low = np.floor(at).astype(np.int64)
    high = np.ceil(at).astype(np.int64)
    found[some] = numbers[low] + (at - low) * (numbers[high] - numbers[low])
    return found


def timeslices(tally: Tally, budget_ppm: int) -> Tally:
    """Slices judged by their own ratio, as OpenSLO's Timeslices: good when at most `budget_ppm` of it is bad.

    A slice without traffic is neither good nor bad: it stays measured and does not count. Raises ValueError for a
    budget outside 0..999,999.
    """
    check_budget(budget_ppm)
    length = float(tally.slice_ms)
    valid = np.where(tally.valid > 0, length, tally.valid)
    bad = np.where(tally.bad * MILLION > budget_ppm * tally.valid, length, tally.bad * 0.0)
    return Tally(tally.start_ms, tally.slice_ms, bad, valid, "time")


def ratio_timeslices(tally: Tally) -> Tally:
    """Slices that each weigh the same, as OpenSLO's RatioTimeslices: the SLI is the mean of their ratios.

    A quiet slice then weighs like a busy one, so this is not the share of good events. A slice without traffic has
    no ratio and does not count.
    """
    length = float(tally.slice_ms)
    some = tally.valid > 0
    bad = tally.bad * 0.0
    bad[some] = np.minimum(tally.bad[some] / tally.valid[some] * length, length)
    return Tally(tally.start_ms, tally.slice_ms, bad, np.where(some, length, tally.valid), "time")
