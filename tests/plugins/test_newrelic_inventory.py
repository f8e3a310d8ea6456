"""New Relic's services page by page, and what it takes to be asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from telemetry_mcp import Dependency, DependencyQuery, HttpSettings, ProtocolError, ServiceQuery, Window
from telemetry_mcp_newrelic import NewRelic, telemetry_sources
from telemetry_mcp_newrelic.graph import MOST_PAGES

if TYPE_CHECKING:
    from tests.plugins.conftest import ConnectNewRelic, Failure, NerdGraph

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
    assert "accountId IN (7)" in nerdgraph.sent()["variables"]["q"]


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
    assert len(nerdgraph.requests) == MOST_PAGES
    assert reply.partial == f"New Relic has more services than the {MOST_PAGES} pages that were read"


def test_the_settings_are_http_settings_with_the_key_as_a_header() -> None:
    settings = NewRelic.Settings.model_validate({"plugin": "newrelic", "api_key": "NRAK-1", "account_id": 7})
    assert isinstance(settings, HttpSettings)
    assert NewRelic.headers(settings) == {"api-key": "NRAK-1"}
    assert "NRAK" not in repr(settings)


def test_the_hook_hands_over_the_class() -> None:
    assert telemetry_sources() == [NewRelic]


def listing(*found: Any, cursor: str | None = None, **beside: Any) -> dict[str, Any]:
    return {
        "data": {"actor": {"entitySearch": {"results": {"nextCursor": cursor, "entities": list(found)}}}},
        **beside,
    }


async def test_a_service_in_both_lists_is_one_of_the_worse_standing(
    nerdgraph: NerdGraph, newrelic: NewRelic
) -> None:
    one = {"guid": "1", "name": "a", "domain": "APM", "alertSeverity": "NOT_ALERTING", "accountId": 7}
    other = {"guid": "2", "name": "a", "domain": "EXT", "alertSeverity": "CRITICAL", "accountId": 8}
    tags = [{"key": "owner", "values": ["edge"]}, {"key": "deployment.environment", "values": ["prod"]}]
    nerdgraph.says(listing(one, {**other, "tags": tags}, {**one, "guid": "3", "name": "b", "alertSeverity": None}))
    found = (await newrelic.list_services(ServiceQuery(WINDOW))).items
    assert [(item.name, item.status, item.listed_by) for item in found] == [
        ("a", "CRITICAL", ("APM", "OpenTelemetry")),
        ("b", None, ("APM",)),
    ]
    assert (found[0].team, found[0].environment, found[0].tags["accountId"]) == ("edge", "prod", "7,8")


@pytest.mark.parametrize("severity", ["NOT_CONFIGURED", None, "strange", 3, []])
async def test_a_service_without_alerts_has_no_standing(
    nerdgraph: NerdGraph, newrelic: NewRelic, severity: Any
) -> None:
    nerdgraph.says(listing({"name": "a", "alertSeverity": severity}))
    (item,) = (await newrelic.list_services(ServiceQuery(WINDOW))).items
    assert item.status is None


async def test_an_entity_that_cannot_be_read_is_skipped_and_counted(
    nerdgraph: NerdGraph, newrelic: NewRelic
) -> None:
    odd = {"name": "b", "tags": {"k": 1}, "permalink": 3, "domain": [], "guid": {}}
    nerdgraph.says(listing("text", None, [], {"name": None}, odd))
    reply = await newrelic.list_services(ServiceQuery(WINDOW))
    assert [(item.name, item.url, item.listed_by) for item in reply.items] == [("b", None, ())]
    assert reply.warnings == ["4 entities could not be read"]


@pytest.mark.parametrize("found", [None, {}, "strange"])
async def test_an_answer_without_a_list_is_no_empty_inventory(
    nerdgraph: NerdGraph, newrelic: NewRelic, found: Any, failure: Failure
) -> None:
    nerdgraph.says({"data": {"actor": {"entitySearch": {"results": {"entities": found}}}}})
    assert isinstance(await failure(newrelic.list_services(ServiceQuery(WINDOW))), ProtocolError)


async def test_a_deprecation_on_any_page_is_a_warning(nerdgraph: NerdGraph, newrelic: NewRelic) -> None:
    errors = [{"message": "This field is deprecated! Use another."}, {"message": "one shard did not answer"}]
    nerdgraph.says(listing({"name": "a"}, errors=errors))
    reply = await newrelic.list_services(ServiceQuery(WINDOW))
    assert (reply.warnings, reply.partial) == ([errors[0]["message"]], "one shard did not answer")


def calls(caller: str, *callees: Any, cursor: str | None = None) -> dict[str, Any]:
    edges = [{"type": "CALLS", "target": {"entity": {"name": name}}} for name in callees]
    return {"name": caller, "relatedEntities": {"nextCursor": cursor, "results": edges}}


async def test_dependencies_take_one_request_for_25_services(nerdgraph: NerdGraph, newrelic: NewRelic) -> None:
    def answer(asked: dict[str, Any]) -> httpx.Response:
        if "guids" not in asked["variables"]:
            return nerdgraph.response(listing(*({"guid": f"g{n}"} for n in range(60))))
        related = [calls(guid, "db") for guid in asked["variables"]["guids"]]
        return nerdgraph.response({"data": {"actor": {"entities": related}}})

    nerdgraph.answer = answer
    reply = await newrelic.list_dependencies(DependencyQuery(WINDOW))
    assert len(reply.items) == 60
    assert reply.items[0] == Dependency("g0", "db")
    assert [len(nerdgraph.sent(n)["variables"].get("guids", [])) for n in range(4)] == [0, 25, 25, 10]
    assert len(nerdgraph.requests) == 4


async def test_a_relationship_without_an_end_is_left_out_and_cut_lists_are_said(
    nerdgraph: NerdGraph, newrelic: NewRelic
) -> None:
    related = [
        calls("a", "b", "b", None, {}),
        calls("", "c"),
        {"name": "d", "relatedEntities": None},
        {"name": "e", "relatedEntities": {"results": ["text", {"target": None}, {"target": {"entity": []}}]}},
        calls("f", cursor="more"),
        None,
    ]
    answers = [listing({"guid": "g"}), {"data": {"actor": {"entities": related}}}]
    nerdgraph.answer = lambda asked: nerdgraph.response(answers["guids" in asked["variables"]])
    reply = await newrelic.list_dependencies(DependencyQuery(WINDOW))
    assert list(reply.items) == [Dependency("a", "b")]
    assert reply.warnings == ["2 relationships could not be read"]
    assert reply.partial == "some services call more than New Relic lists at once"


async def test_without_services_nobody_calls_anybody(nerdgraph: NerdGraph, newrelic: NewRelic) -> None:
    nerdgraph.says(listing())
    reply = await newrelic.list_dependencies(DependencyQuery(WINDOW))
    assert (list(reply.items), reply.partial, len(nerdgraph.requests)) == ([], None, 1)


async def test_the_services_of_all_accounts_are_one_search(
    nerdgraph: NerdGraph, connect_newrelic: ConnectNewRelic
) -> None:
    nerdgraph.says(listing({"name": "a"}))
    await connect_newrelic(account_id=[7, 8]).list_services(ServiceQuery(WINDOW))
    assert nerdgraph.sent()["variables"]["q"].endswith("AND accountId IN (7, 8)")
    assert len(nerdgraph.requests) == 1
