"""What is worked out from replies is worked out once for the same replies, and never for others."""

from __future__ import annotations

from threading import Event as Signal
from threading import get_ident

import anyio
import numpy as np
import pytest
from anyio import create_task_group, from_thread, wait_all_tasks_blocked

from telemetry_mcp import Reply, Series
from telemetry_mcp.derivation import KEPT_BYTES, KEPT_S, Derivations
from telemetry_mcp.model import Outcome
from telemetry_mcp.testing.fake import Clock

Asked = tuple[list[Outcome[Series]], str]
LONGEST_S = 5.0


def outcome(reply: Reply[Series], status: str = "ok") -> Outcome[Series]:
    return Outcome("one", "test", status, reply)  # type: ignore[arg-type]


def reply(points: int = 3) -> Reply[Series]:
    return Reply([Series("checkout", "cpu", np.arange(points), np.zeros(points))])


class Runs:
    """Says which run it is; `threads` are those that it ran in."""

    def __init__(self) -> None:
        self.threads: list[int] = []

    def __call__(self) -> int:
        self.threads.append(get_ident())
        return len(self.threads)


@pytest.fixture(params=["here", "aside"])
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def derived(way: str, *asked: Asked) -> list[int]:
    """The number of the run that each answer came from."""
    derivations, runs = Derivations(), Runs()
    if way == "here":
        return [derivations.here(outcomes, key, runs) for outcomes, key in asked]
    return [await derivations.aside(outcomes, key, runs) for outcomes, key in asked]


async def test_the_same_replies_are_worked_out_once(way: str) -> None:
    same = reply()
    assert await derived(way, ([outcome(same)], "a"), ([outcome(same)], "a")) == [1, 1]


async def test_other_replies_and_other_questions_are_worked_out_anew(way: str) -> None:
    same = reply()
    assert await derived(way, ([outcome(same)], "a"), ([outcome(same)], "b"), ([outcome(reply())], "a")) == [
        1,
        2,
        3,
    ]


async def test_a_source_that_was_not_asked_makes_no_difference(way: str) -> None:
    same = reply()
    first = [outcome(same), outcome(Reply(), "skipped")]
    assert await derived(way, (first, "a"), ([outcome(same), outcome(Reply(), "skipped")], "a")) == [1, 1]


async def test_a_source_that_fails_again_makes_no_difference_but_one_that_answers_does(way: str) -> None:
    same = outcome(reply())
    failed = [same, outcome(Reply(), "failed")]
    again, answered = [same, outcome(Reply(), "failed")], [same, outcome(reply())]
    assert await derived(way, (failed, "a"), (again, "a"), (answered, "a")) == [1, 1, 2]


async def test_what_is_too_large_to_keep_is_worked_out_each_time(way: str) -> None:
    large = reply(KEPT_BYTES // 16)
    assert await derived(way, ([outcome(large)], "a"), ([outcome(large)], "a")) == [1, 2]


async def test_what_nobody_asks_for_any_more_is_not_kept() -> None:
    clock, runs, old = Clock(), Runs(), [outcome(reply())]
    derivations = Derivations(clock=clock)
    clock.advance(1)
    assert derivations.here(old, "a", runs) == await derivations.aside(old, "a", runs) == 1
    clock.advance(KEPT_S)
    derivations.here([outcome(reply())], "a", runs)
    assert len(derivations.kept) == 1
    assert await derivations.aside(old, "a", runs) == 3


async def test_much_is_worked_out_in_a_thread_and_little_where_it_is_asked() -> None:
    derivations, runs = Derivations(), Runs()
    await derivations.aside([outcome(reply(1000))], "a", runs, light_bytes=10_000)
    assert get_ident() not in runs.threads
    await derivations.aside([outcome(reply())], "a", runs, light_bytes=10_000)
    assert runs.threads[1:] == [get_ident()]


async def test_who_asks_meanwhile_waits_for_the_same() -> None:
    derivations, go, runs, got = Derivations(), Signal(), Runs(), list[int]()
    outcomes = [outcome(reply())]

    def make() -> int:
        assert go.wait(LONGEST_S)
        return runs()

    async def ask() -> None:
        got.append(await derivations.aside(outcomes, "a", make, lasts=lambda made: False))

    async with create_task_group() as callers:
        for _ in range(3):
            callers.start_soon(ask)
        await wait_all_tasks_blocked()
        go.set()
    assert got == [1, 1, 1]
    assert await derivations.aside(outcomes, "a", make) == 2, "what does not last is kept for nobody else"


async def test_when_the_first_caller_leaves_another_begins_anew() -> None:
    derivations, entered, go = Derivations(), anyio.Event(), Signal()
    outcomes, runs, got = [outcome(reply())], Runs(), list[int]()

    def hang() -> int:
        from_thread.run_sync(entered.set)
        assert go.wait(LONGEST_S)
        return -1

    async def ask() -> None:
        got.append(await derivations.aside(outcomes, "a", runs))

    async with create_task_group() as callers:
        async with create_task_group() as first:
            first.start_soon(derivations.aside, outcomes, "a", hang)
            await entered.wait()
            callers.start_soon(ask)
            await wait_all_tasks_blocked()
            first.cancel_scope.cancel()
        with anyio.fail_after(LONGEST_S):
            while not got:
                await anyio.lowlevel.checkpoint()
        go.set()
    assert got == [1]


async def test_what_fails_fails_for_everybody_and_is_tried_again_by_the_next() -> None:
    derivations, outcomes, runs = Derivations(), [outcome(reply())], Runs()

    def fail() -> int:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await derivations.aside(outcomes, "a", fail)
    assert await derivations.aside(outcomes, "a", runs) == 1
    assert not derivations.under_way


async def test_no_more_than_its_workers_are_at_work() -> None:
    derivations, go, entered = Derivations(workers=1), Signal(), list[str]()

    def hold(name: str) -> str:
        entered.append(name)
        assert go.wait(LONGEST_S)
        return name

    async with create_task_group() as callers:
        for name in "ab":
            callers.start_soon(derivations.aside, [outcome(reply())], name, lambda name=name: hold(name))
        await wait_all_tasks_blocked()
        assert derivations.workers.statistics().tasks_waiting == 1
        go.set()
    assert sorted(entered) == ["a", "b"]
