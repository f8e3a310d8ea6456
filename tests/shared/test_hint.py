"""A source that limits one instance, or is down there, is left alone by the others, too; and events reach them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest
from mcp.server.subscriptions import (
    PromptsListChanged,
    ResourcesListChanged,
    ResourceUpdated,
    ServerEvent,
    ToolsListChanged,
)

from telemetry_mcp.breaker import FAILURES, OPEN_S, Breaker, Pause
from telemetry_mcp.errors import RateLimitedError, UpstreamError
from telemetry_mcp.fanout import Deadline
from telemetry_mcp.model import Outcome, Reply, Service
from telemetry_mcp.question import ServiceQuery, Window
from telemetry_mcp.server.bus import Bus
from tests.real.moment import until

if TYPE_CHECKING:
    from tests.real.redis import RedisServer
    from tests.shared.conftest import Join, Member, Upstream


async def finding() -> Reply[Service]:
    return Reply([Service("checkout")])


async def limited() -> Reply[Service]:
    raise RateLimitedError("HTTP 429: enough", retry_after_s=30)


async def down() -> Reply[Service]:
    raise UpstreamError("HTTP 503")


async def ask(member: Member, nth: int = 0) -> Outcome[Service]:
    (outcome,) = await member.fanout.ask(ServiceQuery(Window(0, 3_600_000 + nth)), Deadline(20))
    return outcome


@pytest.mark.real
async def test_a_rate_limit_of_one_instance_holds_for_all_and_for_one_that_starts_later(
    redis: RedisServer, join: Join, upstream: type[Upstream]
) -> None:
    well = upstream(finding)
    async with join(redis.url, upstream(limited)) as one, join(redis.url, well) as two:
        await two.listens()
        await ask(one)
        await until(lambda: two.guard.pause.wait_s > 0)
        failure = (await ask(two)).failure
        assert failure
        assert "enough" in failure.message
        assert 25 < (failure.retry_after_s or 0) <= 33
        async with join(redis.url, well) as three:
            await until(lambda: three.guard.pause.wait_s > 0)
            assert abs(three.guard.pause.wait_s - one.guard.pause.wait_s) < 0.5
    assert well.calls == 0


@pytest.mark.real
async def test_a_breaker_that_opens_opens_the_others_until_the_same_moment(
    redis: RedisServer, join: Join, upstream: type[Upstream]
) -> None:
    well = upstream(finding)
    async with join(redis.url, upstream(down)) as one, join(redis.url, well) as two:
        await two.listens()
        for nth in range(FAILURES):
            await ask(one, nth)
        await until(lambda: two.guard.breaker.state == "open")
        assert abs(two.guard.breaker.wait_s - one.guard.breaker.wait_s) < 0.5
        failure = (await ask(two, 99)).failure
        assert failure
        assert failure.kind == "breaker_open"
        async with join(redis.url, well) as three:
            await until(lambda: three.guard.breaker.state == "open")
    assert well.calls == 0


@pytest.mark.real
async def test_hints_that_nobody_can_read_are_passed_over(
    redis: RedisServer, join: Join, upstream: type[Upstream]
) -> None:
    async with join(redis.url, upstream(limited)) as one, join(redis.url, upstream(finding)) as two:
        await two.listens()
        hint: dict[str, Any] = {"source": "one", "kind": "pause", "wait_s": 5, "words": "w"}
        wrong: list[dict[str, Any]] = [
            {"wait_s": -1},
            {"wait_s": "x"},
            {"kind": "other"},
            {"source": "other"},
            {"source": []},
        ]
        messages = [orjson.dumps({**hint, **change}) for change in wrong]
        for message in [b"", b"garbage", b"[]", b"{}", b'"pause"', *messages]:
            await one.channel.publish(one.hints.topic, message)
        await one.channel.publish(one.hints.topic, orjson.dumps({**hint, "kind": "breaker"}))
        assert two.guard.pause.wait_s == 0
        assert two.guard.breaker.state == "closed"
        await one.channel.publish(one.hints.topic, orjson.dumps(hint))
        await until(lambda: two.guard.pause.wait_s > 0)


def test_an_instance_that_was_answered_meanwhile_does_not_take_the_others_trouble_for_its_own() -> None:
    now = 100.0
    breaker = Breaker(lambda: now)
    breaker.succeeded()
    now = 103.0
    breaker.hinted(failures=5, failing_s=5.0, wait_s=15.0)
    assert (breaker.state, breaker.wait_s) == ("closed", 0)
    breaker.failed()
    assert breaker.wait_s == OPEN_S


def test_an_instance_that_has_not_been_answered_since_opens_for_as_long() -> None:
    now = 100.0
    breaker = Breaker(lambda: now)
    breaker.succeeded()
    now = 110.0
    breaker.hinted(failures=7, failing_s=5.0, wait_s=40.0)
    assert (breaker.state, breaker.wait_s, breaker.failures) == ("open", 40.0, 7)
    now = 150.0
    breaker.enter()
    breaker.succeeded()
    assert (breaker.state, breaker.open_s) == ("closed", OPEN_S)


def test_a_hint_shortens_no_pause_and_disturbs_no_probe() -> None:
    now = 100.0
    breaker, pause = Breaker(lambda: now), Pause(lambda: now)
    for _ in range(FAILURES):
        breaker.failed()
    breaker.hinted(5, 1.0, 3.0)
    assert breaker.wait_s == OPEN_S
    now += OPEN_S
    breaker.enter()
    breaker.hinted(5, 1.0, 60.0)
    assert breaker.probing
    pause.limited(20.0)
    longer = pause.wait_s
    pause.hinted(5.0, "less")
    assert pause.wait_s == longer
    pause.hinted(1e9, "more")
    assert pause.wait_s == 60.0


def test_what_was_heard_is_not_told_again() -> None:
    told: list[str] = []
    breaker, pause = Breaker(), Pause()
    breaker.opened, pause.began = lambda: told.append("open"), lambda: told.append("pause")
    breaker.hinted(5, 1.0, 10.0)
    pause.hinted(5.0, "w")
    assert told == []
    pause.limited(9.0)
    assert told == ["pause"]


EVENTS: list[ServerEvent] = [
    ResourceUpdated("telemetry://sources"),
    ToolsListChanged(),
    PromptsListChanged(),
    ResourcesListChanged(),
]


@pytest.mark.real
async def test_events_reach_the_listeners_of_every_instance_once(
    redis: RedisServer, join: Join, upstream: type[Upstream]
) -> None:
    async with join(redis.url, upstream(finding)) as one, join(redis.url, upstream(finding)) as two:
        here, there = Bus(), Bus()
        heard_here, heard_there = list[ServerEvent](), list[ServerEvent]()
        for bus, member, heard in ((here, one, heard_here), (there, two, heard_there)):
            bus.subscribe(heard.append)
            bus.join(member.channel)
            await member.listens()
        await two.channel.publish("event", b"garbage")
        await two.channel.publish("event", b'["Unknown", null]')
        for event in EVENTS:
            await here.publish(event)
        await until(lambda: len(heard_there) == len(EVENTS))
        await there.publish(EVENTS[0])
        await until(lambda: len(heard_here) == len(EVENTS) + 1)
    assert heard_here == [*EVENTS, EVENTS[0]]
    assert heard_there == [*EVENTS, EVENTS[0]]


async def test_a_bus_without_a_fleet_serves_its_own_process_and_those_who_left_hear_nothing() -> None:
    bus, heard = Bus(), list[ServerEvent]()
    leave = bus.subscribe(heard.append)
    await bus.publish(EVENTS[0])
    leave()
    leave()
    await bus.publish(EVENTS[0])
    assert heard == [EVENTS[0]]
