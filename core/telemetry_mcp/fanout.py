"""The fan-out: the only place that starts tasks, sets deadlines and turns a source's failure into a line of the
ledger.

All sources of a call start at the same moment. Identical questions under way share one upstream call, which
lives in a task of its own: a caller that leaves, or whose deadline passes, never waits for it, and when the last
caller has left it is cancelled.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from types import TracebackType
from typing import Any, Literal, Protocol, TypeVar

import anyio
from anyio import CancelScope, Event, create_task_group, get_cancelled_exc_class, move_on_after
from anyio.abc import TaskGroup
from opentelemetry.trace import INVALID_SPAN, Span

from telemetry_mcp import span
from telemetry_mcp.boundary import contain
from telemetry_mcp.cache import Cache, CacheSettings, Entry, MemoryCache, key_of, ttl_s
from telemetry_mcp.contract import fit
from telemetry_mcp.model import Outcome, Reply
from telemetry_mcp.outcome import failed, late, missing, narrow, status_of, unsupported
from telemetry_mcp.question import Question
from telemetry_mcp.quota import LANE
from telemetry_mcp.registry import Instance, Registry
from telemetry_mcp.source import now_ms
from telemetry_mcp.turn import OwnTurn, Turns

T = TypeVar("T")

SPARE, MOST_SPARE_S = 0.05, 0.2
LATE_COUNTS_S = 0.5
"""A source that was given less time than this has not shown itself to be down by not answering."""

Progress = Callable[[Outcome[Any], int, int], Awaitable[None]]
"""Called as each source answers, with how many have and how many were asked."""

Found = Literal["hit", "miss", "bypassed", "shared"]
"""What the cache had of a question: an answer, none, none because a fresh one was wished, or one under way."""


class Deadline:
    """The moment after which no source is waited for. `seconds` is what the caller was granted; `spare_s` of it is
    kept for making an answer of what the sources say."""

    def __init__(self, seconds: float, spare_s: float = 0.0, since: float | None = None) -> None:
        self.seconds = seconds
        self.at = (anyio.current_time() if since is None else since) + seconds - spare_s

    @classmethod
    def of_call(cls, seconds: float, since: float | None = None) -> Deadline:
        """For a caller who wants the answer within that time, beginning when it asked: `since`, by the clock of
        the event loop; None: now."""
        return cls(seconds, min(SPARE * seconds, MOST_SPARE_S), since)

    def half(self) -> Deadline:
        """For a first question that must leave time for a second one."""
        return Deadline(self.left_s / 2)

    @property
    def left_s(self) -> float:
        return max(0.0, self.at - anyio.current_time())


class Waiter:
    """One call that waits: the outcomes of its sources as they come in. `spans` are those of the questions that
    another call's flight answers, by source."""

    def __init__(self) -> None:
        self.landed: deque[Outcome[Any]] = deque()
        self.spans: dict[str, Span] = {}
        self.closed = False
        self.bell = Event()

    def land(self, outcome: Outcome[Any]) -> None:
        self.trace(outcome.source, outcome)
        self.landed.append(outcome)
        self.bell.set()

    def close(self) -> None:
        self.closed = True
        self.bell.set()

    async def next(self) -> Outcome[Any]:
        while not self.landed:
            if self.closed:
                raise RuntimeError("the fan-out was closed while a call was under way")
            self.bell = Event()
            await self.bell.wait()
        return self.landed.popleft()

    def left(self) -> None:
        """The call does not wait for what has not landed."""
        for source in self.spans:
            self.trace(source, None)

    def trace(self, source: str, outcome: Outcome[Any] | None) -> None:
        span.end(self.spans.get(source, INVALID_SPAN), outcome)


@dataclass(eq=False, slots=True)
class Flight:
    """One upstream call under way, and the calls that wait for it. Its `span` is a child of the first one's; it
    goes by the incident lane (`lane`) if one of them does.

    It may be another instance that is asking: while there is `patience` that is waited for.
    """

    key: str
    source: str
    span: Span = INVALID_SPAN
    lane: bool = False
    asking: bool = False
    scope: CancelScope = field(default_factory=CancelScope)
    patience: CancelScope = field(default_factory=CancelScope)
    waiters: set[Waiter] = field(default_factory=set)


class Asking(Protocol):
    """What questions are put to: the fan-out itself, or what stands before it for one caller. `Fanout` says what
    its methods do."""

    async def ask(
        self,
        question: Question[T],
        deadline: Deadline,
        *,
        only: Collection[str] | None = None,
        fresh: bool = False,
        progress: Progress | None = None,
        enough: Callable[[Outcome[T]], bool] | None = None,
    ) -> list[Outcome[T]]: ...

    async def ask_all(
        self,
        questions: Sequence[Question[Any]],
        deadline: Deadline,
        *,
        only: Mapping[Question[Any], Collection[str]] | None = None,
        fresh: bool = False,
        progress: Progress | None = None,
    ) -> list[list[Outcome[Any]]]: ...


