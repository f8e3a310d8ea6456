"""How unusual every point is by what came before it alone: its score never changes when later data arrive."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from telemetry_mcp.analysis.episode import LARGEST_SCORE, LENSES
from telemetry_mcp.analysis.lens import FEW_POINTS, View, shift_points, strongest
from telemetry_mcp.analysis.sample import Samples, Timestamps, Values, median_step_ms
from telemetry_mcp.analysis.scale import DAY_MS, RESOLUTION
from telemetry_mcp.analysis.season import BLOCKS, POINTS_A_PERIOD, SLOT_MS, WEEK_MS, Period
from telemetry_mcp.analysis.window import grouped_median, row_median, trailing_mean

CYCLES = {DAY_MS: 3, WEEK_MS: 2}
RECENT_POINTS = 24
LARGEST_ERROR = 20.0
SEASONAL = "each point is judged by its past: the last day, the same time of earlier days and weeks"


def view_of_past(samples: Samples, *, period: Period = "auto") -> View:
    """Every point judged by the points before it.

    Each point is predicted in several ways: by the median of the last day, of the same time on the last three days
    and in the last two weeks, and of the last 24 points. One sigma of each way is the rms of its errors so far,
    once there are 30; a point without any such prediction scores 0. The band is that of the way that has erred
    least so far.
    """
    times, values = samples.timestamps_ms, samples.values
    step_ms = median_step_ms(times[: FEW_POINTS + 1]) or 0.0
    predictions = _predictions(times, values, step_ms, period)
    errors = values - predictions
    tolerance = RESOLUTION * (np.abs(values) + np.abs(predictions))
    size = shift_points(step_ms)[0]
    rows, sigmas = [], []
    for error, least in zip(errors, tolerance, strict=True):
        known = np.isfinite(error)
        sigmas.append(_sigma_before(error))
        rows.append(_against(error, sigmas[-1], least))
        shift = np.where(known, trailing_mean(np.where(known, error, 0.0), size), np.nan)
        rows.append(_against(shift, _sigma_before(shift), least))
    scores, sides, lenses = strongest(np.array(rows), ("off-pattern", "sustained shift") * len(errors))
    sigma = np.array(sigmas)
    never_erred = ((sigma == 0) & (np.abs(errors) > tolerance)).any(axis=0)
    lenses[never_erred] = LENSES.index("left constant value")
    return View(scores, sides, lenses, *_surest(predictions, sigma), None, "causal ensemble", None, SEASONAL)


def _predictions(times: Timestamps, values: Values, step_ms: float, period: Period) -> Values:
    """One row a way to predict; NaN where the past that it needs is not there."""
    block_ms = max(DAY_MS // BLOCKS, round(step_ms))
    rows = [_medians_before(times, values, block_ms, range(1, BLOCKS + 1))]
    wanted = {"auto": (DAY_MS, WEEK_MS), "1d": (DAY_MS,), "7d": (WEEK_MS,), "none": ()}[period]
    for period_ms in wanted:
        if step_ms * POINTS_A_PERIOD > period_ms:
            continue
        slots = round(period_ms / max(step_ms, SLOT_MS[period_ms]))
        ago = [cycle * slots + near for cycle in range(1, CYCLES[period_ms] + 1) for near in (-1, 0, 1)]
        rows.append(_medians_before(times, values, period_ms / slots, ago))
    recent = np.full(values.size, np.nan)
    if values.size > RECENT_POINTS:
        recent[RECENT_POINTS:] = np.median(sliding_window_view(values, RECENT_POINTS)[:-1], axis=1)
    return np.array([*rows, recent])


def _medians_before(times: Timestamps, values: Values, slot_ms: float, ago: list[int] | range) -> Values:
    """For each point the median of what the slots `ago` before its own hold; NaN where they hold nothing."""
    slots, place = np.unique((times // slot_ms).astype(np.int64), return_inverse=True)
    medians = grouped_median(values, place, slots.size)
    earlier = slots[:, None] - np.array(ago)
    found = np.minimum(np.searchsorted(slots, earlier), slots.size - 1)
    held = np.where(slots[found] == earlier, medians[found], np.nan)
    return np.asarray(row_median(held)[place])


def _sigma_before(errors: Values) -> Values:
    """One sigma of a prediction before each point: the rms of its errors so far; NaN until there are 30.

    Errors beyond 20 times that are cut to it: one absurd value must not blind for all that follows.
    """
    sigmas = _root_mean_before(errors)
    most = np.where(np.isfinite(sigmas), LARGEST_ERROR * sigmas, np.inf)
    return _root_mean_before(np.clip(errors, -most, most))


def _root_mean_before(errors: Values) -> Values:
    known = np.isfinite(errors)
    total = np.cumsum(np.square(np.where(known, errors, 0.0)))
    count = np.cumsum(known)
    rms = np.full(errors.size, np.nan)
    there = count[:-1] >= FEW_POINTS
    rms[1:][there] = np.sqrt(total[:-1][there] / count[:-1][there])
    return rms


def _against(errors: Values, sigmas: Values, least: Values) -> Values:
    """Signed scores; 0 where there is no prediction, or none yet to compare its error with."""
    scores = np.zeros(errors.size)
    known = np.isfinite(errors) & np.isfinite(sigmas) & (np.abs(errors) > np.nan_to_num(least))
    with np.errstate(divide="ignore"):
        scores[known] = np.clip(errors[known] / sigmas[known], -LARGEST_SCORE, LARGEST_SCORE)
    return scores


def _surest(predictions: Values, sigmas: Values) -> tuple[Values, Values]:
    """The prediction with the least sigma at each point, and that sigma."""
    usable = np.where(np.isfinite(predictions) & np.isfinite(sigmas), sigmas, np.inf)
    best, place = usable.argmin(axis=0), np.arange(predictions.shape[1])
    known = np.isfinite(usable[best, place])
    return np.where(known, predictions[best, place], np.nan), np.where(known, usable[best, place], np.nan)
