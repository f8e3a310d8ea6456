"""Datadog's failures, and a server that misbehaves: each is one typed error after one request."""

from __future__ import annotations

import gzip
import json
import threading
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from telemetry_mcp import (
    AuthError,
    BadQueryError,
    ForbiddenError,
    ProtocolError,
    RateLimitedError,
    SeriesQuery,
    SourceError,
    SourceTimeoutError,
    UpstreamError,
    Window,
)
from telemetry_mcp_datadog import Datadog

if TYPE_CHECKING:
    from tests.plugins.conftest import Answer, Asked, ConnectDatadog, Failure, Stub

START = 1_700_000_040_000
WINDOW = Window(START, START + 600_000)
QUESTION = SeriesQuery(("a",), ("cpu",), WINDOW, 60_000)
FOUND = {"status": "ok", "series": [{"tag_set": ["service:a"], "interval": 60, "pointlist": [[START, 1]]}]}


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (
            {"status": "ok", "series": None, "error": "Rate limit of 300 requests in 3600 seconds reached"},
            RateLimitedError,
        ),
        ({"status": "error", "error": "Error parsing query: x"}, BadQueryError),
        ({"status": "ok", "series": [], "error": "query timed out, try again"}, UpstreamError),
    ],
)
async def test_an_error_with_status_200_is_never_an_empty_answer(
    stub: Stub, datadog: Datadog, body: Any, error: type[SourceError], failure: Failure
) -> None:
    stub.on("/api/v1/query", body, headers={"X-RateLimit-Reset": "9"})
    raised = await failure(datadog.fetch_series(QUESTION))
    assert type(raised) is error
    assert body["error"] in str(raised)
    assert getattr(raised, "retry_after_s", 9.0) == 9.0


@pytest.mark.parametrize(
    ("headers", "wait"),
    [({}, None), ({"Retry-After": "3600"}, 3600.0), ({"x-ratelimit-reset": "1.5"}, 1.5)],
)
async def test_a_429_is_one_request_and_reports_the_wait(
    stub: Stub, datadog: Datadog, headers: dict[str, str], wait: float | None, failure: Failure
) -> None:
    stub.on("/api/v1/query", b"", 429, headers={"Content-Type": "application/json", **headers})
    raised = await failure(datadog.fetch_series(QUESTION))
    assert isinstance(raised, RateLimitedError)
    assert raised.retry_after_s == wait
    assert len(stub.asked) == 1


async def test_a_redirect_is_not_followed_and_carries_no_key_along(
    stub: Stub, stranger: Stub, datadog: Datadog, failure: Failure
) -> None:
    stub.on("/api/v1/query", b"", 302, headers={"Location": f"{stranger.url}/api/v1/query"})
    assert isinstance(await failure(datadog.fetch_series(QUESTION)), ProtocolError)
    assert (len(stub.asked), stranger.asked) == (1, [])


async def test_a_gzip_bomb_stays_small(stub: Stub, datadog: Datadog, failure: Failure) -> None:
    bomb = gzip.compress(b" " * 40 * 2**20)
    for status in (200, 500):
        stub.on("/api/v1/query", bomb, status, headers={"Content-Encoding": "gzip"})
        raised = await failure(datadog.fetch_series(QUESTION))
        assert isinstance(raised, ProtocolError)
        assert "larger than 1 MB after decompression" in str(raised)


async def test_gzip_is_asked_for_and_understood(stub: Stub, datadog: Datadog) -> None:
    body = gzip.compress(json.dumps(FOUND).encode())
    stub.on("/api/v1/query", body, headers={"Content-Encoding": "gzip"})
    assert len((await datadog.fetch_series(QUESTION)).items) == 1
    assert stub.asked[0].headers["accept-encoding"] == "gzip"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ({"body": b'{"status": "ok"', "promised": 100}, UpstreamError),
        ({"body": b"not gzip", "headers": {"Content-Encoding": "gzip"}}, ProtocolError),
        ({"body": b"<html>Log in, caf\xe9</html>", "headers": {"Content-Type": "text/html"}}, ProtocolError),
        ({"body": b"<html><h1>Bad caf\xe9</h1></html>", "status": 502}, UpstreamError),
        ({"body": b""}, ProtocolError),
        ({"body": b"[]"}, ProtocolError),
        ({"body": b'{"series": 5}'}, ProtocolError),
        ({"body": b'{"series": [{"pointlist": [[1, {}]]}]}'}, ProtocolError),
        ({"body": b'{"errors":["Unauthorized"]}', "status": 401}, AuthError),
        ({"body": b"Request forbidden by administrative rules.", "status": 403}, ForbiddenError),
    ],
)
async def test_every_kind_of_bad_answer_is_its_own_error_after_one_request_and_a_look_at_the_key(
    stub: Stub, datadog: Datadog, answer: dict[str, Any], error: type[SourceError], failure: Failure
) -> None:
    stub.on("/api/v1/query", **answer)
    raised = await failure(datadog.fetch_series(QUESTION))
    assert type(raised) is error
    refused = ["/api/v1/validate"] if answer.get("status") in (401, 403) else []
    assert [asked.path for asked in stub.asked] == ["/api/v1/query", *refused]
    assert "key-1" not in f"{raised} {raised.hint}"
    assert "<" not in str(raised) or answer.get("status", 200) == 200


