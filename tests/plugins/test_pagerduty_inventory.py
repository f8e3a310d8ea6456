"""PagerDuty's services, and the pages in which every list comes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from telemetry_mcp import ServiceQuery, Window
from telemetry_mcp_pagerduty import PagerDuty

if TYPE_CHECKING:
    from tests.plugins.conftest import Answer, Asked, Page, Stub

START = 1_730_000_000_000
EVERY = ServiceQuery(Window(START, START + 3_600_000))


async def test_services_come_with_team_and_status(stub: Stub, pagerduty: PagerDuty, page: Page) -> None:
    entries = [
        {"name": "a", "status": "active", "teams": [{"summary": "edge"}], "html_url": "https://acme/s"},
        {"name": "b", "status": "critical", "teams": [], "html_url": None},
        {"name": "c", "status": "maintenance"},
    ]
    stub.on("/services", page("services", entries))
    reply = await pagerduty.list_services(EVERY)
    assert [(item.name, item.team, item.status, item.url) for item in reply.items] == [
        ("a", "edge", "OK", "https://acme/s"),
        ("b", None, "CRITICAL", None),
        ("c", None, "MAINTENANCE", None),
    ]
    assert reply.partial is None


async def test_pages_are_followed_to_the_last(stub: Stub, pagerduty: PagerDuty, page: Page) -> None:
    def two(asked: Asked) -> Answer:
        offset = int(asked.params["offset"][0])
        return stub.answer(page("services", [{"name": f"s{offset}"}], more=offset == 0))

    stub.answers["/services"] = two
    reply = await pagerduty.list_services(EVERY)
    assert [item.name for item in reply.items] == ["s0", "s100"]
    assert reply.partial is None


async def test_more_with_an_empty_page_ends_and_is_said(stub: Stub, pagerduty: PagerDuty, page: Page) -> None:
    stub.on("/services", page("services", [], more=True))
    reply = await pagerduty.list_services(EVERY)
    assert len(stub.asked) == 1
    assert reply.partial == "PagerDuty promises more services but gives none"


async def test_paging_never_asks_beyond_the_ten_thousandth(stub: Stub, pagerduty: PagerDuty, page: Page) -> None:
    stub.on("/services", page("services", [{"name": "s"}], more=True))
    reply = await pagerduty.list_services(EVERY)
    last = stub.asked[-1].params
    assert int(last["offset"][0]) + int(last["limit"][0]) == 10_000
    assert "10000" in (reply.partial or "")
