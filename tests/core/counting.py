"""Storages of the library `limits` that do as a test tells them."""

from __future__ import annotations

from collections import defaultdict
from math import floor

import anyio
from limits.aio.storage import MemoryStorage, SlidingWindowCounterSupport, Storage


class Clock:
    """A clock that stands still until a test moves it."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Clocked(Storage, SlidingWindowCounterSupport):
    """Counts as the library's own do, in windows of a clock that stands still; forgets nothing by itself."""

    STORAGE_SCHEME = None

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock
        self.counts: defaultdict[tuple[str, int], int] = defaultdict(int)
        self.plain: dict[str, tuple[int, float]] = {}

    @property
    def base_exceptions(self) -> type[Exception]:
        return ConnectionError

    async def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        window, into_s = divmod(self.clock.now, expiry)
        before, now = self.counts[key, int(window) - 1], self.counts[key, int(window)]
        return before, expiry - into_s, now, 2 * expiry - into_s

    async def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        before, before_s, now, _ = await self.get_sliding_window(key, expiry)
        if floor(before * before_s / expiry + now) + amount > limit:
            return False
        self.counts[key, int(self.clock.now // expiry)] += amount
        return True

    async def clear_sliding_window(self, key: str, expiry: int) -> None:
        self.counts.clear()

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        count = await self.get(key) + amount
        until = self.clock.now + expiry if count == amount else self.plain[key][1]
        self.plain[key] = (count, until)
        return count

    async def get(self, key: str) -> int:
        count, until = self.plain.get(key, (0, 0.0))
        return count if until > self.clock.now else 0

    async def get_expiry(self, key: str) -> float:
        return self.plain[key][1]

    async def clear(self, key: str) -> None:
        self.plain.pop(key, None)

    async def reset(self) -> int | None:
        return None

    async def check(self) -> bool:
        return True


class Shaky(MemoryStorage):
    """The library's storage in memory, which can be lost: then it fails, or with `hangs` never answers."""

    STORAGE_SCHEME = None  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()
        self.lost = self.hangs = False
        self.asked = 0

    @property
    def base_exceptions(self) -> type[Exception]:
        return ConnectionError

    async def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        self.asked += 1
        if self.hangs:
            await anyio.sleep_forever()
        if self.lost:
            raise ConnectionError("redis://:secret@host is not there")
        return await super().acquire_sliding_window_entry(key, limit, expiry, amount)

    def forget(self) -> None:
        """As a server that is started again, without anything on disk."""
        self.storage.clear()
        self.expirations.clear()
