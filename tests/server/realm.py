"""A small estate in which every name is unmistakable, two sources that tell of it, and seats for callers of any
role: for tests of what one may see."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from mcp import Client, MCPError
from mcp.server import MCPServer

from telemetry_mcp.access.caller import Caller
from telemetry_mcp.engine import Engine, opened
from telemetry_mcp.server.app import build
from tests.server.conftest import NOW_MS
from tests.server.house import written

if TYPE_CHECKING:
    from pathlib import Path

    from telemetry_mcp.config import Config

NORTH, SOUTH = "northsrc", "southsrc"
SERVICES: Mapping[str, tuple[str, str, tuple[str, ...]]] = {
    "payment-api": ("falcon", "prodeast", (NORTH, SOUTH)),
    "payment-batch": ("falcon", "stagewest", (NORTH,)),
    "ledger-core": ("osprey", "prodeast", (NORTH, SOUTH)),
    "search-web": ("heron", "prodeast", (SOUTH,)),
}
"""Service -> team (which only the south tells), environment (which only the north tells), and who knows it."""
SLOS = {
    "papi-good": "payment-api",
    "pbatch-good": "payment-batch",
    "lcore-good": "ledger-core",
    "sweb-good": "search-web",
}

OF_SOUTH = "of-the-south"
"""An objective that is asked of one source only."""


def incident(service: str, source: str) -> str:
    """The id of the incident that a source has of a service."""
    letters = "".join(part[0] for part in service.split("-"))
    return f"INC{letters}{sum(map(ord, service))}{source[0]}".upper()


PAIRS = {(service, source) for service, (_, _, sources) in SERVICES.items() for source in sources}

SOURCE = """\
import numpy as np
from telemetry_mcp import Change, Dependency, Entry, Incident, OnCall, Reply, Series, Service, Slo, Source
from telemetry_mcp import hookimpl

NOW, SERVICES, NAMES, MINE, IDS, NORTH = {now}, {services!r}, {names!r}, {mine!r}, {ids!r}, {north!r}
MEMBERS = [(n, SERVICES[n][0], *((None, SERVICES[n][1]) if NORTH else (SERVICES[n][0], None))) for n in MINE]
WORDS = "slow for " + ", ".join(NAMES)

def reply(items):
    return Reply(items, ["select " + " ".join(NAMES)], [WORDS])

