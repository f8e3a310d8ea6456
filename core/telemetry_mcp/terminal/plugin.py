"""`telemetry-mcp plugins list`: what is installed, and which configured sources are on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import entry_points
from typing import Any, Literal

import anyio

from telemetry_mcp.config import Config
from telemetry_mcp.plugin import GROUP
from telemetry_mcp.registry import load


@dataclass(frozen=True, slots=True)
class Plugin:
    """An installed plugin: `name` is what plugins.toml says, `package` what was installed."""

    name: str
    package: str | None
    version: str | None


@dataclass(frozen=True, slots=True)
class Configured:
    """A source of plugins.toml; `reason` and `fix` say why one is not on."""

    source: str
    plugin: str
    status: Literal["on", "off", "broken"]
    reason: str | None = None
    fix: str | None = None


def installed() -> list[Plugin]:
    points = sorted(entry_points(group=GROUP), key=lambda point: point.name)
    return [
        Plugin(point.name, point.dist.name if point.dist else None, point.dist.version if point.dist else None)
        for point in points
    ]


def configured(config: Config, tell: Callable[[list[Configured]], None]) -> None:
    """`tell` gets every source in the order of the file, before anything is closed. Nothing is connected to."""

    async def look() -> None:
        registry = load(config)
        try:
            rows = {i.name: Configured(i.name, i.plugin, "on") for i in registry.instances}
            for a in registry.absent:
                rows[a.name] = Configured(a.name, a.plugin, "broken" if a.broken else "off", a.reason, a.fix)
            tell([rows[table.name] for table in config.sources])
        finally:
            await registry.close()

    anyio.run(look)


def document(sources: list[Configured] | None) -> dict[str, list[dict[str, Any]] | None]:
    """Both lists as one JSON document; without a configuration `sources` is null."""
    return {
        "plugins": [asdict(plugin) for plugin in installed()],
        "sources": None if sources is None else [asdict(source) for source in sources],
    }
