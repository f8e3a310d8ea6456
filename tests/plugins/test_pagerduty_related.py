"""PagerDuty's past and related incidents, which not every plan has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from telemetry_mcp import Incident, NotFoundError, PlanError, RateLimitedError, RelatedQuery, Reply
from telemetry_mcp_pagerduty import PagerDuty

if TYPE_CHECKING:
    from tests.plugins.conftest import Failure, Stub

AT_MS = 1_730_000_000_000
DENIED = {"error": {"message": "Account does not have the ability", "code": 2014}}


def brief(number: int, **more: Any) -> dict[str, Any]:
    return {"id": f"Q{number}", "created_at": "2024-10-27T03:33:20Z", "title": "It broke", "self": "x", **more}


def of(number: int, **more: Any) -> dict[str, Any]:
    return {"incident": {**brief(number), "status": "resolved", "resolved_at": "2024-10-27T03:50:00Z", **more}}


@pytest.fixture
def both(stub: Stub) -> Stub:
    """Q1 with a past incident and a related one, whose own page cannot be had."""
    past = [{"incident": brief(2), "score": 46.8249}, {"incident": brief(3), "score": "7"}]
    why = {"type": "machine_learning_inferred", "metadata": None}
    stub.on("/incidents/Q1/past_incidents", {"past_incidents": past, "total": 2, "limit": 5})
    stub.on(
        "/incidents/Q1/related_incidents", {"related_incidents": [{"incident": brief(4), "relationships": [why]}]}
    )
    stub.on("/incidents/Q2", of(2, service={"id": "P1", "summary": "checkout"}, priority={"summary": "P1"}))
    stub.on("/incidents/Q3", of(3))
    return stub


async def related(pagerduty: PagerDuty, limit: int = 20) -> Reply[Incident]:
    return await pagerduty.list_related(RelatedQuery("Q1", limit))


async def test_relatives_come_with_relation_score_and_how_they_ended(both: Stub, pagerduty: PagerDuty) -> None:
    reply = await related(pagerduty)
    ended: dict[str, Any] = {"status": "resolved", "opened_ms": AT_MS, "resolved_ms": AT_MS + 1_000_000}
    assert reply.items == [
        Incident("Q4", "It broke", "unknown", AT_MS, relation="related"),
        Incident("Q2", "It broke", **ended, service="checkout", severity="P1", relation="past", score=46.8249),
        Incident("Q3", "It broke", **ended, relation="past", score=7.0),
    ]
    assert (reply.partial, reply.warnings) == (None, ["1 of them could not be looked up"])


@pytest.mark.parametrize("status", [402, 403, 404])
@pytest.mark.parametrize(("part", "left"), [("past", ["related"]), ("related", ["past", "past"])])
async def test_a_kind_that_is_not_in_the_plan_leaves_the_other_intact(
    both: Stub, pagerduty: PagerDuty, part: str, left: list[str], status: int
) -> None:
    both.on(f"/incidents/Q1/{part}_incidents", DENIED, status)
    reply = await related(pagerduty)
    assert [item.relation for item in reply.items] == left
    assert f"{part} incidents: not in plan, or not for this key (HTTP {status}" in (reply.partial or "")


async def test_when_neither_is_in_the_plan_it_is_an_error_of_the_plan(
    both: Stub, pagerduty: PagerDuty, failure: Failure
) -> None:
    for part in ("past", "related"):
        both.on(f"/incidents/Q1/{part}_incidents", DENIED, 402)
    both.on("/incidents/Q1", of(1))
    raised = await failure(related(pagerduty))
    assert isinstance(raised, PlanError)
    assert "Account does not have the ability" in str(raised)


async def test_an_incident_that_is_not_there_is_told_from_a_small_plan(
    stub: Stub, pagerduty: PagerDuty, failure: Failure
) -> None:
    assert isinstance(await failure(related(pagerduty)), NotFoundError)
    assert stub.asked[-1].path == "/incidents/Q1"


async def test_a_limit_is_an_error_of_the_whole(both: Stub, pagerduty: PagerDuty, failure: Failure) -> None:
    both.on("/incidents/Q1/past_incidents", b"", 429)
    assert isinstance(await failure(related(pagerduty)), RateLimitedError)


@pytest.mark.parametrize(("limit", "asked"), [(1, "5"), (20, "20"), (5000, "999")])
async def test_the_number_of_past_incidents_stays_between_the_vendors_limits(
    both: Stub, pagerduty: PagerDuty, limit: int, asked: str
) -> None:
    reply = await related(pagerduty, limit)
    (past,) = [request for request in both.asked if request.path.endswith("past_incidents")]
    assert past.params["limit"] == [asked]
    assert len(reply.items) == min(limit, 3)
    assert (reply.partial == "only 1 are given") is (limit == 1)


async def test_only_the_first_ten_are_looked_up(stub: Stub, pagerduty: PagerDuty) -> None:
    past = [{"incident": brief(number), "score": 1} for number in range(100, 115)]
    stub.on("/incidents/Q1/past_incidents", {"past_incidents": past})
    stub.on("/incidents/Q1/related_incidents", {"related_incidents": []})
    for number in range(100, 115):
        stub.on(f"/incidents/Q{number}", of(number))
    items = (await related(pagerduty)).items
    assert [item.status for item in items] == ["resolved"] * 10 + ["unknown"] * 5
    assert len(stub.asked) == 12


@pytest.mark.parametrize("odd", [None, "high", [], {}, "nan", 10**400, True])
async def test_an_odd_score_is_none_and_an_odd_relative_is_counted(
    stub: Stub, pagerduty: PagerDuty, odd: Any
) -> None:
    past = [{"incident": brief(2), "score": odd}, {"incident": None}, {"incident": {"id": "Q9"}}, None]
    stub.on("/incidents/Q1/past_incidents", {"past_incidents": past})
    stub.on("/incidents/Q1/related_incidents", {"related_incidents": []})
    reply = await related(pagerduty)
    assert [item.score for item in reply.items] == [None]
    assert "3 past incidents could not be read" in reply.warnings
