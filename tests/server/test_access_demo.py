"""The demo's vendors, in their real formats, before a role that sees one service only."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from telemetry_mcp.config import read
from telemetry_mcp.demo.emulator import CONFIG
from telemetry_mcp.demo.topology import MEMBERS
from tests.server.realm import Seat, running, seated
from tests.server.test_access_surface import SURFACES, betrayed

if TYPE_CHECKING:
    from pathlib import Path

    from telemetry_mcp.demo.emulator import Emulators

OWN = "payment-processor"
ROLES = """
[access.roles.by-name]
tools = ["*"]
services = ["payment-*"]
sources = ["*"]

[access.roles.by-team]
tools = ["*"]
services = ["*"]
sources = ["*"]
teams = ["payments"]

[access.roles.of-prometheus]
tools = ["*"]
services = ["payment-*"]
sources = ["prometheus"]
"""


@pytest.mark.parametrize("role", ["by-name", "by-team", "of-prometheus"])
async def test_every_surface_of_the_demo_keeps_to_the_one_service(
    world: Emulators, tmp_path: Path, role: str
) -> None:
    path = tmp_path / "plugins.toml"
    path.write_text(CONFIG.read_text(encoding="utf-8") + ROLES, encoding="utf-8")
    hidden = {*MEMBERS} - {OWN} | ({"datadog", "newrelic", "pagerduty"} if role == "of-prometheus" else set())
    async with running(read(path, world.environ)) as engine, AsyncExitStack() as stack:
        seat = await stack.enter_async_context(seated(engine, role))
        for surface, ask in SURFACES.items():
            seat.heard.clear()
            await ask(seat, OWN)
            assert seat.heard, surface
            if surface != "tools/list":  # whose descriptions name vendors
                assert betrayed(seat.heard, hidden) == [], surface
        told = await seat.ask("investigate_incident", incident_id=await paged(seat))
        assert betrayed([told], hidden) == []
        assert OWN in told


async def paged(seat: Seat) -> str:
    found = await seat.fields("list_incidents", status="all", since="3d")
    return str(found["incidents"][0]["id"])
