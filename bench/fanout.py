"""The fan-out: a merged call against the slowest source alone, with a hung source, and with 32 callers.

32 different questions are 192 answers to judge and merge: 3 ms of computing for each question, on one core.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter

import anyio
import numpy as np
from figure import Figure

from telemetry_mcp import Context, Reply, Series, SeriesQuery, Source, SourceSettings, Window
from telemetry_mcp.config import Config
from telemetry_mcp.engine import Engine, opened
from telemetry_mcp.fanout import Deadline
from telemetry_mcp.guard import Guard
from telemetry_mcp.registry import Instance, Registry
from telemetry_mcp.secret import Redactor
from telemetry_mcp.server import history
from telemetry_mcp.server.call import Call

SLOW_S = 0.1
SOURCES = 6
ROUNDS = 30
CALLERS = 32


class Slow(Source):
    """Answers a day by the minute after a tenth of a second."""

    async def fetch_series(self, query: SeriesQuery) -> Reply[Series]:
        await anyio.sleep(SLOW_S)
        times = np.arange(query.window.start_ms, query.window.end_ms, query.step_ms)
        values = 50 + np.sin(times / 3.6e6)
        return Reply([Series(query.services[0], metric, times, values) for metric in query.metrics])


class Hung(Source):
    async def fetch_series(self, query: SeriesQuery) -> Reply[Series]:
        await anyio.sleep_forever()
        raise AssertionError("unreachable")


def instance(name: str, cls: type[Source]) -> Instance:
    settings = SourceSettings(plugin=name, metrics={})
    guard = Guard(timeout_s=8, max_concurrency=64)
    return Instance(name, name, cls(settings, Context(name)), guard, Redactor(settings))


def registry(*more: Instance) -> Registry:
    return Registry((*(instance(f"slow-{place}", Slow) for place in range(SOURCES)), *more))


async def ask(engine: Engine, *, hours: float = 24, deadline_s: float = 10) -> history.History:
    call = Call(engine, Deadline(deadline_s), fresh=True)
    return await history.answer(call, "checkout", "cpu", hours=hours)


async def timed(action: Callable[[], Awaitable[object]]) -> float:
    started = perf_counter()
    await action()
    return perf_counter() - started


async def one_caller() -> tuple[float, float]:
    """Medians in seconds: the merged call, and the slowest source asked alone."""
    sources = registry()
    async with opened(Config(Path("bench")), registry=sources) as engine:
        alone, merged = [], []
        day = Window(0, 86_400_000)
        question = SeriesQuery(("checkout",), ("cpu",), day, 60_000)
        for _ in range(ROUNDS):
            alone.append(await timed(lambda: sources.instances[0].source.fetch_series(question)))
            merged.append(await timed(lambda: ask(engine)))
        return median(merged), median(alone)


async def many_callers(spread_h: float) -> tuple[float, float]:
    """Medians in seconds: 32 callers at once, whose windows differ by `spread_h` hours each, and one caller."""
    async with opened(Config(Path("bench")), registry=registry()) as engine:
        ones, many = [], []

        async def all_at_once() -> None:
            async with anyio.create_task_group() as callers:
                for place in range(CALLERS):
                    callers.start_soon(partial(ask, engine, hours=1 + place * spread_h))

        for _ in range(12):
            ones.append(await timed(lambda: ask(engine, hours=1)))
            many.append(await timed(all_at_once))
        return median(many), median(ones)


async def with_a_hung_source() -> float:
    async with opened(Config(Path("bench")), registry=registry(instance("hung", Hung))) as engine:
        return median([await timed(lambda: ask(engine, deadline_s=1)) for _ in range(5)])


def measure() -> list[Figure]:
    merged, alone = anyio.run(one_caller)
    same, one = anyio.run(many_callers, 0.0)
    different, one_of_them = anyio.run(many_callers, 0.1)
    return [
        Figure("merged call over six sources of 100 ms", merged, "s", 1.08, alone, "slowest source alone"),
        Figure("the same with one source hung, deadline 1 s", anyio.run(with_a_hung_source), "s", 1.05),
        Figure("32 callers with one question at once", same, "s", 1.3, one, "one caller"),
        Figure("32 callers with 32 questions at once", different, "s", 2.3, one_of_them, "one caller"),
    ]
