"""The fan-out: the only place that starts tasks, sets deadlines and turns a source's failure into a line of the
ledger.

All sources of a call start at the same moment. Identical questions under way share one upstream call, which
lives in a task of its own: a caller that leaves, or whose deadline passes, never waits for it, and when the last
caller has left it is cancelled.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter
from types import TracebackType
from typing import Any, Generic, TypeVar, cast

import anyio
import numpy as np
from anyio import CancelScope, Event, create_task_group, get_cancelled_exc_class, move_on_after
from anyio.abc import TaskGroup

from telemetry_mcp.boundary import contain
from telemetry_mcp.cache import Cache, CacheSettings, Entry, MemoryCache, key_of, ttl_s
from telemetry_mcp.errors import SourceError, SourceTimeoutError
from telemetry_mcp.model import Failure, Outcome, Question, Reply, Series, SeriesQuery, Status
from telemetry_mcp.registry import Absent, Instance, Registry
from telemetry_mcp.source import METHODS, now_ms
from telemetry_mcp.text import clean

T = TypeVar("T")

CAPABILITY = {method: name for name, method in METHODS.items()}
OWN_WORDS = ("query", "detail", "fix")
"""The fields of items that a plugin writes itself; names and titles are the backend's, and stay as they are."""

Progress = Callable[[Outcome[Any], int, int], Awaitable[None]]
"""Called as each source answers, with how many have and how many were asked."""