async def test_a_refused_api_key_is_not_blamed_on_a_scope(stub: Stub, datadog: Datadog, failure: Failure) -> None:
    for path in ("/api/v1/query", "/api/v1/validate"):
        stub.on(path, {"errors": ["Forbidden"]}, 403)
    raised = await failure(datadog.fetch_series(QUESTION))
    assert "the API key was refused" in str(raised)
    assert "scope" not in f"{raised} {raised.hint}"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"errors": ["one", "two"]}, "one; two"),
        ({"errors": [{"title": "T", "detail": "D", "source": {"pointer": "/data"}}]}, "T: D (at /data)"),
        ({"errors": [{"title": None, "detail": None, "code": "c1", "source": None}]}, "c1"),
        ({"errors": ["Not Found"], "error_details": [{}]}, "Not Found"),
        ({"error": {"code": "x", "message": "M", "details": []}}, "M"),
        ({"status": "error", "error": "E"}, "E"),
        (
            {"errors": ["{'errors': [u\"input_validation_error(Field 'a')\"]}"]},
            "input_validation_error(Field 'a')",
        ),
        ("just text", "just text"),
        ({}, "HTTP 400"),
    ],
)
async def test_the_vendors_words_are_kept_in_whichever_shape(
    stub: Stub, datadog: Datadog, body: Any, said: str, failure: Failure
) -> None:
    stub.on("/api/v1/query", body, 400)
    assert said in str(await failure(datadog.fetch_series(QUESTION)))


async def test_a_403_names_the_scope_that_is_missing(stub: Stub, datadog: Datadog, failure: Failure) -> None:
    stub.on("/api/v1/query", {"errors": ["Forbidden"]}, 403)
    raised = await failure(datadog.fetch_series(QUESTION))
    assert "timeseries_query" in str(raised)
    assert "timeseries_query" in raised.hint


async def test_nobody_listening_is_an_upstream_error(connect_datadog: ConnectDatadog) -> None:
    one = connect_datadog("http://127.0.0.1:1")
    with pytest.raises(UpstreamError, match="could not be reached"):
        await one.fetch_series(QUESTION)


async def test_silence_ends_at_the_sources_timeout_with_one_request(
    stub: Stub, connect_datadog: ConnectDatadog
) -> None:
    gate = threading.Event()
    stub.answers["/api/v1/query"] = lambda _: stub.answer(b"{}") if gate.wait(5) else stub.answer()
    one = connect_datadog(stub.url, timeout="50ms")
    with pytest.raises(SourceTimeoutError):
        await one.fetch_series(QUESTION)
    assert len(stub.asked) == 1
    gate.set()


async def test_a_body_that_drips_ends_at_the_sources_timeout(stub: Stub, connect_datadog: ConnectDatadog) -> None:
    stub.answers["/api/v1/query"] = lambda _: stub.answer(promised=10**9, drips=True)
    one = connect_datadog(stub.url, timeout="100ms")
    with pytest.raises(SourceTimeoutError, match=r"not complete within 0\.1 s"):
        await one.fetch_series(QUESTION)


async def test_a_cancelled_call_returns_at_once_and_its_thread_is_counted(
    stub: Stub, connect_datadog: ConnectDatadog
) -> None:
    arrived, gate = threading.Event(), threading.Event()

    def hang(asked: Asked) -> Answer:
        arrived.set()
        gate.wait(5)
        return stub.answer(b'{"status":"ok","series":[]}')

    stub.answers["/api/v1/query"] = hang
    one = connect_datadog(stub.url)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one.fetch_series, QUESTION)
        assert await anyio.to_thread.run_sync(arrived.wait, 5)
        tasks.cancel_scope.cancel()
    assert one.context.threads.abandoned == 1
    assert not gate.is_set()
    gate.set()
