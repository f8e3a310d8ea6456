"""The SLI report: every configured objective, or the metrics' own thresholds where none is configured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from telemetry_mcp.analysis.slo import Verdict
from telemetry_mcp.errors import QuestionError
from telemetry_mcp.merge import Merged, merge
from telemetry_mcp.model import Outcome, Series, Service, Slo
from telemetry_mcp.objective.setting import Objective
from telemetry_mcp.question import SeriesQuery, SloQuery, Window
from telemetry_mcp.server.argument import HOUR_MS, aligned, period, reaches, step_of
from telemetry_mcp.server.call import Call
from telemetry_mcp.server.compliance import FINE_POINTS, Judged, Target, judge, percentage, sentence, target_of
from telemetry_mcp.server.envelope import Answer, ExternalText, Number, Shape, envelope, rounded, span

DEFAULT_METRICS = ("availability", "error_rate", "latency_p95")
DEFAULT_WINDOW_S = 720 * 3600.0
VENDOR_WINDOW_MS = 30 * 24 * HOUR_MS
VERDICTS: tuple[Verdict, ...] = ("BREACHED", "AT_RISK", "UNKNOWN", "COMPLIANT")
"""The worst first."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """An objective that can be asked: what is to hold, over which window, and the period before where the
    look-back goes as far."""

    slo: str | None
    objective: Objective
    target: Target
    window: Window
    before: Window | None


class ReportRow(Shape):
    """`trend` is the compliance now minus that of the period before, in percentage points. An objective that
    cannot be asked as it stands is UNKNOWN, with the reason in `summary`."""

    slo: str | None
    service: str
    metric: str
    threshold: Number | None
    objective_percentage: Number
    window_hours: Number | None
    compliance_percentage: Number | None
    previous_percentage: Number | None
    trend: Number | None
    budget_remaining: Number | None
    data_coverage: Number | None
    status: Verdict
    summary: str


class VendorRow(Shape):
    """An objective that a vendor keeps and judges by itself, as it says so: nothing here is worked out by us.
    `sli_percentage` null, with the state unknown: nobody can know it, which is neither 0 nor 100."""

    source: str
    id: str
    title: ExternalText
    service: ExternalText | None
    objective_percentage: Number | None
    window_hours: Number | None
    sli_percentage: Number | None
    budget_left_percentage: Number | None
    state: str
    reason: ExternalText | None
    url: ExternalText | None


class SliReport(Answer):
    objectives: list[ReportRow]
    vendor_objectives: list[VendorRow]
    compliant: int
    at_risk: int
    breached: int
    unknown: int


async def answer(call: Call) -> SliReport:
    objectives, listed = await configured(call)
    asked = [wanted_of(call, name, objective) for name, objective in objectives]
    wanted = [each for each in asked if isinstance(each, Wanted)]
    questions = [question_of(wanted, window) for window in periods(wanted)]
    kept = SloQuery(Window(call.now_ms - VENDOR_WINDOW_MS, call.now_ms))
    *answers, vendors = await call.ask_all(*questions, kept)
    found = {
        question.window: merged(call, outcomes, question)
        for question, outcomes in zip(questions, answers, strict=True)
    }
    rows = [row(each, found) if isinstance(each, Wanted) else each for each in asked]
    rows.sort(key=lambda r: VERDICTS.index(r.status))
    counts = Counter(r.status for r in rows)
    widest = max((each.window for each in wanted), key=lambda window: window.duration_ms, default=None)
    return SliReport(
        objectives=rows,
        vendor_objectives=[vendor_row(outcome.source, slo) for outcome in vendors for slo in outcome.reply.items],
        compliant=counts["COMPLIANT"],
        at_risk=counts["AT_RISK"],
        breached=counts["BREACHED"],
        unknown=counts["UNKNOWN"],
        window=span(widest) if widest else None,
        **envelope(listed, *answers, vendors, more=call.warnings),
    )


async def configured(call: Call) -> tuple[list[tuple[str | None, Objective]], list[Outcome[Service]]]:
    """Every objective; and the ledger of having looked for services where none is configured."""
    config = call.engine.config
    if config.objectives:
        return list(config.objectives.items()), []
    services, outcomes = await call.services()
    metrics = [metric for metric in DEFAULT_METRICS if metric in call.engine.metrics]
    window_s = min(DEFAULT_WINDOW_S, config.defaults.lookback)
    made = [Objective(service=s.name, metric=m, window=window_s) for s in services for m in metrics]
    return [(None, objective) for objective in made], outcomes


def wanted_of(call: Call, name: str | None, objective: Objective) -> Wanted | ReportRow:
    """The objective ready to be asked, or its row where it cannot be."""
    lookback = call.engine.config.defaults.lookback
    try:
        target = target_of(call, objective)
        window = period(call.now_ms, lookback, hours=objective.window / 3600)
    except QuestionError as error:
        return unasked(name, objective, str(error))
    window = aligned(window, step_of(window, points=FINE_POINTS))
    before = Window(window.start_ms - window.duration_ms, window.start_ms)
    return Wanted(
        name, objective, target, window, before if reaches(before.start_ms, call.now_ms, lookback) else None
    )


def periods(wanted: Sequence[Wanted]) -> list[Window]:
    return list(dict.fromkeys(window for each in wanted for window in (each.window, each.before) if window))


def question_of(wanted: Sequence[Wanted], window: Window) -> SeriesQuery:
    """All that is wanted of one period, in one question."""
    targets = [each.target for each in wanted if window in (each.window, each.before)]
    services = tuple(sorted({target.service for target in targets}))
    metrics = tuple(sorted({target.metric for target in targets}))
    return SeriesQuery(services, metrics, window, step_of(window, points=FINE_POINTS))


Found = dict[tuple[str, str], Merged]


def merged(call: Call, outcomes: Sequence[Outcome[Series]], question: SeriesQuery) -> Found:
    found = merge(outcomes, call.engine.config.catalog, question.window, question.step_ms)
    return {(m.service, m.metric): m for m in found}


def row(wanted: Wanted, found: dict[Window, Found]) -> ReportRow:
    target, objective = wanted.target, wanted.objective
    judged = judge(target, found[wanted.window].get((target.service, target.metric)), wanted.window)
    earlier = None
    if wanted.before:
        earlier = judge(target, found[wanted.before].get((target.service, target.metric)), wanted.before)
    return ReportRow(
        slo=wanted.slo,
        service=target.service,
        metric=target.metric,
        threshold=target.threshold,
        objective_percentage=target.objective,
        window_hours=rounded(objective.window / 3600),
        compliance_percentage=percentage(judged.compliance),
        previous_percentage=percentage(earlier.compliance) if earlier else None,
        trend=trend(judged, earlier) if earlier else None,
        budget_remaining=rounded(judged.budget.remaining),
        data_coverage=rounded(judged.compliance.coverage),
        status=judged.verdict,
        summary=sentence(target, judged),
    )


def vendor_row(source: str, slo: Slo) -> VendorRow:
    return VendorRow(
        source=source,
        id=slo.id,
        title=slo.title,
        service=slo.service,
        objective_percentage=rounded(slo.objective, 6),
        window_hours=rounded(slo.window_ms / HOUR_MS),
        sli_percentage=rounded(slo.sli, 6) if slo.sli is not None else None,
        budget_left_percentage=rounded(slo.budget_left),
        state=slo.state,
        reason=slo.reason,
        url=slo.url,
    )


def unasked(name: str | None, objective: Objective, reason: str) -> ReportRow:
    return ReportRow(
        slo=name,
        service=objective.service,
        metric=str(objective.metric),
        threshold=objective.threshold,
        objective_percentage=objective.objective,
        window_hours=rounded(objective.window / 3600),
        compliance_percentage=None,
        previous_percentage=None,
        trend=None,
        budget_remaining=None,
        data_coverage=None,
        status="UNKNOWN",
        summary=f"Unknown: {reason}.",
    )


def trend(now: Judged, then: Judged) -> float | None:
    if now.compliance.ratio is None or then.compliance.ratio is None:
        return None
    return rounded(100 * (now.compliance.ratio - then.compliance.ratio))
