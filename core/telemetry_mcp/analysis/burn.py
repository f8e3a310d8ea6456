"""Burn-rate alerts over several windows, and the state that they put an objective in.

A pair fires when the burn rate is over its threshold both in a long window, so that it matters, and in a short
one, so that it is still going on (Site Reliability Workbook, chapter 5). Comparisons are exact: "over" is strict,
and no figure is rounded before.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Literal

from telemetry_mcp.analysis.interval import wilson
from telemetry_mcp.analysis.slo import ENOUGH_COVERAGE, MILLION, burn_rate
from telemetry_mcp.analysis.tally import Missing, Tally, Total, trailing

Severity = Literal["page", "ticket"]
State = Literal["critical", "warning", "recovering", "healthy", "unknown", "no_traffic", "no_data"]
Unknown = Literal["too_coarse", "no_data", "low_coverage", "no_traffic"]

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
LONG_MS = (1 * HOUR_MS, 6 * HOUR_MS, 24 * HOUR_MS, 72 * HOUR_MS)
SEVERITIES: tuple[Severity, ...] = ("page", "page", "ticket", "ticket")
MONTH_SHARES = (Fraction(2, 100), Fraction(5, 100), Fraction(10, 100), Fraction(10, 100))
"""Of the budget of 28 days or more, spent in the long window: those of the Site Reliability Workbook."""
WEEK_SHARES = (Fraction(8, 100), Fraction(125, 1000), Fraction(20, 100), Fraction(42, 100))
"""Of the budget of 7 days: those of Sloth's example windows for a week."""
MOST_OF_THE_BUDGET = WEEK_SHARES[-1]
LONGEST_SHARE = Fraction(3, 7)
SHORT_PART = 12


@dataclass(frozen=True, slots=True)
class Pair:
    """Fires when the burn rate is over `threshold` in the last `long_ms` and in the last `short_ms`."""

    severity: Severity
    long_ms: int
    short_ms: int
    threshold: Fraction

    def exceeded_by(self, bad: float, valid: float, budget_ppm: int) -> bool:
        """Whether bad / valid is more than threshold x budget, without any rounding."""
        return Fraction(bad) * MILLION > self.threshold * budget_ppm * Fraction(valid)

    def attainable(self, budget_ppm: int) -> bool:
        """Whether a total outage is over the threshold at all: for a generous objective it may not be."""
        return self.threshold * budget_ppm < MILLION

    def enough_events(self, budget_ppm: int) -> int:
        """The events in the long window from which on a single bad one is not over the threshold."""
        return ceil(MILLION / (self.threshold * budget_ppm)) if budget_ppm else 0