class Fanout:
    """Asks sources. An async context manager: leaving it cancels what is still under way.

    For metrics, `observe` sees every outcome of a request that really was made, and `found` is told of every
    question what the cache had, by the source's name.
    """

    def __init__(
        self,
        registry: Registry,
        cache: Cache | None = None,
        settings: CacheSettings | None = None,
        *,
        turns: Turns = OwnTurn,
        clock_ms: Callable[[], int] = now_ms,
        observe: Callable[[Outcome[Any]], None] = lambda outcome: None,
        found: Callable[[str, Found], None] = lambda source, found: None,
    ) -> None:
        self.registry = registry
        self.settings = settings or CacheSettings()
        self.cache: Cache = cache or MemoryCache(self.settings.max_mb)
        self.turns = turns
        self.clock_ms = clock_ms
        self.observe = observe
        self.found = found
        self.flights: dict[str, Flight] = {}
        self.tasks: TaskGroup = create_task_group()

    async def __aenter__(self) -> Fanout:
        await self.tasks.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        for waiter in {waiter for flight in self.flights.values() for waiter in flight.waiters}:
            waiter.close()
        self.tasks.cancel_scope.cancel()
        return await self.tasks.__aexit__(kind, error, trace)

    async def ask(
        self,
        question: Question[T],
        deadline: Deadline,
        *,
        only: Collection[str] | None = None,
        fresh: bool = False,
        progress: Progress | None = None,
        enough: Callable[[Outcome[T]], bool] | None = None,
    ) -> list[Outcome[T]]:
        """One outcome for each source, in the configuration's order; never raises for a source's failure.

        `only` names the sources to ask (default: all), `fresh` bypasses the cache, and the wait ends early
        with the first outcome for which `enough` is true: the sources that had not answered are left out.
        """
        instances = [i for i in self.registry.instances if only is None or i.name in only]
        asked = {i.name: narrowed for i in instances if (narrowed := narrow(i, question)) is not None}
        outcomes: dict[str, Outcome[T]] = {}
        waiter, flights = Waiter(), list[Flight]()
        given_up: dict[str, Flight] = {}
        had_s = deadline.left_s
        limit = move_on_after(had_s)
        try:
            with limit:
                await self.take_off(asked, fresh, waiter, flights)
                while len(outcomes) < len(asked):
                    outcome = await waiter.next()
                    outcomes[outcome.source] = outcome
                    if progress is not None:
                        await progress(outcome, len(outcomes), len(asked))
                    if enough is not None and enough(outcome):
                        return [outcomes[i.name] for i in instances if i.name in outcomes]
        finally:
            given_up = {
                flight.source: flight for flight in flights if self.leave(flight, waiter) and flight.asking
            }
            if not limit.cancelled_caught:
                waiter.left()
        for instance in instances:
            if instance.name in asked and instance.name not in outcomes:
                outcome = outcomes[instance.name] = late(instance, deadline.seconds, had_s)
                waiter.trace(instance.name, outcome)
                if instance.name in given_up:
                    span.end(given_up[instance.name].span, outcome)
                # However many calls gave up on one upstream call, it is one failure of the source.
                if instance.name in given_up and had_s >= LATE_COUNTS_S:
                    instance.guard.late()
        broken = [each for each in self.registry.broken if only is None or each.name in only]
        ledger = [outcomes.get(i.name) or unsupported(i, question) for i in instances]
        return [*ledger, *(missing(absent) for absent in broken)]

    async def ask_all(
        self,
        questions: Sequence[Question[Any]],
        deadline: Deadline,
        *,
        only: Mapping[Question[Any], Collection[str]] | None = None,
        fresh: bool = False,
        progress: Progress | None = None,
    ) -> list[list[Outcome[Any]]]:
        """Several questions at the same moment: for each, in order, what `ask` returns. `only` names the sources
        of a question that is not for all."""
        return await side_by_side(self, questions, deadline, only, fresh, progress)

    async def take_off(
        self, asked: Mapping[str, Question[Any]], fresh: bool, waiter: Waiter, flights: list[Flight]
    ) -> None:
        """Land what is kept at once, and start or join a flight for everything else."""
        instances = [instance for instance in self.registry.instances if instance.name in asked]
        keys = [key_of(instance.name, asked[instance.name]) for instance in instances]
        kept = [None] * len(keys) if fresh else await self.cache.get(keys)
        for instance, key, entry in zip(instances, keys, kept, strict=True):
            method = asked[instance.name].method
            if entry is not None:
                self.found(instance.name, "hit")
                outcome = self.aged(instance, entry)
                span.kept(outcome, method)
                waiter.land(outcome)
                continue
            flight = self.flights.get(key)
            if flight is None:
                self.found(instance.name, "bypassed" if fresh else "miss")
                begun = span.begin(instance.name, instance.plugin, method)
                flight = self.flights[key] = Flight(key, instance.name, begun)
                self.tasks.start_soon(self.fly, flight, instance, asked[instance.name])
            else:
                self.found(instance.name, "shared")
                waiter.spans[instance.name] = span.begin(
                    instance.name, instance.plugin, method, shares=flight.span
                )
            if fresh:
                flight.patience.cancel()  # what others are answered may be older than this call
            # The flight's task has the context of the fan-out, in which there is no lane.
            flight.lane = flight.lane or LANE.get()
            flight.waiters.add(waiter)
            flights.append(flight)

    def aged(self, instance: Instance, entry: Entry) -> Outcome[Any]:
        age_s = max(0, self.clock_ms() - entry.at_ms) / 1000
        return Outcome(instance.name, instance.plugin, status_of(entry.reply), entry.reply, 0.0, None, age_s)

    def leave(self, flight: Flight, waiter: Waiter) -> bool:
        """The call waits no longer. A flight that nobody waits for any more is cancelled: then True."""
        flight.waiters.discard(waiter)
        if flight.waiters or self.flights.get(flight.key) is not flight:
            return False
        del self.flights[flight.key]
        flight.scope.cancel()
        return True

    async def fly(self, flight: Flight, instance: Instance, question: Question[Any]) -> None:
        turn = self.turns(flight.key)
        try:
            with flight.scope, span.under(flight.span):
                entry = None
                with flight.patience:
                    entry = await turn.take(instance.guard.timeout_s)
                if entry is not None:
                    self.land(flight, self.aged(instance, entry))
                else:
                    await self.fly_alone(flight, instance, question)
        except get_cancelled_exc_class() as error:
            if self.tasks.cancel_scope.cancel_called:
                raise
            # Nobody cancelled it: the plugin raised this itself, and it would end the whole fan-out.
            self.land(flight, failed(instance, error, None))
        finally:
            span.end(flight.span, None)
            turn.end()

    async def fly_alone(self, flight: Flight, instance: Instance, question: Question[Any]) -> None:
        flight.asking = True
        outcome = await self.outcome(instance, question, lambda: flight.lane)
        self.land(flight, outcome)
        if outcome.failure is None:
            entry = Entry(outcome.reply, self.clock_ms())
            await self.cache.put(flight.key, entry, ttl_s(question, outcome.reply, self.settings, entry.at_ms))

    def land(self, flight: Flight, outcome: Outcome[Any]) -> None:
        span.end(flight.span, outcome)
        if self.flights.get(flight.key) is flight:
            del self.flights[flight.key]
        for waiter in flight.waiters:
            waiter.land(outcome)

    async def outcome(
        self, instance: Instance, question: Question[T], lane: Callable[[], bool] = LANE.get
    ) -> Outcome[T]:
        """Ask the source through its guard. Whatever it raises becomes a failure in the ledger."""
        started = perf_counter()
        reply: Reply[T] = Reply()
        with contain() as kept:
            reply = fit(await instance.guard.ask(instance.source, question, lane), instance, question)
        latency_ms = (perf_counter() - started) * 1000
        outcome: Outcome[T]
        if kept.error is not None:
            outcome = failed(instance, kept.error, latency_ms)
        else:
            outcome = Outcome(instance.name, instance.plugin, status_of(reply), reply, latency_ms)
        instance.guard.remember(outcome, question)
        self.observe(outcome)
        return outcome


async def side_by_side(
    asking: Asking,
    questions: Sequence[Question[Any]],
    deadline: Deadline,
    only: Mapping[Question[Any], Collection[str]] | None,
    fresh: bool,
    progress: Progress | None,
) -> list[list[Outcome[Any]]]:
    answers: list[list[Outcome[Any]]] = [[] for _ in questions]

    async def one(place: int, question: Question[Any]) -> None:
        named = (only or {}).get(question)
        answers[place] = await asking.ask(question, deadline, only=named, fresh=fresh, progress=progress)

    async with create_task_group() as asks:
        for place, question in enumerate(questions):
            asks.start_soon(one, place, question)
    return answers
