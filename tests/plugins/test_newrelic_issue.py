"""New Relic's issues as incidents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from telemetry_mcp import Incident, IncidentQuery, ProtocolError, RateLimitedError, Window
from telemetry_mcp_newrelic import NewRelic

if TYPE_CHECKING:
    from tests.plugins.conftest import Failure, NerdGraph

START = 1_700_000_040_000
WINDOW = Window(START, START + 3_600_000)
QUESTION = IncidentQuery(WINDOW)


def issue(number: Any = "1", **more: Any) -> dict[str, Any]:
    return {
        "issueId": number,
        "title": ["api is slow"],
        "description": ["p95 above 1 s"],
        "conditionName": ["p95"],
        "priority": "CRITICAL",
        "state": "ACTIVATED",
        "entityNames": ["api"],
        "createdAt": START + 60_000,
        "activatedAt": START + 61_000,
        "acknowledgedAt": None,
        "closedAt": None,
        "updatedAt": START + 62_000,
        **more,
    }


def found(*issues: Any, cursor: str | None = None, **beside: Any) -> dict[str, Any]:
    issues_of = {"issues": {"issues": list(issues), "nextCursor": cursor}}
    return {"data": {"actor": {"account": {"aiIssues": issues_of}}}, **beside}


async def test_an_issue_is_an_incident_with_its_first_texts(nerdgraph: NerdGraph, newrelic: NewRelic) -> None:
    nerdgraph.says(found(issue(acknowledgedAt=START + 90_000, title=["api is slow", "api fails", "more"])))
    (item,) = (await newrelic.list_incidents(QUESTION)).items
    assert item == Incident(
        "1",
        "api is slow (and 2 more)",
        "acknowledged",
        START + 60_000,
        service="api",
        urgency="high",
        severity="CRITICAL",
        acknowledged_ms=START + 90_000,
    )


@pytest.mark.parametrize(
    ("more", "status", "resolved"),
    [
        ({}, "triggered", None),
        ({"state": "CREATED"}, "triggered", None),
        ({"acknowledgedAt": START + 70_000}, "acknowledged", None),
        ({"state": "CLOSED", "closedAt": START + 80_000}, "resolved", START + 80_000),
        ({"state": "DEACTIVATED"}, "resolved", START + 62_000),
        ({"state": None, "closedAt": START + 80_000, "acknowledgedAt": START}, "resolved", START + 80_000),
    ],
)
async def test_where_an_issue_stands_follows_from_its_state_and_times(
    nerdgraph: NerdGraph, newrelic: NewRelic, more: dict[str, Any], status: str, resolved: int | None
) -> None:
    nerdgraph.says(found(issue(**more)))
    (item,) = (await newrelic.list_incidents(QUESTION)).items
    assert (item.status, item.resolved_ms) == (status, resolved)


@pytest.mark.parametrize(
    ("priority", "urgency"),
    [("CRITICAL", "high"), ("HIGH", "high"), ("MEDIUM", "low"), ("LOW", "low"), (None, None)],
)
async def test_a_priority_is_the_severity_and_says_how_urgent(
    nerdgraph: NerdGraph, newrelic: NewRelic, priority: str | None, urgency: str | None
) -> None:
    nerdgraph.says(found(issue(priority=priority)))
    (item,) = (await newrelic.list_incidents(QUESTION)).items
    assert (item.severity, item.urgency) == (priority, urgency)


async def test_new_relics_filter_is_not_trusted(nerdgraph: NerdGraph, newrelic: NewRelic) -> None:
    nerdgraph.says(
        found(
            issue("open"),
            issue("closed", state="CLOSED", closedAt=START + 90_000),
            issue("before", createdAt=START - 9_000_000, state="CLOSED", closedAt=START - 1),
            issue("after", createdAt=WINDOW.end_ms),
            issue("old", createdAt=START - 9_000_000),
        )
    )
    everything = await newrelic.list_incidents(QUESTION)
    assert [item.id for item in everything.items] == ["open", "closed", "old"]
    nerdgraph.requests.clear()
    resolved = await newrelic.list_incidents(IncidentQuery(WINDOW, statuses=("resolved",)))
    assert [item.id for item in resolved.items] == ["closed"]
    (asked,) = (nerdgraph.sent()["variables"],)
    assert asked["filter"] == {"states": ["CLOSED", "DEACTIVATED"]}
    assert (asked["time"]["startTime"], asked["time"]["endTime"]) == (START - 86_400_000, WINDOW.end_ms)
    nerdgraph.requests.clear()
    triggered = await newrelic.list_incidents(IncidentQuery(WINDOW, statuses=("triggered",)))
    assert [item.id for item in triggered.items] == ["open", "old"]
    assert nerdgraph.sent()["variables"] == {
        "id": 7,
        "cursor": None,
        "filter": {"states": ["CREATED", "ACTIVATED"]},
    }


async def test_only_the_asked_services_count_and_the_first_of_them_names_the_incident(
    nerdgraph: NerdGraph, newrelic: NewRelic
) -> None:
    nerdgraph.says(
        found(
            issue("1", entityNames=["host-1", "api"]),
            issue("2", entityNames=["web"]),
            issue("3", entityNames=None),
        )
    )
    reply = await newrelic.list_incidents(IncidentQuery(WINDOW, services=("api",)))
    assert [(item.id, item.service) for item in reply.items] == [("1", "api")]
    assert reply.warnings == []
    every = await newrelic.list_incidents(QUESTION)
    assert {item.id: item.service for item in every.items} == {"1": "host-1", "2": "web", "3": None}


async def test_thousands_of_incidents_in_an_issue_are_never_asked_for(
    nerdgraph: NerdGraph, newrelic: NewRelic
) -> None:
    nerdgraph.says(found())
    await newrelic.list_incidents(QUESTION)
    assert len(nerdgraph.requests) == 2
    assert not [request for request in nerdgraph.requests if b"incidentIds" in request.content]
    assert nerdgraph.requests[0].headers["nerd-graph-unsafe-experimental-opt-in"] == "AiIssues"


async def test_pages_are_read_once_each_and_a_repeating_cursor_ends_them(
    nerdgraph: NerdGraph, newrelic: NewRelic
) -> None:
    nerdgraph.says(found(issue(), cursor="same"))
    reply = await newrelic.list_incidents(IncidentQuery(WINDOW, statuses=("triggered",)))
    assert [item.id for item in reply.items] == ["1"]
    assert len(nerdgraph.requests) == 2
    assert reply.partial == "New Relic has more issues than the 2 pages that were read"


async def test_what_was_read_is_kept_when_a_later_page_fails(nerdgraph: NerdGraph, newrelic: NewRelic) -> None:
    limited = {"errors": [{"message": "slow down", "extensions": {"errorClass": "TOO_MANY_REQUESTS"}}]}
    nerdgraph.answer = lambda asked: nerdgraph.response(
        limited if asked["variables"]["cursor"] else found(issue(), cursor="2")
    )
    reply = await newrelic.list_incidents(IncidentQuery(WINDOW, statuses=("triggered",)))
    assert [item.id for item in reply.items] == ["1"]
    assert reply.partial == "only the first 1 pages of issues could be read: slow down"


async def test_more_than_the_limit_are_left_out_the_oldest_first(nerdgraph: NerdGraph, newrelic: NewRelic) -> None:
    nerdgraph.says(found(*(issue(str(n), createdAt=START + n * 1000) for n in range(5))))
    reply = await newrelic.list_incidents(IncidentQuery(WINDOW, limit=2))
    assert [item.id for item in reply.items] == ["4", "3"]
    assert reply.partial == "3 older ones were left out"


async def test_an_issue_that_cannot_be_read_is_skipped_and_counted(
    nerdgraph: NerdGraph, newrelic: NewRelic
) -> None:
    odd: list[Any] = [issue(None), issue("x", createdAt="soon", activatedAt=None), "text", None, []]
    nerdgraph.says(found(*odd, issue("1", title=None, conditionName=[], createdAt=None)))
    reply = await newrelic.list_incidents(IncidentQuery(WINDOW, statuses=("triggered",)))
    assert [(item.id, item.title, item.opened_ms) for item in reply.items] == [
        ("1", "p95 above 1 s", START + 61_000)
    ]
    assert reply.warnings == ["5 issues could not be read"]


@pytest.mark.parametrize("value", [None, {}, "strange", [[]]])
async def test_an_answer_without_a_list_of_issues_is_no_empty_answer(
    nerdgraph: NerdGraph, newrelic: NewRelic, value: Any, failure: Failure
) -> None:
    document = found()
    document["data"]["actor"]["account"]["aiIssues"]["issues"] = value
    nerdgraph.says(document)
    assert isinstance(await failure(newrelic.list_incidents(QUESTION)), ProtocolError)


async def test_a_limit_is_raised_and_not_taken_for_no_issues(
    nerdgraph: NerdGraph, newrelic: NewRelic, failure: Failure
) -> None:
    nerdgraph.says({"errors": [{"message": "x", "extensions": {"errorClass": "TOO_MANY_REQUESTS"}}]})
    assert isinstance(await failure(newrelic.list_incidents(QUESTION)), RateLimitedError)
