"""`telemetry-mcp doctor`: can every source be reached and trusted, does it let us in, what has it got."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace

import anyio
from anyio import CapacityLimiter, create_task_group

from telemetry_mcp.catalog import suggest
from telemetry_mcp.config import Config, Defaults, PluginTable
from telemetry_mcp.engine import Engine, opened
from telemetry_mcp.fanout import Deadline
from telemetry_mcp.model import Check, Failure, Outcome, Series
from telemetry_mcp.question import CheckQuery
from telemetry_mcp.registry import Absent, Instance, sound
from telemetry_mcp.terminal.finding import NONE_ON, Examined, Finding, Report, lost
from telemetry_mcp.terminal.measure import (
    NOT_HERE,
    alike,
    asked_of,
    barren,
    caused,
    judged,
    newest,
    put,
    slower,
)
from telemetry_mcp.terminal.number import number_of
from telemetry_mcp.terminal.probe import network
from telemetry_mcp.terminal.remedy import is_setting, of_problem, ready
from telemetry_mcp.terminal.target import CommandError

DEADLINE_S = 20.0
AT_ONCE = 8
"""Questions to one source under way at the same time."""

EMPTY = "there is nothing to ask"
EXAMPLE = ("[sources.prometheus]", 'plugin = "prometheus"', 'url = "http://127.0.0.1:9090"')

Say = Callable[[str, str], None]
"""Called with a source and what is being done with it."""
Display = Callable[[Sequence[str]], AbstractContextManager[Say]]
"""Shows the progress of the named sources while its block lasts."""


def silent(sources: Sequence[str]) -> AbstractContextManager[Say]:
    return nullcontext(lambda source, doing: None)


def examine(
    config: Config, tell: Callable[[Report], None], *, only: Collection[str] = (), display: Display = silent
) -> None:
    """All sources, or `only` those, at the same moment: `tell` gets the report before all is closed.

    What is wrong with plugins.toml is in the report; the sources that it does not concern are examined all the
    same. Raises CommandError for a name in `only` that is no source.
    """
    names = [table.name for table in config.sources]
    for name in only:
        if name not in names:
            raise CommandError(f"--source {name}: no source is called that{suggest(name, names)}")

    async def run() -> None:
        registry = sound(config)
        async with opened(config, registry=registry) as engine:
            with display([name for name in names if not only or name in only]) as say:
                found = await examined(engine, only, say)
            tell(found)

    anyio.run(run)


async def examined(engine: Engine, only: Collection[str], say: Say) -> Report:
    config, deadline = engine.config, Deadline(DEADLINE_S)
    found: dict[str, Examined] = {}

    async def one(table: PluginTable) -> None:
        examination = Examination(engine, table, deadline, lambda doing: say(table.name, doing))
        found[table.name] = done = await examination.run()
        say(table.name, done.status)

    tables = [table for table in config.sources if not only or table.name in only]
    async with create_task_group() as tasks:
        for table in tables:
            tasks.start_soon(one, table)
    others = {table.path for table in config.sources if table not in tables}
    problems = tuple(problem for problem in config.problems if problem.table not in others)
    return Report(
        config.path,
        tuple(found[table.name] for table in tables),
        problems,
        (*apart(engine), *none_on(tables, found)),
    )


@dataclass(frozen=True, slots=True)
class Examination:
    """Of one source: its table, the way to it, then the plugin's own checks and every metric."""

    engine: Engine
    table: PluginTable
    deadline: Deadline
    say: Callable[[str], None]

    async def run(self) -> Examined:
        wrong = [
            of_problem(problem, self.engine.config)
            for problem in self.engine.config.problems
            if problem.table == self.table.path
        ]
        registry = self.engine.registry
        for instance in registry.instances:
            if instance.name == self.table.name:
                return await self.present(instance, wrong)
        plugin = str(self.table.values.get("plugin", ""))
        absent = [one for one in registry.absent if one.name == self.table.name]
        off = not wrong and not any(one.broken for one in absent)
        return Examined(self.table.name, plugin, (*wrong, *map(of_absent, absent)), off=off)

    async def present(self, instance: Instance, wrong: list[Check]) -> Examined:
        self.say("connects")
        way = await network(instance.name, instance.source.settings, self.deadline)
        checks = [
            *(wrong or [Check("configuration", True, described(instance))]),
            *(clear(c, instance) for c in way),
        ]
        if not all(check.ok or check.optional for check in way):
            return Examined(instance.name, instance.plugin, tuple(checks))
        return await self.asked(instance, checks)

    async def asked(self, instance: Instance, checks: list[Check]) -> Examined:
        """The plugin's own checks and the metrics; a source that names none is asked for one all the same."""
        engine, defaults, names = self.engine, self.engine.config.defaults, asked_of(instance)
        tried = [] if names or not instance.offers(metric := probed(engine)) else [metric]
        own, found = await self.answers(instance, [*names, *tried])
        every = [own, *found.values()]
        outcomes = {metric: caused(outcome, every) for metric, outcome in found.items()}
        checks += of_outcome(caused(own, every), instance, defaults)
        checks += [of_probe(outcomes[metric], metric, instance, defaults) for metric in tried]
        same = alike(list(outcomes.values()))
        metrics = [judged(outcomes[m], m, instance, self.table, engine, same=same) for m in names]
        checks += barren(metrics, outcomes, instance, engine)
        latency = None if own.latency_ms is None else round(own.latency_ms, 1)
        return Examined(instance.name, instance.plugin, tuple(checks), tuple(metrics), latency)

    async def answers(
        self, instance: Instance, metrics: Sequence[str]
    ) -> tuple[Outcome[Check], dict[str, Outcome[Series]]]:
        """Both asked side by side."""
        self.say("asks for permissions and metrics")
        limiter = CapacityLimiter(min(AT_ONCE, instance.guard.max_concurrency))
        own: list[Outcome[Check]] = []

        async def check() -> None:
            async with limiter:
                own.append(await put(self.engine, instance, CheckQuery(), self.deadline))

        async with create_task_group() as tasks:
            tasks.start_soon(check)
            found = await newest(self.engine, instance, metrics, self.deadline, limiter)
        return own[0], found


