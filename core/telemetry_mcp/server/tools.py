"""The tools: one thin function each. Names, parameters and field names are what clients rely on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal

import orjson
from mcp.server.mcpserver import Context, MCPServer
from mcp.types import CallToolResult, TextContent, ToolAnnotations
from pydantic import BaseModel, BeforeValidator, Field

from telemetry_mcp.access.visit import VISIT
from telemetry_mcp.analysis.anomaly import Options, Period, Sought
from telemetry_mcp.engine import Engine
from telemetry_mcp.errors import QuestionError
from telemetry_mcp.fanout import Deadline, Progress
from telemetry_mcp.model import Outcome
from telemetry_mcp.objective.setting import DEFAULT_OBJECTIVE
from telemetry_mcp.server import (
    anomalies,
    changes,
    compliance,
    current,
    history,
    incidents,
    native,
    overview,
    standing,
)
from telemetry_mcp.server.argument import LONGEST_TEXT, positive
from telemetry_mcp.server.call import Call
from telemetry_mcp.server.envelope import Answer
from telemetry_mcp.server.investigation import answer as investigation
from telemetry_mcp.server.investigation.shape import Investigation
from telemetry_mcp.server.schema import slim
from telemetry_mcp.view import view

MOST_METRICS = 50

READ_ONLY = ToolAnnotations(read_only_hint=True)


def written(moment: object) -> object:
    """Epoch seconds may come as a number."""
    return str(moment) if isinstance(moment, int | float) else moment


Ctx = Context[Engine]
Text = Annotated[str, Field(max_length=LONGEST_TEXT)]
Service = Annotated[Text, Field(description="exact name, from list_services", min_length=1)]
Time = Annotated[Text | None, BeforeValidator(written), Field(description="or instead of hours")]
MaxTokens = Annotated[int | None, Field(ge=100)]
End = Annotated[Text | None, BeforeValidator(written)]


async def answered(
    ctx: Ctx, deadline_s: float | None, fresh: bool, ask: Callable[[Call], Awaitable[BaseModel]]
) -> CallToolResult:
    """Run one question and put its answer on the wire: structured, and as compact JSON text.

    A question that cannot be asked, and one that no source answered, are tool errors; the latter still carries
    its ledger.
    """
    engine = ctx.request_context.lifespan_context
    try:
        visit = VISIT.get()
        until = deadline(engine, deadline_s, visit.since)
        own = await view(engine, visit.roles, visit.caller, until)
        return result(await ask(Call(own, until, fresh, progress_to(ctx))))
    except QuestionError as error:
        return CallToolResult(is_error=True, content=[TextContent(type="text", text=str(error))])


def deadline(engine: Engine, seconds: float | None, since: float | None) -> Deadline:
    defaults = engine.config.defaults
    wished = defaults.deadline if seconds is None else positive(seconds, "deadline_s")
    return Deadline.of_call(min(wished, defaults.max_deadline), since)


def progress_to(ctx: Ctx) -> Progress:
    """Progress that only grows, whatever number of questions a call asks: of several nobody knows the total."""
    done = 0

    async def tell(outcome: Outcome[Any], answered: int, asked: int) -> None:
        nonlocal done
        done += 1
        took = f" in {outcome.latency_ms:.0f} ms" if outcome.latency_ms else ""
        total = asked if answered == done else None
        await ctx.report_progress(done, total, f"{outcome.source}: {outcome.status}{took}")

    return tell


def result(answer: BaseModel) -> CallToolResult:
    fields = answer.model_dump(mode="json")
    text = TextContent(type="text", text=orjson.dumps(fields).decode())
    return CallToolResult(content=[text], structured_content=fields, is_error=nothing_known(answer))


def nothing_known(answer: BaseModel) -> bool:
    """Sources were asked and every one of them failed."""
    cover = answer.coverage if isinstance(answer, Answer) else None
    return cover is not None and cover.answered == 0 and bool(cover.asked)


async def list_services(
    ctx: Ctx,
    query: Annotated[Text | None, Field(description="part of the name")] = None,
    environment: Text | None = None,
    team: Text | None = None,
    deadline_s: float | None = None,
    fresh: bool = False,
) -> Annotated[CallToolResult, overview.Services]:
    """Every service of all sources: cpu, memory, error rate, status, team, open incidents. Start here."""
    return await answered(ctx, deadline_s, fresh, lambda call: overview.answer(call, query, environment, team))


async def get_current_metrics(
    ctx: Ctx,
    service: Service,
    metrics: Annotated[list[Text] | None, Field(description="default: all", max_length=MOST_METRICS)] = None,
    deadline_s: float | None = None,
    fresh: bool = False,
) -> Annotated[CallToolResult, current.CurrentMetrics]:
    """The newest value of each metric of one service, with status, age and what other sources say."""
    return await answered(ctx, deadline_s, fresh, lambda call: current.answer(call, service, metrics))


async def query_historical_metrics(
    ctx: Ctx,
    service: Service,
    metric_type: Annotated[Text, Field(description="cpu, memory, error_rate, latency_p95, ...")],
    hours: float = 24,
    start: Time = None,
    end: End = None,
    step: Text | None = None,
    max_points: Annotated[int | None, Field(ge=10, le=2000)] = None,
    compare_to: Annotated[Text | None, Field(description='"previous", or so long before: "1d", "7d"')] = None,
    per_source: Annotated[bool, Field(description="each source's points too")] = False,
    max_tokens: MaxTokens = None,
    deadline_s: float | None = None,
    fresh: bool = False,
) -> Annotated[CallToolResult, history.History]:
    """One metric of one service over time: statistics, trend, merged series (spikes kept), each source's share."""
    return await answered(
        ctx,
        deadline_s,
        fresh,
        lambda call: history.answer(
            call,
            service,
            metric_type,
            hours=hours,
            start=start,
            end=end,
            step=step,
            max_points=max_points,
            compare_to=compare_to,
            per_source=per_source,
            max_tokens=max_tokens,
        ),
    )


