"""What servers of one fleet have in common towards their clients: events, sealed state, no sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from anyio import create_task_group
from mcp import Client
from mcp.server.mcpserver import Context
from mcp.server.request_state import InvalidRequestState
from mcp.server.subscriptions import ResourceUpdated
from pydantic import SecretStr

from telemetry_mcp.access.setting import AccessSettings
from telemetry_mcp.config import read
from telemetry_mcp.engine import Engine, opened
from telemetry_mcp.server.app import build
from telemetry_mcp.server.state import sealing
from tests.real.moment import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.real.redis import RedisServer

URI = "telemetry://sources"
SECRET = SecretStr("0123456789012345678901234567890123456789")


def written(folder: Path, text: str) -> Any:
    (folder / "plugins.toml").write_text(text, encoding="utf-8")
    return read(folder / "plugins.toml")


@pytest.mark.real
async def test_a_client_hears_of_an_update_that_another_instance_noticed(
    redis: RedisServer, tmp_path: Path
) -> None:
    config = written(tmp_path, f'[redis]\nurl = "{redis.url}"\n')
    here, there = build(lambda: opened(config)), build(lambda: opened(config))

    @there.tool()
    async def touch(ctx: Context[Engine]) -> str:
        await ctx.notify_resource_updated(URI)
        return "done"

    heard: list[Any] = []
    async with Client(here) as listener, Client(there) as other, create_task_group() as tasks:

        async def listen() -> None:
            async with listener.listen(resource_subscriptions=[URI]) as updates:
                async for event in updates:
                    heard.append(event)

        async def told() -> bool:
            # Again, for what is sent before the other instance listens is not heard.
            await other.call_tool("touch", {})
            return bool(heard)

        tasks.start_soon(listen)
        await until(told)
        tasks.cancel_scope.cancel()
    assert heard[0] == ResourceUpdated(URI)


def test_what_one_instance_sealed_every_instance_with_the_same_secret_opens() -> None:
    one, two = (sealing(AccessSettings(secret=SECRET)) for _ in range(2))
    other = sealing(AccessSettings(secret=SecretStr("9" * 40)))
    assert one
    assert two
    assert other
    token = one.codec.seal(b"state")
    assert two.codec.unseal(token) == b"state"
    with pytest.raises(InvalidRequestState):
        other.codec.unseal(token)
    assert SECRET.get_secret_value() not in repr(vars(one.codec))


def test_without_a_secret_every_process_seals_for_itself() -> None:
    assert sealing(AccessSettings()) is None


@pytest.mark.parametrize(
    ("table", "stateless"),
    [
        ("", False),
        ('[redis]\nurl = "redis://127.0.0.1:1/0"', True),
        ("[server]\nstateless = true", True),
        ('[server]\nstateless = false\n[redis]\nurl = "redis://127.0.0.1:1/0"', False),
    ],
)
def test_sessions_are_kept_by_an_instance_that_has_no_others(tmp_path: Path, table: str, stateless: bool) -> None:
    assert written(tmp_path, table).server.stateless is stateless
