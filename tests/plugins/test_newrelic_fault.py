"""New Relic's errors, beside data and without any: each is what its class says, after one request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from telemetry_mcp import (
    AuthError,
    BadQueryError,
    ForbiddenError,
    IncidentQuery,
    PlanError,
    ProtocolError,
    RateLimitedError,
    SeriesQuery,
    SourceError,
    SourceTimeoutError,
    UpstreamError,
    Window,
)
from telemetry_mcp_newrelic import NewRelic

if TYPE_CHECKING:
    from tests.plugins.conftest import Bucket, ConnectNewRelic, Failure, NerdGraph

WINDOW = Window(1_700_000_040_000, 1_700_000_640_000)
MINUTE = 60_000
QUESTION = SeriesQuery(("a",), ("rate",), WINDOW, MINUTE)
RATE = "SELECT rate(count(*), 1 minute) FROM Transaction WHERE appName IN ($service) FACET appName"


def error(message: str, **extensions: str) -> dict[str, Any]:
    return {"message": message, "path": ["actor"], "extensions": extensions}


async def test_a_deprecation_beside_full_data_is_a_warning(
    nerdgraph: NerdGraph, newrelic: NewRelic, bucket: Bucket
) -> None:
    nerdgraph.says(
        {**nerdgraph.found([bucket(0, 1)]), "errors": [error("This field is deprecated! Use another.")]}
    )
    reply = await newrelic.fetch_series(QUESTION)
    assert (len(reply.items), reply.partial) == (1, None)
    assert reply.warnings == ["This field is deprecated! Use another."]


async def test_another_error_beside_data_makes_it_partial(
    nerdgraph: NerdGraph, newrelic: NewRelic, bucket: Bucket
) -> None:
    nerdgraph.says(
        {**nerdgraph.found([bucket(0, 1)]), "errors": [error("a part is missing", errorClass="SERVER_ERROR")]}
    )
    reply = await newrelic.fetch_series(QUESTION)
    assert (len(reply.items), reply.partial) == (1, "a part is missing")


@pytest.mark.parametrize(
    ("extensions", "expected"),
    [
        ({"errorClass": "ACCESS_DENIED"}, ForbiddenError),
        ({"errorClass": "ACCESS_DENIED", "error_code": "BAD_API_KEY"}, AuthError),
        ({"errorClass": "TOO_MANY_REQUESTS"}, RateLimitedError),
        ({"errorClass": "TIMEOUT"}, SourceTimeoutError),
        ({"errorClass": "INVALID_INPUT"}, BadQueryError),
        ({"errorClass": "SERVER_ERROR", "errorCode": "NRDB:1101002"}, BadQueryError),
        ({"errorClass": "SERVER_ERROR"}, UpstreamError),
        ({}, UpstreamError),
    ],
)
@pytest.mark.parametrize("data", [None, {"actor": {"account": None}}, {"actor": {"account": {"nrql": None}}}])
async def test_a_200_without_the_data_is_the_error_that_its_class_says(
    nerdgraph: NerdGraph,
    newrelic: NewRelic,
    data: Any,
    extensions: dict[str, str],
    expected: type[SourceError],
    failure: Failure,
) -> None:
    nerdgraph.says({"data": data, "errors": [error("the words", **extensions)]})
    raised = await failure(newrelic.fetch_series(QUESTION))
    assert (type(raised), str(raised)) == (expected, "the words")
    assert len(nerdgraph.requests) == 1


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (401, {"errors": [error("Api key is invalid.", error_code="BAD_API_KEY")]}, AuthError),
        (403, {"errors": [error("Api key is invalid.", error_code="BAD_API_KEY")]}, AuthError),
        (403, {"errors": [error("no", errorClass="ACCESS_DENIED")]}, ForbiddenError),
        (402, {"errors": [error("not in the plan")]}, PlanError),
        (400, {"errors": [{"message": "bad"}]}, BadQueryError),
        (500, {"errors": [{"message": "Internal Server Error"}]}, UpstreamError),
        (502, b"<html>caf\xe9</html>", UpstreamError),
        (302, b"", ProtocolError),
        (200, b"<html>caf\xe9</html>", ProtocolError),
        (200, b"", ProtocolError),
        (200, b"[]", ProtocolError),
        (200, {"data": {"actor": {"account": {"nrql": {"results": None}}}}}, ProtocolError),
        (200, {"data": {"actor": {"account": {"nrql": {"results": {}}}}}}, ProtocolError),
        (200, {"data": None}, ProtocolError),
    ],
)
async def test_every_kind_of_bad_answer_is_its_own_error(
    nerdgraph: NerdGraph, newrelic: NewRelic, status: int, body: Any, expected: type[SourceError], failure: Failure
) -> None:
    nerdgraph.says(body, status, {"location": "http://elsewhere.invalid/"} if status == 302 else None)
    raised = await failure(newrelic.fetch_series(QUESTION))
    assert type(raised) is expected
    assert "NRAK" not in f"{raised} {raised.hint}"
    assert len(nerdgraph.requests) == 1


@pytest.mark.parametrize(("headers", "wait"), [(None, None), ({"retry-after": "30"}, 30.0)])
async def test_a_429_is_one_request(
    nerdgraph: NerdGraph, newrelic: NewRelic, headers: dict[str, str] | None, wait: float | None, failure: Failure
) -> None:
    nerdgraph.says(b"", 429, headers)
    raised = await failure(newrelic.fetch_series(QUESTION))
    assert isinstance(raised, RateLimitedError)
    assert (raised.retry_after_s, len(nerdgraph.requests)) == (wait, 1)


async def test_one_bad_metric_makes_the_reply_partial_and_names_it(
    nerdgraph: NerdGraph, connect_newrelic: ConnectNewRelic, bucket: Bucket
) -> None:
    bad = {"data": {"actor": {"account": {"nrql": None}}}, "errors": [error("syntax", errorCode="NRDB:1")]}
    nerdgraph.answer = lambda asked: httpx.Response(
        200, json=bad if "Broken" in asked["variables"]["q"] else nerdgraph.found([bucket(0, 1)])
    )
    one = connect_newrelic(metrics={"rate": RATE, "other": RATE.replace("Transaction", "Broken")})
    reply = await one.fetch_series(SeriesQuery(("a",), ("rate", "other", "unknown"), WINDOW, MINUTE))
    assert [series.metric for series in reply.items] == ["rate"]
    assert reply.partial == "other: syntax"


@pytest.mark.parametrize(
    ("extensions", "message", "expected"),
    [
        ({"errorClass": "SERVER_ERROR", "errorCode": "NRDB:1109000"}, "NRDB query timed out", SourceTimeoutError),
        ({"errorClass": "SERVER_ERROR"}, "NRQL rate limit exceeded", RateLimitedError),
        ({}, 'Cannot query field "aiIssues" on type "Account"', BadQueryError),
        ({}, "syntax error before: '}'", BadQueryError),
        ({"errorClass": "INTERNAL_SERVER_ERROR"}, "oops", UpstreamError),
        ({"errorClass": "PAYMENT_REQUIRED"}, "not in the plan", PlanError),
    ],
)
async def test_where_the_class_says_little_the_words_decide(
    nerdgraph: NerdGraph,
    newrelic: NewRelic,
    extensions: dict[str, str],
    message: str,
    expected: type[SourceError],
    failure: Failure,
) -> None:
    nerdgraph.says({"data": {"actor": {"account": None}}, "errors": [error(message, **extensions)]})
    raised = await failure(newrelic.fetch_series(QUESTION))
    assert (type(raised), str(raised)) == (expected, message)
    assert raised.retryable is (expected is UpstreamError)


@pytest.mark.parametrize(
    "errors",
    [
        None,
        {},
        "strange",
        [],
        [[]],
        [None],
        [{}],
        [{"message": None, "extensions": None, "path": None}],
        [{"message": {"a": 1}, "extensions": [], "path": 3}],
        [{"message": "x", "extensions": {"errorClass": ["TIMEOUT"], "errorCode": 5}}],
    ],
)
async def test_errors_of_any_shape_end_as_an_error_of_the_source(
    nerdgraph: NerdGraph, newrelic: NewRelic, errors: Any, failure: Failure
) -> None:
    for document in ({"errors": errors}, {"data": {"actor": {"account": None}}, "errors": errors}):
        nerdgraph.says(document)
        assert isinstance(await failure(newrelic.fetch_series(QUESTION)), ProtocolError | UpstreamError)


async def test_a_missing_permission_says_what_to_give(
    nerdgraph: NerdGraph, newrelic: NewRelic, failure: Failure
) -> None:
    denied = {
        "data": {"actor": {"account": None}},
        "errors": [error("Access denied.", errorClass="ACCESS_DENIED")],
    }
    nerdgraph.says(denied)
    raised = await failure(newrelic.fetch_series(QUESTION))
    assert (type(raised), raised.hint) == (
        ForbiddenError,
        "give the user of the key the right to query data of account 7",
    )
    raised = await failure(newrelic.list_incidents(IncidentQuery(WINDOW)))
    assert raised.hint == "give the user of the key the right to see the alerts of account 7"


async def test_the_pause_that_a_200_names_is_kept(
    nerdgraph: NerdGraph, newrelic: NewRelic, failure: Failure
) -> None:
    limited = {"errors": [error("slow down", errorClass="TOO_MANY_REQUESTS")]}
    nerdgraph.says(limited, headers={"retry-after": "30"})
    raised = await failure(newrelic.fetch_series(QUESTION))
    assert isinstance(raised, RateLimitedError)
    assert raised.retry_after_s == 30.0


@pytest.mark.parametrize(("longest", "asked"), [("300ms", 1), ("7s", 7), (None, 8), ("10m", 120)])
async def test_new_relic_is_told_how_long_a_query_may_take(
    nerdgraph: NerdGraph, connect_newrelic: ConnectNewRelic, longest: str | None, asked: int
) -> None:
    nerdgraph.finds([])
    await connect_newrelic(timeout=longest).fetch_series(QUESTION)
    assert f"timeout: {asked})" in nerdgraph.sent()["query"]
    assert "async" not in nerdgraph.sent()["query"]