def pairs(period_ms: int) -> tuple[Pair, ...]:
    """The pairs for an objective over `period_ms`: the fastest first, short = long / 12.

    28 days and more: a page when 2 % of the budget is spent in 1 h or 5 % in 6 h, a ticket for 10 % in 24 h or
    10 % in 72 h; threshold = share x period / long. 7 days: 8, 12.5, 20 and 42 %, as with the shares of the month
    a ticket would be opened below the sustainable rate. Between 7 and 28 days the thresholds change linearly from
    the ones to the others. Below 7 days a pair remains while its long window is at most 3/7 of the period (72 h of
    a week); its threshold is that of the week, but never waits for more than 42 % of the budget. So 24 h keeps
    1 h (10.08) and 6 h (1.68); below 2 h 20 min no pair is left. Raises ValueError for a period that is not
    positive.
    """
    if period_ms <= 0:
        raise ValueError(f"a period must be positive: {period_ms}")
    return tuple(
        Pair(severity, long_ms, long_ms // SHORT_PART, _threshold(period_ms, long_ms, week, month))
        for severity, long_ms, week, month in zip(SEVERITIES, LONG_MS, WEEK_SHARES, MONTH_SHARES, strict=True)
        if long_ms <= LONGEST_SHARE * period_ms
    )


@dataclass(frozen=True, slots=True)
class WindowBurn:
    """One window of a pair. `burn` is None without traffic or data; `interval` is the Wilson 95 % interval of its
    error ratio, for events only. `over` says whether the burn is over the threshold, None when `unknown` has the
    reason why nobody can tell."""

    window_ms: int
    total: Total
    burn: float | None
    interval: tuple[float, float] | None
    over: bool | None
    unknown: Unknown | None


@dataclass(frozen=True, slots=True)
class PairBurn:
    """A pair with its two windows; `firing` is None when nobody can tell.

    `low_traffic`: fewer than `min_events` events in the long window. Then one bad event decides nothing: the long
    window counts as over only with more than one, and when the lower end of the interval is over too.
    `attainable` is False when not even a total outage would fire the pair.
    """

    pair: Pair
    long: WindowBurn
    short: WindowBurn
    firing: bool | None
    low_traffic: bool
    min_events: int
    attainable: bool

    @property
    def undecided(self) -> bool:
        """Nobody can tell whether it fires, or whether its long window is over. No traffic is no doubt of that."""
        return self.firing is None or (self.long.over is None and self.long.unknown != "no_traffic")

    @property
    def recovering(self) -> bool:
        return self.long.over is True and self.short.over is False


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All pairs, and the state they add up to (see `evaluate`)."""

    state: State
    pairs: tuple[PairBurn, ...]
    low_traffic: bool


def evaluate(
    source: Tally | Callable[[int], Total],
    budget_ppm: int,
    pairs: Sequence[Pair],
    *,
    end_ms: int | None = None,
    missing: Missing = "ignore",
    min_events: int | None = None,
    min_coverage: float = ENOUGH_COVERAGE,
) -> Evaluation:
    """Where burn rates put an objective at `end_ms`, by default the end of the tally.

    `source` is a tally, or what gives the total of the last so many milliseconds, for windows from different
    series and for composites; `end_ms` and `missing` are for a tally only. `min_events` replaces the number of
    events below which the low-traffic guard works (`PairBurn`); 0 turns it off.

    critical: a page pair fires. warning: a ticket pair does. no_data: no long window has any. no_traffic: no long
    window of a page (of any pair, without pages) had anything to judge. unknown: less than `min_coverage` counts
    of a long window, or of a short one whose long one is over; or that short one saw no traffic; or there is no
    pair. recovering: a long window is still over its threshold and its short one no longer. healthy: none of that.
    Raises ValueError as `burn_rate` does.
    """
    totals: dict[int, Total] = {}
    for window in {length for pair in pairs for length in (pair.long_ms, pair.short_ms)}:
        if isinstance(source, Tally):
            totals[window] = trailing(source, window, end_ms=end_ms, missing=missing)
        else:
            totals[window] = source(window)
    burns = tuple(_pair_burn(pair, totals, budget_ppm, min_events, min_coverage) for pair in pairs)
    return Evaluation(_state(burns), burns, any(each.low_traffic for each in burns))


def _threshold(period_ms: int, long_ms: int, week: Fraction, month: Fraction) -> Fraction:
    week_ms, month_ms = 7 * DAY_MS, 28 * DAY_MS
    if period_ms >= month_ms:
        return month * period_ms / long_ms
    weekly = week * week_ms / long_ms
    if period_ms < week_ms:
        return min(weekly, MOST_OF_THE_BUDGET * period_ms / long_ms)
    part = Fraction(period_ms - week_ms, month_ms - week_ms)
    return weekly + part * (month * month_ms / long_ms - weekly)


def _pair_burn(
    pair: Pair, totals: dict[int, Total], budget_ppm: int, min_events: int | None, min_coverage: float
) -> PairBurn:
    long = _window_burn(pair, pair.long_ms, totals, budget_ppm, min_coverage)
    short = _window_burn(pair, pair.short_ms, totals, budget_ppm, min_coverage)
    needed = pair.enough_events(budget_ppm) if min_events is None else min_events
    few = long.total.unit == "events" and 0 < long.total.valid < needed
    if few and long.over and not _certain(pair, long, budget_ppm):
        long = WindowBurn(long.window_ms, long.total, long.burn, long.interval, False, None)
    return PairBurn(pair, long, short, _firing(long, short), few, needed, pair.attainable(budget_ppm))


def _window_burn(
    pair: Pair, window_ms: int, totals: dict[int, Total], budget_ppm: int, min_coverage: float
) -> WindowBurn:
    found = totals[window_ms]
    burn = burn_rate(found.bad, found.valid, budget_ppm)
    interval = wilson(found.bad, found.valid) if found.unit == "events" else None
    unknown: Unknown | None = None
    if found.too_coarse:
        unknown = "too_coarse"
    elif found.data == "no_data":
        unknown = "no_data"
    elif found.coverage + found.filled < min_coverage:
        unknown = "low_coverage"
    elif found.data == "no_traffic":
        unknown = "no_traffic"
    over = None if unknown else pair.exceeded_by(found.bad, found.valid, budget_ppm)
    return WindowBurn(window_ms, found, burn, interval, over, unknown)


def _certain(pair: Pair, long: WindowBurn, budget_ppm: int) -> bool:
    """Whether so few events can carry the verdict: more than one is bad, and by chance alone it would not be."""
    low = long.interval[0] if long.interval else 0.0
    return long.total.bad > 1 and pair.exceeded_by(low, 1, budget_ppm)


def _firing(long: WindowBurn, short: WindowBurn) -> bool | None:
    if long.over is False or short.over is False or long.unknown == "no_traffic":
        return False
    return None if long.over is None or short.over is None else True


def _state(burns: tuple[PairBurn, ...]) -> State:
    firing = {each.pair.severity for each in burns if each.firing}
    if firing:
        return "critical" if "page" in firing else "warning"
    reasons = {each.long.unknown for each in burns}
    if reasons == {"no_data"}:
        return "no_data"
    if ({each.long.unknown for each in burns if each.pair.severity == "page"} or reasons) == {"no_traffic"}:
        return "no_traffic"
    if not burns or any(each.undecided for each in burns):
        return "unknown"
    return "recovering" if any(each.recovering for each in burns) else "healthy"
