"""New Relic's services page by page, and what it takes to be asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx

from telemetry_mcp import HttpSettings, ServiceQuery, Window
from telemetry_mcp_newrelic import MAX_PAGES, NewRelic, telemetry_sources

if TYPE_CHECKING:
    from tests.plugins.conftest import NerdGraph

WINDOW = Window(1_700_000_040_000, 1_700_000_640_000)


def entities(*names: str, cursor: str | None = None) -> dict[str, Any]:
    tags = [
        {"key": "team", "values": ["t"]},
        {"key": "environment", "values": ["prod"]},
        {"key": "x", "values": []},
    ]
    rows = [
        {"name": name, "alertSeverity": "CRITICAL", "permalink": "https://nr/x", "tags": tags} for name in names
    ]
    return {"data": {"actor": {"entitySearch": {"results": {"nextCursor": cursor, "entities": rows}}}}}


async def test_services_come_with_team_environment_and_status(nerdgraph: NerdGraph, newrelic: NewRelic) -> None:
    pages = {None: entities("a", cursor="2"), "2": entities("b")}
    nerdgraph.answer = lambda asked: nerdgraph.response(pages[asked["variables"]["cursor"]])
    reply = await newrelic.list_services(ServiceQuery(WINDOW))
    assert [(item.name, item.team, item.environment, item.status, item.url) for item in reply.items] == [
        ("a", "t", "prod", "CRITICAL", "https://nr/x"),
        ("b", "t", "prod", "CRITICAL", "https://nr/x"),
    ]
    assert reply.partial is None
    assert "accountId = 7" in nerdgraph.sent()["variables"]["q"]


async def test_a_repeating_cursor_ends_the_paging_and_is_said(nerdgraph: NerdGraph, newrelic: NewRelic) -> None:
    nerdgraph.says(entities("a", cursor="same"))
    reply = await newrelic.list_services(ServiceQuery(WINDOW))
    assert len(nerdgraph.requests) == 2
    assert "more services" in (reply.partial or "")


async def test_endless_pages_end_at_a_cap(nerdgraph: NerdGraph, newrelic: NewRelic) -> None:
    nerdgraph.answer = lambda asked: httpx.Response(
        200, json=entities("a", cursor=f"{asked['variables']['cursor']}+")
    )
    reply = await newrelic.list_services(ServiceQuery(WINDOW))
    assert len(nerdgraph.requests) == MAX_PAGES
    assert reply.partial == f"New Relic has more services than the {MAX_PAGES} pages that were read"


def test_the_settings_are_http_settings_with_the_key_as_a_header() -> None:
    settings = NewRelic.Settings.model_validate({"plugin": "newrelic", "api_key": "NRAK-1", "account_id": 7})
    assert isinstance(settings, HttpSettings)
    assert NewRelic.headers(settings) == {"api-key": "NRAK-1"}
    assert "NRAK" not in repr(settings)


def test_the_hook_hands_over_the_class() -> None:
    assert telemetry_sources() == [NewRelic]
