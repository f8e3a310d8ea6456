"""What a command runs over: the user's plugins.toml, or the embedded estate with faults on request."""

from __future__ import annotations

import gc
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args
from urllib.parse import urlsplit

from mcp.server import MCPServer

from telemetry_mcp.catalog import suggest
from telemetry_mcp.config import ENV_PATH, Config, locate, read
from telemetry_mcp.engine import Engine, opened
from telemetry_mcp.errors import ConfigError, Problem, TelemetryError
from telemetry_mcp.registry import Registry, load
from telemetry_mcp.server.app import build
from telemetry_mcp.server.state import sealing
from telemetry_mcp.source import now_ms

if TYPE_CHECKING:
    from telemetry_mcp.demo.emulator import Emulators
    from telemetry_mcp.server.metric import Metrics

SEED = 7
T = TypeVar("T")


class CommandError(TelemetryError):
    """The command cannot be carried out as it was given: one sentence, and the exit code."""

    def __init__(self, message: str, code: int = 2) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Target:
    """`faults` are SOURCE=KIND[:ARG], for the embedded estate only; `incident` plays the incident of the seed in
    it, which has just been paged."""

    config: Path | None = None
    demo: bool = False
    faults: tuple[str, ...] = ()
    seed: int = SEED
    incident: bool = False

    @contextmanager
    def configured(self) -> Iterator[Config]:
        """The configuration; the embedded estate, if it is that, lives as long as the block.

        Raises ConfigError for a file that is not there or no TOML, CommandError for a fault that does not exist.
        """
        if self.demo:
            with self.estate() as estate:
                yield configuration(estate)
        elif self.faults:
            raise CommandError("--fault switches faults of the embedded estate on: it needs --demo")
        else:
            yield read(locate(self.config, os.environ))

    @contextmanager
    def configured_if_any(self) -> Iterator[Config | None]:
        """As `configured`; None where none was named and none is there."""
        if not (self.demo or self.config or os.environ.get(ENV_PATH)):
            try:
                locate(None, os.environ)
            except ConfigError:
                yield None
                return
        with self.configured() as config:
            yield config

    @contextmanager
    def estate(self) -> Iterator[Emulators]:
        """The embedded estate, with its faults switched on."""
        from telemetry_mcp.demo import scenario
        from telemetry_mcp.demo.emulator import Emulators

        if self.incident:
            estate = scenario.opened(scenario.incident_today(now_ms(), self.seed), now_ms)
        else:
            estate = Emulators(seed=self.seed)
        for fault in self.faults:
            switch_on(estate, fault)
        with estate:
            yield estate


def configuration(estate: Emulators) -> Config:
    from telemetry_mcp.demo.emulator import CONFIG

    return read(CONFIG, estate.environ)


def switch_on(estate: Emulators, text: str) -> None:
    """Set the fault that `text` names: `datadog=hang`, `newrelic=status:503`, `pagerduty=rate_limit:30`, ..."""
    from telemetry_mcp.demo.fault import Fault, Kind

    source, _, what = text.partition("=")
    kind, _, argument = what.partition(":")
    if source not in estate.faults:
        raise CommandError(f"--fault {text}: no source is called {source!r}{suggest(source, estate.faults)}")
    if kind not in get_args(Kind):
        raise CommandError(f"--fault {text}: no fault is called {kind!r}{suggest(kind, get_args(Kind))}")
    try:
        estate.faults[source].set("/", Fault(kind, **meant(kind, argument)))  # type: ignore[arg-type]
    except ValueError as error:
        raise CommandError(f"--fault {text}: {error}") from None


def meant(kind: str, argument: str) -> dict[str, Any]:
    """What the part after the colon says: seconds, a status code, a size in bytes, an address, by the kind."""
    if not argument:
        return {}
    match kind:
        case "status":
            return {"code": number(argument, int, "a status code, such as 503")}
        case "delay" | "drip":
            return {"seconds": number(argument, float, "seconds, such as 3")}
        case "gzip_bomb":
            return {"size": number(argument, int, "bytes, such as 67108864")}
        case "redirect":
            return {"url": web_address(argument)}
        case "rate_limit":
            return {"headers": {"Retry-After": str(number(argument, float, "seconds, such as 30"))}}
        case _:
            raise ValueError(f"{kind} takes no argument")


def number(text: str, kind: Callable[[str], T], wanted: str) -> T:
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"{text!r} is not {wanted}") from None


def web_address(text: str) -> str:
    """`text`, when it is an http or https URL with a host; else ValueError."""
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or text != text.strip():
        raise ValueError(f"{text!r} is not a URL that begins with http:// or https://")
    return text


def writers_to_stdout(config: Config, registry: Registry) -> list[Problem]:
    valid = 'Under stdio that is the protocol\'s: use plugin = "file", or serve with --transport http'
    return [
        Problem(str(config.path), f"audit.{name}", "plugin", "writes to stdout", valid)
        for name, sink in registry.sinks.items()
        if sink.takes_stdout
    ]


def server_over(
    config: Config, metrics: Metrics | None = None, *, stdout_taken: bool = False
) -> MCPServer[Engine]:
    """The MCP server of `config`, for one run. ConfigError at once, not only when the server starts.

    `stdout_taken`: stdout is the protocol's, so that nothing else may write to it.
    """
    registry = load(config)
    if stdout_taken and (problems := writers_to_stdout(config, registry)):
        raise ConfigError(problems)

    @asynccontextmanager
    async def measured(metrics: Metrics) -> AsyncIterator[Engine]:
        async with opened(config, registry=registry, observe=metrics.observe, found=metrics.found) as engine:
            with metrics.of(engine):
                yield engine

    state = sealing(config.access)
    if metrics is None:
        server = build(lambda: opened(config, registry=registry), state=state)
    else:
        server = build(lambda: measured(metrics), metrics.watch, state)
    gc.freeze()
    gc.enable()
    return server
