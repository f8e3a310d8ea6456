"""`telemetry-mcp doctor`: is every source reachable, are its credentials and permissions good, do clocks agree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Literal

import anyio

from telemetry_mcp.config import Config
from telemetry_mcp.engine import Engine, opened
from telemetry_mcp.fanout import Deadline
from telemetry_mcp.model import Check, CheckQuery, Outcome
from telemetry_mcp.registry import Absent, load

DEADLINE_S = 20.0


@dataclass(frozen=True, slots=True)
class Examined:
    """One source. `fault` is true where somebody must act: a source that is switched off is none."""

    source: str
    plugin: str
    status: Literal["ok", "off", "fault"]
    latency_ms: float | None
    checks: tuple[Check, ...]

    @property
    def fault(self) -> bool:
        return self.status == "fault"


def examine(config: Config, tell: Callable[[list[Examined]], None]) -> None:
    """All sources, asked at the same moment: `tell` gets them as soon as they are there, before all is closed.

    Raises ConfigError when the configuration cannot be used.
    """

    async def run() -> None:
        registry = load(config)
        async with opened(config, registry=registry) as engine:
            tell(await examined(engine))

    anyio.run(run)


async def examined(engine: Engine) -> list[Examined]:
    outcomes = await engine.fanout.ask(CheckQuery(), Deadline(DEADLINE_S), fresh=True)
    names = {instance.name for instance in engine.registry.instances}
    found = [of_source(outcome) for outcome in outcomes if outcome.source in names]
    return found + [of_absent(absent) for absent in engine.registry.absent]


def of_source(outcome: Outcome[Check]) -> Examined:
    """Without an answer there is one check, that of reaching the source; a plugin without checks passes."""
    checks = tuple(outcome.reply.items)
    if outcome.failure is not None:
        ok = outcome.status == "skipped"
        detail = "the plugin has no checks of its own" if ok else outcome.failure.message
        checks = (Check("reachable", ok, detail, "" if ok else outcome.failure.hint),)
    elif outcome.reply.partial:
        checks += (Check("complete", False, outcome.reply.partial),)
    well = all(check.ok for check in checks)
    latency = round(outcome.latency_ms, 1) if outcome.latency_ms is not None else None
    return Examined(outcome.source, outcome.plugin, "ok" if well else "fault", latency, checks)


def of_absent(absent: Absent) -> Examined:
    check = Check("built" if absent.broken else "switched on", False, absent.reason, absent.fix)
    return Examined(absent.name, absent.plugin, "fault" if absent.broken else "off", None, (check,))


def document(config: Config, found: list[Examined]) -> dict[str, object]:
    """The findings as one JSON document."""
    return {
        "config": str(config.path),
        "ok": not any(source.fault for source in found),
        "sources": [asdict(source) for source in found],
    }
