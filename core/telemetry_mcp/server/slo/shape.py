"""How an objective stands, as it travels in an answer."""

from __future__ import annotations

from typing import Literal

from telemetry_mcp.analysis.burn import PairBurn, Severity, State
from telemetry_mcp.analysis.forecast import PeriodForecast
from telemetry_mcp.analysis.sli import Comparison, Violation
from telemetry_mcp.analysis.slo import Budget, Change, Verdict
from telemetry_mcp.catalog import Catalog
from telemetry_mcp.objective.setting import Kind
from telemetry_mcp.server.envelope import Answer, Lean, Number, Shape, iso, rounded, span
from telemetry_mcp.server.slo.indicator import limit_of
from telemetry_mcp.server.slo.judgement import Judged
from telemetry_mcp.server.slo.plan import Plan
from telemetry_mcp.server.slo.sentence import DIGITS, percentage, sentence

MOST_VIOLATIONS = 10
COUNTED = 12
"""Events are shown to the last one: a few bad among many millions are what it is about."""


class Breach(Shape):
    start: str
    end: str
    minutes: Number | None
    worst: Number | None


class ErrorBudget(Lean):
    """Shares of the budget (1 is all of it), minutes of bad time over the window, and for events how many bad ones
    the traffic so far allows."""

    allowed_minutes: Number | None
    remaining_minutes: Number | None
    consumed: Number | None
    remaining: Number | None
    allowed_events: Number | None = None
    remaining_events: Number | None = None


class BurnAlert(Lean):
    """`firing` null: nobody can tell. `attainable` false: not even a total outage fires it. `interval` bounds the
    long window's error ratio, in percent, at 95 %."""

    severity: Severity
    long: str
    short: str
    threshold: Number | None
    long_burn: Number | None
    short_burn: Number | None
    firing: bool | None
    attainable: bool | None = None
    low_traffic: bool | None = None
    interval: list[Number | None] | None = None


class Period(Lean):
    """A calendar window that has not ended: shares of the budget that the whole of it will have, and of the budget
    of the traffic so far."""

    start: str
    end: str
    consumed_of_period: Number | None
    consumed_of_elapsed: Number | None
    consumed_at_end: Number | None


class Before(Shape):
    """The period before; `points` is the change in percentage points, `errors` the error ratio now over then."""

    compliance_percentage: Number | None
    points: Number | None
    errors: Number | None


class Member(Shape):
    slo: str
    compliance_percentage: Number | None
    burn_rate: Number | None
    status: str
    state: str | None


Method = Literal["time_weighted", "point_share", "events", "slices", "composite", "none"]
"""How the share was come by."""


class Compliant(Answer):
    slo: str | None
    service: str
    metric: str
    indicator: Kind
    unit: str
    threshold: Number | None
    comparison: Comparison | None
    objective_percentage: Number
    compliance_percentage: Number | None
    status: Verdict
    state: State | None
    summary: str
    good: Number | None
    valid: Number | None
    error_budget: ErrorBudget
    burn_rates: dict[str, Number | None]
    burn_alerts: list[BurnAlert]
    exhaustion: str | None
    period: Period | None
    previous: Before | None
    data: Literal["ok", "no_data", "no_traffic"]
    data_coverage: Number
    low_coverage: bool
    method: Method
    violations: list[Breach]
    violations_total: int
    members: list[Member]


def compliant(found: Judged, catalog: Catalog) -> Compliant:
    """The answer without its ledger."""
    objective = found.plan.objective
    whole, kept = found.measured.whole, found.measured.kept
    limit = limit_of(objective, catalog[str(objective.metric)]) if objective.kind == "threshold" else (None, None)
    events = whole.unit == "events" and found.data != "no_data"
    return Compliant(
        slo=found.plan.name,
        service=objective.service,
        metric=" / ".join(map(found.plan.shown, found.plan.metrics)),
        indicator=objective.kind,
        unit=catalog[str(objective.metric)].unit if objective.kind == "threshold" else "",
        threshold=limit[0],
        comparison=limit[1],
        objective_percentage=objective.objective,
        compliance_percentage=percentage(found),
        status=found.verdict,
        state=found.state,
        summary=sentence(found, catalog),
        good=rounded(whole.valid - whole.bad, COUNTED) if events else None,
        valid=rounded(whole.valid, COUNTED) if events else None,
        error_budget=error_budget(found.budget, events),
        burn_rates={name: rounded(burn) for name, burn in found.burn_rates.items()},
        burn_alerts=[burn_alert(each) for each in found.burns.pairs],
        exhaustion=exhaustion(found),
        period=calendar(found.plan, found.forecast),
        previous=previous(found),
        data=found.data,
        data_coverage=rounded(whole.coverage) or 0.0,
        low_coverage=found.low_coverage,
        method=method(found),
        violations=[breach(each) for each in (kept.violations if kept else ())[:MOST_VIOLATIONS]],
        violations_total=len(kept.violations) if kept else 0,
        members=[member(each) for each in found.members],
        window=span(found.plan.whole.window, found.plan.whole.step_ms),
    )


