"""The SLI report: every configured objective, or the metrics' own thresholds where none is configured."""

from __future__ import annotations

from collections import Counter

from telemetry_mcp.analysis.burn import State
from telemetry_mcp.analysis.slo import Verdict
from telemetry_mcp.catalog import Catalog
from telemetry_mcp.errors import QuestionError
from telemetry_mcp.model import Outcome, Service, Slo
from telemetry_mcp.objective.setting import Objective
from telemetry_mcp.question import SloQuery, Window
from telemetry_mcp.server.argument import HOUR_MS
from telemetry_mcp.server.call import Call
from telemetry_mcp.server.compliance import planned
from telemetry_mcp.server.envelope import Answer, ExternalText, Number, Shape, envelope, rounded, span
from telemetry_mcp.server.slo.judgement import Judged, judged
from telemetry_mcp.server.slo.plan import Plan, questions
from telemetry_mcp.server.slo.shape import compliant

DEFAULT_METRICS = ("availability", "error_rate", "latency_p95")
DEFAULT_WINDOW_S = 720 * 3600.0
VENDOR_WINDOW_MS = 30 * 24 * HOUR_MS
VERDICTS: tuple[Verdict, ...] = ("BREACHED", "AT_RISK", "UNKNOWN", "COMPLIANT")
"""The worst first."""


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
    exhaustion: str | None
    data_coverage: Number | None
    status: Verdict
    state: State | None
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
    catalog = call.engine.config.catalog
    objectives, listed = await configured(call)
    asked = [wanted(call, name, objective) for name, objective in objectives]
    plans = [each for each in asked if isinstance(each, Plan)]
    by_key = questions(plans, catalog)
    kept = SloQuery(Window(call.now_ms - VENDOR_WINDOW_MS, call.now_ms))
    *outcomes, vendors = await call.ask_all(*by_key.values(), kept)
    answers = dict(zip(by_key, outcomes, strict=True))

    def rows() -> list[ReportRow]:
        made = [row(judged(each, answers, catalog), catalog) if isinstance(each, Plan) else each for each in asked]
        return sorted(made, key=lambda r: VERDICTS.index(r.status))

    key = ("report", *(each.identity if isinstance(each, Plan) else repr(each) for each in asked))
    found = await call.engine.derivations.aside([outcome for each in outcomes for outcome in each], key, rows)
    counts = Counter(r.status for r in found)
    widest = max((plan.whole.window for plan in plans), key=lambda window: window.duration_ms, default=None)
    return SliReport(
        objectives=found,
        vendor_objectives=[vendor_row(outcome.source, slo) for outcome in vendors for slo in outcome.reply.items],
        compliant=counts["COMPLIANT"],
        at_risk=counts["AT_RISK"],
        breached=counts["BREACHED"],
        unknown=counts["UNKNOWN"],
        window=span(widest) if widest else None,
        **envelope(listed, *outcomes, vendors, more=call.warnings),
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


def wanted(call: Call, name: str | None, objective: Objective) -> Plan | ReportRow:
    """The objective ready to be asked, or its row where it cannot be."""
    try:
        return planned(call, name, objective)
    except QuestionError as error:
        return unasked(name, objective, str(error))


def row(found: Judged, catalog: Catalog) -> ReportRow:
    told = compliant(found, catalog)
    return ReportRow(
        slo=told.slo,
        service=told.service,
        metric=told.metric,
        threshold=told.threshold,
        objective_percentage=told.objective_percentage,
        window_hours=rounded(found.plan.period_ms / HOUR_MS),
        compliance_percentage=told.compliance_percentage,
        previous_percentage=told.previous.compliance_percentage if told.previous else None,
        trend=told.previous.points if told.previous else None,
        budget_remaining=told.error_budget.remaining,
        exhaustion=told.exhaustion,
        data_coverage=told.data_coverage,
        status=told.status,
        state=told.state,
        summary=told.summary,
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
        metric=" / ".join(str(metric) for _, metric in objective.parts()),
        threshold=objective.threshold,
        objective_percentage=objective.objective,
        window_hours=None if objective.calendar else rounded(objective.window / 3600),
        compliance_percentage=None,
        previous_percentage=None,
        trend=None,
        budget_remaining=None,
        exhaustion=None,
        data_coverage=None,
        status="UNKNOWN",
        state="unknown",
        summary=f"Unknown: {reason}.",
    )
