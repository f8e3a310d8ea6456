"""Answers that are kept for a while. In this process by default; the protocol is what Redis will take the
place of, so it is asynchronous and speaks of keys as text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from hashlib import sha256
from time import monotonic
from typing import Any, Protocol

from cachetools import TLRUCache
from pydantic import Field

from telemetry_mcp.model import Reply, Series
from telemetry_mcp.question import ChangeQuery, IncidentQuery, Question, SeriesQuery, ServiceQuery, Window
from telemetry_mcp.setting import Duration, Strict

# What costs little to keep: an item that is not a time series counts as so many bytes.
ITEM_BYTES = 400
MINUTE_MS = 60_000


class CacheSettings(Strict):
    """How long answers are kept, by what was asked."""

    live: Duration = 10.0
    closed: Duration = 300.0
    inventory: Duration = 60.0
    max_mb: int = Field(64, ge=1)


@dataclass(frozen=True, slots=True)
class Entry:
    """A kept reply, and when it was put there (epoch ms)."""

    reply: Reply[Any]
    at_ms: int


class Cache(Protocol):
    """Where answers are kept. Neither method raises: a store that is out of reach is an empty one."""

    async def get(self, keys: Sequence[str]) -> Sequence[Entry | None]:
        """What is kept under each key, in one round trip."""
        ...

    async def put(self, key: str, entry: Entry, ttl_s: float) -> None: ...


class MemoryCache:
    """The cache of one process, bounded by the bytes of what it holds; the least recently used goes first."""

    def __init__(self, max_mb: int = 64, clock: Callable[[], float] = monotonic) -> None:
        self.entries: TLRUCache[str, tuple[Entry, float]] = TLRUCache(
            maxsize=max_mb * 2**20,
            ttu=lambda _key, kept, now: now + kept[1],
            timer=clock,
            getsizeof=lambda kept: size(kept[0].reply.items),
        )

    async def get(self, keys: Sequence[str]) -> Sequence[Entry | None]:
        return [kept[0] if (kept := self.entries.get(key)) else None for key in keys]

    async def put(self, key: str, entry: Entry, ttl_s: float) -> None:
        if size(entry.reply.items) <= self.entries.maxsize:
            self.entries[key] = (entry, ttl_s)


def size(items: Sequence[Any]) -> int:
    return ITEM_BYTES + sum(ITEM_BYTES + (16 * len(i) if isinstance(i, Series) else 0) for i in items)


def key_of(source: str, query: Any) -> str:
    """Equal for equal questions. How old an answer about now may be is for the time to live to say, not for the
    moment at which somebody asked: such questions leave the window out, or know it to the minute only."""
    rest = [getattr(query, field.name) for field in fields(query) if field.name != "window"]
    return sha256(repr((source, query.method, span_of(query), rest)).encode()).hexdigest()


def span_of(query: Any) -> object:
    window: Window | None = getattr(query, "window", None)
    if window is None:
        return None
    if isinstance(query, ServiceQuery) or (isinstance(query, SeriesQuery) and query.latest):
        return window.duration_ms
    if isinstance(query, IncidentQuery | ChangeQuery):
        return window.start_ms // MINUTE_MS, window.end_ms // MINUTE_MS
    return window


def ttl_s(query: Question[Any], reply: Reply[Any], settings: CacheSettings, now_ms: int) -> float:
    """How long a reply holds; a window that ended well before now does not change any more, half a reply is
    asked again soon."""
    if reply.partial:
        return settings.live
    if isinstance(query, ServiceQuery):
        return settings.inventory
    if isinstance(query, SeriesQuery) and not query.latest:
        settled = query.window.end_ms <= now_ms - 2 * query.step_ms
        return settings.closed if settled else min(settings.closed, max(settings.live, query.step_ms / 2000))
    return settings.live
