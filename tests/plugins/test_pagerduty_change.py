"""PagerDuty's change events, which come with the key of the integration that sent them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from telemetry_mcp import Change, ChangeQuery, Reply, Window, now_ms
from telemetry_mcp_pagerduty import PagerDuty
from telemetry_mcp_pagerduty.wire import rfc3339

if TYPE_CHECKING:
    from tests.plugins.conftest import Failure, Page, Stub

HOUR_MS = 3_600_000
START = now_ms() // HOUR_MS * HOUR_MS - 24 * HOUR_MS
WINDOW = Window(START, START + HOUR_MS)


def event(number: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "id": f"01C{number}",
        "type": "change_event",
        "summary": "Deploy checkout v2",
        "timestamp": rfc3339(START + number * 60_000),
        "services": [{"id": "P1", "type": "service_reference", "summary": "checkout"}],
        "integration": {"id": "PI", "summary": None},
        "routing_key": "R0KEYR0KEYR0KEYR0KEYR0KEYR0KEY00",
        "links": [],
        "images": [],
        "custom_details": {},
        **more,
    }


async def changes(pagerduty: PagerDuty, *services: str, **more: Any) -> Reply[Change]:
    return await pagerduty.list_changes(ChangeQuery(WINDOW, services, **more))


async def test_a_change_is_normalized(stub: Stub, pagerduty: PagerDuty, page: Page) -> None:
    details = {"Version": 2.5, "deployed_by": "Ada", "build": "17"}
    links = [{"href": "https://ci.example/17", "text": "build"}, None]
    stub.on("/change_events", page("change_events", [event(custom_details=details, links=links)]))
    reply = await changes(pagerduty)
    assert reply.items == [
        Change(
            "01C1",
            "Deploy checkout v2",
            START + 60_000,
            "deployment",
            "checkout",
            "Ada",
            "https://ci.example/17",
            "2.5",
        )
    ]
    assert (reply.partial, reply.warnings) == (None, [])
    params = stub.asked[0].params
    assert (params["since"], params["until"]) == ([rfc3339(START)], [rfc3339(START + HOUR_MS)])


@pytest.mark.parametrize(
    ("summary", "details", "kind"),
    [
        ("Deploy v2", None, "deployment"),
        ("Rolled back checkout", "text", "deployment"),
        ("smtp host is new", [], "change"),
        ("smtp host is new", {"version": "v3"}, "deployment"),
        ("Deploy v2", {"kind": "Config"}, "config"),
        ("Deploy v2", {"kind": "weird"}, "deployment"),
        (None, {"kind": {}}, "change"),
    ],
)
async def test_the_kind_is_what_was_said_or_what_the_title_tells(
    stub: Stub, pagerduty: PagerDuty, page: Page, summary: Any, details: Any, kind: str
) -> None:
    stub.on("/change_events", page("change_events", [event(summary=summary, custom_details=details)]))
    (found,) = (await changes(pagerduty)).items
    assert (found.kind, found.title) == (kind, summary or "(without a summary)")


async def test_a_change_of_several_services_is_one_for_each_and_unnamed_ones_are_looked_up(
    stub: Stub, pagerduty: PagerDuty, page: Page
) -> None:
    services: list[Any] = [{"id": "P1", "summary": "checkout"}, {"id": "P2", "summary": None}, {"id": "P3"}, None]
    stub.on("/change_events", page("change_events", [event(services=services)]))
    stub.on("/services/P2", {"service": {"id": "P2", "name": "billing"}})
    reply = await changes(pagerduty)
    assert [item.service for item in reply.items] == ["checkout", "billing", None]
    await changes(pagerduty)
    assert [asked.path for asked in stub.asked].count("/services/P2") == 1


async def test_changes_of_named_services_are_asked_for_service_by_service(
    stub: Stub, pagerduty: PagerDuty, page: Page
) -> None:
    stub.on("/services", page("services", [{"id": "P1", "name": "checkout"}, {"id": "P2", "name": "billing"}]))
    shared = event(2, services=[{"id": "P1"}, {"id": "P2"}, {"id": "P9", "summary": "other"}])
    stub.on("/services/P1/change_events", page("change_events", [shared, event(1)]))
    stub.on("/services/P2/change_events", page("change_events", [shared]))
    reply = await changes(pagerduty, "checkout", "billing")
    assert [(item.id, item.service) for item in reply.items] == [
        ("01C2", "checkout"),
        ("01C2", "billing"),
        ("01C1", "checkout"),
    ]
    assert "/change_events" not in {asked.path for asked in stub.asked}


async def test_of_very_many_services_all_changes_are_asked_for_and_sorted_out_here(
    stub: Stub, pagerduty: PagerDuty, page: Page
) -> None:
    names = [f"s{number}" for number in range(20)]
    stub.on(
        "/services", page("services", [{"id": f"P{number}", "name": name} for number, name in enumerate(names)])
    )
    stub.on("/change_events", page("change_events", [event(1), event(2, services=[{"id": "X"}])]))
    reply = await changes(pagerduty, *names)
    assert [(item.id, item.service) for item in reply.items] == [("01C1", "s1")]
    assert [asked.path for asked in stub.asked] == ["/services", "/change_events"]


async def test_a_routing_key_never_gets_out_wherever_it_stands(
    stub: Stub, pagerduty: PagerDuty, page: Page
) -> None:
    odd_key = "not-of-the-usual-form-0123"
    planted = event(
        routing_key=odd_key,
        summary=f"sent with {odd_key} and R0KEYR0KEYR0KEYR0KEYR0KEYR0KEY00",
        custom_details={"author": odd_key, "version": "api_key=abcdef123456", "token": "tok-0123456789"},
        links=[{"href": f"https://ci.example/?key={odd_key}&token=tok-0123456789"}],
        services=[{"id": odd_key, "summary": f"svc {odd_key}"}],
    )
    stub.on("/change_events", page("change_events", [planted, event(2)]))
    said = repr(await changes(pagerduty))
    for secret in (odd_key, "R0KEY", "abcdef123456", "tok-0123456789"):
        assert secret not in said
    assert "sent with *** and ***" in said


async def test_a_window_before_what_is_kept_is_partial(stub: Stub, pagerduty: PagerDuty, page: Page) -> None:
    stub.on("/change_events", page("change_events", []))
    long_ago = Window(START - 91 * 24 * HOUR_MS, START)
    reply = await pagerduty.list_changes(ChangeQuery(long_ago))
    assert reply.partial == "PagerDuty keeps change events for 90 days; earlier ones are missing"


async def test_what_is_outside_the_window_or_unreadable_is_not_given(
    stub: Stub, pagerduty: PagerDuty, page: Page
) -> None:
    odd: list[Any] = [None, event(timestamp=None), event(timestamp={}), {"id": 5}]
    outside = [event(1, timestamp=rfc3339(START - 1000)), event(2, timestamp=rfc3339(START + HOUR_MS))]
    stub.on("/change_events", page("change_events", [*odd, *outside, event(3, services=None, links={})]))
    reply = await changes(pagerduty)
    assert [(item.id, item.service) for item in reply.items] == [("01C3", None)]
    assert reply.warnings == ["4 change events could not be read"]


async def test_the_newest_are_given_when_there_are_more_than_asked(
    stub: Stub, pagerduty: PagerDuty, page: Page
) -> None:
    stub.on("/change_events", page("change_events", [event(number) for number in range(5)]))
    reply = await changes(pagerduty, limit=2)
    assert [item.id for item in reply.items] == ["01C4", "01C3"]
    assert reply.partial == "only the newest 2 are given"


async def test_no_such_service_is_no_change_and_no_more_requests(
    stub: Stub, pagerduty: PagerDuty, page: Page, failure: Failure
) -> None:
    stub.on("/services", page("services", []))
    reply = await changes(pagerduty, "gone")
    assert (reply.items, reply.warnings) == ([], ["PagerDuty has no service named gone"])
    assert len(stub.asked) == 1
