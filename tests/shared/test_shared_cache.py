"""Answers that instances share by a real Redis: kept once, asked for once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import numpy as np
import pytest
from anyio import Event, create_task_group, fail_after
from redis.asyncio import Redis

from telemetry_mcp.cache import Entry, MemoryCache, key_of
from telemetry_mcp.errors import UpstreamError
from telemetry_mcp.fanout import Deadline
from telemetry_mcp.model import Outcome, Reply, Series, Service
from telemetry_mcp.question import ServiceQuery, Window
from telemetry_mcp.setting import HttpSettings
from telemetry_mcp.shared.cache import SharedCache
from telemetry_mcp.shared.fleet import fingerprint
from tests.real.moment import until

if TYPE_CHECKING:
    from tests.real.redis import RedisServer
    from tests.shared.conftest import Join, Member, Upstream

pytestmark = pytest.mark.real

SERVICES = ServiceQuery(Window(0, 3_600_000))
KEY = key_of("one", SERVICES)
FOUND: Reply[Service] = Reply([Service("checkout", tags={"a": "b"})], ["q"], [])


async def finding() -> Reply[Service]:
    return FOUND


async def ask(member: Member, **options: Any) -> Outcome[Service]:
    (outcome,) = await member.fanout.ask(SERVICES, Deadline(20), **options)
    return outcome


async def held(redis: RedisServer, pattern: str) -> list[bytes]:
    async with Redis.from_url(redis.url) as client:
        return [key async for key in client.scan_iter(pattern)]


# ---- what is kept


async def test_what_one_instance_was_answered_the_next_one_need_not_ask(
    redis: RedisServer, join: Join, upstream: type[Upstream]
) -> None:
    source = upstream(finding)
    async with join(redis.url, source) as one, join(redis.url, source) as two:
        first = await ask(one)
        await until(lambda: held(redis, "*:answer:*"))
        second = await ask(two)
        again = await ask(two)
    assert source.calls == 1
    assert (first.cached_age_s, first.reply) == (None, second.reply)
    assert second.cached_age_s is not None
    assert again.reply is second.reply  # it is near now


async def test_fresh_asks_again_and_the_others_get_the_newer_answer(
    redis: RedisServer, join: Join, upstream: type[Upstream]
) -> None:
    source = upstream(finding)
    async with join(redis.url, source) as one, join(redis.url, source) as two:
        await ask(one)
        await until(lambda: held(redis, "*:answer:*"))
        assert (await ask(two, fresh=True)).cached_age_s is None
    assert source.calls == 2


async def test_an_answer_goes_from_redis_and_from_every_memory_when_its_time_is_over(
    redis: RedisServer, join: Join, upstream: type[Upstream]
) -> None:
    source = upstream(finding)
    async with join(redis.url, source, inventory=0.4) as one, join(redis.url, source, inventory=300) as two:
        await ask(one)
        await until(lambda: held(redis, "*:answer:*"))
        await ask(two)
        assert source.calls == 1
        await until(lambda: gone(redis))
        await anyio.sleep(0.05)
        await ask(two)
    assert source.calls == 2


async def gone(redis: RedisServer) -> bool:
    return not await held(redis, "*:answer:*")


@pytest.mark.parametrize("ahead_ms", [-60_000, 60_000])
async def test_an_instance_whose_clock_is_wrong_takes_answers_and_keeps_none_for_too_long(
    redis: RedisServer, join: Join, upstream: type[Upstream], ahead_ms: int
) -> None:
    async with join(redis.url, upstream(finding)) as one, join(redis.url, upstream(finding)) as two:
        now = [0.0]
        near = MemoryCache(clock=lambda: now[0])
        here = SharedCache(near, two.link, two.turns.cache.folder, lambda: 1_000_000 + ahead_ms)
        await one.fleet.cache.put("k", Entry(FOUND, 1_000_000), 10)
        (entry,) = await here.get(["k"])
        assert entry == Entry(FOUND, 1_000_000)
        now[0] = 10.0
        assert (await near.get(["k"]))[0] is None


async def test_several_keys_are_one_round_trip(redis: RedisServer, join: Join, upstream: type[Upstream]) -> None:
    async with join(redis.url, upstream(finding)) as one, join(redis.url, upstream(finding)) as two:
        for key in "ac":
            await one.fleet.cache.put(key, Entry(FOUND, 1), 10)
        async with Redis.from_url(redis.url) as client:
            before = (await client.info("commandstats"))["cmdstat_mget"]["calls"]
            found = await two.fleet.cache.get(["a", "b", "c"])
            after = (await client.info("commandstats"))["cmdstat_mget"]["calls"]
    assert [entry is not None for entry in found] == [True, False, True]
    assert after - before == 1


async def test_a_reply_of_megabytes_arrives_whole(
    redis: RedisServer, join: Join, upstream: type[Upstream]
) -> None:
    large = Entry(
        Reply([Series("a", "cpu", np.arange(200_000), np.random.default_rng(1).normal(size=200_000))]), 1
    )
    async with join(redis.url, upstream(finding)) as one, join(redis.url, upstream(finding)) as two:
        await one.fleet.cache.put("large", large, 60)
        (entry,) = await two.fleet.cache.get(["large"])
    assert entry
    assert np.array_equal(entry.reply.items[0].values, large.reply.items[0].values)


async def test_garbage_in_redis_is_asked_for_again_and_replaced(
    redis: RedisServer, join: Join, upstream: type[Upstream]
) -> None:
    source = upstream(finding)
    async with join(redis.url, source) as one, join(redis.url, source) as two, Redis.from_url(redis.url) as client:
        await client.set(one.turns.cache.name(KEY), b"\x80\x05garbage")
        assert (await ask(one)).reply == FOUND
        await until(lambda: replaced(client, one))
        assert (await ask(two)).reply == FOUND
    assert source.calls == 1


async def replaced(client: Redis, member: Member) -> bool:
    raw: Any = await client.get(member.turns.cache.name(KEY))
    return bool(raw and raw.startswith(b"TMP"))


async def test_a_key_of_another_type_is_no_fault_of_the_call(
    redis: RedisServer, join: Join, upstream: type[Upstream]
) -> None:
    source = upstream(finding)
    async with join(redis.url, source) as one, Redis.from_url(redis.url) as client:
        await client.lpush(one.turns.cache.name(KEY), "x")
        assert (await ask(one)).status == "ok"
        assert one.link.up


async def test_instances_whose_sources_differ_do_not_share_answers(
    redis: RedisServer, join: Join, upstream: type[Upstream]
) -> None:
    source, other = upstream(finding), upstream(finding)
    other.settings = other.settings.model_copy(update={"timeout": 3.0})
    async with join(redis.url, source) as one, join(redis.url, other) as two:
        await ask(one)
        await until(lambda: held(redis, "*:answer:*"))
        await ask(two)
    assert (source.calls, other.calls) == (1, 1)


def test_the_fingerprint_tells_sources_apart_and_gives_no_secret_away() -> None:
    def one(**changed: Any) -> tuple[str, HttpSettings]:
        settings = {"plugin": "x", "url": "http://a", "bearer_token": "first-token"}
        return "name", HttpSettings.model_validate({**settings, **changed})

    variants = [one(), one(url="http://b"), one(bearer_token="other-token"), one(metrics={"cpu": "up"})]
    prints = [fingerprint([variant]) for variant in variants] + [fingerprint([("other", one()[1])])]
    assert len(set(prints)) == len(prints)
    assert prints[0] == fingerprint([one()])
    assert all(len(text) == 24 for text in prints)


# ---- one upstream call


class Gated:
    """Answers when it may."""

    def __init__(self) -> None:
        self.asked, self.may_answer = Event(), Event()

    async def __call__(self) -> Reply[Service]:
        self.asked.set()
        await self.may_answer.wait()
        return FOUND


async def waiting(member: Member) -> None:
    """Returns when a question of the member waits for another instance."""
    flights = member.fanout.flights
    await until(lambda: any(not flight.asking for flight in flights.values()) and not member.turns.held)


async def test_a_question_under_way_at_one_instance_is_waited_for_at_the_other(
    redis: RedisServer, join: Join, upstream: type[Upstream]
) -> None:
    answer = Gated()
    source, answers = upstream(answer), list[Outcome[Service]]()

    async def asking(member: Member) -> None:
        answers.append(await ask(member))

    async with join(redis.url, source) as one, join(redis.url, source) as two, create_task_group() as tasks:
        tasks.start_soon(asking, one)
        await answer.asked.wait()
        tasks.start_soon(asking, two)
        await waiting(two)
        await anyio.sleep(1.5)  # longer than a lease that nobody renews
        assert source.calls == 1
        answer.may_answer.set()
    assert source.calls == 1
    assert [outcome.reply for outcome in answers] == [FOUND, FOUND]
    assert await held(redis, "*:lease:*") == []


async def test_an_answer_that_came_between_the_look_and_the_turn_is_not_asked_for_again(
    redis: RedisServer, join: Join, upstream: type[Upstream]
) -> None:
    async with join(redis.url, upstream(finding)) as one, join(redis.url, upstream(finding)) as two:
        await one.fleet.cache.put(KEY, Entry(FOUND, 1), 60)
        turn = two.turns(KEY)
        assert await turn.take(5) == Entry(FOUND, 1)
        turn.end()
        await until(lambda: released(redis))


async def released(redis: RedisServer) -> bool:
    return not await held(redis, "*:lease:*")


async def test_a_fresh_call_does_not_wait_for_what_another_instance_is_asking(
    redis: RedisServer, join: Join, upstream: type[Upstream]
) -> None:
    answer = Gated()
    slow, quick = upstream(answer), upstream(finding)
    async with join(redis.url, slow) as one, join(redis.url, quick) as two, create_task_group() as tasks:
        tasks.start_soon(ask, one)
        await answer.asked.wait()
        tasks.start_soon(ask, two)
        await waiting(two)
        with fail_after(2):
            assert (await ask(two, fresh=True)).cached_age_s is None
        assert quick.calls == 1  # and whoever had been waiting there got this answer
        answer.may_answer.set()


async def test_when_the_one_that_asked_fails_the_others_ask_for_themselves(
    redis: RedisServer, join: Join, upstream: type[Upstream]
) -> None:
    asked, may_fail = Event(), Event()

    async def failing() -> Reply[Service]:
        asked.set()
        await may_fail.wait()
        raise UpstreamError("HTTP 503")

    answers: list[Outcome[Service]] = []

    async def asking(member: Member) -> None:
        answers.append(await ask(member))

    one_source, two_source = upstream(failing), upstream(finding)
    async with (
        join(redis.url, one_source) as one,
        join(redis.url, two_source) as two,
        create_task_group() as tasks,
    ):
        tasks.start_soon(asking, one)
        await asked.wait()
        tasks.start_soon(asking, two)
        await waiting(two)
        may_fail.set()
    assert {outcome.status for outcome in answers} == {"ok", "failed"}
    assert two_source.calls == 1


async def test_a_holder_that_died_costs_the_time_of_its_lease(
    redis: RedisServer, join: Join, upstream: type[Upstream]
) -> None:
    source = upstream(finding)
    async with join(redis.url, source) as one, Redis.from_url(redis.url) as client:
        await client.set(one.turns(KEY).lease, "of one that is dead", px=one.turns.lease_ms)
        started = anyio.current_time()
        assert (await ask(one)).status == "ok"
        took_s = anyio.current_time() - started
    assert 0.8 < took_s < 1.5
    assert source.calls == 1


async def test_a_caller_that_leaves_while_it_waits_has_asked_nothing_and_holds_nothing(
    redis: RedisServer, join: Join, upstream: type[Upstream]
) -> None:
    answer = Gated()
    slow, quick = upstream(answer), upstream(finding)
    async with join(redis.url, slow) as one, join(redis.url, quick) as two, create_task_group() as tasks:
        tasks.start_soon(ask, one)
        await answer.asked.wait()
        async with create_task_group() as client:
            client.start_soon(ask, two)
            await waiting(two)
            client.cancel_scope.cancel()
        (late,) = await two.fanout.ask(SERVICES, Deadline(0.6))
        assert late.failure
        assert two.guard.breaker.failures == 0  # it was not this source that kept it waiting
        answer.may_answer.set()
    assert quick.calls == 0


async def test_a_caller_that_leaves_gives_its_turn_back(
    redis: RedisServer, join: Join, upstream: type[Upstream]
) -> None:
    answer = Gated()
    slow, quick = upstream(answer), upstream(finding)
    async with join(redis.url, slow) as one, join(redis.url, quick) as two:
        async with create_task_group() as client:
            client.start_soon(ask, one)
            await answer.asked.wait()
            client.cancel_scope.cancel()
        started = anyio.current_time()
        assert (await ask(two)).status == "ok"
        assert anyio.current_time() - started < 0.5
    assert quick.calls == 1
