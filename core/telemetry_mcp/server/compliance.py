"""check_sli_compliance: how an objective stands, configured or made up on the spot."""

from __future__ import annotations

from dataclasses import replace

from telemetry_mcp.analysis.sli import Comparison
from telemetry_mcp.analysis.slo import objective_ppm
from telemetry_mcp.catalog import Catalog, echo, suggest
from telemetry_mcp.errors import QuestionError
from telemetry_mcp.objective.setting import DEFAULT_OBJECTIVE, Objective
from telemetry_mcp.server.argument import finite, period, positive
from telemetry_mcp.server.call import Call
from telemetry_mcp.server.envelope import envelope
from telemetry_mcp.server.slo.judgement import judged
from telemetry_mcp.server.slo.plan import Plan, plan_of, questions
from telemetry_mcp.server.slo.shape import Compliant, compliant


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
    if slo is not None and (threshold, objective, comparison) != (None, None, None):
        raise QuestionError("a configured slo has its own threshold, objective and comparison: leave them out")
    config = call.engine.config
    if slo is not None:
        wanted = objective_named(call, slo)
    else:
        wanted = ad_hoc(call, service, metric, threshold, hours, objective, comparison)
    plan = planned(call, slo, wanted)
    if wanted.service and all(plan.shown(metric) == metric for metric in plan.metrics):
        # A query of the objective's own is asked as it stands: its file may name the service differently.
        await call.service(wanted.service)
    asked = questions([plan], config.catalog)
    outcomes = await call.ask_all(*asked.values())
    answers = dict(zip(asked, outcomes, strict=True))
    found = await call.engine.derivations.aside(
        [outcome for each in outcomes for outcome in each],
        ("judged", plan.identity),
        lambda: judged(plan, answers, config.catalog),
    )
    found = replace(found, plan=plan)
    return compliant(found, config.catalog).model_copy(update=envelope(*outcomes, more=call.warnings))


def objective_named(call: Call, name: str) -> Objective:
    objectives = call.engine.config.objectives
    if name not in objectives:
        raise QuestionError(f"no SLO is called {echo(name)}{suggest(name, objectives)}")
    return objectives[name]


def ad_hoc(
    call: Call,
    service: str | None,
    metric: str | None,
    threshold: float | None,
    hours: float,
    objective: float | None,
    comparison: Comparison | None,
) -> Objective:
    if not service or not metric:
        raise QuestionError("name a service and a metric, or a configured slo")
    wanted = DEFAULT_OBJECTIVE if objective is None else objective
    try:
        objective_ppm(wanted)
    except ValueError as error:
        raise QuestionError(f"objective={wanted}: {error}") from None
    window = period(call.now_ms, call.engine.config.defaults.lookback, hours=positive(hours, "time_window_hours"))
    return Objective.model_construct(
        service=service,
        metric=call.metric(metric),
        threshold=None if threshold is None else finite(threshold, "threshold"),
        comparison=comparison,
        objective=wanted,
        window=window.duration_ms / 1000,
    )


def planned(call: Call, name: str | None, objective: Objective) -> Plan:
    """The plan of an objective that can be asked; QuestionError says why another one cannot."""
    config = call.engine.config
    plan = plan_of(name, objective, call.now_ms, config.defaults.lookback, config.objectives)
    for leaf in plan.leaves():
        for metric in leaf.metrics:
            if config.catalog[metric].hidden:
                offered(call, leaf, metric)
            else:
                call.metric(metric)
        if leaf.objective.kind == "threshold" and leaf.objective.threshold is None:
            bounded(config.catalog, str(leaf.objective.metric))
    if objective.calendar is None:
        period(call.now_ms, config.defaults.lookback, hours=objective.window / 3600)
    return plan


def bounded(catalog: Catalog, metric: str) -> None:
    if catalog[metric].warning is None:
        raise QuestionError(f"{metric} has no threshold of its own; give one")


def offered(call: Call, plan: Plan, metric: str) -> None:
    """QuestionError when none of the sources that an objective names can be asked."""
    there = [i.name for i in call.engine.registry.instances if i.offers(metric)]
    if not there:
        names = " or ".join(plan.objective.sources) or "a source"
        raise QuestionError(f"{plan.name} is asked of {names}, which is not there; see list_sources")
