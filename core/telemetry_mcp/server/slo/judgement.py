"""How an objective stands: its budget, its burn rates, what is to be expected, and where nobody can know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from telemetry_mcp.analysis.burn import Evaluation, State, evaluate, pairs
from telemetry_mcp.analysis.forecast import PeriodForecast, expected_valid, period_forecast, rolling_exhaustion_ms
from telemetry_mcp.analysis.slo import (
    ENOUGH_COVERAGE,
    LOW_COVERAGE,
    Budget,
    Change,
    Verdict,
    assess,
    budget,
    burn_rate,
    compare,
    exhaustion_ms,
    verdict,
)
from telemetry_mcp.analysis.tally import Data, Total
from telemetry_mcp.catalog import Catalog
from telemetry_mcp.server.argument import HOUR_MS
from telemetry_mcp.server.slo.measured import Answers, Measured, composed, measured
from telemetry_mcp.server.slo.plan import Plan

BURN_WINDOWS = {"1h": HOUR_MS, "6h": 6 * HOUR_MS, "24h": 24 * HOUR_MS, "72h": 72 * HOUR_MS}


@dataclass(frozen=True, slots=True)
class Judged:
    """How the objective of `plan` stands.

    `state` is None where the window is too short for burn-rate alerts. `exhausted_in_ms` is None when the budget
    lasts, or when nobody can know. `members` are those of a composite.
    """

    plan: Plan
    measured: Measured
    budget: Budget
    verdict: Verdict
    state: State | None
    burns: Evaluation
    burn_rates: Mapping[str, float | None]
    change: Change | None
    exhausted_in_ms: int | None
    forecast: PeriodForecast | None
    members: tuple[Judged, ...] = ()

    @property
    def data(self) -> Data:
        return self.measured.whole.data

    @property
    def low_coverage(self) -> bool:
        return 0 < self.measured.whole.coverage < LOW_COVERAGE


def judged(plan: Plan, answers: Answers, catalog: Catalog) -> Judged:
    """The objective of `plan` by what the sources answered."""
    if not plan.members:
        return standing(plan, measured(plan, answers, catalog))
    parts = [measured(member, answers, catalog) for member in plan.members]
    whole = standing(plan, composed(plan, parts))
    return replace(whole, members=tuple(map(standing, plan.members, parts)))


def standing(plan: Plan, found: Measured) -> Judged:
    ppm = plan.objective.ppm
    word = verdict_of(plan, found)
    odd = lopsided(plan, found.whole)
    whole = Total(0.0, 0.0, found.whole.unit, coverage=0.0) if odd else found.whole
    usual = [
        pair for pair in pairs(plan.period_ms) if pair.short_ms >= finest(plan) and pair.long_ms <= history(plan)
    ]
    burns = evaluate(found.last, ppm, usual, min_events=plan.objective.min_events)
    lengths = {name: ms for name, ms in BURN_WINDOWS.items() if ms <= plan.period_ms and ms <= history(plan)}
    totals = {name: found.last(ms) for name, ms in lengths.items()}
    exhausted_in_ms, forecast = (None, None) if odd else expected(plan, found, totals)
    before = found.before if found.before and found.before.coverage >= ENOUGH_COVERAGE else None
    return Judged(
        plan=plan,
        measured=found,
        budget=budget(whole.bad, whole.valid, ppm, window_ms=min(plan.period_ms, plan.whole.window.duration_ms)),
        verdict=word,
        state=state_of(found, burns, word),
        burns=burns,
        burn_rates={
            name: None if lopsided(plan, each) else burn_rate(each.bad, each.valid, ppm)
            for name, each in totals.items()
        },
        change=compare(whole, before, ppm) if before else None,
        exhausted_in_ms=exhausted_in_ms,
        forecast=forecast,
    )


def lopsided(plan: Plan, whole: Total) -> bool:
    """Whether no share can be told: what is bad in one member is bad for all, but what is good has to be known of
    each. Where little is known of all at the same time, nearly all of that is bad."""
    return bool(plan.objective.all_of) and whole.coverage < ENOUGH_COVERAGE


def finest(plan: Plan) -> int:
    return min(view.slice_ms for view in (plan.whole, plan.recent) if view)


def history(plan: Plan) -> int:
    """How far back there is anything to look at, in milliseconds."""
    return sum(view.window.duration_ms for view in (plan.before, plan.whole) if view)


def verdict_of(plan: Plan, found: Measured) -> Verdict:
    """UNKNOWN where a source that counts was not heard and nothing else told; else by what was measured."""
    if found.tallies is not None:
        word = assess(found.tallies.whole, plan.objective.ppm, missing=plan.objective.missing).verdict
        return "UNKNOWN" if found.sparse else word
    whole = found.whole
    enough = whole.coverage >= ENOUGH_COVERAGE
    return verdict(budget(whole.bad, whole.valid, plan.objective.ppm)) if enough else "UNKNOWN"


def state_of(found: Measured, burns: Evaluation, word: Verdict) -> State | None:
    """no_data means that everybody was heard and nobody has any: with a source that failed it is unknown. So it is
    where the objective cannot be judged, but for an alarm: that is never hidden."""
    data = found.whole.data
    if burns.state in ("critical", "warning"):
        return burns.state
    if data == "no_traffic" and found.whole.coverage >= ENOUGH_COVERAGE:
        return "no_traffic"
    if data == "no_data" or (burns.state == "no_data" and word != "UNKNOWN"):
        return "unknown" if found.unheard or found.reason or found.sparse else "no_data"
    if word == "UNKNOWN":
        return "unknown"
    return burns.state if burns.pairs else None


def expected(plan: Plan, found: Measured, totals: Mapping[str, Total]) -> tuple[int | None, PeriodForecast | None]:
    """When the budget will be gone if the errors of the last hours go on, and how a calendar period will end."""
    ppm = plan.objective.ppm
    name = next((name for name in ("6h", "1h") if name in totals), None)
    if name is None or found.whole.data != "ok":
        return None, None
    recent, recent_ms = totals[name], BURN_WINDOWS[name]
    if plan.objective.calendar:
        # Sums of shares are no amounts: of them only the ratio is of the same kind over any window.
        amounts = recent.data == "ok" and found.tallies is not None
        forecast = period_forecast(
            found.whole,
            whole_period(plan, found),
            ppm,
            left_ms=max(0, plan.period_ms - plan.whole.window.duration_ms),
            recent=recent if recent.data == "ok" else None,
            recent_ms=recent_ms if amounts else None,
        )
        return forecast.exhausted_in_ms, forecast
    if found.tallies is not None:
        return rolling_exhaustion_ms(found.tallies.whole, ppm, recent, recent_ms), None
    burn = burn_rate(recent.bad, recent.valid, ppm)
    return exhaustion_ms(budget(found.whole.bad, found.whole.valid, ppm).remaining, burn, plan.period_ms), None


def whole_period(plan: Plan, found: Measured) -> float:
    """What a calendar period will have been valid in all: what was so far, and for the rest as much as in the same
    hours of the weeks of the period before; without one, in proportion."""
    whole, window = found.whole, plan.whole.window
    end_ms = plan.begun_ms + plan.period_ms
    before = found.tallies.before if found.tallies else None
    ahead = expected_valid(before, window.end_ms, end_ms) if before is not None else None
    if ahead is None:
        return whole.valid * plan.period_ms / window.duration_ms
    return whole.valid + ahead
