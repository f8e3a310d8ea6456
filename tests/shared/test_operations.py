"""docs/operations.md says what works."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from pydantic import SecretStr
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError

from telemetry_mcp.cache import Entry
from telemetry_mcp.config import read
from telemetry_mcp.model import Reply, Service
from telemetry_mcp.registry import load
from telemetry_mcp.shared.counter import counters
from telemetry_mcp.shared.setting import RedisSettings
from tests.real.moment import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.real.redis import RedisServer
    from tests.shared.conftest import Join, Upstream

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
PASSWORD = "choose-a-password"


async def finding() -> Reply[Service]:
    return Reply([Service("checkout")])


@pytest.mark.real
async def test_the_user_that_it_makes_may_do_all_that_is_done_and_nothing_else(
    redis: RedisServer, join: Join, upstream: type[Upstream], said: Callable[[], list[str]]
) -> None:
    (rules,) = re.findall(r"^user telemetry (.*)$", TEXT, re.MULTILINE)
    url = redis.url.replace("redis://", f"redis://telemetry:{PASSWORD}@")
    admin: Any
    client: Any
    async with Redis.from_url(redis.url) as admin:
        await admin.execute_command("ACL", "SETUSER", "telemetry", *rules.split())
        async with (
            join(url, upstream(finding), prefix="telemetry-mcp") as one,
            join(url, upstream(finding), prefix="telemetry-mcp") as two,
        ):
            await two.listens()
            assert await one.turns("k").take(1) is None
            await anyio.sleep(one.turns.lease_s / 2)  # so that it is renewed
            await one.fleet.cache.put("k", Entry(Reply([]), 1), 60)
            assert (await two.fleet.cache.get(["k"]))[0]
            one.guard.pause.limited(20)
            await until(lambda: two.guard.pause.wait_s > 0)
            storage = counters(RedisSettings(url=SecretStr(url)))
            assert storage
            assert [await storage.incr("k", 60), await storage.incr("k", 60)] == [1, 2]
            await storage.bridge.storage.aclose()  # type: ignore[attr-defined]
        assert said() == []
        async with Redis.from_url(url) as client:
            for command in (("GET", "other"), ("PUBLISH", "other", "x"), ("FLUSHALL",), ("CONFIG", "GET", "*")):
                with pytest.raises(NoPermissionError):
                    await client.execute_command(*command)
        await admin.execute_command("ACL", "DELUSER", "telemetry")


def test_the_configuration_that_it_shows_can_be_used(tmp_path: Path) -> None:
    (toml,) = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    (source,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    (tmp_path / "estate.py").write_text(source, encoding="utf-8")
    (tmp_path / "plugins.toml").write_text(toml, encoding="utf-8")
    environ = {"REDIS_URL": f"redis://telemetry:{PASSWORD}@127.0.0.1:6379/0", "TELEMETRY_MCP_SECRET": "x" * 44}
    config = read(tmp_path / "plugins.toml", environ)
    load(config)
    assert config.server.stateless
    assert config.redis.timeout == 0.25