class Deadline:
    """The moment by which a call answers, whatever the sources do. `seconds` is what the caller was granted."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.at = anyio.current_time() + seconds

    @property
    def left_s(self) -> float:
        return max(0.0, self.at - anyio.current_time())


@dataclass(eq=False, slots=True)
class Flight(Generic[T]):
    """One upstream call under way, and how many callers wait for it."""

    scope: CancelScope = field(default_factory=CancelScope)
    done: Event = field(default_factory=Event)
    waiting: int = 0
    outcome: Outcome[T] | None = None


class Fanout:
    """Asks sources. An async context manager: leaving it cancels what is still under way.

    `observe` sees every outcome of a request that really was made, for metrics.
    """

    def __init__(
        self,
        registry: Registry,
        cache: Cache | None = None,
        settings: CacheSettings | None = None,
        *,
        clock_ms: Callable[[], int] = now_ms,
        observe: Callable[[Outcome[Any]], None] = lambda outcome: None,
    ) -> None:
        self.registry = registry
        self.settings = settings or CacheSettings()
        self.cache: Cache = cache or MemoryCache(self.settings.max_mb)
        self.clock_ms = clock_ms
        self.observe = observe
        self.flights: dict[str, Flight[Any]] = {}
        self.tasks: TaskGroup = create_task_group()

    async def __aenter__(self) -> Fanout:
        await self.tasks.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
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
        cut_short = False

        async with create_task_group() as calls:

            async def one(instance: Instance) -> None:
                nonlocal cut_short
                outcome = await self.one(instance, asked[instance.name], deadline, fresh)
                outcomes[instance.name] = outcome
                if progress is not None:
                    await progress(outcome, len(outcomes), len(asked))
                if enough is not None and enough(outcome):
                    cut_short = True
                    calls.cancel_scope.cancel()

            for instance in instances:
                if instance.name in asked:
                    calls.start_soon(one, instance)

        unable = [
            absent for absent in self.registry.absent if absent.broken and (only is None or absent.name in only)
        ]
        skipped = {i.name: unsupported(i, question) for i in instances if i.name not in asked}
        ledger = [found for i in instances if (found := outcomes.get(i.name) or skipped.get(i.name))]
        return ledger + ([] if cut_short else [missing(absent) for absent in unable])

    async def ask_all(
        self,
        questions: Sequence[Question[Any]],
        deadline: Deadline,
        *,
        fresh: bool = False,
        progress: Progress | None = None,
    ) -> list[list[Outcome[Any]]]:
        """Several questions at the same moment: for each, in order, what `ask` returns."""
        answers: list[list[Outcome[Any]]] = [[] for _ in questions]

        async def one(place: int, question: Question[Any]) -> None:
            answers[place] = await self.ask(question, deadline, fresh=fresh, progress=progress)

        async with create_task_group() as asks:
            for place, question in enumerate(questions):
                asks.start_soon(one, place, question)
        return answers

    async def one(self, instance: Instance, question: Question[T], deadline: Deadline, fresh: bool) -> Outcome[T]:
        """What one source gave by the deadline."""
        key = key_of(instance.name, question)
        with move_on_after(deadline.left_s):
            return await self.known(instance, question, key, fresh)
        if key not in self.flights:  # nobody waits for it any more: however many gave up, it is one late call
            instance.guard.late()
        error = SourceTimeoutError(
            f"no answer by the call's deadline of {deadline.seconds:g} s",
            hint="ask for a shorter window, or with a larger deadline_s",
        )
        return failed(instance, error, deadline.seconds * 1000)

    async def known(self, instance: Instance, question: Question[T], key: str, fresh: bool) -> Outcome[T]:
        """The kept answer, or that of the call under way, or that of a new one."""
        kept = None if fresh else await self.cache.get(key)
        if kept is not None:
            age_s = max(0, self.clock_ms() - kept.at_ms) / 1000
            return Outcome(instance.name, instance.plugin, status_of(kept.reply), kept.reply, 0.0, None, age_s)
        flight = self.flights.get(key)
        if flight is None:
            flight = self.flights[key] = Flight()
            self.tasks.start_soon(self.fly, flight, instance, question, key)
        return await self.landed(flight, key)

    async def landed(self, flight: Flight[T], key: str) -> Outcome[T]:
        flight.waiting += 1
        try:
            await flight.done.wait()
        finally:
            flight.waiting -= 1
            if flight.waiting == 0 and flight.outcome is None:
                flight.scope.cancel()
                self.forget(flight, key)
        if flight.outcome is None:
            raise RuntimeError("the fan-out was closed while a call was under way")
        return flight.outcome

    async def fly(self, flight: Flight[T], instance: Instance, question: Question[T], key: str) -> None:
        try:
            with flight.scope:
                flight.outcome = outcome = await self.outcome(instance, question)
                self.forget(flight, key)
                flight.done.set()
                if outcome.failure is None:
                    ttl = ttl_s(question, self.settings, self.clock_ms())
                    await self.cache.put(key, Entry(outcome.reply, self.clock_ms()), ttl)
        except get_cancelled_exc_class() as error:
            if self.tasks.cancel_scope.cancel_called:
                raise
            # Nobody cancelled it: the plugin raised this itself, and it would end the whole fan-out.
            flight.outcome = flight.outcome or failed(instance, error, None)
        finally:
            self.forget(flight, key)
            flight.done.set()

    def forget(self, flight: Flight[Any], key: str) -> None:
        if self.flights.get(key) is flight:
            del self.flights[key]

    async def outcome(self, instance: Instance, question: Question[T]) -> Outcome[T]:
        """Ask the source through its guard. Whatever it raises becomes a failure in the ledger."""
        started = perf_counter()
        reply: Reply[T] = Reply()
        with contain() as kept:
            reply = fit(await instance.guard.ask(instance.source, question), instance)
        latency_ms = (perf_counter() - started) * 1000
        outcome: Outcome[T]
        if kept.error is not None:
            outcome = failed(instance, kept.error, latency_ms)
        else:
            outcome = Outcome(instance.name, instance.plugin, status_of(reply), reply, latency_ms)
        self.observe(outcome)
        return outcome


def narrow(instance: Instance, question: Question[T]) -> Question[T] | None:
    """The part of the question that this source can answer; None when there is none."""
    if CAPABILITY[question.method] not in instance.capabilities:
        return None
    offered = instance.source.metrics()
    if not isinstance(question, SeriesQuery) or offered is None:
        return question
    metrics = tuple(metric for metric in question.metrics if metric in offered)
    return cast("Question[T]", replace(question, metrics=metrics)) if metrics else None


def status_of(reply: Reply[Any]) -> Status:
    if reply.partial:
        return "partial"
    return "ok" if any(not isinstance(item, Series) or has_numbers(item) for item in reply.items) else "no_data"


def has_numbers(series: Series) -> bool:
    return not bool(np.isnan(series.values).all())


def fit(reply: Reply[T], instance: Instance) -> Reply[T]:
    """The reply with this source's credentials out of everything that the plugin itself says.

    TypeError when it is not what the contract says: what comes after may rely on the shapes.
    """

    def tidy(texts: Sequence[str]) -> list[str]:
        return [clean(instance.redact(text), 2000) for text in texts]

    def safe(item: T) -> T:
        if isinstance(item, Series):
            check_shape(item)
        said = {name: text for name in OWN_WORDS if isinstance(text := getattr(item, name, None), str)}
        hidden = {name: instance.redact(text) for name, text in said.items()}
        return item if hidden == said else cast("T", replace(cast("Any", item), **hidden))

    partial = clean(instance.redact(reply.partial)) if reply.partial else None
    return Reply([safe(item) for item in reply.items], tidy(reply.queries), tidy(reply.warnings), partial)


def check_shape(series: Series) -> None:
    times, values = series.timestamps_ms, series.values
    arrays = isinstance(times, np.ndarray) and isinstance(values, np.ndarray)
    if not arrays or times.dtype.kind not in "iu" or values.dtype.kind not in "fiu":
        raise TypeError("a Series needs NumPy arrays: int64 timestamps_ms and float64 values")
    if times.ndim != 1 or times.shape != values.shape:
        raise TypeError(f"a Series of {times.shape} timestamps has values of {values.shape}")


def failed(instance: Instance, error: BaseException, latency_ms: float | None) -> Outcome[Any]:
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, SourceError):
        message = clean(instance.redact(str(error)))
        failure = Failure(error.kind, message, instance.redact(error.hint), getattr(error, "retry_after_s", None))
    else:
        message = clean(instance.redact(f"the plugin failed: {type(error).__name__}: {error}"))
        failure = Failure("plugin", message, "report this to whoever wrote the plugin")
    return Outcome(instance.name, instance.plugin, "failed", Reply(), latency_ms, failure)


def unsupported(instance: Instance, question: Question[Any]) -> Outcome[Any]:
    capability = CAPABILITY[question.method]
    if capability in instance.capabilities and isinstance(question, SeriesQuery):
        what, hint = f"has none of {', '.join(question.metrics)}", "add it under this source's [metrics]"
    else:
        what, hint = f"has no {capability}", ""
    return Outcome(instance.name, instance.plugin, "skipped", Reply(), None, Failure("unsupported", what, hint))


def missing(absent: Absent) -> Outcome[Any]:
    failure = Failure("plugin", absent.reason, absent.fix)
    return Outcome(absent.name, absent.plugin, "failed", Reply(), None, failure)
