"""How an objective stands: its budget, its burn rates, what is to be expected, and where nobody can know."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite

import numpy as np

from telemetry_mcp.analysis import composite
from telemetry_mcp.analysis.burn import Evaluation, State, evaluate, pairs
from telemetry_mcp.analysis.forecast import PeriodForecast, expected_valid, period_forecast, rolling_exhaustion_ms
from telemetry_mcp.analysis.sli import Compliance
from telemetry_mcp.analysis.slo import (
    ENOUGH_COVERAGE,
    LOW_COVERAGE,
    MILLION,
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
from telemetry_mcp.analysis.tally import Data, Missing, Tally, Total, total, trailing
from telemetry_mcp.analysis.timeslice import timeslices
from telemetry_mcp.catalog import Catalog
from telemetry_mcp.model import Outcome, Series, Status
from telemetry_mcp.server.argument import HOUR_MS
from telemetry_mcp.server.slo.indicator import Indicator, indicator
from telemetry_mcp.server.slo.plan import Key, Plan, View, key_of

BURN_WINDOWS = {"1h": HOUR_MS, "6h": 6 * HOUR_MS, "24h": 24 * HOUR_MS, "72h": 72 * HOUR_MS}

Answers = Mapping[Key, Sequence[Outcome[Series]]]


@dataclass(frozen=True, slots=True)
class Tallies:
    """An objective slice by slice: over its window, its last hours, and the period before."""

    whole: Tally
    recent: Tally | None
    before: Tally | None

    def last(self, window_ms: int, missing: Missing) -> Total:
        """In the finest slices there are; a calendar period that is young reaches into the one before it."""
        if self.recent is not None and window_ms <= length_ms(self.recent):
            return trailing(self.recent, window_ms, missing=missing)
        if self.before is not None and window_ms > length_ms(self.whole):
            return trailing(joined(self.before, self.whole), window_ms, missing=missing)
        return trailing(self.whole, window_ms, missing=missing)


def length_ms(tally: Tally) -> int:
    return tally.end_ms - tally.start_ms


def joined(before: Tally, whole: Tally) -> Tally:
    """Two tallies that follow one another as one."""
    bad, valid = np.concatenate([before.bad, whole.bad]), np.concatenate([before.valid, whole.valid])
    return Tally(before.start_ms, whole.slice_ms, bad, valid, whole.unit)


@dataclass(frozen=True, slots=True)
class Measured:
    """What an objective comes to: over its window, over the last so many milliseconds, and over the period before.

    `tallies` are None for a composite that only its members' sums make up. `unheard` are sources that failed or
    gave only a part; `reason` is why else there is less than was asked for.
    """

    whole: Total
    last: Callable[[int], Total]
    before: Total | None
    tallies: Tallies | None = None
    kept: Compliance | None = None
    unheard: Mapping[str, Status] = field(default_factory=dict)
    reason: str = ""

    @property
    def sparse(self) -> bool:
        """Too few samples to know for how long one speaks: their share is shown and nothing is judged by it."""
        return self.kept is not None and self.kept.method == "point_share"


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


def measured(plan: Plan, answers: Answers, catalog: Catalog) -> Measured:
    whole = look(plan, plan.whole, answers, catalog)
    recent, before = (
        look(plan, view, answers, catalog).tally if view else None for view in (plan.recent, plan.before)
    )
    tallies = Tallies(whole.tally, recent, before)
    return of_tallies(plan, tallies, whole.kept, unheard(plan, answers, catalog), whole.reason)


def look(plan: Plan, view: View, answers: Answers, catalog: Catalog) -> Indicator:
    own = {metric: answers[key_of(plan, view, metric, catalog)] for metric in plan.metrics}
    return indicator(plan.objective, view, own, catalog)


def of_tallies(
    plan: Plan, tallies: Tallies, kept: Compliance | None, unheard: Mapping[str, Status], reason: str
) -> Measured:
    missing = plan.objective.missing
    return Measured(
        whole=total(tallies.whole, missing=missing),
        last=lambda window_ms: tallies.last(window_ms, missing),
        before=total(tallies.before, missing=missing) if tallies.before else None,
        tallies=tallies,
        kept=kept,
        unheard=unheard,
        reason=reason,
    )


def unheard(plan: Plan, answers: Answers, catalog: Catalog) -> dict[str, Status]:
    """The sources that could have told of the window and did not, or not all of it."""
    wanted = plan.objective.sources
    views = [view for view in (plan.whole, plan.recent) if view]
    told: dict[str, set[Status]] = {}
    for key in dict.fromkeys(key_of(plan, view, metric, catalog) for view in views for metric in plan.metrics):
        for outcome in answers[key]:
            if outcome.status != "skipped" and (not wanted or outcome.source in wanted):
                told.setdefault(outcome.source, set()).add(outcome.status)
    short = {source: seen for source, seen in told.items() if seen & {"failed", "partial"}}
    return {source: "failed" if seen == {"failed"} else "partial" for source, seen in short.items()}


def composed(plan: Plan, parts: Sequence[Measured]) -> Measured:
    """One account of several: slice by slice for `all_of`, by their sums for the others."""
    failed = {source: status for part in parts for source, status in part.unheard.items()}
    reason = "; ".join(dict.fromkeys(part.reason for part in parts if part.reason))
    if plan.objective.all_of:
        each = [part.tallies for part in parts if part.tallies]
        tallies = Tallies(
            together(plan, [tallies.whole for tallies in each]),
            together(plan, [t.recent for t in each if t.recent]) if plan.recent else None,
            together(plan, [t.before for t in each if t.before]) if plan.before else None,
        )
        return of_tallies(plan, tallies, None, failed, reason)
    known = [part.before for part in parts if part.before]
    return Measured(
        whole=summed(plan, [part.whole for part in parts]),
        last=lambda window_ms: summed(plan, [part.last(window_ms) for part in parts]),
        before=summed(plan, known) if len(known) == len(parts) else None,
        unheard=failed,
        reason=reason,
    )


def together(plan: Plan, tallies: Sequence[Tally]) -> Tally:
    """All of them, slice by slice; events are judged by each member's own objective first."""
    return composite.all_of(
        [
            timeslices(tally, member.objective.ppm) if tally.unit == "events" else tally
            for tally, member in zip(tallies, plan.members, strict=True)
        ]
    )


def summed(plan: Plan, totals: Sequence[Total]) -> Total:
    objective = plan.objective
    if objective.worst_of:
        return composite.worst_of(totals)
    if objective.weighted:
        return composite.weighted(totals, objective.weights)
    return added(plan, totals)


def added(plan: Plan, totals: Sequence[Total]) -> Total:
    """Burn rates that add up by their weights, as in a composite of OpenSLO by occurrences: the share of bad with
    which one objective of this budget would burn as fast."""
    burns = [burn_rate(t.bad, t.valid, m.objective.ppm) for t, m in zip(totals, plan.members, strict=True)]
    if any(t.data == "no_data" for t in totals):
        return Total(0.0, 0.0, "share", coverage=0.0)
    spent = sum(w * burn for w, burn in zip(plan.objective.weights, burns, strict=True) if burn is not None)
    known = any(burn is not None for burn in burns)
    bad = min(1.0, spent * plan.objective.ppm / MILLION) if isfinite(spent) else 1.0
    return Total(bad if known else 0.0, float(known), "share", coverage=min(t.coverage for t in totals))


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
