"""Builds what plugins.toml switches on: sources, detectors and audit sinks. Nothing is asked here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from telemetry_mcp.audit import AuditSink
from telemetry_mcp.boundary import contain, words
from telemetry_mcp.catalog import suggest
from telemetry_mcp.config import Config, PluginTable
from telemetry_mcp.detector import Detector
from telemetry_mcp.errors import ConfigError, Problem
from telemetry_mcp.guard import Guard
from telemetry_mcp.http import http_for
from telemetry_mcp.plugin import AUDIT, DETECTORS, SOURCES, Door, Plugins, installed, is_file
from telemetry_mcp.problem import problems_of
from telemetry_mcp.quota import Quota
from telemetry_mcp.secret import Redactor
from telemetry_mcp.setting import FOLDER, HttpSettings, PluginSettings, SourceSettings
from telemetry_mcp.shared.link import unusable
from telemetry_mcp.source import Context, Source
from telemetry_mcp.text import clean

if TYPE_CHECKING:
    from limits.aio.storage import Storage

    from telemetry_mcp.allowance import Allowance

P = TypeVar("P", Detector, AuditSink)
S = TypeVar("S", bound=PluginSettings)


@dataclass(frozen=True, slots=True)
class Instance:
    """A source that is on: what answers, what stands before it, and what must not leave it."""

    name: str
    plugin: str
    source: Source
    guard: Guard
    redact: Redactor
    offered: tuple[str, ...] | None = field(init=False)
    """The metrics that it said it has when it was built; None: any."""

    def __post_init__(self) -> None:
        metrics = self.source.metrics()
        object.__setattr__(self, "offered", None if metrics is None else tuple(metrics))

    @property
    def capabilities(self) -> tuple[str, ...]:
        return self.source.capabilities

    def offers(self, metric: str) -> bool:
        """Whether it can be asked for a time series of `metric`."""
        return "series" in self.capabilities and (self.offered is None or metric in self.offered)


@dataclass(frozen=True, slots=True)
class Absent:
    """What is not there. `broken` tells one that should be from one that is switched off."""

    name: str
    plugin: str
    broken: bool
    reason: str
    fix: str


@dataclass(frozen=True, slots=True)
class Registry:
    """The sources of one configuration, in its order, and what else its plugins brought.

    `absent` are sources, `unusable` detectors and audit sinks.
    """

    instances: tuple[Instance, ...]
    absent: tuple[Absent, ...] = ()
    detectors: Mapping[str, Detector] = field(default_factory=dict)
    sinks: Mapping[str, AuditSink] = field(default_factory=dict)
    unusable: tuple[Absent, ...] = ()

    def having(self, capability: str) -> list[str]:
        """The names of the sources with this capability."""
        return [instance.name for instance in self.instances if capability in instance.capabilities]

    @property
    def broken(self) -> tuple[Absent, ...]:
        """The sources that are switched on and could not be built: they have failed whatever is asked."""
        return tuple(each for each in self.absent if each.broken)

    def share(self, storage: Storage | None, up: Callable[[], bool]) -> None:
        """Count the sources' quotas in a storage (of the library `limits`) that other instances count in, too; by
        themselves while it is not `up`."""
        for instance in self.instances:
            if instance.guard.allowance is not None:
                instance.guard.allowance.share(storage, up)

    def __getitem__(self, name: str) -> Instance:
        return next(instance for instance in self.instances if instance.name == name)

    async def close(self) -> None:
        for instance in self.instances:
            with contain():
                await instance.source.close()
            if instance.source.context.http is not None:
                await instance.source.context.http.close()
        for sink in self.sinks.values():
            with contain():
                await sink.close()


def load(config: Config) -> Registry:
    """Build everything that `config` switches on.

    A plugin that cannot be imported costs its own source only: it is in `absent`. Everything else that is
    wrong with the file is raised together, as one ConfigError.
    """
    registry = sound(config)
    if config.problems:
        raise ConfigError(config.problems)
    return registry


def sound(config: Config) -> Registry:
    """What can be built of `config`; what is wrong with the rest is added to its problems."""
    loader = Loader(config)
    instances = tuple(made for table in config.sources if (made := loader.source(table)))
    absent = tuple(loader.absent)
    loader.absent.clear()
    registry = Registry(
        instances=instances,
        absent=absent,
        detectors={t.name: one for t in config.detectors if (one := loader.made(t, DETECTORS, Detector))},
        sinks={t.name: sink for t in config.audit if (sink := loader.made(t, AUDIT, AuditSink))},
        unusable=tuple(loader.absent),
    )
    loader.check_owners()
    if problem := unusable(config.redis, str(config.path)):
        config.problems.append(problem)
    return registry


class Loader:
    def __init__(self, config: Config) -> None:
        self.config = config
        self.absent: list[Absent] = []
        self.plugins = Plugins(config.path.parent)

    def source(self, table: PluginTable) -> Instance | None:
        found = self.found(table, SOURCES)
        settings = None
        with contain() as kept:
            settings = self.settings(table, found) if found else None
            return self.instance(table, found, settings) if found and settings else None
        reason = (
            said(kept.error, Redactor(settings)) if settings else f"{type(kept.error).__name__} in its Settings"
        )
        self.leave_out(table, True, f"it cannot be built: {reason}", "repair the plugin")
        return None

    def made(self, table: PluginTable, door: Door, kind: type[P]) -> P | None:
        """The detector or audit sink of a table; None, and said why, when there is none."""
        found = self.found(table, door)
        settings = None
        with contain() as kept:
            settings = self.validated(table, found.Settings, table.values) if found else None
            made = found(settings) if found and settings and not table.missing else None
            return made if isinstance(made, kind) else None
        self.leave_out(
            table, True, f"it cannot be built: {said(kept.error, Redactor(settings))}", "repair the plugin"
        )
        return None

    def found(self, table: PluginTable, door: Door) -> type[Any] | None:
        """The class that the table's plugin hands over; None, and said why, when there is none."""
        plugin = table.values.get("plugin")
        if not isinstance(plugin, str) or not plugin:
            self.report(table, "plugin", "is missing", f"Installed: {', '.join(installed())}")
            return None
        if table.missing and table.optional:
            names = ", ".join(dict.fromkeys(table.missing))
            self.leave_out(table, False, f"{names} not set", f"set {names} to switch it on")
            return None
        name, written = plugin.partition(":")[0], f"found {table.raw.get('plugin')!r}"
        if is_file(plugin) and not (self.plugins.folder / name).is_file():
            self.report(table, "plugin", written, f"no such file: {self.plugins.folder / name}")
            return None
        if not is_file(plugin) and name not in installed():
            hint = f"no plugin is installed under that name{suggest(plugin, installed())}"
            self.report(table, "plugin", written, hint)
            return None
        with contain() as kept:
            return self.plugins.chosen(plugin, door)
        what = f"the plugin {plugin} cannot be used: {said(kept.error)}"
        self.leave_out(table, True, what, "repair or reinstall it")
        return None

    def settings(self, table: PluginTable, source: type[Source]) -> SourceSettings | None:
        settings = self.validated(table, source.Settings, self.with_presets(table, source))
        if settings is None:
            return None
        for metric in settings.metrics:
            if metric not in self.config.catalog:
                valid = f"Declare it as [metrics.{metric}]{suggest(metric, self.config.catalog)}"
                self.report(table, f"metrics.{metric}", "is not in the catalog", valid)
        return None if table.missing else settings

    def validated(self, table: PluginTable, model: type[S], values: Mapping[str, Any]) -> S | None:
        try:
            return model.model_validate(values, context={FOLDER: self.plugins.folder})
        except ValidationError as error:
            problems = problems_of(error, str(self.config.path), table.path, model, table.raw)
            self.config.problems += [problem for problem in problems if not unset(problem, table)]
            return None

    def with_presets(self, table: PluginTable, source: type[Source]) -> Mapping[str, Any]:
        """The table with the metrics of its presets under its own, and with what objectives ask besides; of two
        presets, the first named counts."""
        own = table.values.get("metrics", {})
        chosen = table.values.get("preset", [] if own else [*source.default_presets])
        if not isinstance(chosen, list) or not isinstance(own, dict):
            return table.values
        metrics: dict[str, Any] = {}
        for preset in reversed(chosen):
            if preset in source.presets:
                metrics.update(source.presets[preset])
            else:
                valid = f"no such preset{suggest(str(preset), source.presets)}"
                self.report(table, "preset", f"found {preset!r}", valid)
        if table.queries and source.metrics is Source.metrics and not (metrics or own):
            valid = "Name its metrics: with an objective's query alone it would be asked for nothing else"
            self.report(table, "metrics", "is missing", valid)
        return {**table.values, "preset": chosen, "metrics": {**metrics, **own, **table.queries}}

    def instance(self, table: PluginTable, cls: type[Source], settings: SourceSettings) -> Instance:
        quota, http = Quota(), None
        if isinstance(settings, HttpSettings):
            http = http_for(settings, cls.headers(settings), quota=quota)
        source = cls(settings, Context(table.name, http=http, quota=quota))
        guard = Guard(
            timeout_s=settings.timeout or self.config.defaults.timeout,
            max_concurrency=settings.max_concurrency,
            allowance=allowance_of(table.name, settings),
        )
        return Instance(table.name, settings.plugin, source, guard, Redactor(settings))

    def check_owners(self) -> None:
        names = [table.name for table in self.config.sources]
        for name, metric in self.config.catalog.items():
            if metric.owner is not None and metric.owner not in names:
                problem = f"It must name a source{suggest(metric.owner, names)}"
                self.config.problems.append(
                    Problem(str(self.config.path), f"metrics.{name}", "owner", f"found {metric.owner!r}", problem)
                )

    def report(self, table: PluginTable, key: str, found: str, valid: str) -> None:
        self.config.problems.append(Problem(str(self.config.path), table.path, key, found, valid))

    def leave_out(self, table: PluginTable, broken: bool, reason: str, fix: str) -> None:
        self.absent.append(Absent(table.name, str(table.values.get("plugin")), broken, reason, fix))


def allowance_of(name: str, settings: SourceSettings) -> Allowance | None:
    if settings.rate is None:
        return None
    # What it counts with takes long to import, and most configurations count nothing.
    from telemetry_mcp.allowance import Allowance

    return Allowance(name, settings.rate, settings.incident_share)


def said(error: BaseException | None, redact: Callable[[str], str] = str) -> str:
    return clean(redact(f"{type(error).__name__}: {words(error)}"))


def unset(problem: Problem, table: PluginTable) -> bool:
    """Is it only that a variable is missing, which is reported already? Of the whole table nothing can be said."""
    written = str(table.raw.get(problem.key.partition(".")[0], ""))
    return bool(table.missing) and (not problem.key or any(name in written for name in table.missing))
