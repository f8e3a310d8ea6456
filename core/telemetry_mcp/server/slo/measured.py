"""What an objective comes to: its tallies and sums, over its window, its last hours and the period before."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite

import numpy as np

from telemetry_mcp.analysis import composite
from telemetry_mcp.analysis.sli import Compliance
from telemetry_mcp.analysis.slo import MILLION, burn_rate
from telemetry_mcp.analysis.tally import Missing, Tally, Total, total, trailing
from telemetry_mcp.analysis.timeslice import timeslices
from telemetry_mcp.catalog import Catalog
from telemetry_mcp.model import Outcome, Series, Status
from telemetry_mcp.server.slo.indicator import Indicator, indicator
from telemetry_mcp.server.slo.plan import Key, Plan, View, key_of

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
