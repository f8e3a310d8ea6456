"""Whoever gives up waiting gives up the upstream requests too, over every transport and in either era."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from mcp import Client, MCPError

from telemetry_mcp.config import read
from telemetry_mcp.engine import opened
from telemetry_mcp.server.app import build

if TYPE_CHECKING:
    from pathlib import Path

    from tests.server.conftest import Desk, Gate, OpenDesk, OverStdio, Serve

LIMIT_S = 10


@pytest.fixture(scope="module")
def url(serve: Serve, gate_address: tuple[object, Path]) -> str:
    return serve("--config", str(gate_address[1])).url


@pytest.fixture(params=["memory", "stdio", "http"])
def server(request: pytest.FixtureRequest, over_stdio: OverStdio, gate: Gate, url: str) -> Any:
    """What a Client is made from, for the server whose only source is the gate."""
    match request.param:
        case "memory":
            return build(lambda: opened(read(gate.config)))
        case "stdio":
            return over_stdio("--config", str(gate.config))
        case _:
            return url


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_client_that_gives_up_ends_the_upstream_request(server: Any, mode: str, gate: Gate) -> None:
    with anyio.fail_after(LIMIT_S):
        async with Client(server, mode=mode) as client:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(client.call_tool, "list_services", {})
                await gate.asked.wait()
                assert not gate.left.is_set()
                tasks.cancel_scope.cancel()
            await gate.left.wait()

            gate.asked.clear()
            gate.left.clear()
            with pytest.raises(MCPError):
                await client.call_tool("list_services", {}, read_timeout_seconds=0.5)
            assert gate.asked.is_set()
            await gate.left.wait()


async def test_a_call_that_two_wait_for_goes_on_when_one_of_them_leaves(open_desk: OpenDesk, gate: Gate) -> None:
    desk = await open_desk(read(gate.config))
    services: list[str] = []

    async def stay() -> None:
        answer = await desk.ask("list_services")
        services.extend(row["name"] for row in answer["services"])

    with anyio.fail_after(LIMIT_S):
        async with anyio.create_task_group() as staying, anyio.create_task_group() as leaving:
            staying.start_soon(stay)
            await gate.asked.wait()
            leaving.start_soon(desk.ask, "list_services")
            await both_wait(desk)
            leaving.cancel_scope.cancel()
            gate.may_answer.set()
    assert services == ["checkout"]
    assert not gate.left.is_set()


async def both_wait(desk: Desk) -> None:
    while not any(len(flight.waiters) == 2 for flight in desk.engine.fanout.flights.values()):
        await checkpoint()


async def test_the_deadline_ends_the_upstream_request(open_desk: OpenDesk, gate: Gate) -> None:
    desk = await open_desk(read(gate.config))
    with anyio.fail_after(LIMIT_S):
        answer = await desk.ask("list_services", deadline_s=0.3)
        await gate.left.wait()
    assert answer.kinds == {"gate": "timeout"}
    assert not desk.engine.fanout.flights
