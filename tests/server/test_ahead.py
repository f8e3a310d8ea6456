"""What follows from the sources that have answered is worked out while the others keep the call waiting."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import anyio

from telemetry_mcp import Reply, Service, ServiceQuery, Source
from telemetry_mcp.analysis.anomaly import Options
from telemetry_mcp.config import Config
from telemetry_mcp.derivation import Derivations, told
from telemetry_mcp.engine import Engine, opened
from telemetry_mcp.fanout import Deadline
from telemetry_mcp.model import Outcome
from telemetry_mcp.question import Window
from telemetry_mcp.server import anomalies
from telemetry_mcp.server.call import Call
from telemetry_mcp.testing.fake import registry_of, scripted
from tests.server.test_anomalies import NOW_MS, daily, listing
from tests.server.test_anomalies import source as numbers

T = TypeVar("T")

ASKED = ServiceQuery(Window(NOW_MS - 3_600_000, NOW_MS))
FOUND: Reply[Service] = Reply([Service("checkout")])
SOON_S = 0.4
LIMIT_S = 10

Told = list[list[Outcome[Any]]]


@asynccontextmanager
async def engine_of(*sources: Source) -> AsyncIterator[Engine]:
    async with opened(
        Config(Path("plugins.toml")), registry=registry_of(*sources), clock_ms=lambda: NOW_MS
    ) as engine:
        yield engine


def statuses(outcomes: Sequence[Outcome[Any]]) -> list[tuple[str, str]]:
    return [(outcome.source, outcome.status) for outcome in outcomes]


async def test_who_has_not_answered_by_half_time_counts_as_failed_until_it_does() -> None:
    quick, slow, other = scripted("quick", services=FOUND), scripted("slow", services=FOUND), numbers("other", {})
    gate, followed, progress = slow.hold(), Told(), list[str]()

    async def tell(outcome: Outcome[Any], answered: int, asked: int) -> None:
        progress.append(outcome.source)

    async def follow(outcomes: Sequence[Outcome[Service]]) -> int:
        followed.append(list(outcomes))
        gate.set()
        return len(followed)

    async with engine_of(quick, slow, other) as engine:
        with anyio.fail_after(LIMIT_S):
            outcomes, nth = await Call(engine, Deadline(2), progress=tell).ask_ahead(ASKED, follow)
    ahead, settled = followed
    assert [pair for pair in statuses(ahead) if pair[0] != "other"] == [("quick", "ok"), ("slow", "failed")]
    assert statuses(settled)[:2] == [("quick", "ok"), ("slow", "ok")]
    assert (settled, nth) == (outcomes, 2)
    assert progress.count("quick") == progress.count("slow") == 1


async def test_where_nobody_else_answers_it_follows_from_the_same_as_at_half_time() -> None:
    quick, slow = scripted("quick", services=FOUND), scripted("slow", services=FOUND)
    slow.hold()
    followed, moments = Told(), list[float]()

    async def follow(outcomes: Sequence[Outcome[Service]]) -> None:
        followed.append(list(outcomes))
        moments.append(anyio.current_time())

    async with engine_of(quick, slow) as engine:
        deadline = Deadline(SOON_S)
        await Call(engine, deadline).ask_ahead(ASKED, follow)
    ahead, settled = followed
    assert moments[0] < deadline.at <= moments[1]
    assert list(told(ahead)) == list(told(settled))


async def test_where_all_answer_before_nothing_is_worked_out_twice() -> None:
    followed = Told()

    async def follow(outcomes: Sequence[Outcome[Service]]) -> None:
        followed.append(list(outcomes))

    async with engine_of(scripted("quick", services=FOUND)) as engine:
        outcomes, _ = await Call(engine, Deadline(LIMIT_S)).ask_ahead(ASKED, follow)
    assert followed == [outcomes]


async def test_what_is_under_way_for_nothing_is_given_up() -> None:
    quick, slow = scripted("quick", services=FOUND), scripted("slow", services=FOUND)
    gate, given_up = slow.hold(), list[bool]()

    async def follow(outcomes: Sequence[Outcome[Service]]) -> None:
        if any(outcome.status == "failed" for outcome in outcomes):
            gate.set()
            try:
                await anyio.sleep_forever()
            finally:
                given_up.append(True)

    async with engine_of(quick, slow) as engine:
        with anyio.fail_after(LIMIT_S):
            await Call(engine, Deadline(1)).ask_ahead(ASKED, follow)
    assert given_up == [True]


class Counted(Derivations):
    """Knows when each began, by the clock of the event loop."""

    def __init__(self) -> None:
        super().__init__()
        self.begun: list[float] = []

    async def alone(self, make: Callable[[], T]) -> T:
        self.begun.append(anyio.current_time())
        return await super().alone(make)


async def test_anomalies_are_looked_for_before_the_deadline_that_a_hung_source_uses_up() -> None:
    hung = listing(scripted("hung", series=Reply(), services=FOUND), "cpu")
    hung.hold()
    async with engine_of(numbers("metrics", {("checkout", "cpu"): daily}), hung) as engine:
        counted, deadline = Counted(), Deadline(2)
        call = Call(replace(engine, derivations=counted), deadline)
        answer = await anomalies.answer(call, "checkout", "cpu", 1, Options(), None)
    (begun,) = counted.begun
    assert begun < deadline.at
    assert answer.baseline.series_judged == 1
    assert [line.status for line in answer.sources] == ["ok", "failed"]
