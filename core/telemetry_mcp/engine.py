"""The engine of one configuration: its sources, its fan-out, its clock. Everything a tool needs to answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Hashable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

from cachetools import LRUCache, TTLCache

from telemetry_mcp.access.policy import Policy
from telemetry_mcp.cache import size
from telemetry_mcp.config import Config
from telemetry_mcp.fanout import Asking, Fanout
from telemetry_mcp.model import Outcome, Reply, Service
from telemetry_mcp.registry import Registry, load
from telemetry_mcp.source import now_ms

T = TypeVar("T")

DRAWN_BYTES = 16 * 2**20
VIEWS = 128


def weight(entry: tuple[Any, Sequence[Reply[Any]]]) -> int:
    """What an entry of `Engine.drawn` keeps alive, in bytes and roughly."""
    return sum(size(reply.items) for reply in entry[1])


@dataclass(frozen=True)
class Engine:
    config: Config
    registry: Registry
    fanout: Fanout
    clock_ms: Callable[[], int] = now_ms
    seen: TTLCache[str, bool] = field(default_factory=lambda: TTLCache(10_000, 60))
    """Names of services that a source listed not long ago."""
    drawn: LRUCache[Any, Any] = field(default_factory=lambda: LRUCache(DRAWN_BYTES, getsizeof=weight))
    """What was worked out from replies, with those replies: see `draw`."""
    views: LRUCache[Any, Any] = field(default_factory=lambda: LRUCache(VIEWS))
    """This engine as callers of some roles see it: see `view`."""
    shown: LRUCache[Any, Any] = field(default_factory=lambda: LRUCache(DRAWN_BYTES, getsizeof=weight))
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

    @property
    def front(self) -> Asking:
        """What questions are put to."""
        return self.screen or self.fanout

    @cached_property
    def policy(self) -> Policy:
        return Policy(self.config.access)

    def draw(self, outcomes: Sequence[Outcome[Any]], key: Hashable, make: Callable[[], T]) -> T:
        """`make()`, worked out once for the same replies and `key`, which says what is made of them.

        Callers that share an upstream call, or a kept answer, share what follows from it too.
        """
        replies = [outcome.reply for outcome in outcomes if outcome.status != "skipped"]
        full = (key, *map(id, replies))
        if full in self.drawn:
            made: T = self.drawn[full][0]
            return made
        made = make()
        if weight((made, replies)) <= DRAWN_BYTES:
            # With the replies, so that their ids stay theirs as long as the entry lives.
            self.drawn[full] = (made, replies)
        return made

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
) -> AsyncIterator[Engine]:
    """A running engine; leaving it cancels what is under way and closes every connection.

    Raises ConfigError when the configuration cannot be used. `registry` replaces the configured sources.
    """
    sources = registry or load(config)
    try:
        async with Fanout(sources, settings=config.cache, clock_ms=clock_ms, observe=observe) as fanout:
            seen: TTLCache[str, bool] = TTLCache(10_000, config.cache.inventory)
            yield Engine(config, sources, fanout, clock_ms, seen)
    finally:
        await sources.close()
