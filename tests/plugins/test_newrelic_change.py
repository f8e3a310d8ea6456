"""What New Relic's change tracking knows, of both of its event types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from telemetry_mcp import Change, ChangeQuery, Window
from telemetry_mcp_newrelic import NewRelic

if TYPE_CHECKING:
    from tests.plugins.conftest import NerdGraph

START = 1_700_000_040_000
WINDOW = Window(START, START + 3_600_000)
DEPLOYMENT: dict[str, Any] = {
    "timestamp": START + 1000,
    "eventType": "Deployment",
    "deploymentId": "d-1",
    "entity.name": "api",
    "version": "v1.2",
    "user": "ines",
    "description": "Deploy api v1.2",
    "deepLink": "https://ci.example/1",
}
FLAG: dict[str, Any] = {
    "timestamp": START + 2000,
    "eventType": "ChangeTrackingEvent",
    "changeTrackingId": "c-1",
    "category": "Feature Flag",
    "type": "Basic",
    "entity.name": "web",
    "shortDescription": "new checkout on",
}


async def test_both_event_types_are_changes_newest_first(nerdgraph: NerdGraph, newrelic: NewRelic) -> None:
    nerdgraph.finds([DEPLOYMENT, FLAG])
    reply = await newrelic.list_changes(ChangeQuery(WINDOW))
    assert reply.items == [
        Change("c-1", "new checkout on", START + 2000, kind="flag", service="web"),
        Change(
            "d-1",
            "Deploy api v1.2",
            START + 1000,
            kind="deployment",
            service="api",
            author="ines",
            url="https://ci.example/1",
            version="v1.2",
        ),
    ]
    assert (
        " FROM ChangeTrackingEvent, Deployment SINCE 1700000040000 UNTIL 1700003640000 LIMIT MAX" in nerdgraph.nrql
    )


async def test_a_change_that_is_told_twice_is_one(nerdgraph: NerdGraph, newrelic: NewRelic) -> None:
    again = {**FLAG, "category": "Deployment", "changeTrackingId": "d-1", "entity.name": "api"}
    nerdgraph.finds([DEPLOYMENT, again, {**again, "entity.name": "web"}])
    reply = await newrelic.list_changes(ChangeQuery(WINDOW))
    assert sorted((item.id, item.service) for item in reply.items) == [("d-1", "api"), ("d-1", "web")]


async def test_a_service_name_stays_inside_its_quotes(nerdgraph: NerdGraph, newrelic: NewRelic) -> None:
    nerdgraph.finds([DEPLOYMENT, {**FLAG, "entity.name": "it's"}])
    reply = await newrelic.list_changes(ChangeQuery(WINDOW, services=("it's", "a\nb")))
    assert r"WHERE entity.name IN ('it\'s') SINCE" in nerdgraph.nrql
    assert [item.service for item in reply.items] == ["it's"]
    nerdgraph.requests.clear()
    nobody = await newrelic.list_changes(ChangeQuery(WINDOW, services=("a\nb",)))
    assert (list(nobody.items), nerdgraph.requests) == ([], [])
    assert "can be called" in nobody.warnings[0]


@pytest.mark.parametrize("value", [START // 1000, START * 1000, str(START)])
async def test_a_time_in_another_unit_is_the_same_time(
    nerdgraph: NerdGraph, newrelic: NewRelic, value: Any
) -> None:
    nerdgraph.finds([{**FLAG, "timestamp": value}])
    (item,) = (await newrelic.list_changes(ChangeQuery(WINDOW))).items
    assert item.at_ms == START


async def test_what_says_nothing_is_named_by_what_is_known_or_skipped_and_counted(
    nerdgraph: NerdGraph, newrelic: NewRelic
) -> None:
    bare = {"timestamp": START, "category": "Operational", "entity.name": "api", "version": "v2"}
    nerdgraph.finds([bare, {**FLAG, "timestamp": None}, {}, "text", {**FLAG, "deepLink": "javascript:x"}])
    reply = await newrelic.list_changes(ChangeQuery(WINDOW))
    assert [(item.title, item.kind, item.url) for item in reply.items] == [
        ("new checkout on", "flag", None),
        ("Change api v2", "change", None),
    ]
    assert reply.warnings == ["3 changes could not be read"]


async def test_more_than_the_limit_are_left_out_the_oldest_first(nerdgraph: NerdGraph, newrelic: NewRelic) -> None:
    nerdgraph.finds([{**FLAG, "changeTrackingId": str(n), "timestamp": START + n * 1000} for n in range(4)])
    reply = await newrelic.list_changes(ChangeQuery(WINDOW, limit=1))
    assert [item.id for item in reply.items] == ["3"]
    assert reply.partial == "3 older ones were left out"
