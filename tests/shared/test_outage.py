"""Redis killed, hung, misconfigured or full: no call fails, none waits longer than the time-out, and it heals."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio import create_task_group, fail_after
from pydantic import SecretStr
from redis.asyncio import Redis

from telemetry_mcp.cache import Entry
from telemetry_mcp.config import read
from telemetry_mcp.engine import opened
from telemetry_mcp.errors import ConfigError
from telemetry_mcp.fanout import Deadline
from telemetry_mcp.model import Reply, Service
from telemetry_mcp.question import ServiceQuery, Window
from telemetry_mcp.registry import load
from telemetry_mcp.shared.counter import counters
from telemetry_mcp.shared.link import ping
from telemetry_mcp.shared.setting import RedisSettings
from tests.real.moment import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.real.redis import RedisServer
    from tests.shared.conftest import Join, Member, StartRedis, Upstream

pytestmark = pytest.mark.real

TIMEOUT_S = 0.25
UPSTREAM_S = 0.02
SLACK_S = 0.2
"""For two busy cores: what a call takes more than it is held up by."""
HOUR = ServiceQuery(Window(0, 3_600_000))


async def finding() -> Reply[Service]:
    await anyio.sleep(UPSTREAM_S)
    return Reply([Service("checkout")])


class Load:
    """Questions that differ, so that all of them go the whole way; and how each ended."""

    def __init__(self, *members: Member) -> None:
        self.members = members
        self.statuses: set[str] = set()
        self.longest_s = 0.0
        self.calls = 0

    async def caller(self, nth: int) -> None:
        member = self.members[nth % len(self.members)]
        while True:
            self.calls += 1
            question = replace(HOUR, window=Window(0, 3_600_000 + self.calls))
            started = anyio.current_time()
            (outcome,) = await member.fanout.ask(question, Deadline(10))
            self.longest_s = max(self.longest_s, anyio.current_time() - started)
            self.statuses.add(outcome.failure.kind if outcome.failure else outcome.status)

    async def more(self, calls: int) -> None:
        until_there_are = self.calls + calls
        await until(lambda: self.calls >= until_there_are)


async def up(*members: Member, is_up: bool = True) -> None:
    await until(lambda: all(member.link.up is is_up for member in members))


async def shares(one: Member, two: Member) -> bool:
    """Whether an answer that one keeps is seen by the other."""
    key = os.urandom(8).hex()
    await one.fleet.cache.put(key, Entry(Reply([]), 1), 60)
    (entry,) = await two.fleet.cache.get([key])
    return entry is not None


@pytest.mark.parametrize("way", ["killed", "paused"])
async def test_under_load_no_call_fails_or_takes_longer_than_the_timeout_and_sharing_comes_back(
    redis: RedisServer, join: Join, upstream: type[Upstream], way: str, said: Callable[[], list[str]]
) -> None:
    stop, back = (redis.kill, redis.start) if way == "killed" else (redis.pause, redis.go_on)
    async with join(redis.url, upstream(finding)) as one, join(redis.url, upstream(finding)) as two:
        load = Load(one, two)
        async with create_task_group() as callers:
            for nth in range(12):
                callers.start_soon(load.caller, nth)
            await load.more(100)
            stop()
            await up(one, two, is_up=False)
            await load.more(200)
            back()
            await up(one, two)
            await load.more(100)
            callers.cancel_scope.cancel()
        assert load.statuses == {"ok"}
        assert load.longest_s < UPSTREAM_S + TIMEOUT_S + SLACK_S
        assert await shares(one, two)
    lost = [line for line in said() if "is lost" in line]
    assert len(lost) == len([line for line in said() if "Redis is back" in line]) == 2  # one each
    assert all(("no answer within 0.25 s" in line) is (way == "paused") for line in lost)


async def test_while_redis_hangs_one_call_pays_the_timeout_and_those_after_it_nothing(
    redis: RedisServer, join: Join, upstream: type[Upstream]
) -> None:
    async with join(redis.url, upstream(finding)) as one:
        redis.pause()
        took = []
        for nth in range(20):
            started = anyio.current_time()
            await one.fanout.ask(replace(HOUR, window=Window(0, 7_200_000 + nth)), Deadline(10))
            took.append(anyio.current_time() - started)
        redis.go_on()
    assert took[0] > TIMEOUT_S
    assert sum(took[1:]) < 19 * UPSTREAM_S + SLACK_S


async def test_callers_that_leave_while_redis_hangs_leave_no_connection_behind(
    redis: RedisServer, join: Join, upstream: type[Upstream]
) -> None:
    async with join(redis.url, upstream(finding)) as one, join(redis.url, upstream(finding)) as two:
        for _ in range(3):
            redis.pause()
            async with create_task_group() as callers:
                for nth in range(100):
                    callers.start_soon(one.fleet.cache.get, [f"k{nth}"])
                await anyio.sleep(0.05)
                callers.cancel_scope.cancel()
            redis.go_on()
            await up(one)
        assert await shares(one, two)
        pool = one.link.client.connection_pool
        assert len(pool._in_use_connections) <= 1  # the subscription's


@pytest.mark.parametrize("way", ["killed", "paused"])
async def test_a_subscription_is_taken_up_again_after_an_outage(
    redis: RedisServer, join: Join, upstream: type[Upstream], way: str
) -> None:
    stop, back = (redis.kill, redis.start) if way == "killed" else (redis.pause, redis.go_on)
    async with join(redis.url, upstream(finding)) as one, join(redis.url, upstream(finding)) as two:
        await one.listens()
        await two.listens()
        stop()
        for member in (one, two):
            await member.link.run(ping)
            assert not member.link.up
        heard: list[bytes] = []
        listening = anyio.Event()
        two.channel.topics[two.channel.name("news").encode()] = heard.append

        async def joined() -> None:
            listening.set()

        two.channel.joined.append(joined)
        back()
        with fail_after(10):
            await listening.wait()
            await up(one)
            await one.channel.publish("news", b"1")
            await until(lambda: heard)
    assert heard == [b"1"]


@pytest.mark.parametrize("password", ["", ":wrong-secret@"])
async def test_a_wrong_password_is_said_and_the_instance_works_alone(
    start_redis: StartRedis, join: Join, upstream: type[Upstream], said: Callable[[], list[str]], password: str
) -> None:
    server = start_redis(password="right-secret")
    async with join(f"redis://{password}127.0.0.1:{server.port}/0", upstream(finding)) as one:
        (outcome,) = await one.fanout.ask(HOUR, Deadline(10))
    assert outcome.status == "ok"
    (line,) = said()
    assert "refuses the user name or password of [redis] url" in line
    assert "secret" not in line
    async with join(server.url, upstream(finding)) as one:
        assert one.link.up


async def test_a_redis_that_was_not_there_at_the_start_is_used_as_soon_as_it_is(
    start_redis: StartRedis, join: Join, upstream: type[Upstream]
) -> None:
    server = start_redis()
    server.kill()
    async with join(server.url, upstream(finding)) as one, join(server.url, upstream(finding)) as two:
        assert (one.link.up, two.link.up) == (False, False)
        server.start()
        await up(one, two)
        assert await shares(one, two)


async def test_a_redis_without_memory_left_is_said_once_and_still_read(
    redis: RedisServer, join: Join, upstream: type[Upstream], said: Callable[[], list[str]]
) -> None:
    async with join(redis.url, upstream(finding)) as one, Redis.from_url(redis.url) as client:
        await client.config_set("maxmemory", 1)
        for nth in range(3):
            (outcome,) = await one.fanout.ask(replace(HOUR, window=Window(0, 60_000 + nth)), Deadline(10))
            assert outcome.status == "ok"
        await anyio.sleep(0.1)
        await client.config_set("maxmemory", 0)
        assert one.link.up
    (line,) = said()
    assert "no memory left" in line


# ---- what cannot be used at all


def written(folder: Path, redis: str) -> Path:
    path = folder / "plugins.toml"
    path.write_text(f"[redis]\n{redis}\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('url = "http://user:hush@127.0.0.1"', "cannot be used"),
        ('url = "redis://127.0.0.1:port/0"', "cannot be used"),
        ('url = "redis://127.0.0.1:1/0"\nca_file = "plugins.toml"', "has no use without TLS"),
        ('address = "redis://127.0.0.1"', "no such key"),
    ],
)
def test_a_url_that_cannot_be_used_is_a_fault_of_the_configuration(tmp_path: Path, table: str, said: str) -> None:
    config = read(written(tmp_path, table.replace("plugins.toml", str(tmp_path / "plugins.toml"))))
    with pytest.raises(ConfigError, match=said) as caught:
        load(config)
    assert "hush" not in str(caught.value)
    assert "[redis]" in str(caught.value)


def test_without_the_package_the_extra_is_named(tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['redis'] = sys.modules['redis.asyncio'] = None\n"
        "from telemetry_mcp.__main__ import main\nsys.argv[1:] = ['serve', '--config', sys.argv[1]]\nmain()"
    )
    path = written(tmp_path, 'url = "redis://127.0.0.1:1/0"')
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "[redis] url: the package redis is not installed. pip install 'telemetry-mcp[redis]'" in done.stderr
    path = written(tmp_path, "")
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], input="", capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")


async def test_an_engine_without_redis_shares_nothing_and_an_engine_with_one_that_is_dead_opens_and_ends(
    tmp_path: Path,
) -> None:
    async with opened(read(written(tmp_path, ""))) as engine:
        assert engine.fleet
        assert engine.fleet.channel is None
    async with opened(read(written(tmp_path, 'url = "redis://127.0.0.1:1/0"'))) as engine:
        assert engine.fleet
        assert engine.fleet.channel


async def test_limits_count_together_in_redis_under_the_fleets_prefix(redis: RedisServer) -> None:
    settings = RedisSettings(url=SecretStr(redis.url), prefix="fleet")
    one, two = counters(settings), counters(settings)
    assert one
    assert two
    assert [await storage.incr("key", 60) for storage in (one, two, one)] == [1, 2, 3]
    async with Redis.from_url(redis.url) as client:
        names: list[Any] = await client.keys("*")
    assert all(name.startswith(b"fleet:limit") for name in names)
    assert counters(RedisSettings.model_validate({})) is None
    for storage in (one, two):
        await storage.bridge.storage.aclose()  # type: ignore[attr-defined]
