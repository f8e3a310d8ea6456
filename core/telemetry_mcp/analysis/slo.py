"""Service level objectives: error budgets, burn rates, time to exhaustion, verdict.

A budget is a whole number of parts per million, taken from the decimal text of the objective, because 1 - 0.999 is
not 0.001 in floating point. `bad` and `valid` are amounts of one kind, events or milliseconds: errors are bad over
valid, never 1 - SLI, and nothing is rounded before it is compared.
"""

import math
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Literal

from telemetry_mcp.analysis.tally import Data, Missing, Tally, Total, total

Verdict = Literal["COMPLIANT", "AT_RISK", "BREACHED", "UNKNOWN"]

MILLION = 1_000_000
MINUTE_MS = 60_000
AT_RISK_CONSUMED = 0.75
LOW_COVERAGE = 0.9
"""With less of the window measured, a verdict says so."""
ENOUGH_COVERAGE = 0.5
"""With less of the window measured, there is no good verdict."""


@dataclass(frozen=True, slots=True)
class Budget:
    """An error budget and what is left of it.

    `ratio` is good over valid. `allowed` and what is `left` of it (it may be negative) have the unit of `valid`;
    `consumed` and `remaining` are the same as shares: 1 is the whole budget. `allowed_minutes` and
    `remaining_minutes` spread these shares over the whole window: they are None without one. All that depends on
    measurements is None when nothing valid was measured. An objective of 100 % leaves no budget: the first bad
    thing consumes infinitely much of it.
    """

    ppm: int
    window_ms: int | None
    ratio: float | None
    allowed: float
    left: float
    consumed: float | None
    remaining: float | None
    allowed_minutes: float | None
    remaining_minutes: float | None
    breached: bool


