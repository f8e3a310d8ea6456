"""Counting in a real Redis, which is killed, started again and paused meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import pytest
from limits.aio.storage import RedisStorage, Storage
from redis.asyncio import ConnectionPool

from telemetry_mcp.rate import AWAY_S, Buckets, rate_of
from telemetry_mcp.shared.setting import RedisSettings
from tests.real.redis import RedisServer

pytestmark = pytest.mark.real

RATE = rate_of("20/hour")
TIMEOUT_S = RedisSettings().timeout
UNHURRIED_S = 20.0
"""What a Redis that is there is waited for where a busy machine must not be taken for one that is away."""


@pytest.fixture
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


async def connected(redis: RedisServer) -> AsyncIterator[Storage]:
    pool = ConnectionPool.from_url(redis.url, protocol=2)
    options: dict[str, Any] = {"connection_pool": pool, "key_prefix": "test"}
    yield RedisStorage(f"async+{redis.url}", implementation="redispy", **options)
    await pool.aclose()


@pytest.fixture
async def one(redis: RedisServer) -> AsyncIterator[Buckets]:
    async for storage in connected(redis):
        yield Buckets("callers", storage, timeout_s=UNHURRIED_S)


@pytest.fixture
async def other(redis: RedisServer) -> AsyncIterator[Buckets]:
    async for storage in connected(redis):
        yield Buckets("callers", storage, timeout_s=UNHURRIED_S)


async def let_through(buckets: Buckets, tries: int, key: str = "a") -> int:
    return sum([not await buckets.take(RATE, key) for _ in range(tries)])


async def back(buckets: Buckets) -> None:
    """Returns when the instance counts in Redis again."""
    with anyio.fail_after(10 * AWAY_S):
        while buckets.retry_at is not None:
            await anyio.sleep(0.05)
            await buckets.marked("any")


async def test_two_instances_count_together_and_say_the_same_wait(one: Buckets, other: Buckets) -> None:
    assert await let_through(one, 12) == 12
    assert await let_through(other, 12) == 8
    waits = [await buckets.take(RATE, "a") for buckets in (one, other)]
    assert all(3500 < wait_s <= 3601 for wait_s in waits)
    assert await let_through(other, 12, "b") == 12


async def test_many_at_once_are_counted_one_by_one(one: Buckets, other: Buckets) -> None:
    through = 0

    async def take(buckets: Buckets) -> None:
        nonlocal through
        if not await buckets.take(RATE, "a"):
            through += 1

    async with anyio.create_task_group() as tasks:
        for _ in range(40):
            tasks.start_soon(take, one)
            tasks.start_soon(take, other)
    assert through == 20


async def test_redis_is_killed_and_started_again_and_no_call_fails_or_is_one_too_many(
    redis: RedisServer, one: Buckets, other: Buckets
) -> None:
    assert await let_through(one, 5) + await let_through(other, 5) == 10
    redis.kill()
    alone = await let_through(one, 40) + await let_through(other, 40)
    assert 10 + alone <= 2 * RATE.amount
    redis.start()
    await back(one)
    await back(other)
    assert await let_through(one, 40) + await let_through(other, 40) == 2 * RATE.amount - 10 - alone
    assert await let_through(one, 12, "b") + await let_through(other, 12, "b") == 20


async def test_a_paused_redis_costs_one_call_the_time_out_and_the_next_ones_nothing(
    redis: RedisServer, one: Buckets
) -> None:
    assert await let_through(one, 5) == 5
    one.timeout_s = TIMEOUT_S
    redis.pause()
    started = anyio.current_time()
    assert await let_through(one, 40) == 15
    assert TIMEOUT_S <= anyio.current_time() - started < TIMEOUT_S + 0.5
    redis.go_on()
    one.timeout_s = UNHURRIED_S
    await back(one)
    assert await let_through(one, 5, "b") == 5


async def test_a_mark_is_seen_by_the_other_instance(one: Buckets, other: Buckets) -> None:
    await one.mark("m", 100)
    assert await other.marked("m")
    await other.unmark("m")
    assert not await one.marked("m")