class Estate(Source):
    native_language = "estate"

    async def list_services(self, query):
        return reply([Service(n, team, where, {{"owner": owner}}) for n, owner, team, where in MEMBERS])

    def lines(self, services, metrics, window, step_ms):
        at = np.arange(window.start_ms // step_ms * step_ms, window.end_ms, step_ms)
        for name in services:
            for metric in metrics:
                values = 20 + 0.1 * np.sin(at / 7e5) + 40.0 * (at > NOW - 1_500_000)
                unit = "ms" if metric.startswith("latency") else "percent"
                yield Series(name, metric, at, values, unit, {{"service": name, "team": SERVICES[name][0]}},
                             "from " + ",".join(NAMES))

    async def fetch_series(self, query):
        asked = [name for name in query.services or MINE if name in MINE]
        return reply(list(self.lines(asked, query.metrics, query.window, query.step_ms)))

    async def run_native(self, query):
        return reply(list(self.lines(MINE, ("",), query.window, query.step_ms)))

    def asked(self, query):
        return [name for name in query.services or MINE if name in MINE]

    async def list_incidents(self, query):
        return reply([Incident(IDS[n], "latency is high", "triggered", NOW - 1_200_000, n, "high", "P1")
                      for n in self.asked(query)])

    async def list_changes(self, query):
        return reply([Change("c" + IDS[n], "a new version", NOW - 1_500_000, "deployment", n, "Kim", version="v2")
                      for n in self.asked(query)])

    async def list_dependencies(self, query):
        chain = [n for n in NAMES if n in MINE]
        return reply([Dependency(a, b) for a, b in zip(chain, chain[1:])])

    async def list_timeline(self, query):
        return reply([Entry("e1", NOW - 600_000, "note", "looking at it", author="Kim"),
                      *(Entry("e" + IDS[n], NOW - 500_000, "alert", "fired", n) for n in MINE)])

    async def list_related(self, query):
        return reply([Incident(IDS[n] + "OLD", "was like this", "resolved", NOW - 9_000_000, n, relation="past")
                      for n in MINE])

    async def list_on_call(self, query):
        return reply([OnCall("Kim", 1, n, policy="first line") for n in self.asked(query)])

    async def list_slos(self, query):
        return reply([Slo("s" + IDS[n], "the vendor's", 99.9, 86_400_000, n, 99.95, "ok", 50.0) for n in MINE])

@hookimpl
def telemetry_sources():
    return [Estate]
"""


def source(name: str) -> str:
    mine = [service for service, (_, _, sources) in SERVICES.items() if name in sources]
    return SOURCE.format(
        now=NOW_MS,
        services=dict(SERVICES),
        names=tuple(SERVICES),
        mine=tuple(mine),
        ids={service: incident(service, name) for service in mine},
        north=name == NORTH,
    )


def estate(
    folder: Path, access: str = "", metrics: Collection[str] = ("cpu", "error_rate", "latency_p95")
) -> Config:
    """The configuration of the estate with its objectives, its dependencies, and what `[access]` says."""
    slos = "".join(
        f'[slos.{name}]\nservice = "{service}"\nmetric = "latency_p95"\nthreshold = 30\nwindow = "1h"\n'
        for name, service in SLOS.items()
    )
    slos += (
        f'[slos.{OF_SOUTH}]\nservice = "payment-api"\nsources = "{SOUTH}"\nratio = "select own"\nwindow = "1h"\n'
    )
    slos += '[slos.papi-and-lcore]\nall_of = ["papi-good", "lcore-good"]\nwindow = "1h"\n'
    slos += f'[slos.four-worst]\nworst_of = {list(SLOS)}\nwindow = "1h"\n'
    chain = list(SERVICES)
    depends = "[dependencies]\n" + "".join(f'{a} = ["{b}"]\n' for a, b in pairwise(chain))
    # Whoever is asked about every surface asks more than a user may in a minute.
    limits = '[limits]\nuser = "100000/minute"\n'
    config = written(
        folder, f"{slos}{depends}{limits}{access}", tuple(metrics), **{n: source(n) for n in (NORTH, SOUTH)}
    )
    for table in config.sources:
        table.values["allow_native"] = True  # type: ignore[index]
    return config


@dataclass(frozen=True, slots=True)
class Realm:
    """What a caller may see, written down by hand: pairs of service and source, and sources."""

    pairs: frozenset[tuple[str, str]]
    sources: frozenset[str]

    @property
    def services(self) -> set[str]:
        return {service for service, _ in self.pairs}

    @property
    def names(self) -> set[str]:
        """Every name that may come before the caller."""
        teams = {SERVICES[service][0] for service, source in self.pairs if source == SOUTH}
        environments = {SERVICES[service][1] for service, source in self.pairs if source == NORTH}
        slos = {name for name, service in SLOS.items() if service in self.services}
        slos |= {"papi-and-lcore"} if {"payment-api", "ledger-core"} <= self.services else set()
        slos |= {"four-worst"} if self.services >= {*SERVICES} else set()
        slos |= {OF_SOUTH} if ("payment-api", SOUTH) in self.pairs else set()
        ids = {incident(service, source) for service, source in self.pairs}
        return {*self.services, *self.sources, *teams, *environments, *slos, *ids}

    @property
    def hidden(self) -> set[str]:
        return EVERYTHING - self.names


EVERYTHING = {
    *SERVICES,
    *SLOS,
    *("papi-and-lcore", "four-worst", OF_SOUTH),
    *(NORTH, SOUTH),
    *(team for team, _, _ in SERVICES.values()),
    *(environment for _, environment, _ in SERVICES.values()),
    *(incident(service, source) for service, source in PAIRS),
}
ALL = Realm(frozenset(PAIRS), frozenset({NORTH, SOUTH}))


def realm(services: Collection[str], sources: Collection[str] = (NORTH, SOUTH)) -> Realm:
    """Those services at those of the sources that know them."""
    return Realm(
        frozenset(pair for pair in PAIRS if pair[0] in services and pair[1] in sources), frozenset(sources)
    )


@dataclass(slots=True)
class Seat:
    """A client of a server that takes it for one caller. `heard` is the text of everything that it received."""

    client: Client
    server: MCPServer[Engine]
    engine: Engine
    heard: list[str] = field(default_factory=list)

    async def ask(self, tool: str, **arguments: Any) -> str:
        """A tool's whole result as text, or the error in its place; and with it everything on the way there."""

        async def heard(progress: float, total: float | None, message: str | None) -> None:
            self.heard.append(f"progress {progress} {total} {message}")

        return await self.told(self.client.call_tool(tool, arguments, progress_callback=heard))

    async def fields(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """What a tool answers, when it does not refuse to."""
        result = await self.client.call_tool(tool, arguments)
        assert not result.is_error
        return dict(result.structured_content or {})

    async def told(self, answer: Awaitable[Any]) -> str:
        try:
            text: str = (await answer).model_dump_json()
        except MCPError as error:
            text = f"{error.code} {error.message} {error.data}"
        self.heard.append(text)
        return text


Sit = Callable[..., Awaitable[Seat]]


def running(config: Config) -> AbstractAsyncContextManager[Engine]:
    return opened(config, clock_ms=lambda: NOW_MS)


@asynccontextmanager
async def seated(engine: Engine, *roles: str, subject: str = "kim", legacy: bool = False) -> AsyncIterator[Seat]:
    """Several callers of one engine share what it has cached and worked out."""
    server = build(lambda: nullcontext(engine), caller=Caller(subject, "user", roles))
    async with Client(server, mode="legacy" if legacy else "auto") as client:
        yield Seat(client, server, engine)
