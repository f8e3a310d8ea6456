"""The resources, and the completion of their arguments."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import orjson
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ResourceError
from mcp.types import Completion, CompletionArgument, CompletionContext, PromptReference, ResourceTemplateReference
from pydantic import BaseModel

from telemetry_mcp.access.visit import VISIT
from telemetry_mcp.catalog import echo
from telemetry_mcp.engine import Engine
from telemetry_mcp.errors import QuestionError
from telemetry_mcp.fanout import Deadline
from telemetry_mcp.question import IncidentQuery, Window
from telemetry_mcp.server import history, report, standing
from telemetry_mcp.server.argument import HOUR_MS, LONGEST_TEXT
from telemetry_mcp.server.call import Call
from telemetry_mcp.server.envelope import Answer, Number, Shape, envelope
from telemetry_mcp.server.join import joined
from telemetry_mcp.server.prompts import ARGUMENTS
from telemetry_mcp.view import view

JSON = "application/json"
OF_METRIC = "telemetry://services/{service}/metrics/{metric}{?hours}"
MOST_COMPLETIONS = 100
RECENT_INCIDENTS_MS = 24 * HOUR_MS
"""An incident whose id is completed was open within this time."""


class CatalogRow(Shape):
    name: str
    key: str
    unit: str
    warning: Number | None
    critical: Number | None
    bad: str
    sources: list[str]


class CatalogAnswer(Answer):
    metrics: list[CatalogRow]
    services: list[str]


def register(server: MCPServer[Engine], engine: Callable[[], Engine]) -> None:
    """`engine` gives the running one: the SDK hands a context to resource templates only."""

    async def call() -> Call:
        visit = VISIT.get()
        until = Deadline.of_call(engine().config.defaults.deadline, visit.since)
        return Call(await view(engine(), visit.roles, visit.caller, until), until)

    @server.resource("telemetry://sli-report", title="SLI report", mime_type=JSON)
    async def sli_report() -> str:
        """Every objective over its window, with the trend against the period before."""
        return await written(report.answer(await call()))

    @server.resource("telemetry://sources", title="Sources", mime_type=JSON)
    async def sources() -> str:
        """How every configured source stands."""
        return compact(standing.answer(await call()))

    @server.resource("telemetry://catalog", title="Catalog", mime_type=JSON)
    async def catalog() -> str:
        """The normalized metrics, which sources have them, and the services."""
        return await written(catalogued(await call()))

    @server.resource(OF_METRIC, title="Metric of a service", mime_type=JSON)
    async def metric(service: str, metric: str, ctx: Context, hours: str = "1") -> str:
        """One metric of one service over the last hours: statistics, merged series, provenance."""
        if len(service) > LONGEST_TEXT:
            raise ResourceError(f"the service's name is longer than {LONGEST_TEXT} characters")
        return await written(history.answer(await call(), service, metric, hours=number(hours)))

    async def complete(
        ref: PromptReference | ResourceTemplateReference,
        argument: CompletionArgument,
        context: CompletionContext | None,
    ) -> Completion | None:
        return await completed(await call(), argument) if takes(ref, argument.name) else None

    server.completion()(complete)  # type: ignore[no-untyped-call]


def number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ResourceError(f"hours={echo(text)} is not a number") from None


async def written(answer: Awaitable[BaseModel]) -> str:
    try:
        return compact(await answer)
    except QuestionError as error:
        raise ResourceError(str(error)) from error


def compact(answer: BaseModel) -> str:
    return orjson.dumps(answer.model_dump(mode="json")).decode()


async def catalogued(call: Call) -> CatalogAnswer:
    services, outcomes = await call.services()
    specs = call.engine.config.catalog
    return CatalogAnswer(
        metrics=[
            CatalogRow(
                name=name,
                key=specs.key(name),
                unit=specs[name].unit,
                warning=specs[name].warning,
                critical=specs[name].critical,
                bad=specs[name].bad,
                sources=offering(call.engine, name),
            )
            for name in call.engine.metrics
        ],
        services=[service.name for service in services],
        **envelope(outcomes),
    )


def offering(engine: Engine, metric: str) -> list[str]:
    return [instance.name for instance in engine.registry.instances if instance.offers(metric)]


def takes(ref: PromptReference | ResourceTemplateReference, argument: str) -> bool:
    """Whether what is completed has that argument: by another one's right nobody is told names."""
    if isinstance(ref, PromptReference):
        return argument in ARGUMENTS.get(ref.name, ())
    return ref.uri == OF_METRIC and argument in ("service", "metric", "source")


async def completed(call: Call, argument: CompletionArgument) -> Completion | None:
    """Names that begin with, then names that contain, what has been typed."""
    match argument.name:
        case "service":
            names = [service.name for service in (await call.services())[0]]
        case "metric" | "metric_type":
            names = list(call.engine.metrics)
        case "source":
            names = [instance.name for instance in call.engine.registry.instances]
        case "incident_id":
            window = Window(call.now_ms - RECENT_INCIDENTS_MS, call.now_ms)
            incidents = joined(await call.ask(IncidentQuery(window)), call.engine.registry.having("on_call"))
            names = [each.incident.id for each in incidents]
        case _:
            return None
    typed = argument.value.lower()
    found = sorted((n for n in names if typed in n.lower()), key=lambda n: (not n.lower().startswith(typed), n))
    return Completion(values=found[:MOST_COMPLETIONS], total=len(found), has_more=len(found) > MOST_COMPLETIONS)
