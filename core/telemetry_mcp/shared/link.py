"""The way to Redis: every command within a time-out, and none at all while Redis is lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import anyio
from anyio import Event, move_on_after
from anyio.abc import TaskGroup

from telemetry_mcp.boundary import contain
from telemetry_mcp.errors import ConfigError, Problem
from telemetry_mcp.shared.setting import RedisSettings

if TYPE_CHECKING:
    from redis.asyncio import Redis

T = TypeVar("T")
Client = Any
"""redis.asyncio.Redis; what its methods return depends on the command."""
Command = Callable[[Client], Awaitable[T]]

LOG = logging.getLogger(__name__)

LINES = 32
"""Commands under way at once."""
LEFT_ALONE_S, LEFT_ALONE_MOST_S = 1.0, 30.0
"""So often a Redis that is lost is looked for; less and less often where it is lost again soon each time."""
STEADY_S = 10.0
HEARTBEAT_S = 5.0
EXTRA = "telemetry-mcp[redis]"


class Slot(Generic[T]):
    """Where the answer to one command is put."""

    def __init__(self) -> None:
        self.value: T | None = None
        self.done = Event()


class Link:
    """Runs commands, in tasks of its own: whoever waits may be cancelled, a connection in use must not be.

    After a failure or a time-out Redis counts as lost: `run` returns None at once, until Redis answers a ping that
    is sent every second. `tasks` must be open as long as commands are run.
    """

    def __init__(self, client: Client, timeout_s: float, tasks: TaskGroup) -> None:
        self.client = client
        self.timeout_s = timeout_s
        self.tasks = tasks
        self.lines = asyncio.Semaphore(LINES)
        self.up = False
        self.up_at = 0.0
        self.left_alone_s = LEFT_ALONE_S
        self.turned = Event()
        self.refused: set[str] = set()
        self.on_lost: list[Callable[[], None]] = []

    def is_up(self) -> bool:
        return self.up

    async def run(self, command: Command[T]) -> T | None:
        """What the command answers; None while Redis is lost, and never later than the time-out."""
        return await self.attempt(command) if self.up else None

    async def attempt(self, command: Command[T]) -> T | None:
        slot: Slot[T] = Slot()
        self.tasks.start_soon(self.carry, command, slot)
        await slot.done.wait()
        return slot.value

    async def carry(self, command: Command[T], slot: Slot[T]) -> None:
        try:
            with contain() as kept:
                # Not anyio's: that would cancel again and again while the client puts the connection away.
                async with asyncio.timeout(self.timeout_s), self.lines:
                    slot.value = await command(self.client)
        finally:
            slot.done.set()
        if kept.error is not None and is_answer(kept.error):
            self.refuse(kept.error)
        else:
            self.turn(kept.error)

    def turn(self, error: BaseException | None) -> None:
        """Redis has answered, or failed to. The log tells when that is news."""
        up = error is None
        if up == self.up:
            return
        self.up = up
        self.turned.set()
        self.turned = Event()
        if error is None:
            self.up_at = monotonic()
            LOG.warning("Redis is back: what is known is shared with the other instances again")
            return
        steady = monotonic() - self.up_at > STEADY_S
        self.left_alone_s = LEFT_ALONE_S if steady else min(2 * self.left_alone_s, LEFT_ALONE_MOST_S)
        LOG.warning(
            "Redis is lost (%s): this instance goes on alone until it is back", told(error, self.timeout_s)
        )
        for lost in self.on_lost:
            lost()

    def refuse(self, error: BaseException) -> None:
        """Redis is there, and refuses one kind of command: the others go on. Said once for each reason."""
        why = told(error, self.timeout_s)
        if why not in self.refused:
            self.refused.add(why)
            LOG.warning("Redis refuses a command (%s): that is not shared with the other instances", why)

    async def open(self) -> None:
        """The first ping; then pings in the background, which find out that Redis is lost, or back."""
        self.up = True  # so that it is said where it is not
        await self.attempt(ping)
        self.tasks.start_soon(self.keep)

    async def keep(self) -> None:
        while True:
            if self.up:
                with move_on_after(HEARTBEAT_S):
                    await self.turned.wait()
            if not self.up:
                await anyio.sleep(self.left_alone_s)
            await self.attempt(ping)

    async def available(self) -> None:
        while not self.up:
            await self.turned.wait()

    async def close(self) -> None:
        """After this no command may be run."""
        with anyio.CancelScope(shield=True), contain():
            async with asyncio.timeout(self.timeout_s):
                await self.client.aclose()


async def ping(client: Client) -> None:
    await client.ping()


def is_answer(error: BaseException) -> bool:
    """Whether Redis itself said no, of which that it cannot be had at all is not a case."""
    return any(kind.__name__ == "ResponseError" for kind in type(error).__mro__)


def told(error: BaseException, timeout_s: float) -> str:
    """What is wrong, for who must mend it. A client's own words may quote what was sent: only its kind is told."""
    kind = type(error).__name__
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout_s:g} s"
    return REASONS.get(kind, f"{kind}; is [redis] url right, and is it running?")


REASONS = {
    "AuthenticationError": "it refuses the user name or password of [redis] url",
    "AuthenticationWrongNumberOfArgsError": "it refuses the password of [redis] url",
    "BusyLoadingError": "it is still loading its data",
    "NoPermissionError": "the user of [redis] url lacks a permission, see docs/operations.md",
    "OutOfMemoryError": "it has no memory left: set its maxmemory-policy to allkeys-lru",
    "TimeoutError": "it cannot be reached in time",
    "ReadOnlyError": "it is a replica, which cannot be written to",
    "ResponseError": "it does not know the command, or the password of [redis] url is missing",
}


def unusable(settings: RedisSettings, file: str) -> Problem | None:
    """What is wrong with `[redis]`, apart from whether anybody answers there."""
    if settings.url is None:
        return None
    try:
        from redis.asyncio.connection import parse_url
    except ImportError:
        return Problem(file, "redis", "url", "the package redis is not installed", f"pip install '{EXTRA}'")
    url = settings.url.get_secret_value()
    try:
        parse_url(url)
    except ValueError:
        valid = "Write redis://[user:password@]host:port/0, rediss:// for TLS, or unix://path"
        return Problem(file, "redis", "url", "cannot be used", valid)
    if settings.ca_file and not url.startswith("rediss://"):
        return Problem(file, "redis", "ca_file", "has no use without TLS", "Write rediss:// in url")
    return None


def connect(settings: RedisSettings, file: str) -> Redis:
    """A client, not connected yet. ConfigError when what is configured cannot be used."""
    if problem := unusable(settings, file):
        raise ConfigError([problem])
    from redis.asyncio import Redis
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    assert settings.url is not None
    tls: dict[str, Any] = {"ssl_ca_certs": str(settings.ca_file)} if settings.ca_file else {}
    return Redis.from_url(
        settings.url.get_secret_value(),
        socket_timeout=None,  # a command's whole time is bounded by the link, a subscription waits for ever
        socket_connect_timeout=settings.timeout,
        retry=Retry(NoBackoff(), 0),
        max_connections=2 * LINES,
        protocol=2,
        **tls,
    )
