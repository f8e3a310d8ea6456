"""Finds plugins by their entry points or files, imports them one at a time, and takes the classes that their hooks
hand over. pluggy registers; nothing is asked here."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import EntryPoint, entry_points
from importlib.util import module_from_spec, spec_from_file_location
from inspect import iscoroutinefunction, signature
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import pluggy

from telemetry_mcp import hookspecs
from telemetry_mcp.audit import AuditSink
from telemetry_mcp.detector import Detector
from telemetry_mcp.log import TRACED
from telemetry_mcp.source import METHODS, Source

LOG = logging.getLogger(__name__)

GROUP = "telemetry_mcp"
PACKAGE = "telemetry-mcp"

TRACE = logging.getLogger(TRACED)
"""At DEBUG it says every hook call and what came of it: `telemetry-mcp --trace ...`."""


@dataclass(frozen=True, slots=True)
class Door:
    """One way for a plugin to take part: `hook` hands over classes of `kind`, the tables `table` use them."""

    table: str
    hook: str
    kind: type[Source] | type[Detector] | type[AuditSink]


SOURCES = Door("sources", "telemetry_sources", Source)
DETECTORS = Door("detectors", "telemetry_detectors", Detector)
AUDIT = Door("audit", "telemetry_audit_sinks", AuditSink)
DOORS = (SOURCES, DETECTORS, AUDIT)


class PluginError(Exception):
    """A plugin is there but cannot be used: its text says why."""


class Plugins:
    """The plugins that were asked for so far. `folder` is where paths to plugin files start."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pluggy = pluggy.PluginManager(hookspecs.PROJECT)
        self.pluggy.add_hookspecs(hookspecs)
        if TRACE.isEnabledFor(logging.DEBUG):
            self.pluggy.trace.root.setwriter(lambda text: TRACE.debug(text.rstrip()))
            self.pluggy.enable_tracing()

    def chosen(self, plugin: str, door: Door) -> type[Any]:
        """The class that `plugin` ("acme", "./acme.py", "./acme.py:Zabbix") means at this door.

        Raises PluginError, and whatever the plugin's own code raises while it is imported.
        """
        name, _, wanted = plugin.partition(":")
        classes = self.classes(name, door)
        chosen = [cls for cls in classes if cls.__name__.lower() == wanted.lower()] if wanted else classes
        if len(chosen) != 1:
            names = ", ".join(cls.__name__ for cls in classes) or "none"
            raise PluginError(f"it hands over these {door.table}: {names}; name one, as {name}:NAME")
        return chosen[0]

    def classes(self, name: str, door: Door) -> list[type[Any]]:
        """What the plugin hands over at this door. PluginError when it does not have it."""
        module = self.module(name)
        hooks = [impl for impl in getattr(self.pluggy.hook, door.hook).get_hookimpls() if impl.plugin is module]
        if not hooks:
            raise PluginError(f"it has no {door.hook} hook (is @hookimpl above it?)")
        TRACE.debug("the plugin %s is asked for its %s", name, door.table)
        others = [plugin for plugin in self.pluggy.get_plugins() if plugin is not module]
        # Only this one is called: pluggy would end the call for all with the first that raises.
        (handed,) = self.pluggy.subset_hook_caller(door.hook, others)() or [None]
        for cls in cast("Sequence[Any]", handed):
            if not (isinstance(cls, type) and issubclass(cls, door.kind)):
                raise PluginError(f"{door.hook} must hand over {door.kind.__name__} classes, not {cls!r}")
            if issubclass(cls, Source):
                check_methods(cls)
        return list(cast("Sequence[type[Any]]", handed))

    def doors(self, name: str) -> list[Door]:
        """The doors that the plugin has a hook for."""
        module = self.module(name)
        callers = {caller.name for caller in self.pluggy.get_hookcallers(module) or ()}
        return [door for door in DOORS if door.hook in callers]

    def module(self, name: str) -> ModuleType:
        registered = self.pluggy.get_plugin(name)
        if registered is not None:
            return cast("ModuleType", registered)
        module = module_of(self.folder / name) if is_file(name) else entry(name)
        self.pluggy.register(module, name=name)
        try:
            self.pluggy.check_pending()
        except pluggy.PluginValidationError:
            self.pluggy.unregister(name=name)  # its unknown hook would be found again with every other plugin
            raise
        return module


def check_methods(source: type[Source]) -> None:
    """PluginError for a capability that could never be asked: not async, or with other parameters."""
    for method in (METHODS[capability] for capability in source.capabilities):
        function = getattr(source, method)
        asked = (None,) if method == "check" else (None, None)
        try:
            signature(function).bind(*asked)
        except TypeError:
            wanted = "self" if method == "check" else "self, query"
            raise PluginError(f"{source.__name__}.{method} must take ({wanted})") from None
        if not iscoroutinefunction(function):
            raise PluginError(f"{source.__name__}.{method} must be `async def`")


def is_file(plugin: str) -> bool:
    """Whether `plugin` is a path to a file and not the name of an entry point."""
    return plugin.partition(":")[0].endswith(".py")


def installed() -> list[str]:
    """The names of the plugins that are installed, without importing any."""
    return sorted({point.name for point in entry_points(group=GROUP)})


def points(name: str) -> tuple[EntryPoint, list[EntryPoint]]:
    """The entry point that `name` means, and those of other packages that claim the same name.

    Ours come first: nobody takes a built-in plugin's place. PluginError when two strangers claim a name.
    """
    found = {(package_of(point), point.value): point for point in entry_points(group=GROUP, name=name)}
    first, *others = sorted(found.values(), key=lambda point: package_of(point) != PACKAGE)
    if others and package_of(first) != PACKAGE:
        names = " and ".join(sorted({package_of(point) for point in found.values()}))
        raise PluginError(f"several packages bring a plugin of this name: {names}; uninstall all but one")
    return first, others


def package_of(point: EntryPoint) -> str:
    return point.dist.name if point.dist else "?"


def entry(name: str) -> ModuleType:
    point, others = points(name)
    for other in others:
        LOG.warning("the plugin %s of %s is not used: %s has that name", name, package_of(other), PACKAGE)
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
