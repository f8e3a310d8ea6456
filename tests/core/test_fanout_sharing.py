"""Questions that many ask at once, callers that leave, and answers that are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio import Event, create_task_group, fail_after, sleep_forever

from telemetry_mcp.cache import Entry, MemoryCache
from telemetry_mcp.errors import AuthError
from telemetry_mcp.fanout import Deadline, Fanout
from telemetry_mcp.model import Outcome, Reply, Service
from telemetry_mcp.question import ServiceQuery, Window

if TYPE_CHECKING:
    from tests.core.conftest import MakeFanout, MakeRegistry, Scripted, Statuses

HOUR = Window(0, 3_600_000)
SERVICES = ServiceQuery(HOUR)
FOUND: Reply[Service] = Reply([Service("checkout")])


# ---- cancellation and single flight


async def test_a_client_that_leaves_cancels_the_upstream_request(
    fanout: MakeFanout, scripted: type[Scripted]
) -> None:
    started, cancelled = Event(), Event()
    async with fanout(one=scripted.telling(started, cancelled)) as fan, create_task_group() as client:
        client.start_soon(fan.ask, SERVICES, Deadline(30))
        with fail_after(5):
            await started.wait()
            client.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                await cancelled.wait()
    assert fan.flights == {}


async def test_a_shared_upstream_request_is_cancelled_only_with_the_last_caller(
    fanout: MakeFanout, scripted: type[Scripted]
) -> None:
    started, cancelled = Event(), Event()
    source = scripted.telling(started, cancelled)
    async with fanout(one=source) as fan, create_task_group() as first, create_task_group() as second:
        first.start_soon(fan.ask, SERVICES, Deadline(30))
        second.start_soon(fan.ask, SERVICES, Deadline(30))
        with fail_after(5):
            await anyio.wait_all_tasks_blocked()
            assert source.calls == 1
            second.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                await anyio.wait_all_tasks_blocked()
                assert not cancelled.is_set()
                first.cancel_scope.cancel()
                await cancelled.wait()


async def test_the_caller_that_stays_gets_the_answer_of_the_shared_request(
    fanout: MakeFanout, scripted: type[Scripted], statuses: Statuses
) -> None:
    started, cancelled, release = Event(), Event(), Event()
    source = scripted.telling(started, cancelled, release)
    answers: list[list[Outcome[Service]]] = []
    async with fanout(one=source) as fan, create_task_group() as tasks:

        async def stays() -> None:
            answers.append(await fan.ask(SERVICES, Deadline(30)))

        tasks.start_soon(stays)
        with fail_after(5):
            await anyio.wait_all_tasks_blocked()
            assert statuses(await fan.ask(SERVICES, Deadline(0.05))) == {"one": "timeout"}
            release.set()
    assert [statuses(answer) for answer in answers] == [{"one": "ok"}]
    assert source.calls == 1
    assert fan.registry["one"].guard.breaker.failures == 0


async def test_identical_questions_under_way_share_one_request_and_others_do_not(
    fanout: MakeFanout, scripted: type[Scripted]
) -> None:
    release = Event()

    async def waits() -> Reply[Service]:
        await release.wait()
        return FOUND

    source = scripted(waits)
    async with fanout(one=source) as fan, create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(fan.ask, SERVICES, Deadline(30))
        tasks.start_soon(fan.ask, ServiceQuery(Window(0, 60_000)), Deadline(30))
        with fail_after(5):
            await anyio.wait_all_tasks_blocked()
        assert source.calls == 2
        release.set()


async def test_leaving_the_fanout_cancels_what_is_under_way(fanout: MakeFanout, scripted: type[Scripted]) -> None:
    started, cancelled = Event(), Event()
    fan = fanout(one=scripted.telling(started, cancelled))

    async def caller() -> None:
        with pytest.raises(RuntimeError, match="closed"):
            await fan.ask(SERVICES, Deadline(30))

    with fail_after(5):
        async with create_task_group() as tasks, fan:
            tasks.start_soon(caller)
            await started.wait()
    assert cancelled.is_set()


# ---- what is kept


async def test_a_kept_answer_says_its_age_and_fresh_asks_again(
    scripted: type[Scripted], registry: MakeRegistry
) -> None:
    now_ms = 1_000_000
    source = scripted.finding()
    observed: list[Outcome[Any]] = []
    async with Fanout(registry(one=source), clock_ms=lambda: now_ms, observe=observed.append) as fan:
        (first,) = await fan.ask(SERVICES, Deadline(5))
        now_ms += 2_500
        (kept,) = await fan.ask(SERVICES, Deadline(5))
        (fresh,) = await fan.ask(SERVICES, Deadline(5), fresh=True)
    assert (first.cached_age_s, kept.cached_age_s, fresh.cached_age_s) == (None, 2.5, None)
    assert kept.reply == first.reply
    assert source.calls == 2
    assert observed == [first, fresh]


async def test_a_failure_is_not_kept(fanout: MakeFanout, scripted: type[Scripted], statuses: Statuses) -> None:
    answers = iter([scripted.raising(AuthError("no")).answer, scripted.finding().answer])

    async def flaky() -> Reply[Service]:
        return await next(answers)()

    async with fanout(one=scripted(flaky)) as fan:
        assert statuses(await fan.ask(SERVICES, Deadline(5))) == {"one": "auth"}
        assert statuses(await fan.ask(SERVICES, Deadline(5))) == {"one": "ok"}


async def test_a_store_that_is_slow_does_not_hold_the_answer_up(
    scripted: type[Scripted], registry: MakeRegistry, statuses: Statuses
) -> None:
    class Slow(MemoryCache):
        async def put(self, key: str, entry: Entry, ttl_s: float) -> None:
            await sleep_forever()

    async with Fanout(registry(one=scripted.finding()), Slow()) as fan:
        with fail_after(5):
            assert statuses(await fan.ask(SERVICES, Deadline(30))) == {"one": "ok"}
