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
    assert deployed[0]["routing_key"]
    assert "teams" in duty.get("/abilities").json()["abilities"]
    assert "@" in duty.get("/users/me").json()["user"]["email"]


def test_pagerduty_refuses_what_the_vendor_refuses(duty: Vendor) -> None:
    assert duty.get("/incidents", since="last week").json()["error"]["code"] == 2004
    assert duty.get("/incidents", offset=9950, limit=100).status_code == 400
    duty.keys = {"Authorization": "Token token=wrong"}
    denied = duty.get("/incidents")
    assert denied.status_code == 401
    assert denied.json()["error"]["code"] == 2006
