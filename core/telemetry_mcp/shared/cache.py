"""Answers that all instances keep together: this process's own memory first, then Redis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from anyio import to_thread

from telemetry_mcp.cache import Entry, MemoryCache, size
from telemetry_mcp.shared.link import Link
from telemetry_mcp.shared.parcel import SLOW_HEAD, is_slow, pack, unpack


@dataclass(frozen=True, slots=True)
class SharedCache:
    """The protocol `telemetry_mcp.cache.Cache`. While Redis is lost it is the near cache alone.

    `folder` begins every key: instances with another one do not see these answers. An entry's age counts from its
    `at_ms`, by whichever instance's clock; how long it is kept, by Redis' own.
    """

    near: MemoryCache
    link: Link
    folder: str
    clock_ms: Callable[[], int]

    async def get(self, keys: Sequence[str]) -> Sequence[Entry | None]:
        found = list(await self.near.get(keys))
        missing = [key for key, entry in zip(keys, found, strict=True) if entry is None]
        if not missing:
            return found
        raw = await self.link.run(lambda redis: redis.mget([self.name(key) for key in missing]))
        if raw is None:
            return found
        far = {key: await self.received(key, one) for key, one in zip(missing, raw, strict=True)}
        return [entry or far.get(key) for key, entry in zip(keys, found, strict=True)]

    async def put(self, key: str, entry: Entry, ttl_s: float) -> None:
        await self.near.put(key, entry, ttl_s)
        if not self.link.up:
            return
        heavy = size(entry.reply.items) > SLOW_HEAD
        raw = await to_thread.run_sync(pack, entry, ttl_s) if heavy else pack(entry, ttl_s)
        if raw is not None:
            await self.link.run(lambda redis: redis.set(self.name(key), raw, px=max(1, round(ttl_s * 1000))))

    def name(self, key: str) -> str:
        return f"{self.folder}:answer:{key}"

    async def received(self, key: str, raw: bytes | None) -> Entry | None:
        """What Redis had under a key. For as long as it is still good there it is kept here, too."""
        if raw is None:
            return None
        parcel = await to_thread.run_sync(unpack, raw) if is_slow(raw) else unpack(raw)
        if parcel is None:
            return None
        left_s = min(parcel.ttl_s, parcel.ttl_s - (self.clock_ms() - parcel.entry.at_ms) / 1000)
        if left_s > 0:
            await self.near.put(key, parcel.entry, left_s)
        return parcel.entry
