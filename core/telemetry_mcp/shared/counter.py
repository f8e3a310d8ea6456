"""Where the counters of rate limits are kept, when all instances count together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from telemetry_mcp.shared.setting import RedisSettings

if TYPE_CHECKING:
    from limits.aio.storage import Storage


def counters(settings: RedisSettings) -> Storage | None:
    """A storage in Redis; None without a url. Nothing is connected yet.

    Its methods raise redis-py's errors, each after at most a few times the time-out: whoever counts must go on
    without.
    """
    if settings.url is None:
        return None
    from limits.aio.storage import RedisStorage
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    url = settings.url.get_secret_value()
    options: dict[str, Any] = {
        "socket_timeout": settings.timeout,
        "socket_connect_timeout": settings.timeout,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
    }
    if settings.ca_file:
        options["ssl_ca_certs"] = str(settings.ca_file)
    return RedisStorage(
        f"async+{url.replace('unix://', 'redis+unix://', 1)}",
        implementation="redispy",
        key_prefix=f"{settings.prefix}:limit",
        **options,
    )


async def close(storage: Storage | None) -> None:
    """Let go of its connections: the library has no way of its own."""
    bridge: Any = getattr(storage, "bridge", None)
    if bridge is not None:
        await bridge.storage.aclose()
