"""When an error budget will be gone: for windows that roll along, and for calendar periods that end.

Beside these, `slo.exhaustion_ms` is the simple rule: remaining x period / burn.
"""

from dataclasses import dataclass

import numpy as np

from telemetry_mcp.analysis.slo import MILLION, burn_rate, check_budget
from telemetry_mcp.analysis.tally import Amounts, Tally, Total

HOUR_MS = 3_600_000
WEEK_MS = 7 * 24 * HOUR_MS


@dataclass(frozen=True, slots=True)
class PeriodForecast:
    """A calendar period that has not ended. Shares are of a budget: 1 is all of it.

    `consumed_of_period`: bad so far, of the budget that the whole period will have at the expected traffic.
    `consumed_of_elapsed`: the same of the budget that the traffic so far allows. They are different questions:
    what is left until the end, and whether it goes well so far. `consumed_at_end`: of the period's budget, if
    errors go on at the recent ratio. `exhausted_in_ms`: when that budget is gone, 0 when it already is, None when
    it lasts to the end. None stands for what is unknown.
    """

    consumed_of_period: float | None
    consumed_of_elapsed: float | None
    consumed_at_end: float | None
    exhausted_in_ms: int | None


def rolling_exhaustion_ms(tally: Tally, budget_ppm: int, recent: Total, recent_ms: int) -> int | None:
    """Milliseconds until bad > budget x valid over a window as long as the tally, which rolls on from its end.

    New events come as in the measured part of the last `recent_ms`, summed in `recent`; meanwhile the oldest
    slices leave, with their errors and with their traffic. So unlike the simple rule this sees an old outage leave
    in time, and good days leave before it. 0 when the budget is spent; None when it is not within one window,
    nothing was measured or `recent` has no traffic. Slices that are missing add nothing. Raises ValueError for a
    budget outside 0..999,999 or a `recent_ms` that is not positive.
    """
    check_budget(budget_ppm)
    if recent_ms <= 0:
        raise ValueError(f"recent_ms must be positive: {recent_ms}")
    excess = MILLION * np.nan_to_num(tally.bad) - budget_ppm * np.nan_to_num(tally.valid)
    now = excess.sum()
    if now > 0:
        return 0
    if not (budget_ppm and recent.valid and np.nansum(tally.valid)):
        return None
    if now == 0:
        return 0
    coming = (MILLION * recent.bad - budget_ppm * recent.valid) / _seen_ms(recent, recent_ms) * tally.slice_ms
    return _crossing_ms(now + np.cumsum(coming - excess), float(now), tally.slice_ms)


def _seen_ms(recent: Total, recent_ms: int) -> float:
    return recent_ms * (recent.coverage + recent.filled or 1.0)


def _crossing_ms(after: Amounts, now: float, slice_ms: int) -> int | None:
    """When what is `now` below 0, and `after` each further slice, comes to 0; straight lines in between."""
    over = np.flatnonzero(after >= 0)
    if not over.size:
        return None
    first = int(over[0])
    before = now if first == 0 else float(after[first - 1])
    rise = float(after[first]) - before
    return round((first + (-before / rise if rise else 0.0)) * slice_ms)


def period_forecast(
    spent: Total,
    expected: float,
    budget_ppm: int,
    *,
    left_ms: int,
    recent: Total | None = None,
    recent_ms: int | None = None,
) -> PeriodForecast:
    """How a calendar period will end, from what was `spent` of it so far.

    `expected` is the valid amount of the whole period (see `expected_valid`), at least that of so far. The errors
    to come have the ratio of `recent`, by default of all so far. The time to exhaustion is what remains of the
    period's budget over the bad per millisecond in the last `recent_ms`; without it, errors are spread over the
    `left_ms` that remain. Raises ValueError as `burn_rate` does.
    """
    whole = max(expected, spent.valid)
    elapsed = burn_rate(spent.bad, spent.valid, budget_ppm)
    if not whole or spent.data == "no_data":
        return PeriodForecast(None, elapsed, None, None)
    error = (recent or spent).error_ratio
    coming = None if error is None else error * (whole - spent.valid)
    return PeriodForecast(
        consumed_of_period=burn_rate(spent.bad, whole, budget_ppm),
        consumed_of_elapsed=elapsed,
        consumed_at_end=None if coming is None else burn_rate(min(spent.bad + coming, whole), whole, budget_ppm),
        exhausted_in_ms=_exhausted_in_ms(
            spent.bad,
            budget_ppm * whole / MILLION,
            recent.bad / _seen_ms(recent, recent_ms)
            if recent and recent_ms
            else (coming or 0.0) / max(left_ms, 1),
            left_ms,
        ),
    )


def _exhausted_in_ms(bad: float, allowed: float, bad_per_ms: float, left_ms: int) -> int | None:
    if bad and bad >= allowed:
        return 0
    if not bad_per_ms:
        return None
    after_ms = round((allowed - bad) / bad_per_ms)
    return after_ms if after_ms < left_ms else None


def expected_valid(previous: Tally, start_ms: int, end_ms: int) -> float | None:
    """What is to be expected of the valid amount in `start_ms`..`end_ms`, from the period before.

    Each hour counts as the mean of the same hours of the week in `previous`; one that was never measured there
    as the mean of all. Hours of the week are those of UTC: a change to summer time moves them by one. None when
    `previous` has no measured slice; 0 for an empty stretch.
    """
    measured = ~np.isnan(previous.valid)
    if not measured.any():
        return None
    step = previous.slice_ms
    slot_ms = max(HOUR_MS, step)
    starts = np.arange(previous.start_ms, previous.end_ms, step)[measured]
    slots = -(-WEEK_MS // slot_ms)
    place = starts % WEEK_MS // slot_ms
    count = np.bincount(place, minlength=slots)
    sums = np.bincount(place, previous.valid[measured], slots)
    per_ms = np.where(count, sums / np.maximum(count, 1), sums.sum() / count.sum()) / step
    ahead = np.arange(start_ms // slot_ms * slot_ms, max(end_ms, start_ms), slot_ms)
    lengths = np.minimum(ahead + slot_ms, end_ms) - np.maximum(ahead, start_ms)
    return float((per_ms[ahead % WEEK_MS // slot_ms] * np.maximum(lengths, 0)).sum())
