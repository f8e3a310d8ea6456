"""The SLI report: every configured objective, or the metrics' own thresholds where none is configured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from telemetry_mcp.analysis.slo import Verdict
from telemetry_mcp.config import Objective
from telemetry_mcp.merge import Merged, merge
from telemetry_mcp.model import Outcome, Series, SeriesQuery, Service, Window
from telemetry_mcp.server.argument import aligned, period, step_of
from telemetry_mcp.server.call import Call
from telemetry_mcp.server.compliance import (
    FINE_POINTS,
    Judged,
    Target,
    finite_or_none,
    judge,
    percentage,
    sentence,
    target_of,
)
from telemetry_mcp.server.envelope import Answer, Number, Shape, envelope, rounded, span

DEFAULT_METRICS = ("availability", "error_rate", "latency_p95")
DEFAULT_HOURS = 720.0
VERDICTS: tuple[Verdict, ...] = ("BREACHED", "AT_RISK", "UNKNOWN", "COMPLIANT")
"""The worst first."""

Wanted = tuple[str | None, Target, float]
"""The name of a configured SLO, what is to hold, and the length of its window in seconds."""


class ReportRow(Shape):
    """`trend` is the compliance now minus that of the period before, in percentage points."""

    slo: str | None
    service: str
    metric: str
    threshold: Number
    objective_percentage: Number
    window_hours: Number | None
    compliance_percentage: Number | None
    previous_percentage: Number | None
    trend: Number | None
    budget_remaining: Number | None
    data_coverage: Number | None
    status: Verdict
    summary: str


class SliReport(Answer):
    objectives: list[ReportRow]
    compliant: int
    at_risk: int
    breached: int
    unknown: int


async def answer(call: Call, hours: float = DEFAULT_HOURS) -> SliReport:
    wanted, listed = await targets(call, hours)
    windows = sorted({seconds for _, _, seconds in wanted})
    spans = {seconds: window_of(call, seconds) for seconds in windows}
    questions = [
        question
        for seconds in windows
        for question in both_periods(call, [t for _, t, s in wanted if s == seconds], spans[seconds])
    ]
    answers = await call.ask_all(*questions)
    by_window = {
        seconds: (
            merged(call, answers[2 * place], spans[seconds]),
            merged(call, answers[2 * place + 1], before(spans[seconds])),
        )
        for place, seconds in enumerate(windows)
    }
    rows = [
        row(
            name,
            target,
            seconds,
            spans[seconds],
            *(found.get((target.service, target.metric)) for found in series),
        )
        for name, target, seconds in wanted
        for series in [by_window[seconds]]
    ]
    rows.sort(key=lambda r: VERDICTS.index(r.status))
    counts = Counter(r.status for r in rows)
    widest = spans[windows[-1]] if windows else None
    return SliReport(
        objectives=rows,
        compliant=counts["COMPLIANT"],
        at_risk=counts["AT_RISK"],
        breached=counts["BREACHED"],
        unknown=counts["UNKNOWN"],
        window=span(widest) if widest else None,
        **envelope(listed, *answers, more=call.warnings),
    )


async def targets(call: Call, hours: float) -> tuple[list[Wanted], list[Outcome[Service]]]:
    """Every objective; and the ledger of having looked for services where none is configured."""
    configured = call.engine.config.objectives
    if configured:
        return [(name, target_of(call, slo), slo.window) for name, slo in configured.items()], []
    services, outcomes = await call.services()
    metrics = [metric for metric in DEFAULT_METRICS if metric in call.engine.metrics]
    wanted: list[Wanted] = [
        (None, target_of(call, Objective(service=service.name, metric=metric)), hours * 3600)
        for service in services
        for metric in metrics
    ]
    return wanted, outcomes


def window_of(call: Call, seconds: float) -> Window:
    window = period(call.now_ms, call.engine.config.defaults.lookback, hours=seconds / 3600)
    return aligned(window, step_of(window, points=FINE_POINTS))


def before(window: Window) -> Window:
    return Window(window.start_ms - window.duration_ms, window.start_ms)


def both_periods(call: Call, targets: Sequence[Target], window: Window) -> list[SeriesQuery]:
    step_ms = step_of(window, points=FINE_POINTS)
    services = tuple(sorted({target.service for target in targets}))
    metrics = tuple(sorted({target.metric for target in targets}))
    return [SeriesQuery(services, metrics, w, step_ms) for w in (window, before(window))]


def merged(call: Call, outcomes: Sequence[Outcome[Series]], window: Window) -> dict[tuple[str, str], Merged]:
    step_ms = step_of(window, points=FINE_POINTS)
    found = merge(outcomes, call.engine.config.catalog, window, step_ms)
    return {(m.service, m.metric): m for m in found}


def row(
    name: str | None, target: Target, seconds: float, window: Window, now: Merged | None, then: Merged | None
) -> ReportRow:
    judged = judge(target, now, window)
    earlier = judge(target, then, before(window))
    return ReportRow(
        slo=name,
        service=target.service,
        metric=target.metric,
        threshold=target.threshold,
        objective_percentage=target.objective,
        window_hours=rounded(seconds / 3600),
        compliance_percentage=percentage(judged.compliance),
        previous_percentage=percentage(earlier.compliance),
        trend=trend(judged, earlier),
        budget_remaining=finite_or_none(judged.budget.remaining),
        data_coverage=rounded(judged.compliance.coverage),
        status=judged.verdict,
        summary=sentence(target, judged),
    )


def trend(now: Judged, then: Judged) -> float | None:
    if now.compliance.ratio is None or then.compliance.ratio is None:
        return None
    return rounded(100 * (now.compliance.ratio - then.compliance.ratio))
