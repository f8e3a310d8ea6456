"""A real Redis, and instances over it: engines' fan-outs with fleets of their own, in one process."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import pytest
from pydantic import SecretStr
from redis import Redis

from telemetry_mcp.cache import CacheSettings, MemoryCache
from telemetry_mcp.fanout import Fanout
from telemetry_mcp.guard import Guard
from telemetry_mcp.model import Reply, Service
from telemetry_mcp.question import ServiceQuery
from telemetry_mcp.registry import Instance, Registry
from telemetry_mcp.secret import Redactor
from telemetry_mcp.setting import SourceSettings
from telemetry_mcp.shared.channel import Channel
from telemetry_mcp.shared.fleet import Fleet, joined
from telemetry_mcp.shared.hint import Hints
from telemetry_mcp.shared.link import Link
from telemetry_mcp.shared.setting import RedisSettings
from telemetry_mcp.shared.turn import SharedTurns
from telemetry_mcp.source import Context, Source, now_ms
from tests.real.redis import RedisServer

Answer = Callable[[], Awaitable[Reply[Service]]]
StartRedis = Callable[..., RedisServer]


class Upstream(Source):
    """Lists services as `answer` says. One backend that several instances ask: `calls` counts all of them."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(SourceSettings(plugin="upstream"), Context("upstream"))
        self.answer = answer
        self.calls = 0

    async def list_services(self, query: ServiceQuery) -> Reply[Service]:
        self.calls += 1
        return await self.answer()


@dataclass(frozen=True, slots=True)
class Member:
    """One instance of the fleet."""

    fanout: Fanout
    fleet: Fleet
    guard: Guard

    @property
    def channel(self) -> Channel:
        assert self.fleet.channel
        return self.fleet.channel

    @property
    def link(self) -> Link:
        return self.channel.link

    @property
    def hints(self) -> Hints:
        assert self.fleet.hints
        return self.fleet.hints

    @property
    def turns(self) -> SharedTurns:
        assert isinstance(self.fleet.turns, SharedTurns)
        return self.fleet.turns

    async def listens(self) -> None:
        """Returns when it hears what the others say."""
        heard = anyio.Event()
        self.channel.joined.append(lambda: told(heard))
        self.channel.stay.cancel()
        with anyio.fail_after(5):
            await heard.wait()


async def told(event: anyio.Event) -> None:
    event.set()


Join = Callable[..., AbstractAsyncContextManager[Member]]


@pytest.fixture
def upstream() -> type[Upstream]:
    return Upstream


@pytest.fixture(scope="session")
def start_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartRedis]:
    """Starts an empty Redis; all are killed at the session's end."""
    started = []

    def start(password: str = "") -> RedisServer:
        server = RedisServer(tmp_path_factory.mktemp("redis"), password)
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        server.kill()


@pytest.fixture(scope="session")
def shared_redis(start_redis: StartRedis) -> RedisServer:
    return start_redis()


@pytest.fixture
def redis(shared_redis: RedisServer) -> Iterator[RedisServer]:
    """An empty one that answers. A test may stop or kill it: it is there again for the next one."""
    with Redis.from_url(shared_redis.url) as client:
        client.flushall()
    yield shared_redis
    shared_redis.go_on() if shared_redis.process else shared_redis.start()


@pytest.fixture
def join(request: pytest.FixtureRequest) -> Join:
    """An instance of the fleet that the test's name is the prefix of, with one source."""

    @asynccontextmanager
    async def joining(
        url: str, source: Source, *, timeout_s: float = 30.0, **options: Any
    ) -> AsyncIterator[Member]:
        settings = RedisSettings(url=SecretStr(url), prefix=options.pop("prefix", request.node.name))
        guard = Guard(timeout_s=timeout_s, max_concurrency=64)
        instance = Instance("one", "upstream", source, guard, Redactor(source.settings))
        async with joined(settings, MemoryCache(), [("one", source.settings)], clock_ms=now_ms) as fleet:
            if fleet.hints:
                fleet.hints.watch("one", guard.breaker, guard.pause, instance.redact)
            cache = CacheSettings(**options)
            async with Fanout(Registry((instance,)), fleet.cache, cache, turns=fleet.turns) as fanout:
                yield Member(fanout, fleet, guard)

    return joining


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What the link has logged so far."""
    caplog.set_level(logging.INFO, "telemetry_mcp")
    return lambda: [r.getMessage() for r in caplog.records if r.name.startswith("telemetry_mcp.shared")]
