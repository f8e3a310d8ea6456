"""PagerDuty's incidents: which are asked for, and how they are read."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from telemetry_mcp import BadQueryError, Incident, IncidentQuery, Window
from telemetry_mcp_pagerduty import PagerDuty
from telemetry_mcp_pagerduty.wire import epoch_ms, text

if TYPE_CHECKING:
    from tests.plugins.conftest import Answer, Answering, Asked, Page, Stub

START = 1_730_000_000_000
WINDOW = Window(START, START + 3_600_000)


def entry(number: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "id": f"Q{number}",
        "title": "It broke",
        "status": "triggered",
        "urgency": "high",
        "created_at": "2024-10-27T03:40:00Z",
        "resolved_at": None,
        "service": {"id": "P1", "type": "service_reference", "summary": "checkout"},
        "html_url": "https://acme.pagerduty.com/incidents/Q1",
        "acknowledgements": [],
        "priority": None,
        **more,
    }


@pytest.fixture
def recent_only(stub: Stub, page: Page) -> Callable[..., Answering]:
    """The incidents for the question about the window; none for the one about what is open from before."""

    def finding(*entries: dict[str, Any]) -> Answering:
        def answer(asked: Asked) -> Answer:
            found = list(entries) if asked.params["until"] == ["2024-10-27T04:33:20Z"] else []
            return stub.answer(page("incidents", found))

        return answer

    return finding


async def incidents(pagerduty: PagerDuty, *services: str, **more: Any) -> list[Incident]:
    return list((await pagerduty.list_incidents(IncidentQuery(WINDOW, services, **more))).items)


async def test_an_incident_is_normalized(
    stub: Stub, pagerduty: PagerDuty, recent_only: Callable[..., Answering]
) -> None:
    stub.answers["/incidents"] = recent_only(
        entry(
            title="It\nbroke ‮now",
            status="acknowledged",
            created_at="2024-10-27T06:40:00+03:00",
            acknowledgements=[{"at": "2024-10-26T22:50:00-05:00"}, {"at": "2024-10-27T03:45:00Z"}, {"at": None}],
            priority={"summary": "P2", "name": "P2"},
        )
    )
    assert await incidents(pagerduty) == [
        Incident(
            id="Q1",
            title="It broke now",
            status="acknowledged",
            opened_ms=START + 400_000,
            service="checkout",
            urgency="high",
            severity="P2",
            acknowledged_ms=START + 700_000,
            resolved_ms=None,
            url="https://acme.pagerduty.com/incidents/Q1",
        )
    ]


async def test_both_ends_of_the_time_are_always_sent_and_the_earlier_open_ones_asked_too(
    stub: Stub, pagerduty: PagerDuty, page: Page
) -> None:
    stub.on("/incidents", page("incidents", []))
    assert await incidents(pagerduty) == []
    asked = sorted((request.params for request in stub.asked), key=lambda params: params["until"], reverse=True)
    assert [(params["since"], params["until"], params["statuses[]"]) for params in asked] == [
        (["2024-10-26T03:33:20Z"], ["2024-10-27T04:33:20Z"], ["triggered", "acknowledged", "resolved"]),
        (["2024-04-29T03:33:20Z"], ["2024-10-26T03:33:20Z"], ["triggered", "acknowledged"]),
    ]
    assert {request.headers["authorization"] for request in stub.asked} == {"Token token=pd-key-1"}
    assert {request.headers["accept"] for request in stub.asked} == {"application/vnd.pagerduty+json;version=2"}


async def test_only_resolved_ones_are_one_question(stub: Stub, pagerduty: PagerDuty, page: Page) -> None:
    stub.on("/incidents", page("incidents", []))
    await incidents(pagerduty, statuses=("resolved",))
    assert [request.params["statuses[]"] for request in stub.asked] == [["resolved"]]


async def test_an_unknown_status_is_named_with_the_valid_ones(stub: Stub, pagerduty: PagerDuty) -> None:
    with pytest.raises(BadQueryError, match=r"open.*triggered, acknowledged, resolved"):
        await incidents(pagerduty, statuses=("open",))
    assert stub.asked == []


async def test_what_was_not_open_in_the_window_or_not_asked_is_left_out(
    stub: Stub, pagerduty: PagerDuty, recent_only: Callable[..., Answering]
) -> None:
    before = entry(1, created_at="2024-10-27T01:00:00Z", status="resolved", resolved_at="2024-10-27T02:00:00Z")
    across = entry(2, created_at="2024-10-27T01:00:00Z", status="resolved", resolved_at="2024-10-27T04:00:00Z")
    after = entry(3, created_at="2024-10-27T05:00:00Z")
    other = entry(4, service={"summary": "billing"})
    undated = entry(5, created_at=None)
    stub.answers["/incidents"] = recent_only(before, across, after, other, undated)
    assert [found.id for found in await incidents(pagerduty, "checkout")] == ["Q2"]
    assert [found.id for found in await incidents(pagerduty)] == ["Q4", "Q2"]


async def test_nulls_references_and_missing_parts_do_not_matter(
    stub: Stub, pagerduty: PagerDuty, recent_only: Callable[..., Answering]
) -> None:
    bare = {"id": "", "incident_number": 7, "created_at": "2024-10-27T03:40:00Z", "status": "resolved"}
    resolved = {**bare, "last_status_change_at": "2024-10-27T03:50:00Z", "service": None, "html_url": None}
    stub.answers["/incidents"] = recent_only({**resolved, "acknowledgements": None})
    (found,) = await incidents(pagerduty)
    assert (found.id, found.title, found.service, found.url) == ("7", "(without a title)", None, None)
    assert found.resolved_ms == START + 1_000_000


async def test_the_newest_are_given_when_there_are_more_than_asked(
    stub: Stub, pagerduty: PagerDuty, recent_only: Callable[..., Answering]
) -> None:
    entries = [entry(number, created_at=f"2024-10-27T03:4{number}:00Z") for number in range(5)]
    stub.answers["/incidents"] = recent_only(*entries)
    reply = await pagerduty.list_incidents(IncidentQuery(WINDOW, limit=2))
    assert [found.id for found in reply.items] == ["Q4", "Q3"]
    assert "newest 2" in (reply.partial or "")


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("use R0ABCDEFGHIJKLMNOPQRSTUVWXYZ0123 now", "use *** now"),
        ('routing_key="0123456789abcdef0123456789abcdef"', "routing_key***"),
        ("commit 0123456789abcdef0123456789abcdef", "commit 0123456789abcdef0123456789abcdef"),
    ],
)
def test_routing_keys_do_not_get_out(given: str, shown: str) -> None:
    assert text(given).startswith(shown)


@pytest.mark.parametrize("value", [None, "", "yesterday", 5, {}])
def test_a_time_that_cannot_be_read_is_none(value: Any) -> None:
    assert epoch_ms(value) is None
