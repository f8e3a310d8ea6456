"""Loads the enabled plugins one by one and builds the sources. pluggy registers; nothing is asked here."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from importlib.metadata import entry_points
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import pluggy
from pydantic import ValidationError

from telemetry_mcp import hookspecs
from telemetry_mcp.boundary import contain
from telemetry_mcp.catalog import suggest
from telemetry_mcp.config import Config, SourceTable
from telemetry_mcp.errors import ConfigError, Problem
from telemetry_mcp.guard import Guard
from telemetry_mcp.http import http_for
from telemetry_mcp.problem import problems_of
from telemetry_mcp.quota import Quota
from telemetry_mcp.secret import Redactor
from telemetry_mcp.setting import HttpSettings, SourceSettings
from telemetry_mcp.source import Context, Source
from telemetry_mcp.text import clean

GROUP = "telemetry_mcp"


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
    """A source that is not there. `broken` tells one that should be from one that is switched off."""

    name: str
    plugin: str
    broken: bool
    reason: str
    fix: str


@dataclass(frozen=True, slots=True)
class Registry:
    """The sources of one configuration, in its order."""

    instances: tuple[Instance, ...]
    absent: tuple[Absent, ...] = ()

    def __getitem__(self, name: str) -> Instance:
        return next(instance for instance in self.instances if instance.name == name)

    async def close(self) -> None:
        for instance in self.instances:
            with contain():
                await instance.source.close()
            if instance.source.context.http is not None:
                await instance.source.context.http.close()


def load(config: Config) -> Registry:
    """Build every source of `config`.

    A plugin that cannot be imported costs its own source only: it is in `absent`. Everything else that is
    wrong with the file is raised together, as one ConfigError.
    """
    loader = Loader(config)
    registry = Registry(
        instances=tuple(made for table in config.sources if (made := loader.source(table))),
        absent=tuple(loader.absent),
    )
    loader.check_owners()
    if config.problems:
        raise ConfigError(config.problems)
    return registry


class PluginError(Exception):
    """A plugin is there but cannot be used: its text says why."""


class Loader:
    def __init__(self, config: Config) -> None:
        self.config = config
        self.absent: list[Absent] = []
        self.plugins = pluggy.PluginManager(hookspecs.PROJECT)
        self.plugins.add_hookspecs(hookspecs)

    def source(self, table: SourceTable) -> Instance | None:
        plugin = table.values.get("plugin")
        if not isinstance(plugin, str) or not plugin:
            self.report(table, "plugin", "is missing", f"Installed: {', '.join(installed())}")
            return None
        if table.missing and table.optional:
            names = ", ".join(dict.fromkeys(table.missing))
            self.leave_out(table, False, f"{names} not set", f"set {names} to switch it on")
            return None
        found = self.found(table, plugin)
        settings = None
        with contain() as kept:
            settings = self.settings(table, found) if found else None
            return self.instance(table, found, settings) if found and settings else None
        reason = (
            said(kept.error, Redactor(settings)) if settings else f"{type(kept.error).__name__} in its Settings"
        )
        self.leave_out(table, True, f"it cannot be built: {reason}", "repair the plugin")
        return None

    def found(self, table: SourceTable, plugin: str) -> type[Source] | None:
        """The source class that `plugin` names; None, and said why, when there is none."""
        is_file = plugin.partition(":")[0].endswith(".py")
        if not is_file and plugin.partition(":")[0] not in installed():
            hint = f"no plugin is installed under that name{suggest(plugin, installed())}"
            self.report(table, "plugin", f"found {table.raw.get('plugin')!r}", hint)
            return None
        if is_file and not self.file(plugin).is_file():
            self.report(
                table, "plugin", f"found {table.raw.get('plugin')!r}", f"no such file: {self.file(plugin)}"
            )
            return None
        with contain() as kept:
            return self.imported(plugin, is_file)
        what = f"the plugin {plugin} cannot be used: {said(kept.error)}"
        self.leave_out(table, True, what, "repair or reinstall it")
        return None

    def imported(self, plugin: str, is_file: bool) -> type[Source]:
        name, _, wanted = plugin.partition(":")
        registered = self.plugins.get_plugin(name)
        module = registered or (module_of(self.file(plugin)) if is_file else entry(name))
        if registered is None:
            self.register(module, name)
        classes = self.classes(module)
        chosen = [cls for cls in classes if cls.__name__.lower() == wanted.lower()] if wanted else classes
        if len(chosen) != 1:
            names = ", ".join(cls.__name__ for cls in classes) or "none"
            raise PluginError(f"it hands over these sources: {names}; name one, as {name}:NAME")
        return chosen[0]

    def register(self, module: ModuleType, name: str) -> None:
        self.plugins.register(module, name=name)
        try:
            self.plugins.check_pending()
        except pluggy.PluginValidationError:
            self.plugins.unregister(name=name)  # its unknown hook would be found again with every other plugin
            raise

    def classes(self, module: Any) -> list[type[Source]]:
        implementations = [
            impl for impl in self.plugins.hook.telemetry_sources.get_hookimpls() if impl.plugin is module
        ]
        if not implementations:
            raise PluginError("it has no telemetry_sources hook (is @hookimpl above it?)")
        handed = cast("Sequence[type[Source]]", implementations[0].function())
        for cls in handed:
            if not (isinstance(cls, type) and issubclass(cls, Source)):
                raise PluginError(f"telemetry_sources must hand over Source classes, not {cls!r}")
        return list(handed)

    def settings(self, table: SourceTable, source: type[Source]) -> SourceSettings | None:
        file, name = str(self.config.path), f"sources.{table.name}"
        try:
            settings = source.Settings.model_validate(self.with_presets(table, source))
        except ValidationError as error:
            problems = problems_of(error, file, name, source.Settings, table.raw)
            self.config.problems += [problem for problem in problems if not unset(problem, table)]
            return None
        for metric in settings.metrics:
            if metric not in self.config.catalog:
                valid = f"Declare it as [metrics.{metric}]{suggest(metric, self.config.catalog)}"
                self.report(table, f"metrics.{metric}", "is not in the catalog", valid)
        return None if table.missing else settings

    def with_presets(self, table: SourceTable, source: type[Source]) -> Mapping[str, Any]:
        """The table with the metrics of its presets under its own; of two presets, the first named counts."""
        chosen, own = table.values.get("preset", ()), table.values.get("metrics", {})
        if not isinstance(chosen, list) or not isinstance(own, dict):
            return table.values
        metrics: dict[str, Any] = {}
        for preset in reversed(chosen):
            if preset in source.presets:
                metrics.update(source.presets[preset])
            else:
                valid = f"no such preset{suggest(str(preset), source.presets)}"
                self.report(table, "preset", f"found {preset!r}", valid)
        return {**table.values, "metrics": {**metrics, **own}}

    def instance(self, table: SourceTable, cls: type[Source], settings: SourceSettings) -> Instance:
        quota, http = Quota(), None
        if isinstance(settings, HttpSettings):
            http = http_for(settings, cls.headers(settings), quota=quota)
        source = cls(settings, Context(table.name, http=http, quota=quota))
        guard = Guard(
            timeout_s=settings.timeout or self.config.defaults.timeout,
            max_concurrency=settings.max_concurrency,
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

    def file(self, plugin: str) -> Path:
        return self.config.path.parent / plugin.partition(":")[0]

    def report(self, table: SourceTable, key: str, found: str, valid: str) -> None:
        self.config.problems.append(Problem(str(self.config.path), f"sources.{table.name}", key, found, valid))

    def leave_out(self, table: SourceTable, broken: bool, reason: str, fix: str) -> None:
        self.absent.append(Absent(table.name, str(table.values.get("plugin")), broken, reason, fix))


def said(error: Exception | None, redact: Callable[[str], str] = str) -> str:
    return clean(redact(f"{type(error).__name__}: {error}"))


def unset(problem: Problem, table: SourceTable) -> bool:
    """Is it only that a variable is missing, which is reported already? Of the whole table nothing can be said."""
    written = str(table.raw.get(problem.key.partition(".")[0], ""))
    return bool(table.missing) and (not problem.key or any(name in written for name in table.missing))


def installed() -> list[str]:
    """The names of the plugins that are installed, without importing any."""
    return sorted({point.name for point in entry_points(group=GROUP)})


def entry(name: str) -> ModuleType:
    (point, *_) = entry_points(group=GROUP, name=name)
    module: ModuleType = point.load()
    return module


def module_of(path: Path) -> ModuleType:
    """The plugin in a single file. Its module name holds the path's hash: two files may be called alike."""
    name = f"telemetry_mcp_file_{path.stem}_{sha256(str(path.resolve()).encode()).hexdigest()[:8]}"
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise PluginError(f"{path} is not a Python file")
    module = module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
