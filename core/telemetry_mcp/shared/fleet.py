"""What this instance shares with the others of its fleet: one object, which does nothing without Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import scrypt, sha256
from importlib.metadata import version

from anyio import create_task_group, to_thread
from pydantic import BaseModel

from telemetry_mcp.cache import Cache, MemoryCache
from telemetry_mcp.secret import found
from telemetry_mcp.shared.cache import SharedCache
from telemetry_mcp.shared.channel import Channel
from telemetry_mcp.shared.hint import Hints
from telemetry_mcp.shared.link import Link, connect
from telemetry_mcp.shared.setting import RedisSettings
from telemetry_mcp.shared.turn import SharedTurns
from telemetry_mcp.turn import OwnTurn, Turns

WORK = 2**14
"""Of scrypt, some 40 ms: what Redis holds must not help to guess a source's password."""


def alone() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Fleet:
    """`channel` carries messages to all instances of the prefix, whatever their sources; it and `hints` are None
    where there is no Redis."""

    cache: Cache
    turns: Turns = OwnTurn
    hints: Hints | None = None
    channel: Channel | None = None
    up: Callable[[], bool] = alone
    """Whether the others can be reached now."""


@asynccontextmanager
async def joined(
    settings: RedisSettings,
    near: MemoryCache,
    sources: Iterable[tuple[str, BaseModel]] = (),
    *,
    clock_ms: Callable[[], int],
    file: str = "plugins.toml",
) -> AsyncIterator[Fleet]:
    """The fleet of one engine over its own cache and its sources' settings. Leaving it says nothing to the others.

    ConfigError when Redis is configured and cannot be used at all; that it does not answer is no error.
    """
    if settings.url is None:
        yield Fleet(near)
        return
    client = connect(settings, file)
    scope = await to_thread.run_sync(fingerprint, list(sources))
    tasks = create_task_group()
    link = Link(client, settings.timeout, tasks)
    cache = SharedCache(near, link, f"{settings.prefix}:{scope}", clock_ms)
    turns, channel = SharedTurns(cache), Channel(link, settings.prefix)
    try:
        async with tasks:
            await link.open()
            tasks.start_soon(turns.renew)
            tasks.start_soon(channel.follow)
            yield Fleet(cache, turns, Hints(channel, scope), channel, link.is_up)
            tasks.cancel_scope.cancel()
    finally:
        await link.close()


def fingerprint(sources: Iterable[tuple[str, BaseModel]]) -> str:
    """The same for instances of one version with the same sources: only these can use each other's answers.

    Another credential may be another account with other data; what is told of it here cannot be turned back.
    """
    shown = sorted((name, settings.model_dump_json(fallback=repr)) for name, settings in sources)
    hidden = sorted((name, secret) for name, settings in sources for secret in found(settings))
    digest = sha256(repr((version("telemetry-mcp"), shown)).encode()).digest()
    return scrypt(repr(hidden).encode(), salt=digest, n=WORK, r=8, p=1, dklen=12).hex()
