"""What follows from replies, worked out once for all callers that were given the same ones.

Callers share upstream calls and kept answers; what follows from these costs more time than they do, and it is the
one thing of a call that no waiting makes room for.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from time import monotonic
from typing import Any, Generic, TypeVar

from anyio import CapacityLimiter, Event, to_thread
from cachetools import TTLCache

from telemetry_mcp.cache import size
from telemetry_mcp.model import Outcome, Reply

T = TypeVar("T")

KEPT_BYTES = 16 * 2**20
KEPT_S = 30.0
"""Most replies are asked for again before that, and nothing is asked of the old ones any more."""
WORKERS = 2
"""Threads that work side by side: what takes long holds up no other, and more would wait for the interpreter."""


def weight(entry: tuple[Any, Sequence[Reply[Any]]]) -> int:
    """What an entry with its replies keeps alive, in bytes and roughly."""
    return sum(size(reply.items) for reply in entry[1])


class Work(Generic[T]):
    """Something that is being worked out; `made` is empty until it is, or for ever where that was given up."""

    def __init__(self) -> None:
        self.done = Event()
        self.made: list[T] = []


def always(made: object) -> bool:
    return True


class Derivations:
    """Of one engine, and of all views of it.

    What is made must follow from the replies of `outcomes`, from which sources failed and from `key` alone: how
    they failed and how long they took belongs to the call.
    """

    def __init__(
        self, max_bytes: int = KEPT_BYTES, workers: int = WORKERS, clock: Callable[[], float] = monotonic
    ) -> None:
        self.kept: TTLCache[Any, Any] = TTLCache(max_bytes, KEPT_S, clock, getsizeof=weight)
        self.under_way: dict[Hashable, Work[Any]] = {}
        self.workers = CapacityLimiter(workers)

    def here(self, outcomes: Sequence[Outcome[Any]], key: Hashable, make: Callable[[], T]) -> T:
        """`make()`, which takes no time to speak of."""
        full = (key, *told(outcomes))
        if (entry := self.kept.get(full)) is not None:
            kept: T = entry[0]
            return kept
        return self.keep(full, outcomes, make())

    async def aside(
        self,
        outcomes: Sequence[Outcome[Any]],
        key: Hashable,
        make: Callable[[], T],
        *,
        lasts: Callable[[T], bool] = always,
        light_bytes: int = 0,
    ) -> T:
        """`make()` in a worker thread, so that other calls go on; of no more data than `light_bytes` it is there
        before a thread would have begun with it. Who asks for it meanwhile waits for the same; it is kept if it
        `lasts`. Raises what `make` raises; who is cancelled leaves the thread behind, and others begin anew."""
        if sum(size(outcome.reply.items) for outcome in outcomes) <= light_bytes:
            return self.here(outcomes, key, make)
        full = (key, *told(outcomes))
        while (entry := self.kept.get(full)) is None:
            work: Work[T] | None = self.under_way.get(full)
            if work is None:
                made = await self.work(full, make)
                return self.keep(full, outcomes, made) if lasts(made) else made
            await work.done.wait()
            if work.made:
                return work.made[0]
        kept: T = entry[0]
        return kept

    async def work(self, full: Hashable, make: Callable[[], T]) -> T:
        work = self.under_way[full] = Work[T]()
        try:
            work.made.append(await self.alone(make))
        finally:
            del self.under_way[full]
            work.done.set()
        return work.made[0]

    async def alone(self, make: Callable[[], T]) -> T:
        """`make()` in one of the worker threads, for this call only."""
        return await to_thread.run_sync(make, limiter=self.workers, abandon_on_cancel=True)

    def keep(self, full: Hashable, outcomes: Sequence[Outcome[Any]], made: T) -> T:
        # With the replies, so that their ids stay theirs as long as the entry lives.
        entry = (made, [outcome.reply for outcome in outcomes])
        if weight(entry) <= self.kept.maxsize:
            self.kept[full] = entry
        return made


def told(outcomes: Sequence[Outcome[Any]]) -> Iterator[Hashable]:
    """What the sources said, as part of a key."""
    for outcome in outcomes:
        if outcome.status == "failed":
            yield outcome.source
        elif outcome.status != "skipped":
            yield id(outcome.reply)
