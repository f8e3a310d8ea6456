"""What a series is expected to be: a trend and, where there is history enough, a daily or weekly pattern."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from telemetry_mcp.analysis.sample import Samples, Timestamps, Values, median_step_ms
from telemetry_mcp.analysis.scale import DAY_MS
from telemetry_mcp.analysis.window import MOST_GROUPS, grouped_median

Period = Literal["auto", "none", "1d", "7d"]

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
WEEK_MS = 7 * DAY_MS
SLOT_MS = {DAY_MS: 5 * MINUTE_MS, WEEK_MS: 30 * MINUTE_MS}
PATTERN = {DAY_MS: "daily", WEEK_MS: "weekly"}
ENOUGH = 3
"""How often a period must have been seen before its pattern is taken for one."""
AT_LEAST = 2
"""The same where the caller asks for the period."""
POINTS_A_PERIOD = 4
BLOCKS = 16
STANDS_OUT = 5


@dataclass(frozen=True, slots=True, eq=False)
class Baseline:
    """The expected value of every point; `period_ms` is None where there is no pattern, `reason` then says why."""

    expected: Values
    period_ms: int | None
    reason: str


def baseline(samples: Samples, period: Period) -> Baseline:
    """Trend plus pattern of a clean series of at least two points, or its median where it has no pattern."""
    times, values = samples.timestamps_ms, samples.values
    step_ms = median_step_ms(times) or 0.0
    period_ms, reason = season(times, step_ms, period)
    if period_ms is None:
        return Baseline(np.full(values.size, np.median(values)), None, reason)
    usual = np.zeros(values.size)
    # Beside a strong pattern the trend's median falls on a slope, and an outage pulls it along; the second time
    # the pattern is out of its way.
    for _ in range(2):
        level = trend(times, values - usual, period_ms, step_ms)
        usual = pattern(times, values - level, period_ms, step_ms)
    return Baseline(level + usual, period_ms, "")


def season(times: Timestamps, step_ms: float, period: Period) -> tuple[int | None, str]:
    """The period to learn, or None and why not."""
    if period == "none":
        return None, "no pattern was asked for"
    span_ms = int(times[-1] - times[0])
    # The span from the first point to the last lacks one step of the time that the points stand for.
    spans = {
        "auto": [(WEEK_MS, ENOUGH), (DAY_MS, ENOUGH)],
        "7d": [(WEEK_MS, AT_LEAST)],
        "1d": [(DAY_MS, AT_LEAST)],
    }[period]
    for period_ms, times_seen in spans:
        if span_ms + step_ms >= times_seen * period_ms and step_ms * POINTS_A_PERIOD <= period_ms:
            return period_ms, ""
    wanted = spans[-1][0]
    if step_ms * POINTS_A_PERIOD > wanted:
        return None, f"a point every {_duration(step_ms)}: no {PATTERN[wanted]} pattern can be known"
    return None, f"{_duration(span_ms)} of history: no {PATTERN[wanted]} pattern can be known"


def _duration(span_ms: float) -> str:
    for unit_ms, unit in ((DAY_MS, "d"), (HOUR_MS, "h"), (MINUTE_MS, "min")):
        if span_ms >= 2 * unit_ms:
            return f"{span_ms / unit_ms:.3g} {unit}"
    return f"{span_ms / 1000:.3g} s"


def trend(times: Timestamps, values: Values, period_ms: int, step_ms: float) -> Values:
    """The median over exactly one period, of block medians; a straight line through the half period at each end.

    A shorter window at the ends would leave half a cycle in the trend and invent shifts at the newest points. The
    line has the median slope of the whole trend: level for most series, rising for a disk that fills.
    """
    since = (times - times[0]).astype(np.float64)
    block_ms = max(period_ms / BLOCKS, step_ms, float(since[-1]) / (MOST_GROUPS - 1))
    groups = (since / block_ms).astype(np.int64)
    blocks = _filled(grouped_median(values, groups, int(groups[-1]) + 1))
    width = round(period_ms / block_ms)
    if width < 2 or blocks.size < width + 2:
        return np.full(values.size, np.median(values))
    medians = np.median(sliding_window_view(blocks, width), axis=1)
    if width % 2 == 0:
        medians = (medians[:-1] + medians[1:]) / 2
    place = since / block_ms - 0.5
    first = width // 2
    last = first + medians.size - 1
    beyond = np.maximum(place - last, 0) + np.minimum(place - first, 0)
    inner = np.interp(place, np.arange(first, last + 1), medians)
    line: Values = inner + beyond * _slope(medians)
    return line


def _slope(medians: Values) -> float:
    return float(np.median(np.diff(medians))) if medians.size > 1 else 0.0


def pattern(times: Timestamps, residuals: Values, period_ms: int, step_ms: float) -> Values:
    """The median of each slot of the period, smoothed over three slots, and straight lines between them.

    A slot that stands out from both its neighbours far more than slots do is kept as it is: a weekly job may last
    no longer than one.
    """
    slots = max(2, round(period_ms / max(step_ms, SLOT_MS[period_ms])))
    slot, within = np.divmod((times % period_ms) * slots, period_ms)
    medians = _filled(grouped_median(residuals, slot, slots), around=True)
    smooth = np.median(np.stack((np.roll(medians, 1), medians, np.roll(medians, -1))), axis=0)
    apart = np.abs(medians - smooth)
    kept = np.where(apart > STANDS_OUT * np.quantile(apart, 0.9), medians, smooth)
    # The median of a slot stands where the points in it stand on average.
    place = slot + (within - within.mean()) / period_ms
    line: Values = np.interp(place, np.arange(slots), kept, period=slots)
    return line


def _filled(medians: Values, *, around: bool = False) -> Values:
    """With straight lines over the empty places; `around` joins the end to the start."""
    held = np.flatnonzero(np.isfinite(medians))
    if held.size == medians.size:
        return medians
    place = np.arange(medians.size)
    return np.interp(place, held, medians[held], period=medians.size if around else None)
