"""What happened to one of PagerDuty's incidents, put together from its parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from telemetry_mcp import Entry, NotFoundError, RateLimitedError, Reply, TimelineQuery
from telemetry_mcp_pagerduty import PagerDuty

if TYPE_CHECKING:
    from tests.plugins.conftest import Failure, Page, Stub

AT_MS = 1_730_000_000_000
AT = "2024-10-27T03:33:20Z"
PARTS = {
    "alerts": "alerts",
    "log_entries": "log_entries",
    "notes": "notes",
    "related_change_events": "change_events",
}
DENIED = {"error": {"message": "Account does not have the ability", "code": 2014}}


@pytest.fixture
def whole(stub: Stub) -> Stub:
    """An incident Q1 with one entry of each kind, the later ones first."""
    service = {"id": "P1", "summary": "checkout"}
    told: dict[str, dict[str, Any]] = {
        "alerts": {"id": "A1", "summary": "CPU", "created_at": AT, "service": service, "severity": "critical"},
        "log_entries": {
            "id": "L1",
            "type": "acknowledge_log_entry",
            "summary": "Acknowledged by Ada.",
            "created_at": "2024-10-27T06:35:00+03:00",
            "agent": {"summary": "Ada"},
            "service": service,
            "channel": {"type": "mobile"},
        },
        "notes": {"id": "N1", "content": "rolling\nback", "created_at": "2024-10-27T03:36:00Z", "user": None},
        "related_change_events": {
            "id": "01C",
            "summary": "Deploy v2",
            "timestamp": "2024-10-26T22:30:00-05:00",
            "services": [service],
            "custom_details": {"author": "Ben"},
            "correlation_reason": {"reason": "most_recent"},
        },
    }
    for part, name in PARTS.items():
        body = {name: [told[part]], "limit": None, "offset": None, "total": None, "more": False}
        stub.on(f"/incidents/Q1/{part}", body)
    return stub


async def timeline(pagerduty: PagerDuty, limit: int = 100) -> Reply[Entry]:
    return await pagerduty.list_timeline(TimelineQuery("Q1", limit))


async def test_all_parts_stand_on_one_clock_whatever_their_time_zones(whole: Stub, pagerduty: PagerDuty) -> None:
    reply = await timeline(pagerduty)
    assert reply.items == [
        Entry("01C", AT_MS - 200_000, "change", "Deploy v2 (most recent)", "checkout", "Ben"),
        Entry("A1", AT_MS, "alert", "CPU [critical]", "checkout"),
        Entry("L1", AT_MS + 100_000, "log_entry", "Acknowledged by Ada.", "checkout", "Ada"),
        Entry("N1", AT_MS + 160_000, "note", "rolling back"),
    ]
    assert reply.partial is None
    assert {asked.path for asked in whole.asked} == {f"/incidents/Q1/{part}" for part in PARTS}


@pytest.mark.parametrize("status", [402, 403, 404])
async def test_related_changes_that_are_not_in_the_plan_leave_the_rest_intact(
    whole: Stub, pagerduty: PagerDuty, status: int
) -> None:
    whole.on("/incidents/Q1/related_change_events", DENIED, status)
    reply = await timeline(pagerduty)
    assert [entry.kind for entry in reply.items] == ["alert", "log_entry", "note"]
    assert (reply.partial or "").startswith("related change events: not in plan, or not for this key (HTTP 40")


async def test_a_part_that_may_not_be_read_is_named(whole: Stub, pagerduty: PagerDuty) -> None:
    whole.on("/incidents/Q1/notes", {"error": {"message": "Access Denied", "code": 2010}}, 403)
    reply = await timeline(pagerduty)
    assert (len(reply.items), reply.partial) == (3, "notes: HTTP 403: Access Denied (code 2010)")


async def test_a_limit_is_an_error_of_the_whole_and_not_a_part_that_is_missing(
    whole: Stub, pagerduty: PagerDuty, failure: Failure
) -> None:
    whole.on("/incidents/Q1/notes", b"", 429)
    assert isinstance(await failure(timeline(pagerduty)), RateLimitedError)


async def test_an_incident_that_is_not_there_is_not_found(
    stub: Stub, pagerduty: PagerDuty, failure: Failure
) -> None:
    assert isinstance(await failure(timeline(pagerduty)), NotFoundError)


@pytest.mark.parametrize("incident_id", ["", "../users/me", "Q1/notes", "Q1?limit=1", "count", "Q 1", "Q1\n", "Ü"])
async def test_an_id_cannot_lead_to_another_place(
    stub: Stub, pagerduty: PagerDuty, failure: Failure, incident_id: str
) -> None:
    raised = await failure(pagerduty.list_timeline(TimelineQuery(incident_id)))
    assert isinstance(raised, NotFoundError)
    assert "list_incidents" in raised.hint
    assert stub.asked == []


async def test_the_newest_are_given_when_there_are_more_than_asked(whole: Stub, pagerduty: PagerDuty) -> None:
    reply = await timeline(pagerduty, limit=2)
    assert [entry.id for entry in reply.items] == ["L1", "N1"]
    assert reply.partial == "only the newest 2 of 4 entries are given"


@pytest.mark.parametrize(
    ("more", "title"),
    [
        ({}, "CPU"),
        ({"body": None}, "CPU"),
        ({"body": {"details": "load\n 99"}}, "CPU: load 99"),
        (
            {"body": {"details": {"load": 99, "host": {"name": "a1"}, "up": True}}},
            "CPU: load: 99, host: name: a1, up: true",
        ),
        (
            {"body": {"details": {"routing_key": "R0KEY", "api_token": "t", "load": [1, None, 2]}}},
            "CPU: load: 1, 2",
        ),
        ({"body": {"details": None, "cef_details": {"details": {"a": 1}, "message": "m"}}}, "CPU: a: 1"),
        ({"body": {"cef_details": {"details": None, "message": "m", "client": "c"}}}, "CPU: message: m"),
        ({"body": {"cef_details": None}}, "CPU"),
        ({"body": {"details": []}}, "CPU"),
        ({"body": ["x"]}, "CPU"),
        ({"summary": None, "severity": "info"}, "(without a summary) [info]"),
    ],
)
async def test_an_alerts_details_are_told_in_whichever_shape(
    whole: Stub, pagerduty: PagerDuty, page: Page, more: dict[str, Any], title: str
) -> None:
    alert = {"id": "A1", "summary": "CPU", "created_at": AT, **more}
    whole.on("/incidents/Q1/alerts", page("alerts", [alert]))
    (told,) = [entry for entry in (await timeline(pagerduty)).items if entry.kind == "alert"]
    assert told.title == title


@pytest.mark.parametrize(
    ("more", "title"),
    [
        ({"channel": {}}, "Noted."),
        ({"channel": None}, "Noted."),
        ({"channel": "web"}, "Noted."),
        ({"channel": {"summary": "db is full"}}, "Noted.: db is full"),
        ({"channel": {"type": "email", "subject": "Noted"}}, "Noted."),
        ({"summary": None}, "annotate log entry"),
        ({"summary": None, "type": None}, "(without a summary)"),
    ],
)
async def test_a_log_entry_is_told_whatever_its_channel_lacks(
    whole: Stub, pagerduty: PagerDuty, page: Page, more: dict[str, Any], title: str
) -> None:
    entry = {
        "id": "L1",
        "type": "annotate_log_entry",
        "summary": "Noted.",
        "created_at": AT,
        "agent": None,
        **more,
    }
    whole.on("/incidents/Q1/log_entries", page("log_entries", [entry]))
    (told,) = [item for item in (await timeline(pagerduty)).items if item.kind == "log_entry"]
    assert (told.title, told.author) == (title, None)


async def test_entries_that_cannot_be_read_are_counted(whole: Stub, pagerduty: PagerDuty, page: Page) -> None:
    whole.on("/incidents/Q1/alerts", page("alerts", [None, {"created_at": None}, {"id": "A2", "created_at": AT}]))
    whole.on("/incidents/Q1/notes", {"notes": ["x"]})
    reply = await timeline(pagerduty)
    assert reply.warnings == ["2 alerts could not be read", "1 notes could not be read"]
    assert [entry.kind for entry in reply.items] == ["change", "alert", "log_entry"]
