"""check_sli_compliance and the SLI report: how much of the time a metric kept to its threshold."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import Literal

from telemetry_mcp.analysis.sli import Comparison, Compliance, compliance, windowed
from telemetry_mcp.analysis.slo import Budget, Verdict, budget, burn_rate, exhaustion_ms, objective_ppm, verdict
from telemetry_mcp.catalog import echo, suggest
from telemetry_mcp.errors import QuestionError
from telemetry_mcp.merge import Merged, numbers
from telemetry_mcp.objective.setting import DEFAULT_OBJECTIVE, Objective
from telemetry_mcp.question import SeriesQuery, Window
from telemetry_mcp.server.argument import HOUR_MS, aligned, finite, period, positive, step_of
from telemetry_mcp.server.call import Call
from telemetry_mcp.server.envelope import Answer, Number, Shape, envelope, iso, rounded, span
from telemetry_mcp.server.history import one

BURN_WINDOWS = {"1h": HOUR_MS, "6h": 6 * HOUR_MS, "24h": 24 * HOUR_MS, "72h": 72 * HOUR_MS}
MOST_VIOLATIONS = 10
FINE_POINTS = 8640
"""Points fetched at most: 30 days by five minutes. What is coarser would step over short violations."""
LOW_COVERAGE = 0.9
ENOUGH_COVERAGE = 0.5
"""Less of the window than this says too little for a good verdict."""
DIGITS = 6
"""Compliance is shown with six significant digits: 99.995 must not read as 100."""


class Breach(Shape):
    start: str
    end: str
    minutes: Number | None
    worst: Number | None


class ErrorBudget(Shape):
    """Shares of the budget (1 is all of it) and minutes of bad time over the window."""

    allowed_minutes: Number | None
    remaining_minutes: Number | None
    consumed: Number | None
    remaining: Number | None


class Compliant(Answer):
    service: str
    metric: str
    unit: str
    threshold: Number
    comparison: Comparison
    objective_percentage: Number
    compliance_percentage: Number | None
    status: Verdict
    summary: str
    error_budget: ErrorBudget
    burn_rates: dict[str, Number | None]
    exhaustion: str | None
    data_coverage: Number
    method: Literal["time_weighted", "point_share", "none"]
    violations: list[Breach]
    violations_total: int


@dataclass(frozen=True, slots=True)
class Target:
    """What is to hold for `objective` percent of the time: `metric` of `service` compared with `threshold`."""

    service: str
    metric: str
    threshold: float
    comparison: Comparison
    objective: float

    @property
    def ppm(self) -> int:
        return objective_ppm(self.objective)


@dataclass(frozen=True, slots=True)
class Judged:
    """A target measured over a window."""

    compliance: Compliance
    budget: Budget
    burn_rates: dict[str, float | None]
    verdict: Verdict
    exhaustion_ms: int | None


async def answer(
    call: Call,
    service: str | None,
    metric: str | None,
    threshold: float | None,
    hours: float,
    objective: float | None,
    comparison: Comparison | None,
    slo: str | None,
) -> Compliant:
    if slo is not None and (service or metric):
        raise QuestionError("name either a configured slo, or a service and a metric")
    if slo is not None:
        configured = objective_named(call, slo)
        target, hours = target_of(call, configured), configured.window / 3600
    else:
        target = ad_hoc(call, service, metric, threshold, objective, comparison)
    positive(hours, "time_window_hours")
    window = period(call.now_ms, call.engine.config.defaults.lookback, hours=hours)
    step_ms = step_of(window, points=FINE_POINTS)
    window = aligned(window, step_ms)
    await call.service(target.service)
    question = SeriesQuery((target.service,), (target.metric,), window, step_ms)
    outcomes = await call.ask(question)
    merged = one(outcomes, call, window, step_ms, target.service, target.metric)
    judged = judge(target, merged, window)
    return compliant(call, target, merged, judged).model_copy(
        update={
            "window": span(window, merged.step_ms if merged else step_ms),
            **envelope(outcomes, more=(*call.warnings, *(merged.warnings if merged else ()))),
        }
    )


def objective_named(call: Call, name: str) -> Objective:
    objectives = call.engine.config.objectives
    if name not in objectives:
        raise QuestionError(f"no SLO is called {echo(name)}{suggest(name, objectives)}")
    return objectives[name]


def target_of(call: Call, objective: Objective) -> Target:
    return ad_hoc(
        call,
        objective.service,
        str(objective.metric),
        objective.threshold,
        objective.objective,
        objective.comparison,
    )


def ad_hoc(
    call: Call,
    service: str | None,
    metric: str | None,
    threshold: float | None,
    objective: float | None,
    comparison: Comparison | None,
) -> Target:
    if not service or not metric:
        raise QuestionError("name a service and a metric, or a configured slo")
    name = call.metric(metric)
    spec = call.engine.config.catalog[name]
    limit = spec.warning if threshold is None else finite(threshold, "threshold")
    if limit is None:
        raise QuestionError(f"{name} has no threshold of its own; give one")
    wanted = DEFAULT_OBJECTIVE if objective is None else objective
    try:
        objective_ppm(wanted)
    except ValueError as error:
        raise QuestionError(f"objective={wanted}: {error}") from None
    return Target(service, name, limit, comparison or spec.comparison, wanted)


def judge(target: Target, merged: Merged | None, window: Window) -> Judged:
    """The target over the window, from the merged series; everything unknown stays None."""
    times, values = numbers(merged)
    kept = compliance(
        times,
        values,
        start_ms=window.start_ms,
        end_ms=window.end_ms,
        threshold=target.threshold,
        comparison=target.comparison,
    )
    lengths = {name: ms for name, ms in BURN_WINDOWS.items() if ms <= window.duration_ms}
    parts = windowed(
        times,
        values,
        end_ms=window.end_ms,
        windows_ms=list(lengths.values()),
        threshold=target.threshold,
        comparison=target.comparison,
    )
    burns = {name: burn_rate(parts[ms].bad_ms, parts[ms].measured_ms, target.ppm) for name, ms in lengths.items()}
    spent = budget(kept.bad_ms, kept.measured_ms, target.ppm, window_ms=window.duration_ms)
    recent = burns.get("6h", burns.get("1h"))
    left = exhaustion_ms(spent.remaining, recent, window.duration_ms)
    return Judged(kept, spent, burns, verdict_of(kept, spent), left)


def verdict_of(kept: Compliance, spent: Budget) -> Verdict:
    """Unknown where too little was measured, unless its bad time alone is more than the whole window allows."""
    if kept.method == "point_share":
        return "UNKNOWN"
    if kept.coverage < ENOUGH_COVERAGE:
        return "BREACHED" if budget(kept.bad_ms, kept.expected_ms, spent.ppm).breached else "UNKNOWN"
    return verdict(spent)


def compliant(call: Call, target: Target, merged: Merged | None, judged: Judged) -> Compliant:
    kept = judged.compliance
    return Compliant(
        service=target.service,
        metric=target.metric,
        unit=call.engine.config.catalog[target.metric].unit,
        threshold=target.threshold,
        comparison=target.comparison,
        objective_percentage=target.objective,
        compliance_percentage=percentage(kept),
        status=judged.verdict,
        summary=sentence(target, judged),
        error_budget=error_budget(judged.budget),
        burn_rates={name: rounded(burn) for name, burn in judged.burn_rates.items()},
        exhaustion=exhaustion(call, judged),
        data_coverage=rounded(kept.coverage) or 0.0,
        method=kept.method,
        violations=[
            Breach(
                start=iso(v.start_ms) or "",
                end=iso(v.end_ms) or "",
                minutes=rounded((v.end_ms - v.start_ms) / 60_000),
                worst=rounded(v.worst),
            )
            for v in kept.violations[:MOST_VIOLATIONS]
        ],
        violations_total=len(kept.violations),
    )


def percentage(kept: Compliance) -> float | None:
    return None if kept.ratio is None else rounded(100 * kept.ratio, DIGITS)


def error_budget(spent: Budget) -> ErrorBudget:
    return ErrorBudget(
        allowed_minutes=rounded(spent.allowed_minutes),
        remaining_minutes=rounded(spent.remaining_minutes),
        consumed=rounded(spent.consumed),
        remaining=rounded(spent.remaining),
    )


def exhaustion(call: Call, judged: Judged) -> str | None:
    """When the budget will be spent at the recent burn rate; None when it will not, already is, or who knows."""
    if not judged.exhaustion_ms or judged.verdict in ("BREACHED", "UNKNOWN"):
        return None
    return iso((call.now_ms + judged.exhaustion_ms) // 60_000 * 60_000)


def sentence(target: Target, judged: Judged) -> str:
    """One plain sentence for a human."""
    kept, spent = judged.compliance, judged.budget
    rule = f"{target.metric} {target.comparison} {target.threshold:g}"
    if kept.ratio is None:
        return f"Unknown: no data of {target.metric} for {target.service} in this window."
    if kept.method == "point_share":
        samples = f"{kept.samples} sample{'s' * (kept.samples != 1)}"
        return f"Unknown: only {samples} of {target.metric} for {target.service} in this window, too few to judge."
    held = f"{rule} held for {percentage(kept)} % of the measured time, objective {target.objective:g} %"
    low = f"; only {100 * kept.coverage:.2g} % of the window was measured" if kept.coverage < LOW_COVERAGE else ""
    if judged.verdict == "UNKNOWN":
        return f"Unknown: {held}{low}, and {100 * ENOUGH_COVERAGE:g} % are needed to judge."
    if spent.consumed is None or not isfinite(spent.consumed):
        return f"{held}; no error budget to spend{low}."
    return f"{held}; {100 * spent.consumed:.0f} % of the error budget is spent{low}."
