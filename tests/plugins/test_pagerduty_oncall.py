"""Who PagerDuty has on call, and for which services."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from telemetry_mcp import OnCall, OnCallQuery, Reply, Window
from telemetry_mcp_pagerduty import PagerDuty

if TYPE_CHECKING:
    from tests.plugins.conftest import Page, Stub

START = 1_730_000_000_000
WINDOW = Window(START, START + 3_600_000)


def duty(policy: str = "E1", **more: Any) -> dict[str, Any]:
    return {
        "escalation_policy": {"id": policy, "type": "escalation_policy_reference", "summary": f"{policy} policy"},
        "escalation_level": 1,
        "schedule": {"id": "S1", "summary": "weekly", "html_url": "https://acme/s"},
        "user": {"id": "U1", "type": "user_reference", "summary": "Ada"},
        "start": "2024-10-27T06:33:20+03:00",
        "end": "2024-10-27T22:33:20-05:00",
        **more,
    }


def service(number: int, policy: str | None) -> dict[str, Any]:
    return {"id": f"P{number}", "name": f"s{number}", "escalation_policy": policy and {"id": policy}}


async def on_call(pagerduty: PagerDuty, *services: str, limit: int = 100) -> Reply[OnCall]:
    return await pagerduty.list_on_call(OnCallQuery(WINDOW, services, limit))


async def test_who_is_on_call_is_joined_to_the_services_of_the_policy(
    stub: Stub, pagerduty: PagerDuty, page: Page
) -> None:
    permanent = duty("E2", escalation_level="2", schedule=None, start=None, end=None)
    stub.on("/oncalls", page("oncalls", [permanent, duty()]))
    stub.on("/services", page("services", [service(1, "E1"), service(2, "E1"), service(3, None)]))
    first = OnCall("Ada", 1, "s1", "E1 policy", "weekly", START, START + 86_400_000, "https://acme/s")
    reply = await on_call(pagerduty)
    assert reply.items[0] == first
    assert [(row.service, row.policy, row.level) for row in reply.items] == [
        ("s1", "E1 policy", 1),
        ("s2", "E1 policy", 1),
        (None, "E2 policy", 2),
    ]
    assert (reply.items[2].start_ms, reply.items[2].end_ms) == (None, None)
    assert stub.asked[0].params["include[]"] == ["users", "schedules", "escalation_policies"]
    assert (stub.asked[0].params["since"], stub.asked[0].params["until"]) == (
        ["2024-10-27T03:33:20Z"],
        ["2024-10-27T04:33:20Z"],
    )


async def test_a_policy_that_names_its_services_itself_saves_the_list(
    stub: Stub, pagerduty: PagerDuty, page: Page
) -> None:
    policy = {"id": "E1", "name": "E1 policy", "services": [{"id": "P1", "summary": "s1"}, None]}
    stub.on("/oncalls", page("oncalls", [duty(escalation_policy=policy)]))
    reply = await on_call(pagerduty)
    assert [(row.service, row.policy) for row in reply.items] == [("s1", "E1 policy")]
    assert [asked.path for asked in stub.asked] == ["/oncalls"]


async def test_a_policy_of_very_many_services_is_given_once_unless_one_was_asked_for(
    stub: Stub, pagerduty: PagerDuty, page: Page
) -> None:
    stub.on("/oncalls", page("oncalls", [duty()]))
    stub.on("/services", page("services", [service(number, "E1") for number in range(11)]))
    assert [row.service for row in (await on_call(pagerduty)).items] == [None]
    assert [row.service for row in (await on_call(pagerduty, "s7")).items] == ["s7"]
    assert stub.asked[-1].params["escalation_policy_ids[]"] == ["E1"]


async def test_who_is_on_call_is_told_even_where_services_may_not_be_read(
    stub: Stub, pagerduty: PagerDuty, page: Page
) -> None:
    stub.on("/oncalls", page("oncalls", [duty()]))
    stub.on("/services", {"error": {"message": "Access Denied", "code": 2010}}, 403)
    reply = await on_call(pagerduty)
    assert [(row.person, row.service) for row in reply.items] == [("Ada", None)]
    assert "which services a policy pages for is not known: HTTP 403" in (reply.partial or "")


async def test_deleted_users_and_missing_parts_are_told_and_oddities_counted(
    stub: Stub, pagerduty: PagerDuty, page: Page
) -> None:
    half: dict[str, Any] = {
        "escalation_level": 1,
        "user": None,
        "escalation_policy": None,
        "schedule": [],
        "start": 5,
        "end": "",
    }
    odd: list[Any] = [None, duty(escalation_level=None), duty(escalation_level={}), duty(escalation_level="first")]
    stub.on("/oncalls", page("oncalls", [half, *odd]))
    stub.on("/services", page("services", []))
    reply = await on_call(pagerduty)
    assert reply.items == [OnCall("(a deleted user)", 1)]
    assert reply.warnings == ["4 oncalls could not be read"]


@pytest.mark.parametrize("limit", [1, 2])
async def test_those_who_are_paged_first_are_given_when_there_are_more_than_asked(
    stub: Stub, pagerduty: PagerDuty, page: Page, limit: int
) -> None:
    stub.on("/oncalls", page("oncalls", [duty(escalation_level=level) for level in (3, 2, 1)]))
    stub.on("/services", page("services", []))
    reply = await on_call(pagerduty, limit=limit)
    assert [row.level for row in reply.items] == list(range(1, limit + 1))
    assert reply.partial == f"only the first {limit} are given"


async def test_on_calls_have_a_limit_of_their_own(stub: Stub, pagerduty: PagerDuty, page: Page) -> None:
    left = {"ratelimit-limit": "60", "ratelimit-remaining": "3", "ratelimit-reset": "30"}
    stub.on("/oncalls", page("oncalls", [duty()]), headers=left)
    stub.on(
        "/services", page("services", []), headers={**left, "ratelimit-limit": "960", "ratelimit-remaining": "9"}
    )
    await on_call(pagerduty)
    known = [(limit.name, limit.limit, limit.remaining) for limit in pagerduty.context.quota.left()]
    assert known == [("on-call requests", 60, 3), ("requests", 960, 9)]