async def check_sli_compliance(
    ctx: Ctx,
    service: Annotated[Text | None, Field(description="with metric; or name an slo")] = None,
    metric: Text | None = None,
    threshold: Annotated[float | None, Field(description="default: the metric's warning limit")] = None,
    time_window_hours: float = 24,
    objective: Annotated[
        float | None, Field(description=f"percent of the time, default {DEFAULT_OBJECTIVE}")
    ] = None,
    comparison: Annotated[
        Literal["<=", "<", ">=", ">"] | None, Field(description="how a good value compares with the threshold")
    ] = None,
    slo: Annotated[Text | None, Field(description="a configured SLO instead")] = None,
    deadline_s: float | None = None,
    fresh: bool = False,
) -> Annotated[CallToolResult, compliance.Compliant]:
    """Share of the time a metric kept its threshold: error budget, burn rates, violations, data coverage."""
    return await answered(
        ctx,
        deadline_s,
        fresh,
        lambda call: compliance.answer(
            call, service, metric, threshold, time_window_hours, objective, comparison, slo
        ),
    )


async def detect_anomalies(
    ctx: Ctx,
    service: Annotated[Text, Field(description='"*" for all')] = "*",
    metric: Annotated[Text, Field(description='"*" for all')] = "*",
    sensitivity: Annotated[float, Field(description="smaller finds more")] = 3.0,
    hours: float = 24,
    direction: Sought = "both",
    min_relative: Annotated[float, Field(description="least share off the expected")] = 0,
    period: Period = "auto",
    guard: Annotated[bool, Field(description="habitual excursions are ordinary")] = True,
    polled: Annotated[bool, Field(description="judge by earlier points alone")] = False,
    detector: Annotated[Text | None, Field(description="a configured one")] = None,
    deadline_s: float | None = None,
    fresh: bool = False,
) -> Annotated[CallToolResult, anomalies.Anomalies]:
    """Unusual stretches, strongest first, services ranked, and what could not be judged."""
    options = Options(
        sensitivity=sensitivity,
        direction=direction,
        min_relative=min_relative,
        period=period,
        guard=guard,
        polled=polled,
    )
    return await answered(
        ctx, deadline_s, fresh, lambda call: anomalies.answer(call, service, metric, hours, options, detector)
    )


