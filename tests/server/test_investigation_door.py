"""A page of the demo estate, investigated end to end over both transports by clients that are not ours."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from mcp import Client
from mcp.types import TextContent

if TYPE_CHECKING:
    from tests.server.conftest import OverStdio, Serve

SERVICE = "notification-service"
"""In the demo estate it has been failing for forty minutes."""


def check(answer: Any) -> None:
    """The whole way: who was paged, what stands out since when, what changed, who is on call."""
    assert answer["incident"]["service"] == SERVICE
    assert answer["conclusion"] == "suspects"
    first = answer["suspects"][0]
    assert first["service"] == SERVICE
    assert first["lead_min"] > 0
    assert {row["metric"] for row in first["metrics"]} & {"error_rate", "availability"}
    (change, *_) = [row for row in answer["changes"] if row["evidence"] in first["changes"]]
    assert change["title"] == f"{SERVICE}: mail relay switched to smtp-2"
    assert change["before_onset_min"] > 0
    assert {moment["kind"] for moment in answer["timeline"]} >= {"page", "onset", "change", "log_entry"}
    assert answer["on_call"][0]["person"]
    assert answer["blast_radius"]
    assert answer["not_examined"] == []
    assert answer["coverage"]["complete"] is True
    assert f"[{change['evidence']}]" in answer["summary"]
    assert [line["status"] for line in answer["sources"]] == ["ok"] * 4


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.parametrize("transport", ["stdio", "http"])
async def test_a_page_is_investigated_from_the_list_to_the_handover(
    over_stdio: OverStdio, serve: Serve, transport: str, mode: str
) -> None:
    target = over_stdio("--demo") if transport == "stdio" else serve("--demo").url
    async with Client(target, mode=mode) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}

        async def ask(tool: str, **asked: Any) -> Any:
            result = await client.call_tool(tool, asked)
            assert not result.is_error
            (block,) = result.content
            assert isinstance(block, TextContent)
            assert json.loads(block.text) == result.structured_content
            jsonschema.validate(result.structured_content, tools[tool].output_schema)
            return result.structured_content

        listed = await ask("list_incidents", service=SERVICE, since="2h")
        (row,) = [row for row in listed["incidents"] if row["source"] == "pagerduty"]
        assert row["also"]
        check(await ask("investigate_incident", incident_id=row["id"]))
        check(await ask("investigate_incident", incident_id=row["also"][0].split(": ")[1]))
        changes = await ask("list_changes", service=SERVICE, hours=2)
        assert [change["kind"] for change in changes["changes"]] == ["config"]
        (message,) = (await client.get_prompt("handover", {"incident_id": row["id"]})).messages
        assert isinstance(message.content, TextContent)
        assert f"incident_id='{row['id']}'" in message.content.text