def probed(engine: Engine) -> str:
    """What a source that answers for any metric is asked, to see that it answers."""
    return "cpu" if "cpu" in engine.config.catalog else next(iter(engine.config.catalog))


def described(instance: Instance) -> str:
    metrics = len(instance.source.settings.metrics)
    abilities = [capability for capability in instance.capabilities if capability != "check"]
    return ", ".join([f"{number_of(metrics, 'metric')} configured", *abilities])


def clear(check: Check, instance: Instance) -> Check:
    """The check without a credential, which an address may hold."""
    return replace(check, detail=instance.redact(check.detail), fix=instance.redact(check.fix))


def of_outcome(outcome: Outcome[Check], instance: Instance, defaults: Defaults) -> list[Check]:
    """The plugin's checks. One that answers none has failed; one without checks of its own passes."""
    failure = outcome.failure
    if failure is None:
        partial = outcome.reply.partial
        checks = [pasteable(check, instance) for check in outcome.reply.items]
        return [*checks, *([Check("complete", False, partial)] if partial else [])]
    if outcome.status == "skipped":
        return [Check("checks", True, "the plugin has none of its own")]
    return [Check("checks", False, failure.message, fixed(failure, instance, defaults))]


def of_probe(outcome: Outcome[Series], metric: str, instance: Instance, defaults: Defaults) -> Check:
    """A source that names no metric need not have this one, but it must answer."""
    failure = outcome.failure
    if failure is None:
        services = number_of(len({series.service for series in outcome.reply.items}), "service")
        said = outcome.reply.partial or (services if outcome.reply.items else "no data, which need not be wrong")
        return Check("series", True, f"asked for {metric}: {said}")
    fix = fixed(failure, instance, defaults)
    return Check("series", False, f"asked for {metric}: {failure.message}", fix, optional=failure.kind in NOT_HERE)


def fixed(failure: Failure, instance: Instance, defaults: Defaults) -> str:
    slow = failure.kind == "timeout"
    return slower(instance, defaults) if slow else ready(failure.hint, instance.name, instance.source.settings)


def pasteable(check: Check, instance: Instance) -> Check:
    """The check with its fix ready to be pasted. What a line of the file would put right is not merely absent."""
    fix = ready(check.fix, instance.name, instance.source.settings)
    if check.ok or not (check.optional and is_setting(fix)):
        return replace(check, fix=fix)
    return replace(check, detail=lost(check), fix=fix, enables="")


def of_absent(absent: Absent) -> Check:
    return Check("built" if absent.broken else "switched on", False, absent.reason, absent.fix)


def none_on(tables: Sequence[PluginTable], found: Mapping[str, Examined]) -> list[Finding]:
    """That nothing can be asked at all, with what switches a source on."""
    if not all(source.off for source in found.values()):
        return []
    unset = dict.fromkeys(name for table in tables for name in table.missing if not name.startswith("file:"))
    exports = [f'export {name}="..."' for name in unset]
    sentence = "set the variables of a source to switch it on" if exports else "write a source, such as"
    return [Finding("", NONE_ON, "fault", EMPTY, "\n".join([sentence, *(exports or EXAMPLE)]))]


def apart(engine: Engine) -> list[Finding]:
    """What is wrong but belongs to no source: other tables of the file, detectors and audit sinks."""
    config = engine.config
    sources = {table.path for table in config.sources}
    found = []
    for problem in config.problems:
        if problem.table not in sources:
            check = of_problem(problem, config)
            found.append(Finding("", f"[{problem.table}]", "fault", check.detail, check.fix))
    broken = [absent for absent in engine.registry.unusable if absent.broken]
    return found + [Finding("", absent.name, "fault", absent.reason, absent.fix) for absent in broken]


def document(report: Report) -> dict[str, object]:
    """The report as one JSON document."""
    return {
        "config": str(report.path),
        "ok": report.code == 0,
        "sources": [
            {
                "source": source.source,
                "plugin": source.plugin,
                "status": source.status,
                "latency_ms": source.latency_ms,
                "checks": [asdict(check) for check in source.checks],
                "metrics": [asdict(metric) for metric in source.metrics],
            }
            for source in report.sources
        ],
        "problems": [
            {"table": problem.table, "key": problem.key, "found": problem.found, "valid": problem.valid}
            for problem in report.problems
        ],
        "fixes": [asdict(finding) for finding in report.fixes],
    }