def objective_ppm(objective: str | int | float | Decimal) -> int:
    """The error budget, in parts per million, of an objective in percent: 1000 for "99.9".

    A number counts by its shortest decimal text. Raises ValueError outside (0, 100], for what is not a number and
    for an objective finer than one part per million (more than four decimals).
    """
    percent = _decimal(objective, "an objective is a percentage such as 99.9")
    if not (percent.is_finite() and 0 < percent <= 100):
        raise ValueError(f"an objective lies above 0 and at most at 100 percent: {objective}")
    ppm = (100 - percent) * (MILLION // 100)
    # Of a number that is small enough, 100 less that is 100.
    if ppm != int(ppm) or ppm >= MILLION:
        raise ValueError(f"an objective has at most four decimals: {objective}")
    return int(ppm)


def _decimal(number: str | int | float | Decimal, what: str) -> Decimal:
    try:
        return Decimal(str(number).strip())
    except InvalidOperation:
        raise ValueError(f"{what}: {number!r}") from None


def burn_rate(bad: float, valid: float, budget_ppm: int) -> float | None:
    """How many times faster than sustainable the budget is spent: the error ratio over the budget.

    None when `valid` is 0. Without a budget (100 %) it is infinite as soon as anything is bad, else 0. Raises
    ValueError unless 0 <= bad <= valid < infinity and 0 <= budget_ppm < 1,000,000.
    """
    _refuse_nonsense(bad, valid, budget_ppm)
    if valid == 0:
        return None
    if budget_ppm == 0:
        return math.inf if bad else 0.0
    return bad * MILLION / (budget_ppm * valid)


def budget(bad: float, valid: float, budget_ppm: int, *, window_ms: int | None = None) -> Budget:
    """The budget that `bad` out of `valid` was taken from; `window_ms` gives it in minutes too.

    The share consumed equals the burn rate over the whole window. Raises ValueError as `burn_rate` does.
    """
    consumed = burn_rate(bad, valid, budget_ppm)
    minutes = None if window_ms is None else window_ms / MINUTE_MS
    return Budget(
        ppm=budget_ppm,
        window_ms=window_ms,
        ratio=(valid - bad) / valid if valid else None,
        allowed=budget_ppm * valid / MILLION,
        left=(budget_ppm * valid - bad * MILLION) / MILLION,
        consumed=consumed,
        remaining=None if consumed is None else 1 - consumed,
        allowed_minutes=None if minutes is None else minutes * budget_ppm / MILLION,
        remaining_minutes=minutes * (budget_ppm * valid - bad * MILLION) / (MILLION * valid)
        if minutes is not None and valid
        else None,
        breached=bad * MILLION > budget_ppm * valid,
    )


def exhaustion_ms(remaining_ratio: float | None, burn: float | None, window_ms: int) -> int | None:
    """Milliseconds until the budget is gone if it keeps burning at `burn`: remaining x window / burn.

    0 when nothing remains already; None when a burn of at most 1 never exhausts it, or when either is unknown.
    """
    if remaining_ratio is None or burn is None:
        return None
    if remaining_ratio <= 0:
        return 0
    return round(remaining_ratio * window_ms / burn) if burn > 1 else None


def verdict(budget: Budget, *, recent_burn: float | None = None, left_ms: int | None = None) -> Verdict:
    """One word for where an objective stands.

    UNKNOWN: nothing valid was measured. BREACHED: more than the budget is consumed, that is the ratio lies below
    the objective (meeting it exactly is no breach). AT_RISK: at least 75 % is consumed, or `recent_burn` exhausts
    what remains in less than `left_ms`. COMPLIANT: everything else.

    `left_ms` is the time until a calendar window ends. A rolling window never ends: leave it None, and one whole
    window ahead is looked at, in which any recent burn above 1 exhausts the budget. So take `recent_burn` over a
    stretch that one bad sample cannot carry above 1, or leave it out. Raises ValueError when `left_ms` or
    `recent_burn` is given but the budget has no window.
    """
    if budget.window_ms is None and not (recent_burn is None and left_ms is None):
        raise ValueError("a projection needs a budget with a window")
    if budget.consumed is None:
        return "UNKNOWN"
    if budget.breached:
        return "BREACHED"
    if budget.consumed >= AT_RISK_CONSUMED:
        return "AT_RISK"
    if budget.window_ms is not None:
        exhausted_in = exhaustion_ms(budget.remaining, recent_burn, budget.window_ms)
        if exhausted_in is not None and exhausted_in < (budget.window_ms if left_ms is None else left_ms):
            return "AT_RISK"
    return "COMPLIANT"


@dataclass(frozen=True, slots=True)
class Assessment:
    """A verdict with what it rests on. `low_coverage` belongs into its wording: "compliant, low coverage"."""

    verdict: Verdict
    data: Data
    low_coverage: bool
    total: Total
    budget: Budget


def assess(
    tally: Tally,
    budget_ppm: int,
    *,
    window_ms: int | None = None,
    missing: Missing = "ignore",
    recent_burn: float | None = None,
    left_ms: int | None = None,
) -> Assessment:
    """Where an objective stands over the whole tally, by the rules of `verdict`.

    `window_ms` is the length of the whole period, by default that of the tally: a calendar period is longer while
    it lasts. Without data, or without traffic, the verdict is UNKNOWN and `data` has the reason: the SLI is None,
    the budget untouched. With less than half of the window measured it is UNKNOWN too, unless the budget is
    overspent even if all that is missing was good, or filled as `missing` says. Raises ValueError as `burn_rate`
    does.
    """
    found = total(tally, missing=missing)
    period_ms = tally.end_ms - tally.start_ms if window_ms is None else window_ms
    spent = budget(found.bad, found.valid, budget_ppm, window_ms=period_ms)
    word = verdict(spent, recent_burn=recent_burn, left_ms=left_ms)
    if found.coverage < ENOUGH_COVERAGE and found.valid:
        least = total(tally, missing="good" if missing == "ignore" else missing)
        word = "BREACHED" if budget(least.bad, least.valid, budget_ppm).breached else "UNKNOWN"
    return Assessment(word, found.data, 0 < found.coverage < LOW_COVERAGE, found, spent)


@dataclass(frozen=True, slots=True)
class Change:
    """A period beside the one before it; what an unknown side leaves open is None.

    `points` is the SLI now minus then (0.0013 is 0.13 percentage points); `errors` the error ratio now over then
    (0.41: 59 % fewer), None too when there were none then.
    """

    points: float | None
    errors: float | None
    consumed: float | None
    consumed_before: float | None


def compare(now: Total, before: Total, budget_ppm: int) -> Change:
    """What changed against the period before: take the same length and the same weekdays (28 days, not a month).

    Raises ValueError as `burn_rate` does.
    """
    error, then = now.error_ratio, before.error_ratio
    return Change(
        points=None if error is None or then is None else then - error,
        errors=error / then if error is not None and then else None,
        consumed=burn_rate(now.bad, now.valid, budget_ppm),
        consumed_before=burn_rate(before.bad, before.valid, budget_ppm),
    )


def check_budget(budget_ppm: int) -> None:
    """Raises ValueError unless 0 <= budget_ppm < 1,000,000."""
    if not 0 <= budget_ppm < MILLION:
        raise ValueError(f"a budget lies between 0 and {MILLION} parts per million: {budget_ppm}")


def _refuse_nonsense(bad: float, valid: float, budget_ppm: int) -> None:
    if not 0 <= bad <= valid < math.inf:
        raise ValueError(f"bad must lie between 0 and valid: {bad} of {valid}")
    check_budget(budget_ppm)
