"""So many in so long, counted by the library `limits` in a sliding window: in this process, or in a storage that
several instances share."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from math import ceil, floor
from time import monotonic, time
from typing import TypeVar, cast

from anyio import fail_after
from cachetools import LRUCache
from limits import RateLimitItem, parse
from limits.aio.storage import MemoryStorage, SlidingWindowCounterSupport, Storage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from limits.errors import StorageError

LOG = logging.getLogger(__name__)
T = TypeVar("T")

AWAY_S = 1.0
"""A storage that failed is left alone for so long, then one call looks whether it is back."""
ROLL_S = 60
"""How often an instance answers the roll, by which all know how many there are."""
SLACK_S = 0.001
"""At the very moment at which a bucket has room it is still full."""
KEPT = 10_000
"""Buckets that one process keeps count of; the one that was left alone longest goes first."""


@dataclass(frozen=True, slots=True)
class Level:
    """How full a bucket is: what was counted in the window before and in this one, and for how many more seconds
    the former weighs in and the latter goes on."""

    before: int
    before_s: float
    now: int
    now_s: float

    def used(self, window_s: float) -> int:
        return floor(self.before * self.before_s / window_s + self.now)

    def wait_s(self, window_s: float, amount: int) -> float:
        """Seconds until the bucket has room for one more, as far as nothing else is put into it; 0: now."""
        if self.used(window_s) < amount:
            return 0.0
        if self.now < amount:
            left_s = self.before_s - (amount - self.now) * window_s / self.before
        else:
            left_s = self.now_s + window_s * (1 - amount / self.now)
        return left_s + SLACK_S


class Bucket:
    """One counter of one storage, which raises what the storage raises."""

    def __init__(self, storage: Storage, rate: RateLimitItem, *key: str) -> None:
        self.storage, self.rate, self.key = storage, rate, key
        self.limiter = SlidingWindowCounterRateLimiter(storage)

    async def take(self) -> float:
        """0 when one more was counted, else the seconds until there is room."""
        if await self.limiter.hit(self.rate, *self.key):
            return 0.0
        return max(SLACK_S, await self.wait_s(self.rate.amount))

    async def wait_s(self, amount: int) -> float:
        window_s = self.rate.get_expiry()
        storage = cast(SlidingWindowCounterSupport, self.storage)
        before, before_s, now, twice_s = await storage.get_sliding_window(self.rate.key_for(*self.key), window_s)
        level = Level(before, before_s, now, max(0.0, twice_s - window_s))
        return level.wait_s(window_s, amount)


def unknown() -> bool:
    """Nobody says whether the storage is there: it is asked."""
    return True


class Buckets:
    """The buckets of one purpose, by key. Never raises for a storage that is out of reach: meanwhile each instance
    counts for itself, and lets through what keeps all of them together within twice the rate.

    `purpose` begins every key. `clock` only tells when the storage failed, and `wall`, which should be the same
    for all instances, when the roll is called: the windows have the library's own.
    """

    def __init__(
        self,
        purpose: str,
        storage: Storage | None = None,
        *,
        timeout_s: float = 0.25,
        clock: Callable[[], float] = monotonic,
        wall: Callable[[], float] = time,
    ) -> None:
        self.purpose = purpose
        self.timeout_s = timeout_s
        self.clock = clock
        self.wall = wall
        # A storage for each: the library looks through all the keys of one whenever it counts.
        self.own: LRUCache[tuple[RateLimitItem, tuple[str, ...]], Bucket] = LRUCache(KEPT)
        self.share(storage)

    def share(self, storage: Storage | None, up: Callable[[], bool] = unknown) -> None:
        """Count in `storage` from now on; None: in this process. While it is not `up`, as somebody else finds out,
        no call is spent on it."""
        self.storage = storage
        self.up = up
        self.retry_at: float | None = None
        self.back_at: float | None = None
        self.instances = 1
        self.rolled: int | None = None

    async def take(self, rate: RateLimitItem, *key: str) -> float:
        """0 when one more was counted, else the seconds until there is room for it."""
        own = self.bucket(rate, *key)
        storage = self.storage
        if storage is None:
            return await own.take()
        if self.careful(rate) and (wait_s := await own.wait_s(self.part(rate))):
            return wait_s
        shared = Bucket(storage, rate, self.purpose, *key)
        told_s = await self.reached(shared.take)
        if told_s is None:
            return await own.wait_s(self.part(rate)) or await own.take()
        if not told_s:
            await own.take()  # so that it is known here too, should the storage be lost
            await self.answer_the_roll(storage)
        return told_s

    def bucket(self, rate: RateLimitItem, *key: str) -> Bucket:
        found = self.own.get((rate, key))
        if found is None:
            found = self.own[rate, key] = Bucket(MemoryStorage(), rate, *key)
        return found

    # ---- a storage that may fail

    def part(self, rate: RateLimitItem) -> int:
        """What this instance may let through by its own count, while the others do so by theirs."""
        return min(rate.amount, ceil(2 * rate.amount / self.instances))

    def careful(self, rate: RateLimitItem) -> bool:
        """Whether this instance's own count must agree: a storage that is back does not know for one window what
        was let through without it."""
        if self.retry_at is not None:
            return True
        return self.back_at is not None and self.clock() < self.back_at + rate.get_expiry()

    async def reached(self, ask: Callable[[], Awaitable[T]]) -> T | None:
        """What the storage says; None while it is out of reach."""
        storage = self.storage
        if storage is None or (self.retry_at is not None and self.clock() < self.retry_at):
            return None
        if not self.up():
            self.retry_at = self.clock()
            return None
        lost = self.retry_at is not None
        if lost:  # the others go without it until this one has looked
            self.retry_at = self.clock() + AWAY_S
        try:
            with fail_after(self.timeout_s):
                answer = await ask()
        except failures(storage) as error:
            news, self.retry_at = self.retry_at is None, self.clock() + AWAY_S
            if news:
                # Its kind only: the words may hold the address with the password in it.
                LOG.warning(
                    "%s: the shared storage failed (%s); counting here", self.purpose, type(error).__name__
                )
            return None
        if lost:
            self.retry_at, self.back_at = None, self.clock()
            LOG.warning("%s: the shared storage is back", self.purpose)
        return answer

    async def answer_the_roll(self, storage: Storage) -> None:
        """Say once a minute that this instance is there, and see how many did, or had done the minute before."""
        minute = int(self.wall() // ROLL_S)
        if self.rolled == minute:
            return
        self.rolled = minute
        roll = f"{self.purpose}/instances"

        async def count() -> int:
            now = await storage.incr(f"{roll}/{minute}", 3 * ROLL_S)
            return max(now, await storage.get(f"{roll}/{minute - 1}"))

        self.instances = await self.reached(count) or self.instances

    # ---- marks beside the buckets

    async def mark(self, key: str, seconds: float) -> None:
        """Let every instance see that `key` is marked for so long."""
        if (storage := self.storage) is None:
            return

        async def write() -> None:
            await storage.clear(f"{self.purpose}/{key}")
            await storage.incr(f"{self.purpose}/{key}", max(1, ceil(seconds)))

        await self.reached(write)

    async def marked(self, key: str) -> bool:
        storage = self.storage
        return storage is not None and bool(await self.reached(lambda: storage.get(f"{self.purpose}/{key}")))

    async def unmark(self, key: str) -> None:
        if (storage := self.storage) is not None:
            await self.reached(lambda: storage.clear(f"{self.purpose}/{key}"))


def failures(storage: Storage) -> tuple[type[Exception], ...]:
    """What a storage raises when it is out of reach."""
    own = storage.base_exceptions
    return (*(own if isinstance(own, tuple) else (own,)), StorageError, TimeoutError, OSError)


def rate_of(text: str) -> RateLimitItem:
    """`100/minute`, as the settings have validated it."""
    return parse(text)


def spoken(rate: RateLimitItem, what: str) -> str:
    """`100 calls a minute`"""
    name = rate.GRANULARITY.name
    span = f"{'an' if name == 'hour' else 'a'} {name}" if rate.multiples == 1 else f"in {rate.multiples} {name}s"
    return f"{rate.amount} {what} {span}"
