"""Which of a source's metrics return data now: each is asked for its newest values, through the usual fan-out."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from anyio import CapacityLimiter, create_task_group

from telemetry_mcp.config import PluginTable
from telemetry_mcp.engine import Engine
from telemetry_mcp.fanout import Deadline
from telemetry_mcp.model import Failure, Outcome, Series
from telemetry_mcp.outcome import has_numbers
from telemetry_mcp.question import SeriesQuery, Window
from telemetry_mcp.registry import Instance
from telemetry_mcp.terminal.finding import Measured
from telemetry_mcp.terminal.number import number_of
from telemetry_mcp.terminal.remedy import setting

FRESH_MS = 600_000
STEP_MS = 60_000
NOT_HERE = ("bad_query", "not_found")
"""How a backend says that it does not have what a preset asks for."""


async def measured(
    engine: Engine, instance: Instance, table: PluginTable, deadline: Deadline, limiter: CapacityLimiter
) -> list[Measured]:
    """All metrics that the source is known to have, in its order, as many at once as `limiter` lets through."""
    names = asked_of(instance)
    found: dict[str, Measured] = {}

    async def one(metric: str) -> None:
        async with limiter:
            window = Window(engine.clock_ms() - FRESH_MS, engine.clock_ms())
            question = SeriesQuery((), (metric,), window, STEP_MS, latest=True)
            (outcome,) = await engine.fanout.ask(question, deadline, only=[instance.name], fresh=True)
        found[metric] = judged(outcome, metric, instance, table, engine)

    async with create_task_group() as tasks:
        for metric in names:
            tasks.start_soon(one, metric)
    return [found[metric] for metric in names]


def asked_of(instance: Instance) -> Sequence[str]:
    """The metrics that it offers; those with a query of their own where it offers any."""
    offered = instance.source.settings.metrics if instance.offered is None else instance.offered
    return [metric for metric in offered if instance.offers(metric)]


def judged(
    outcome: Outcome[Series], metric: str, instance: Instance, table: PluginTable, engine: Engine
) -> Measured:
    reply, preset = outcome.reply, origin(metric, instance, table)
    services = len({series.service for series in reply.items if has_numbers(series)})
    latency = None if outcome.latency_ms is None else round(outcome.latency_ms, 1)
    if services:
        said = "; ".join(filter(None, [number_of(services, "service"), *reply.warnings, reply.partial]))
        return Measured(metric, "data", services, latency, said, preset)
    failure = outcome.failure or (Failure("partial", reply.partial, "") if reply.partial else None)
    if preset is not None and (failure is None or failure.kind in NOT_HERE):
        why = f": {failure.message}" if failure else ""
        return Measured(metric, "no_data", 0, latency, f"not on this backend ({preset}){why}", preset)
    if failure is not None:
        fix = mended(failure, metric, instance, table)
        return Measured(metric, "failed", 0, latency, failure.message, preset, fix)
    said = "; ".join([f"no data in the last {FRESH_MS // 60_000} minutes", *reply.warnings])
    query = reply.queries[0] if reply.queries else queried(metric, instance)
    return Measured(metric, "no_data", 0, latency, said, preset, tested(instance, query, engine))


def origin(metric: str, instance: Instance, table: PluginTable) -> str | None:
    """The preset that the metric's query is from; None for one that stands in the user's own table."""
    own = table.raw.get("metrics")
    if isinstance(own, dict) and metric in own:
        return None
    source = instance.source
    chosen = (name for name in source.settings.preset if metric in source.presets.get(name, {}))
    return f"preset {name}" if (name := next(chosen, None)) else "built into the plugin"


def queried(metric: str, instance: Instance) -> str:
    settings = instance.source.settings
    return instance.redact(settings.metrics[metric].query) if metric in settings.metrics else ""


def tested(instance: Instance, query: str, engine: Engine) -> str:
    """How to find out why a query brings nothing."""
    source = instance.source
    if not query:
        return "look at it in the backend itself"
    if source.settings.allow_native and "native" in instance.capabilities:
        words = ("telemetry-mcp", "call", "query_source", f"source={instance.name}", f"query={query}")
        command = shlex.join([*words, "--config", str(engine.config.path)])
        return f"the query runs but finds nothing; try it, and correct it in plugins.toml:\n{command}"
    language = source.native_language or "query"
    return f"the query runs but finds nothing; try this {language} in the backend's own console:\n{query}"


def mended(failure: Failure, metric: str, instance: Instance, table: PluginTable) -> str:
    """How a metric that cannot be asked is put right: by its query where the query is what is wrong."""
    if failure.kind == "timeout":
        return slower(instance)
    if failure.kind not in NOT_HERE:
        return failure.hint
    return f"correct the query\n{setting(table.name, f'metrics.{metric}', table.raw['metrics'][metric])}"


def slower(instance: Instance) -> str:
    longer = f"{2 * instance.guard.timeout_s:g}s"
    return f"is it overloaded? Else give it longer\n{setting(instance.name, 'timeout', longer)}"
