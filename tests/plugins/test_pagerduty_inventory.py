"""PagerDuty's services and their dependencies, and the pages in which every list comes."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from telemetry_mcp import Context, Dependency, DependencyQuery, PlanError, ServiceQuery, Window
from telemetry_mcp_pagerduty import PagerDuty
from telemetry_mcp_pagerduty.page import Api
from telemetry_mcp_pagerduty.service import find

if TYPE_CHECKING:
    from tests.plugins.conftest import Answer, Asked, ConnectPagerDuty, Failure, Page, Stub

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


async def test_the_same_page_again_ends_and_is_said(stub: Stub, pagerduty: PagerDuty, page: Page) -> None:
    stub.on("/services", page("services", [{"name": "s"}], more=True))
    reply = await pagerduty.list_services(EVERY)
    assert (len(stub.asked), [item.name for item in reply.items]) == (2, ["s"])
    assert reply.partial == "PagerDuty gives the same page of services again and again"


async def test_paging_never_asks_beyond_the_ten_thousandth(
    stub: Stub, connect_pagerduty: ConnectPagerDuty, page: Page
) -> None:
    def endless(asked: Asked) -> Answer:
        return stub.answer(page("services", [{"name": asked.params["offset"][0]}], more=True))

    stub.answers["/services"] = endless
    reply = await connect_pagerduty(stub.url, timeout="1m").list_services(EVERY)
    last = stub.asked[-1].params
    assert int(last["offset"][0]) + int(last["limit"][0]) == 10_000
    assert "10000" in (reply.partial or "")


async def test_paging_stops_in_time_and_gives_what_it_has(stub: Stub, pagerduty: PagerDuty) -> None:
    def endless(asked: Asked) -> Answer:
        return stub.answer({"services": [{"name": asked.params["offset"][0]}], "more": True})

    stub.answers["/services"] = endless
    settings = pagerduty.settings.model_copy(update={"timeout": 4.0})
    api = Api(settings, Context("pd"), clock=count().__next__)
    reply = await find(api)
    api.close()
    assert [item.name for item in reply.items] == ["0", "100", "200"]
    assert reply.partial == "there are more services than the 3 read within 2 s"


@pytest.mark.parametrize(("many", "partial"), [(99, False), (100, True)])
async def test_without_the_word_more_a_full_page_is_not_taken_for_all(
    stub: Stub, pagerduty: PagerDuty, many: int, partial: bool
) -> None:
    stub.on("/services", {"services": [{"name": f"s{number}"} for number in range(many)]})
    reply = await pagerduty.list_services(EVERY)
    assert (len(reply.items), bool(reply.partial), len(stub.asked)) == (many, partial, 1)


async def test_a_service_without_a_name_is_counted_and_the_rest_is_given(
    stub: Stub, pagerduty: PagerDuty, page: Page
) -> None:
    odd: list[Any] = [
        {"name": None, "summary": None},
        None,
        {"name": {}},
        {"summary": "b", "teams": {}, "status": []},
    ]
    stub.on("/services", page("services", [{"name": "a"}, *odd]))
    reply = await pagerduty.list_services(EVERY)
    assert [(item.name, item.team, item.status) for item in reply.items] == [("a", None, None), ("b", None, None)]
    assert reply.warnings == ["3 services could not be read"]


# ---- dependencies


def drawn(caller: Any, callee: Any) -> dict[str, Any]:
    return {"dependent_service": caller, "supporting_service": callee, "type": "service_dependency"}


def relations(*edges: dict[str, Any]) -> dict[str, Any]:
    return {"relationships": list(edges)}


async def test_dependencies_are_drawn_once_between_services_of_the_list(
    stub: Stub, pagerduty: PagerDuty, page: Page
) -> None:
    web, shop, business = (
        {"id": identity, "type": "technical_service_reference"} for identity in ("P1", "P2", "PB")
    )
    stub.on("/services", page("services", [{"id": "P1", "name": "web"}, {"id": "P2", "name": "shop"}]))
    for identity in ("P1", "P2"):
        edges = relations(drawn(web, shop), drawn(business, web), drawn(None, web))
        stub.on(f"/service_dependencies/technical_services/{identity}", edges)
    reply = await pagerduty.list_dependencies(DependencyQuery(EVERY.window))
    assert reply.items == [Dependency("web", "shop")]
    assert (reply.partial, reply.warnings) == (None, ["1 relationships could not be read"])


async def test_the_dependencies_of_forty_services_are_asked_for_and_no_more(
    stub: Stub, pagerduty: PagerDuty, page: Page
) -> None:
    stub.on("/services", page("services", [{"id": f"P{number}", "name": f"s{number}"} for number in range(50)]))
    for number in range(50):
        stub.on(f"/service_dependencies/technical_services/P{number}", relations())
    reply = await pagerduty.list_dependencies(DependencyQuery(EVERY.window))
    assert (len(stub.asked), reply.items) == (41, [])
    assert reply.partial == "only the dependencies of the first 40 of 50 services were asked for"


async def test_dependencies_that_are_not_in_the_plan_are_an_error_of_the_plan(
    stub: Stub, pagerduty: PagerDuty, page: Page, failure: Failure
) -> None:
    stub.on("/services", page("services", [{"id": "P1", "name": "web"}]))
    stub.on("/service_dependencies/technical_services/P1", {"error": {"message": "No", "code": 2014}}, 402)
    assert isinstance(await failure(pagerduty.list_dependencies(DependencyQuery(EVERY.window))), PlanError)
