"""PagerDuty's failures, and a server that misbehaves: each is one typed error after one request."""

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
    NotFoundError,
    PlanError,
    ProtocolError,
    RateLimitedError,
    ServiceQuery,
    SourceError,
    SourceTimeoutError,
    UpstreamError,
    Window,
)
from telemetry_mcp_pagerduty import PagerDuty

if TYPE_CHECKING:
    from tests.plugins.conftest import Answer, Asked, ConnectPagerDuty, Failure, Page, Stub

START = 1_730_000_000_000
EVERY = ServiceQuery(Window(START, START + 3_600_000))


@pytest.mark.parametrize(
    ("headers", "body", "wait"),
    [
        ({}, b"", None),
        ({"ratelimit-reset": "30"}, b'{"error":{"message":"Rate Limit Exceeded","code":2020}}', 30.0),
        ({"Retry-After": "3600"}, b"", 3600.0),
    ],
)
async def test_a_429_is_one_request_and_reports_the_wait(
    stub: Stub, pagerduty: PagerDuty, headers: dict[str, str], body: bytes, wait: float | None, failure: Failure
) -> None:
    stub.on("/services", body, 429, headers=headers)
    raised = await failure(pagerduty.list_services(EVERY))
    assert isinstance(raised, RateLimitedError)
    assert (raised.retry_after_s, len(stub.asked)) == (wait, 1)


async def test_a_redirect_is_not_followed_and_carries_no_key_along(
    stub: Stub, stranger: Stub, pagerduty: PagerDuty, failure: Failure
) -> None:
    stub.on("/services", b"", 302, headers={"Location": f"{stranger.url}/services"})
    assert isinstance(await failure(pagerduty.list_services(EVERY)), ProtocolError)
    assert (len(stub.asked), stranger.asked) == (1, [])


async def test_a_gzip_bomb_stays_small(stub: Stub, pagerduty: PagerDuty, failure: Failure) -> None:
    bomb = gzip.compress(b" " * 40 * 2**20)
    for status in (200, 500):
        stub.on("/services", bomb, status, headers={"Content-Encoding": "gzip"})
        raised = await failure(pagerduty.list_services(EVERY))
        assert isinstance(raised, ProtocolError)
        assert "larger than 1 MB after decompression" in str(raised)


async def test_gzip_is_asked_for_and_understood(stub: Stub, pagerduty: PagerDuty, page: Page) -> None:
    body = gzip.compress(json.dumps(page("services", [{"name": "a"}])).encode())
    stub.on("/services", body, headers={"Content-Encoding": "gzip"})
    assert len((await pagerduty.list_services(EVERY)).items) == 1
    assert stub.asked[0].headers["accept-encoding"] == "gzip"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ({"body": b'{"services": [', "promised": 100}, UpstreamError),
        ({"body": b"not gzip", "headers": {"Content-Encoding": "gzip"}}, ProtocolError),
        ({"body": b"<html>Log in, caf\xe9</html>", "headers": {"Content-Type": "text/html"}}, ProtocolError),
        ({"body": b"<html><h1>Bad caf\xe9</h1></html>", "status": 502}, UpstreamError),
        ({"body": b""}, ProtocolError),
        ({"body": b"[]"}, ProtocolError),
        ({"body": b'{"services": null}'}, ProtocolError),
        ({"body": b'{"error":{"message":"Invalid token","code":2006}}', "status": 401}, AuthError),
        ({"body": b'{"error":{"message":"Token expired","code":"2012"}}', "status": 400}, AuthError),
        ({"body": b'{"error":{"message":"Access Denied","code":2010}}', "status": 403}, ForbiddenError),
        ({"body": b'{"error":{"message":"Account lacks the ability","code":2014}}', "status": 402}, PlanError),
        ({"body": b'{"error":{"message":"Not Found","code":2100}}', "status": 404}, NotFoundError),
        ({"body": b'{"error":{"message":"Took too long","code":2016}}', "status": 408}, SourceTimeoutError),
        (
            {"body": b'{"error":{"message":"Since must be before Until","code":2004}}', "status": 400},
            BadQueryError,
        ),
        ({"body": b'{"error":{"message":"Broken","code":2000}}', "status": 500}, UpstreamError),
        ({"body": b"", "status": 503}, UpstreamError),
    ],
)
async def test_every_kind_of_bad_answer_is_its_own_error_after_one_request(
    stub: Stub, pagerduty: PagerDuty, answer: dict[str, Any], error: type[SourceError], failure: Failure
) -> None:
    stub.on("/services", **answer)
    raised = await failure(pagerduty.list_services(EVERY))
    assert type(raised) is error
    assert len(stub.asked) == 1
    assert "ey-1" not in f"{raised} {raised.hint}"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"error": {"message": "M", "code": 42, "errors": ["one", "two"]}}, "HTTP 400: M; one; two (code 42)"),
        ({"error": {"message": "M", "code": "42", "errors": "only"}}, "HTTP 400: M; only (code 42)"),
        ({"error": ["links should be few"]}, "HTTP 400: links should be few"),
        ({"error": "plain"}, "HTTP 400: plain"),
        ({"error": None}, "HTTP 400 without a word of why"),
        ({"message": "elsewhere"}, "HTTP 400: elsewhere"),
    ],
)
async def test_the_vendors_words_are_kept_in_whichever_shape(
    stub: Stub, pagerduty: PagerDuty, body: Any, said: str, failure: Failure
) -> None:
    stub.on("/services", body, 400)
    assert str(await failure(pagerduty.list_services(EVERY))) == said


async def test_nobody_listening_is_an_upstream_error_at_once(
    connect_pagerduty: ConnectPagerDuty, failure: Failure
) -> None:
    one = connect_pagerduty("http://127.0.0.1:1")
    assert isinstance(await failure(one.list_services(EVERY)), UpstreamError)


async def test_silence_ends_at_the_sources_timeout_with_one_request(
    stub: Stub, connect_pagerduty: ConnectPagerDuty, failure: Failure
) -> None:
    gate = threading.Event()
    stub.answers["/services"] = lambda _: stub.answer(b"{}") if gate.wait(5) else stub.answer()
    one = connect_pagerduty(stub.url, timeout="50ms")
    assert isinstance(await failure(one.list_services(EVERY)), SourceTimeoutError)
    assert len(stub.asked) == 1
    gate.set()


async def test_a_body_that_drips_ends_at_the_sources_timeout(
    stub: Stub, connect_pagerduty: ConnectPagerDuty, failure: Failure
) -> None:
    stub.answers["/services"] = lambda _: stub.answer(promised=10**9, drips=True)
    one = connect_pagerduty(stub.url, timeout="100ms")
    raised = await failure(one.list_services(EVERY))
    assert isinstance(raised, SourceTimeoutError)
    assert "not complete within 0.1 s" in str(raised)


async def test_a_cancelled_call_returns_at_once_and_its_thread_is_counted(
    stub: Stub, connect_pagerduty: ConnectPagerDuty
) -> None:
    arrived, gate = threading.Event(), threading.Event()

    def hang(asked: Asked) -> Answer:
        arrived.set()
        gate.wait(5)
        return stub.answer(b'{"services":[]}')

    stub.answers["/services"] = hang
    one = connect_pagerduty(stub.url)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one.list_services, EVERY)
        assert await anyio.to_thread.run_sync(arrived.wait, 5)
        tasks.cancel_scope.cancel()
    assert one.context.threads.abandoned == 1
    assert not gate.is_set()
    gate.set()