def breach(violation: Violation) -> Breach:
    return Breach(
        start=iso(violation.start_ms) or "",
        end=iso(violation.end_ms) or "",
        minutes=rounded((violation.end_ms - violation.start_ms) / 60_000),
        worst=rounded(violation.worst),
    )


def method(found: Judged) -> Method:
    if found.data == "no_data" and not (found.measured.kept and found.measured.kept.samples):
        return "none"
    if found.measured.kept is not None:
        return found.measured.kept.method
    if found.plan.objective.members:
        return "composite"
    if found.plan.objective.slice:
        return "slices"
    return "events" if found.measured.whole.unit == "events" else "time_weighted"


def error_budget(spent: Budget, events: bool) -> ErrorBudget:
    allowed = spent.allowed if events else None
    left = None if spent.remaining is None or allowed is None else spent.remaining * allowed
    return ErrorBudget(
        allowed_minutes=rounded(spent.allowed_minutes),
        remaining_minutes=rounded(spent.remaining_minutes),
        consumed=rounded(spent.consumed),
        remaining=rounded(spent.remaining),
        allowed_events=rounded(allowed),
        remaining_events=rounded(left),
    )


def burn_alert(each: PairBurn) -> BurnAlert:
    interval = each.long.interval if each.low_traffic else None
    return BurnAlert(
        severity=each.pair.severity,
        long=length(each.pair.long_ms),
        short=length(each.pair.short_ms),
        threshold=rounded(float(each.pair.threshold)),
        long_burn=rounded(each.long.burn),
        short_burn=rounded(each.short.burn),
        firing=each.firing,
        attainable=None if each.attainable else False,
        low_traffic=True if each.low_traffic else None,
        interval=[rounded(100 * bound) for bound in interval] if interval else None,
    )


def length(ms: int) -> str:
    minutes = ms // 60_000
    return f"{minutes // 60}h" if minutes % 60 == 0 else f"{minutes}m"


def exhaustion(found: Judged) -> str | None:
    """When the budget will be spent at the recent burn rate; None when it will not, already is, or who knows."""
    if not found.exhausted_in_ms or found.verdict in ("BREACHED", "UNKNOWN"):
        return None
    return iso((found.plan.now_ms + found.exhausted_in_ms) // 60_000 * 60_000)


def calendar(plan: Plan, forecast: PeriodForecast | None) -> Period | None:
    if plan.objective.calendar is None:
        return None
    return Period(
        start=iso(plan.begun_ms) or "",
        end=iso(plan.begun_ms + plan.period_ms) or "",
        consumed_of_period=rounded(forecast.consumed_of_period) if forecast else None,
        consumed_of_elapsed=rounded(forecast.consumed_of_elapsed) if forecast else None,
        consumed_at_end=rounded(forecast.consumed_at_end) if forecast else None,
    )


def previous(found: Judged) -> Before | None:
    before, change = found.measured.before, found.change
    if before is None or change is None:
        return None
    return Before(
        compliance_percentage=None if before.ratio is None else rounded(100 * before.ratio, DIGITS),
        points=points(change),
        errors=rounded(change.errors),
    )


def points(change: Change | None) -> float | None:
    """The change in percentage points."""
    return None if change is None or change.points is None else rounded(round(100 * change.points, 4))


def member(each: Judged) -> Member:
    return Member(
        slo=each.plan.name or "",
        compliance_percentage=percentage(each),
        burn_rate=rounded(each.budget.consumed),
        status=each.verdict,
        state=each.state,
    )
