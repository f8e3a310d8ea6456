"""`telemetry-mcp plugins list`: which plugins there are, what each offers, and what plugins.toml makes of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, Literal

import anyio

from telemetry_mcp.boundary import contain
from telemetry_mcp.config import Config, PluginTable
from telemetry_mcp.plugin import Plugins, installed, is_file, package_of, points
from telemetry_mcp.registry import Registry, load, said
from telemetry_mcp.source import Source

Status = Literal["on", "off", "broken"]


@dataclass(frozen=True, slots=True)
class Configured:
    """A table of plugins.toml that a plugin serves; `reason` and `fix` say why one is not on."""

    source: str
    kind: str
    plugin: str
    status: Status
    capabilities: tuple[str, ...] = ()
    reason: str | None = None
    fix: str | None = None


@dataclass(frozen=True, slots=True)
class Plugin:
    """A plugin: `name` is what plugins.toml says, `package` what was installed, None for a file beside it.

    `offers` is what it hands over: "Prometheus: series, services, ...". `reason` says why it is not on.
    """

    name: str
    package: str | None
    version: str | None
    status: Status
    offers: tuple[str, ...]
    reason: str | None = None


def configured(config: Config, tell: Callable[[list[Configured]], None]) -> None:
    """`tell` gets every table in the order of the file, before anything is closed. Nothing is connected to."""

    async def look() -> None:
        registry = load(config)
        try:
            tables = [*config.sources, *config.detectors, *config.audit]
            tell([row(table, registry) for table in tables])
        finally:
            await registry.close()

    anyio.run(look)


def row(table: PluginTable, registry: Registry) -> Configured:
    plugin = str(table.values.get("plugin"))
    gone = registry.absent if table.kind == "sources" else registry.unusable
    for absent in gone:
        if absent.name == table.name and absent.plugin == plugin:
            status: Status = "broken" if absent.broken else "off"
            return Configured(table.name, table.kind, plugin, status, (), absent.reason, absent.fix)
    capabilities = registry[table.name].capabilities if table.kind == "sources" else ()
    return Configured(table.name, table.kind, plugin, "on", capabilities)


def listed(folder: Path, sources: Sequence[Configured]) -> list[Plugin]:
    """Every installed plugin, then the files that plugins.toml names. Each is imported, to see what it offers."""
    plugins = Plugins(folder)
    used = {source.plugin.partition(":")[0]: source.status for source in reversed(sources)}
    rows = [row for name in installed() for row in of_name(plugins, name, used.get(name))]
    return [*rows, *(looked_at(plugins, name, None, used[name]) for name in used if is_file(name))]


def of_name(plugins: Plugins, name: str, used: Status | None) -> list[Plugin]:
    """The plugin of an entry point's name; and those of other packages that claim it too, which nobody gets."""
    with contain() as kept:
        point, others = points(name)
        taken = f"not used: {package_of(point)} has a plugin of this name"
        rows = [Plugin(name, *named(other), "broken", (), taken) for other in others]
        return [looked_at(plugins, name, point, used), *rows]
    return [Plugin(name, None, None, "broken", (), said(kept.error))]


def looked_at(plugins: Plugins, name: str, point: EntryPoint | None, used: Status | None) -> Plugin:
    status: Status = used or "off"
    reason = None if used else "no table of plugins.toml names it"
    offers: tuple[str, ...] = ()
    with contain() as kept:
        offers = tuple(offered(cls) for door in plugins.doors(name) for cls in plugins.classes(name, door))
    if kept.error is not None:
        status, reason = "broken", said(kept.error)
    return Plugin(name, *named(point), status, offers, reason)


def named(point: EntryPoint | None) -> tuple[str | None, str | None]:
    """Package and version."""
    return (point.dist.name, point.dist.version) if point and point.dist else (None, None)


def offered(cls: type[Any]) -> str:
    can = ", ".join(cls.capabilities) if issubclass(cls, Source) else cls.__mro__[-2].__name__
    return f"{cls.__name__}: {can or 'nothing'}"


def document(folder: Path, sources: list[Configured] | None) -> dict[str, list[dict[str, Any]] | None]:
    """Both lists as one JSON document; without a configuration `sources` is null."""
    return {
        "plugins": [asdict(plugin) for plugin in listed(folder, sources or ())],
        "sources": None if sources is None else [asdict(source) for source in sources],
    }
