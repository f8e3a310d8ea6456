"""The engine of one configuration: its sources, its fan-out, its clock. Everything a tool needs to answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from cachetools import LRUCache, TTLCache

from telemetry_mcp.access.policy import Policy
from telemetry_mcp.audit import AuditSink
from telemetry_mcp.audit.auditor import Auditor
from telemetry_mcp.audit.claim import default_place
from telemetry_mcp.audit.spool import Place
from telemetry_mcp.cache import MemoryCache
from telemetry_mcp.config import Config
from telemetry_mcp.derivation import KEPT_BYTES, Derivations, weight
from telemetry_mcp.fanout import Asking, Fanout, Found
from telemetry_mcp.model import Outcome, Reply, Service
from telemetry_mcp.registry import Registry, load
from telemetry_mcp.shared import counter
from telemetry_mcp.shared.fleet import Fleet, joined
from telemetry_mcp.source import now_ms

if TYPE_CHECKING:
    from limits.aio.storage import Storage

    from telemetry_mcp.access.limit import Limits

VIEWS = 128


@dataclass(frozen=True)
class Engine:
    config: Config
    registry: Registry
    fanout: Fanout
    clock_ms: Callable[[], int] = now_ms
    seen: TTLCache[str, bool] = field(default_factory=lambda: TTLCache(10_000, 60))
    """Names of services that a source listed not long ago."""
    derivations: Derivations = field(default_factory=Derivations)
    """What was worked out from replies, for all views together."""
    views: LRUCache[Any, Any] = field(default_factory=lambda: LRUCache(VIEWS))
    """This engine as callers of some roles see it: see `view`."""
    outlooks: dict[frozenset[str], Any] = field(default_factory=dict)
    """What the roles of a configuration come to: see `view`."""
    shown: LRUCache[Any, Any] = field(default_factory=lambda: LRUCache(KEPT_BYTES, getsizeof=weight))
    """Replies as they came and as they are shown, of all views together."""
    told: dict[str, Reply[Service]] = field(default_factory=dict)
    """What each source last said of its services, for views that need it while the source is down."""
    screen: Asking | None = None
    """What stands before the fan-out, where this is the engine as one caller may see it (view.py)."""
    native: Callable[[str], bool] = lambda source: True
    """Whether a source may be asked in its own language, as far as the caller is concerned."""

    shows: Callable[[str], bool] = lambda service: True
    """Whether a service may be seen, as far as the caller is concerned."""
    whole: bool = True
    """Whether the caller sees everything that there is: then it may know how other callers' questions ended."""
    remarks: tuple[str, ...] = ()
    """What every answer should warn of."""
    counters: Storage | None = None
    """Where several instances count their callers' calls together; None: each counts for itself."""
    auditor: Auditor = field(default_factory=Auditor)
    """Records what is asked once a server has entered it; until then it only takes what it is told."""
    fleet: Fleet | None = None
    """What is shared with other instances; None for an engine that was not opened, or is one caller's view."""

    @property
    def front(self) -> Asking:
        """What questions are put to."""
        return self.screen or self.fanout

    @cached_property
    def policy(self) -> Policy:
        return Policy(self.config.access)

    @cached_property
    def limits(self) -> Limits:
        # What it counts with takes long to import, and over stdio nobody is counted.
        from telemetry_mcp.access.limit import Limits

        if self.fleet is None:
            return Limits(self.config.limits)
        return Limits(self.config.limits, self.counters, up=self.fleet.up)

    @cached_property
    def metrics(self) -> tuple[str, ...]:
        """The metrics of the catalog that at least one source can answer, in its order; not the hidden ones."""
        instances, catalog = self.registry.instances, self.config.catalog
        seen = (metric for metric, spec in catalog.items() if not spec.hidden)
        return tuple(metric for metric in seen if any(instance.offers(metric) for instance in instances))


@asynccontextmanager
async def opened(
    config: Config,
    *,
    registry: Registry | None = None,
    clock_ms: Callable[[], int] = now_ms,
    observe: Callable[[Outcome[Any]], None] = lambda outcome: None,
    found: Callable[[str, Found], None] = lambda source, found: None,
) -> AsyncIterator[Engine]:
    """A running engine; leaving it cancels what is under way and closes every connection.

    Raises ConfigError when the configuration cannot be used. `registry` replaces the configured sources.
    """
    sources = registry or load(config)
    near, storage = MemoryCache(config.cache.max_mb), counter.counters(config.redis)
    settings = [(instance.name, instance.source.settings) for instance in sources.instances]
    try:
        async with joined(config.redis, near, settings, clock_ms=clock_ms, file=str(config.path)) as fleet:
            heed(fleet, sources)
            sources.share(storage, fleet.up)
            kept, turns = fleet.cache, fleet.turns
            async with Fanout(
                sources, kept, config.cache, turns=turns, clock_ms=clock_ms, observe=observe, found=found
            ) as fanout:
                seen: TTLCache[str, bool] = TTLCache(10_000, config.cache.inventory)
                auditor = auditor_of(config, sources.sinks, clock_ms)
                yield Engine(
                    config, sources, fanout, clock_ms, seen, auditor=auditor, counters=storage, fleet=fleet
                )
    finally:
        await counter.close(storage)
        await sources.close()


def heed(fleet: Fleet, sources: Registry) -> None:
    """Let the sources' guards tell the other instances of trouble, and hear of theirs."""
    if fleet.hints is not None:
        for instance in sources.instances:
            fleet.hints.watch(instance.name, instance.guard.breaker, instance.guard.pause, instance.redact)


def auditor_of(config: Config, sinks: Mapping[str, AuditSink], clock_ms: Callable[[], int]) -> Auditor:
    required = config.access.audit == "required"
    if not sinks and not required:
        return Auditor()
    return Auditor(sinks, place_of(config), required=required, clock_ms=clock_ms)


def place_of(config: Config, sinks: Sequence[str] = ()) -> Place:
    """Where audit records are spooled."""
    path, secret = config.spool.path, config.access.secret
    return Place(
        default_place(config.path) if path is None else path,
        tuple(sinks),
        max_mb=config.spool.max_mb,
        secret=None if secret is None else secret.get_secret_value().encode(),
        keep=config.access.audit == "required",
        version=version("telemetry-mcp"),
    )
