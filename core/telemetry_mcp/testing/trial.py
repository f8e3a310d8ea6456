"""One run of a plugin: loaded by the registry that will run it, asked through the engine's fan-out, watched."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Thread
from time import monotonic
from typing import Any, Generic, TypeVar, cast

import anyio

import telemetry_mcp
from telemetry_mcp.boundary import contain
from telemetry_mcp.config import read
from telemetry_mcp.contract import fit
from telemetry_mcp.fanout import Deadline, Fanout
from telemetry_mcp.guard import Guard
from telemetry_mcp.model import Outcome, Reply
from telemetry_mcp.outcome import failed, status_of
from telemetry_mcp.question import Question
from telemetry_mcp.registry import Instance, Registry, load
from telemetry_mcp.source import METHODS, Source

T = TypeVar("T")

NOT_PLUGINS = (
    threading.__file__,
    *(f"{Path(str(part.__file__)).parent}{os.sep}" for part in (asyncio, anyio, telemetry_mcp)),
)
"""Whose code a thread may be in without that being the plugin's."""

BEAT_S = 0.005
LOOK_S = 0.01
BLOCKED_S = 0.1
"""The longest that a source may keep the event loop from everybody else."""
AT_ONCE = 64
STUCK_S = 20.0
"""Beyond every time-out of a trial: what is not over by then never will be."""


class Witness:
    """A source as the fan-out sees it, with what it really gave and raised written down."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.raised: list[BaseException] = []
        self.replies: list[Reply[Any]] = []

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.source, name)
        if name not in METHODS.values():
            return found

        async def watched(*question: Any) -> Any:
            try:
                reply = await found(*question)
            except BaseException as error:
                self.raised.append(error)
                raise
            self.replies.append(reply)
            return reply

        return watched


@dataclass(frozen=True, slots=True)
class Trial:
    """A plugin that is loaded and running. `source` is the plugin's own object, `witness` what it did."""

    instance: Instance
    witness: Witness
    fanout: Fanout

    @property
    def source(self) -> Source:
        return self.witness.source

    async def ask(self, *questions: Question[Any], deadline_s: float = 15.0) -> list[Outcome[Any]]:
        """What the engine makes of each question, all asked at the same moment and none from the cache."""
        asked = await self.fanout.ask_all(questions, Deadline(deadline_s), fresh=True)
        return [outcome for (outcome,) in asked]

    async def bare(self, question: Question[Any]) -> Outcome[Any]:
        """The same for one question without the guard before the source: no retry, no back-off, no breaker."""
        reply: Reply[Any] = Reply()
        with contain() as kept:
            reply = fit(await question.put_to(self.source), self.instance, question)
        if kept.error is not None:
            return failed(self.instance, kept.error, None)
        return Outcome(self.instance.name, self.instance.plugin, status_of(reply), reply)


@asynccontextmanager
async def opened(config: Path) -> AsyncIterator[Trial]:
    """The one source of a configuration, running. Raises ConfigError as the engine would."""
    registry = load(read(config, {}))
    for absent in registry.absent:
        raise AssertionError(f"{absent.plugin} does not load: {absent.reason}. What to do: {absent.fix}")
    (instance,) = registry.instances
    witness = Witness(instance.source)
    # Many questions are asked at once, whatever the settings say about concurrency.
    guard = Guard(timeout_s=instance.guard.timeout_s, max_concurrency=AT_ONCE)
    seen = replace(instance, source=cast("Source", witness), guard=guard)
    try:
        async with Fanout(Registry((seen,))) as fanout:
            yield Trial(seen, witness, fanout)
    finally:
        await registry.close()


@dataclass(slots=True)
class Watch:
    """What was seen of the event loop from outside: the longest that it stood still, and where."""

    beat: float = field(default_factory=monotonic)
    stalled_s: float = 0.0
    at: str = ""

    async def tick(self) -> None:
        while True:
            self.beat = monotonic()
            await anyio.sleep(BEAT_S)

    def look(self, thread: Thread, rested_s: float) -> None:
        """A look that came late itself says nothing: then the machine was slow, and not the source."""
        idle_s = monotonic() - self.beat
        if idle_s > max(BLOCKED_S, self.stalled_s) and rested_s < 5 * LOOK_S:
            self.stalled_s, self.at = idle_s, place(thread)


class Run(Generic[T]):
    """An async function on an event loop in a thread of its own, so that one that blocks or never ends is told of
    instead of ending the test session."""

    def __init__(self, body: Callable[[], Awaitable[T]]) -> None:
        self.body = body
        self.watch = Watch()
        self.results: list[T] = []
        self.error: BaseException | None = None

    def result(self, stuck_s: float = STUCK_S) -> T:
        """What the function returned; raises what it raised, and AssertionError when it never ends."""
        thread = Thread(target=self.work, daemon=True)
        thread.start()
        started = looked = monotonic()
        while thread.is_alive():
            thread.join(LOOK_S)
            self.watch.look(thread, monotonic() - looked)
            looked = monotonic()
            if looked - started > stuck_s:
                raise AssertionError(
                    f"it did not come to an end within {stuck_s:g} s. It stands at {place(thread)}"
                )
        if self.error is not None:
            raise self.error
        if not self.results:
            raise AssertionError("the plugin raised CancelledError although nobody cancelled it")
        return self.results[0]

    def work(self) -> None:
        with suppress(asyncio.CancelledError), contain() as kept:
            self.results.append(anyio.run(self.main))
        self.error = kept.error

    async def main(self) -> T:
        ticking = asyncio.ensure_future(self.watch.tick())
        try:
            return await self.body()
        finally:
            ticking.cancel()


def place(thread: Thread) -> str:
    """Where a thread is: the outermost lines that are neither the engine's nor asyncio's, and the innermost."""
    frame = sys._current_frames().get(thread.ident or 0)
    stack = traceback.extract_stack(frame) if frame else []
    own = [entry for entry in stack if not entry.filename.startswith(NOT_PLUGINS)]
    shown = own[:3] + [entry for entry in stack[-1:] if entry not in own[:3]]
    return "".join(f"\n  {entry.filename}:{entry.lineno} in {entry.name}: {entry.line}" for entry in shown)


class Lines(logging.Handler):
    """Everything that is logged while it is there."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(f"{record.name}: {logging.Formatter().format(record)}")


@contextmanager
def listening() -> Iterator[list[str]]:
    """What anybody logs inside the block, down to DEBUG."""
    root, lines = logging.getLogger(), Lines()
    before = root.level
    root.addHandler(lines)
    root.setLevel(logging.DEBUG)
    try:
        yield lines.texts
    finally:
        root.setLevel(before)
        root.removeHandler(lines)


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """An exception and everything that led to it."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        error = waiting.pop()
        if error is None or id(error) in seen:
            continue
        seen.add(id(error))
        yield error
        waiting += [error.__cause__, error.__context__]
        waiting += error.exceptions if isinstance(error, BaseExceptionGroup) else ()


def texts_of(
    witness: Witness, outcomes: Sequence[Outcome[Any]], logged: Sequence[str]
) -> Iterator[tuple[str, str]]:
    """Everything that a source let out, each with the name of where it was found."""
    for raised in witness.raised:
        for error in chain(raised):
            yield f"the {type(error).__name__} that it raised", f"{error} {error!r} {getattr(error, 'hint', '')}"
    for reply in witness.replies:
        yield "its reply", repr(reply)
    for outcome in outcomes:
        yield "the engine's answer", repr(outcome)
    for line in logged:
        yield "the log", line
