"""PagerDuty's emulator: its wire format as a plain HTTP client sees it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from telemetry_mcp.demo.topology import MEMBERS

if TYPE_CHECKING:
    from tests.core.conftest import Vendor


def test_pagerduty_gives_whole_incidents(duty: Vendor) -> None:
    since, until = "2026-01-01T00:00:00Z", "2026-04-01T00:00:00Z"
    page = duty.get("/incidents", **{"since": since, "until": until, "limit": 100}).json()
    assert page.keys() == {"incidents", "limit", "offset", "total", "more"}
    newest = page["incidents"][-1]
    assert newest["service"]["summary"] == "notification-service"
    assert newest["service"]["type"] == "service_reference"
    assert newest["status"] == "acknowledged"
    assert newest["resolved_at"] is None
    assert newest["acknowledgements"][0]["acknowledger"]["summary"] == "Jonas Lindqvist"
    assert newest["assignments"][0]["assignee"]["type"] == "user_reference"
    assert newest["priority"]["name"] == "P3"
    assert newest["urgency"] == "low"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", newest["created_at"])
    assert newest["html_url"].endswith(newest["id"])
    assert page["incidents"][0]["resolved_at"] > page["incidents"][0]["created_at"]


def test_pagerduty_filters_and_pages(duty: Vendor) -> None:
    whole = duty.get("/incidents", limit=100, total="true").json()
    assert whole["total"] == len(whole["incidents"]) > 5
    first = duty.get("/incidents", limit=2).json()
    second = duty.get("/incidents", limit=2, offset=2).json()
    assert first["more"] is True
    assert first["incidents"] + second["incidents"] == whole["incidents"][:4]
    open_now = duty.get("/incidents", **{"statuses[]": ["triggered", "acknowledged"]}).json()["incidents"]
    assert [incident["service"]["summary"] for incident in open_now] == ["notification-service"]
    one = open_now[0]["service"]["id"]
    mine = duty.get("/incidents", **{"service_ids[]": one, "urgencies[]": "low"}).json()["incidents"]
    assert {incident["service"]["id"] for incident in mine} == {one}


def test_pagerduty_tells_the_story_of_an_incident(duty: Vendor) -> None:
    yesterday = [i for i in duty.get("/incidents", limit=100).json()["incidents"] if "1 s" in i["title"]][-1]
    path = f"/incidents/{yesterday['id']}"
    assert duty.get(path).json()["incident"] == yesterday
    (alert,) = duty.get(f"{path}/alerts").json()["alerts"]
    assert alert["severity"] == "critical"
    assert alert["body"]["details"]["fault"] == "payment-slow"
    entries = duty.get(f"{path}/log_entries").json()["log_entries"]
    assert [entry["type"] for entry in entries] == [
        "resolve_log_entry",
        "acknowledge_log_entry",
        "trigger_log_entry",
    ]
    assert duty.get("/incidents/Q0").json()["error"]["code"] == 2100


def test_pagerduty_lists_services_people_on_call_and_changes(duty: Vendor) -> None:
    services = duty.get("/services", limit=100).json()["services"]
    assert [service["name"] for service in services] == list(MEMBERS)
    assert {s["name"] for s in services if s["status"] == "warning"} == {"notification-service"}
    oncalls = duty.get("/oncalls").json()["oncalls"]
    assert {entry["escalation_policy"]["id"] for entry in oncalls} == {
        service["escalation_policy"]["id"] for service in services
    }
    changes = duty.get("/change_events", limit=100).json()["change_events"]
    deployed = [c for c in changes if c["custom_details"].get("version") == "v2.14.0"]
    assert [change["services"][0]["summary"] for change in deployed] == ["payment-processor"]
    assert deployed[0]["timestamp"].endswith("T14:02:00Z")
    assert re.fullmatch(r"R[0-9A-Z]{31}", deployed[0]["routing_key"])
    assert "teams" in duty.get("/abilities").json()["abilities"]
    assert "@" in duty.get("/users/me").json()["user"]["email"]


def test_pagerduty_knows_what_belongs_to_an_incident(duty: Vendor) -> None:
    yesterday = [i for i in duty.get("/incidents", limit=100).json()["incidents"] if "1 s" in i["title"]][-1]
    path = f"/incidents/{yesterday['id']}"
    (note,) = duty.get(f"{path}/notes").json()["notes"]
    assert note["user"]["summary"] == "Amara Okafor"
    related = duty.get(f"{path}/related_change_events").json()
    assert (related["limit"], related["more"]) == (None, None)
    first = related["change_events"][0]
    assert (first["summary"], first["correlation_reason"]) == (
        "Deploy payment-processor v2.14.0",
        {"reason": "most_recent"},
    )
    (gateway,) = duty.get(f"{path}/related_incidents").json()["related_incidents"]
    assert gateway["incident"]["title"].startswith("api-gateway")
    assert gateway["incident"].keys() == {"id", "created_at", "self", "title"}
    past = duty.get(f"{path}/past_incidents", limit=5).json()
    assert past.keys() == {"past_incidents", "total", "limit"}
    assert all(entry["score"] > 0 for entry in past["past_incidents"])
    assert duty.get(f"{path}/past_incidents", limit=4).status_code == 400


def test_pagerduty_knows_what_belongs_to_a_service(duty: Vendor) -> None:
    one = next(s for s in duty.get("/services", limit=100).json()["services"] if s["name"] == "payment-processor")
    assert duty.get(f"/services/{one['id']}").json()["service"] == one
    changes = duty.get(f"/services/{one['id']}/change_events", limit=100).json()["change_events"]
    assert {change["services"][0]["id"] for change in changes} == {one["id"]}
    edges = duty.get(f"/service_dependencies/technical_services/{one['id']}").json()["relationships"]
    called = {edge["supporting_service"]["id"] for edge in edges if edge["dependent_service"]["id"] == one["id"]}
    assert len(called) == len(MEMBERS["payment-processor"].calls)
    assert len(edges) > len(called)
    for path in ("/services/P0", "/services/P0/change_events", "/service_dependencies/technical_services/P0"):
        assert duty.get(path).json()["error"]["code"] == 2100


def test_pagerduty_says_how_much_may_be_asked_and_what_time_it_is(duty: Vendor) -> None:
    services, oncalls = duty.get("/services"), duty.get("/oncalls")
    assert services.headers["date"] == "Mon, 16 Feb 2026 15:00:00 GMT"
    assert int(services.headers["ratelimit-remaining"]) < int(services.headers["ratelimit-limit"]) == 960
    assert int(oncalls.headers["ratelimit-limit"]) < 960


def test_pagerduty_sorts_by_when_incidents_were_resolved(duty: Vendor) -> None:
    asked = {"statuses[]": "resolved", "sort_by": "resolved_at:desc", "limit": 100}
    resolved = [one["resolved_at"] for one in duty.get("/incidents", **asked).json()["incidents"]]
    assert resolved == sorted(resolved, reverse=True)
    assert len(set(resolved)) > 1


def test_pagerduty_gives_permanent_on_calls_and_expands_policies_when_asked(duty: Vendor) -> None:
    entries = duty.get("/oncalls", **{"include[]": "escalation_policies", "limit": 100}).json()["oncalls"]
    assert {entry["start"] is None for entry in entries} == {True, False}
    served = {service["summary"] for entry in entries for service in entry["escalation_policy"]["services"]}
    assert served == set(MEMBERS)


def test_pagerduty_refuses_what_the_vendor_refuses(duty: Vendor) -> None:
    assert duty.get("/incidents", since="last week").json()["error"]["code"] == 2004
    assert duty.get("/incidents", offset=9950, limit=100).status_code == 400
    duty.keys = {"Authorization": "Token token=wrong"}
    denied = duty.get("/incidents")
    assert denied.status_code == 401
    assert denied.json()["error"]["code"] == 2006
