"""Several accounts of New Relic behind one source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest
from pydantic import ValidationError

from telemetry_mcp import (
    AuthError,
    ChangeQuery,
    ForbiddenError,
    IncidentQuery,
    NativeQuery,
    SeriesQuery,
    SourceTimeoutError,
    Window,
)
from telemetry_mcp_newrelic import NewRelic

if TYPE_CHECKING:
    from tests.plugins.conftest import Bucket, ConnectNewRelic, Failure, NerdGraph

WINDOW = Window(1_700_000_040_000, 1_700_000_640_000)
QUESTION = SeriesQuery(("a",), ("rate",), WINDOW, 60_000)


@pytest.fixture
def both(connect_newrelic: ConnectNewRelic) -> NewRelic:
    return connect_newrelic(account_id=[7, 8])


def failing(nerdgraph: NerdGraph, good: Any, *accounts: int, kind: str = "ACCESS_DENIED", **more: str) -> None:
    """These accounts fail, the others answer `good`."""
    errors = [{"message": "no", "extensions": {"errorClass": kind, **more}}]
    bad = {"data": {"actor": {"account": None}}, "errors": errors}
    nerdgraph.answer = lambda asked: httpx.Response(
        200, json=bad if asked["variables"]["id"] in accounts else good
    )


@pytest.mark.parametrize(
    ("written", "accounts"),
    [(7, (7,)), ("7", (7,)), ([7, 8], (7, 8)), ("7, 8", (7, 8)), (["7", "8", "7"], (7, 8))],
)
def test_accounts_are_one_or_a_list(connect_newrelic: ConnectNewRelic, written: Any, accounts: Any) -> None:
    assert connect_newrelic(account_id=written).settings.account_id == accounts


@pytest.mark.parametrize("written", [0, [], "", "x", None, [7, -1], 7.5])
def test_what_is_no_account_is_refused(connect_newrelic: ConnectNewRelic, written: Any) -> None:
    with pytest.raises(ValidationError):
        connect_newrelic(account_id=written)


async def test_all_accounts_are_asked_and_their_series_labelled(
    nerdgraph: NerdGraph, both: NewRelic, newrelic: NewRelic, bucket: Bucket
) -> None:
    nerdgraph.answer = lambda asked: nerdgraph.response(nerdgraph.found([bucket(0, asked["variables"]["id"])]))
    reply = await both.fetch_series(QUESTION)
    found = [(item.service, dict(item.labels), item.values.tolist()) for item in reply.items]
    assert found == [("a", {"account": "7"}, [7.0]), ("a", {"account": "8"}, [8.0])]
    native = await both.run_native(NativeQuery("SELECT count(*) FROM T FACET appName", WINDOW, 60_000))
    assert [item.labels["account"] for item in native.items] == ["7", "8"]
    assert [dict(item.labels) for item in (await newrelic.fetch_series(QUESTION)).items] == [{}]


@pytest.mark.parametrize("kind", ["ACCESS_DENIED", "TIMEOUT", "TOO_MANY_REQUESTS", "INTERNAL_SERVER_ERROR"])
async def test_an_account_that_fails_leaves_the_others(
    nerdgraph: NerdGraph, both: NewRelic, bucket: Bucket, kind: str
) -> None:
    failing(nerdgraph, nerdgraph.found([bucket(0, 1)]), 7, kind=kind)
    reply = await both.fetch_series(QUESTION)
    assert [item.labels["account"] for item in reply.items] == ["8"]
    assert reply.partial == "account 7: no"


async def test_changes_and_issues_of_the_accounts_that_answer_are_kept(
    nerdgraph: NerdGraph, both: NewRelic
) -> None:
    change = {"timestamp": WINDOW.start_ms, "changeTrackingId": "c"}
    failing(nerdgraph, nerdgraph.found([change]), 8)
    changes = await both.list_changes(ChangeQuery(WINDOW))
    assert ([item.id for item in changes.items], changes.partial) == (["c"], "account 8: no")
    issue = {"issueId": "i", "createdAt": WINDOW.start_ms, "state": "ACTIVATED"}
    issues = {"issues": [issue], "nextCursor": None}
    failing(nerdgraph, {"data": {"actor": {"account": {"aiIssues": {"issues": issues}}}}}, 7)
    incidents = await both.list_incidents(IncidentQuery(WINDOW))
    assert ([item.id for item in incidents.items], incidents.partial) == (["i"], "account 7: no")


async def test_when_every_account_fails_the_first_failure_is_raised(
    nerdgraph: NerdGraph, both: NewRelic, failure: Failure
) -> None:
    failing(nerdgraph, {}, 7, 8)
    assert isinstance(await failure(both.fetch_series(QUESTION)), ForbiddenError)
    failing(nerdgraph, {}, 7, 8, kind="TIMEOUT")
    assert isinstance(await failure(both.fetch_series(QUESTION)), SourceTimeoutError)


async def test_a_refused_key_is_refused_for_all(nerdgraph: NerdGraph, both: NewRelic, failure: Failure) -> None:
    failing(nerdgraph, {}, 7, error_code="BAD_API_KEY")
    assert isinstance(await failure(both.fetch_series(QUESTION)), AuthError)