async def list_incidents(
    ctx: Ctx,
    service: Text | None = None,
    status: incidents.IncidentStatus = "open",
    since: Annotated[Text, Field(description="a time, or a duration such as 24h")] = "7d",
    deadline_s: float | None = None,
    fresh: bool = False,
) -> Annotated[CallToolResult, incidents.Incidents]:
    """Incidents of all sources that have them, newest first."""
    return await answered(ctx, deadline_s, fresh, lambda call: incidents.answer(call, service, status, since))


async def list_changes(
    ctx: Ctx,
    service: Text | None = None,
    hours: float = 24,
    deadline_s: float | None = None,
    fresh: bool = False,
) -> Annotated[CallToolResult, changes.Changes]:
    """Deployments, flags and other changes, newest first."""
    return await answered(ctx, deadline_s, fresh, lambda call: changes.answer(call, service, hours))


async def investigate_incident(
    ctx: Ctx,
    incident_id: Annotated[Text | None, Field(description="from list_incidents; or service and start")] = None,
    service: Text | None = None,
    start: Time = None,
    symptom: Annotated[Text | None, Field(description="latency, error, availability, ... or a metric")] = None,
    lookback: Annotated[Text | None, Field(description="baseline before it, default 2h")] = None,
    guard: Annotated[
        Text | None, Field(description="how long it may have begun before the page, default 15m")
    ] = None,
    deadline_s: float | None = None,
    fresh: bool = False,
) -> Annotated[CallToolResult, Investigation]:
    """From a page to the likely cause: suspects with evidence, timeline, changes, on call, what was not seen."""
    return await answered(
        ctx,
        deadline_s,
        fresh,
        lambda call: investigation.answer(call, incident_id, service, start, symptom, lookback, guard),
    )


async def list_sources(ctx: Ctx) -> Annotated[CallToolResult, standing.Sources]:
    """How each configured source stands: capabilities, metrics, breaker, back-off, and why one is missing."""

    async def ask(call: Call) -> BaseModel:
        return standing.answer(call)

    return await answered(ctx, None, False, ask)


async def query_source(
    ctx: Ctx,
    source: Text,
    query: Annotated[str, Field(description="read-only, in the source's own language", max_length=8000)],
    hours: float = 1,
    start: Time = None,
    end: End = None,
    step: Text | None = None,
    max_tokens: MaxTokens = None,
    deadline_s: float | None = None,
    fresh: bool = False,
) -> Annotated[CallToolResult, native.Native]:
    """One native query (PromQL, NRQL, ...) on one source that allows it."""
    return await answered(
        ctx,
        deadline_s,
        fresh,
        lambda call: native.answer(call, source, query, hours, start, end, step, max_tokens),
    )


TOOLS: tuple[tuple[str, Callable[..., Awaitable[CallToolResult]]], ...] = (
    ("List services", list_services),
    ("Current metrics", get_current_metrics),
    ("Metric history", query_historical_metrics),
    ("SLI compliance", check_sli_compliance),
    ("Detect anomalies", detect_anomalies),
    ("List incidents", list_incidents),
    ("List changes", list_changes),
    ("Investigate an incident", investigate_incident),
    ("List sources", list_sources),
    ("Query a source", query_source),
)


def register(server: MCPServer[Engine]) -> None:
    for title, function in TOOLS:
        server.add_tool(function, title=title, annotations=READ_ONLY, structured_output=True)
        tool = server._tool_manager.get_tool(function.__name__)
        if tool is None:
            raise RuntimeError(f"{function.__name__} was not registered")
        # The SDK has no public seam for this: pydantic's titles and nulls would cost a third of the tool list.
        tool.parameters = slim(tool.parameters, nullable=False)
        tool.fn_metadata.output_schema = slim(tool.fn_metadata.output_schema or {}, described=False)
