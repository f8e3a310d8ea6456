"""Which of a source's metrics return data now: each is asked for its newest values, through the usual fan-out."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from anyio import CapacityLimiter, create_task_group

from telemetry_mcp.config import Defaults, PluginTable
from telemetry_mcp.engine import Engine
from telemetry_mcp.fanout import Deadline
from telemetry_mcp.model import Check, Failure, Outcome, Series
from telemetry_mcp.outcome import has_numbers
from telemetry_mcp.question import Question, SeriesQuery, Window
from telemetry_mcp.registry import Instance
from telemetry_mcp.terminal.finding import NUMBER, Measured
from telemetry_mcp.terminal.number import number_of
from telemetry_mcp.terminal.remedy import ready, setting

T = TypeVar("T")

FRESH_MS = 600_000
STEP_MS = 60_000
NOT_HERE = ("bad_query", "not_found")
"""How a backend says that it does not have what a preset asks for."""


async def put(engine: Engine, instance: Instance, question: Question[T], deadline: Deadline) -> Outcome[T]:
    """The outcome of one question. That doctor itself waited no longer is told apart from a source's time-out."""
    (outcome,) = await engine.fanout.ask(question, deadline, only=[instance.name], fresh=True)
    if outcome.failure is None or outcome.failure.kind != "timeout" or deadline.left_s > 0:
        return outcome
    message = f"no answer within the {deadline.seconds:g} s that doctor waits"
    hint = f"is it overloaded? A call gives up after {engine.config.defaults.deadline:g} s already"
    return replace(outcome, failure=Failure("doctor", message, f"{hint} ([defaults] deadline)"))


async def newest(
    engine: Engine, instance: Instance, metrics: Sequence[str], deadline: Deadline, limiter: CapacityLimiter
) -> dict[str, Outcome[Series]]:
    """Each metric asked for its newest values, as many at once as `limiter` lets through; in the given order."""
    found: dict[str, Outcome[Series]] = {}

    async def one(metric: str) -> None:
        async with limiter:
            window = Window(engine.clock_ms() - FRESH_MS, engine.clock_ms())
            question = SeriesQuery((), (metric,), window, STEP_MS, latest=True)
            found[metric] = await put(engine, instance, question, deadline)

    async with create_task_group() as tasks:
        for metric in metrics:
            tasks.start_soon(one, metric)
    return {metric: found[metric] for metric in metrics}


def asked_of(instance: Instance) -> Sequence[str]:
    """The metrics that it offers; those with a query of their own where it offers any."""
    offered = instance.source.settings.metrics if instance.offered is None else instance.offered
    return [metric for metric in offered if instance.offers(metric)]


def caused(outcome: Outcome[T], outcomes: Iterable[Outcome[Any]]) -> Outcome[T]:
    """With what really failed in place of the breaker's words, which doctor's own questions have opened."""
    if outcome.failure is None or outcome.failure.kind != "breaker_open":
        return outcome
    causes = (other.failure for other in outcomes if other.failure and other.failure.kind != "breaker_open")
    return replace(outcome, failure=next(causes, outcome.failure))


def alike(outcomes: Sequence[Outcome[Series]]) -> bool:
    """Whether all metrics fail by one and the same error: then it is not the queries that are wrong."""
    errors = {(o.failure.kind, NUMBER.sub("#", o.failure.message)) if o.failure else None for o in outcomes}
    if len(errors) > 1 or None in errors:
        return False
    return len(outcomes) > 1 or any(kind != "bad_query" for kind, _ in filter(None, errors))


def judged(
    outcome: Outcome[Series], metric: str, instance: Instance, table: PluginTable, engine: Engine, *, same: bool
) -> Measured:
    """`same`: every other metric of the source failed by this error too."""
    reply, preset = outcome.reply, origin(metric, instance, table)
    services = len({series.service for series in reply.items if has_numbers(series)})
    latency = None if outcome.latency_ms is None else round(outcome.latency_ms, 1)
    if services:
        said = "; ".join(filter(None, [number_of(services, "service"), *reply.warnings, reply.partial]))
        return Measured(metric, "data", services, latency, said, preset)
    failure = outcome.failure or (Failure("partial", reply.partial, "") if reply.partial else None)
    if preset is not None and failure is None:
        said = f"no data ({preset}): not on this backend, or too young for a rate"
        return Measured(metric, "no_data", 0, latency, said, preset)
    if failure is not None:
        if preset is not None and failure.kind in NOT_HERE and not (same and failure.kind == "not_found"):
            said = f"not on this backend ({preset}): {failure.message}"
            return Measured(metric, "no_data", 0, latency, said, preset)
        fix = mended(failure, metric, instance, table, engine.config.defaults, same=same)
        return Measured(metric, "failed", 0, latency, failure.message, preset, fix)
    said = "; ".join([f"no data in the last {FRESH_MS // 60_000} minutes", *reply.warnings])
    query = reply.queries[0] if reply.queries else queried(metric, instance)
    return Measured(metric, "no_data", 0, latency, said, preset, tested(instance, query, engine))


def barren(
    metrics: Sequence[Measured], outcomes: Mapping[str, Outcome[Series]], instance: Instance, engine: Engine
) -> list[Check]:
    """A warning about a source of which no metric has data, where a preset's would else be passed over."""
    if any(metric.status != "no_data" for metric in metrics) or all(m.level != "absent" for m in metrics):
        return []
    source, first = instance.source, metrics[0].metric
    presets = [name for name in source.settings.preset if name in source.presets]
    fits = f"do the presets {', '.join(presets)} fit this backend" if presets else ""
    label = next((key for key in type(source.settings).model_fields if key.startswith("service")), "")
    names = f"does {label} say where the services' names are" if label else ""
    doubt = ", and ".join(filter(None, (fits, names))) or "is it the right backend"
    queries = outcomes[first].reply.queries
    paste = tested(instance, queries[0] if queries else queried(first, instance), engine).partition("\n")[2]
    fix = f"{doubt}? See what the first query finds:\n{paste}" if paste else f"{doubt}?"
    return [Check("data", False, "no metric of this source has any", fix, optional=True)]


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


def mended(
    failure: Failure, metric: str, instance: Instance, table: PluginTable, defaults: Defaults, *, same: bool
) -> str:
    """How a metric that cannot be asked is put right: by its query where only the query is what is wrong."""
    if failure.kind == "timeout":
        return slower(instance, defaults)
    own = table.raw.get("metrics", {})
    if same or failure.kind not in NOT_HERE or metric not in own:
        return ready(failure.hint, instance.name, instance.source.settings)
    return f"correct the query\n{setting(table.name, f'metrics.{metric}', own[metric], failure.message)}"


def slower(instance: Instance, defaults: Defaults) -> str:
    """More time, as far as it helps: a call waits no longer than its deadline, whatever the source may take."""
    timeout, deadline = instance.guard.timeout_s, defaults.deadline
    if timeout * 1.5 < deadline:
        longer = f"{min(2 * timeout, 0.9 * deadline):g}s"
        return f"is it overloaded? Else give it longer\n{setting(instance.name, 'timeout', longer)}"
    call = min(2 * deadline, defaults.max_deadline)
    longest = min(2 * timeout, 0.8 * call)
    if longest <= timeout:
        return f"is it overloaded? A call gives up after {call:g} s, so that a longer timeout would not help"
    sentence = f"is it overloaded? Else give it longer, and the calls too, which end after {deadline:g} s"
    lines = setting(instance.name, "timeout", f"{longest:g}s")
    return f'{sentence}\n{lines}\n[defaults]\ndeadline = "{call:g}s"'
