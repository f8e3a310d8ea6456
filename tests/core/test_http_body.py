"""The HTTP discipline on what comes back, from a raw server that can misbehave in every way and from a mock."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest
from anyio import Event, fail_after, get_cancelled_exc_class

from telemetry_mcp.errors import (
    AuthError,
    BadQueryError,
    ProtocolError,
    RateLimitedError,
    SourceError,
    SourceTimeoutError,
    UpstreamError,
)
from telemetry_mcp.http import Http, parse_json

if TYPE_CHECKING:
    from tests.core.conftest import ConnectHttp, Handler, Saying, ServeRaw, Stream

Failure = Callable[..., Awaitable[SourceError]]


def mocked(reply: Callable[[httpx.Request], httpx.Response], **settings: Any) -> Http:
    transport = httpx.MockTransport(reply)
    return Http(lambda: httpx.AsyncClient(transport=transport, base_url="http://backend.test"), **settings)


@pytest.fixture
def failure(serve_raw: ServeRaw, connect_http: ConnectHttp) -> Failure:
    """What asking a server that behaves so raises."""

    async def raised_by(handle: Handler, kind: type[SourceError], **settings: Any) -> SourceError:
        async with serve_raw(handle) as server, connect_http(server.url, **settings) as http:
            with fail_after(10), pytest.raises(kind) as raised:
                await http.json("GET", "/")
        assert type(raised.value) is kind
        return raised.value

    return raised_by


@pytest.fixture(autouse=True)
def no_tracing() -> Iterator[None]:
    yield
    assert not tracemalloc.is_tracing()


async def test_a_gzip_body_is_decompressed(serve_raw: ServeRaw, connect_http: ConnectHttp, saying: Saying) -> None:
    body = gzip.compress(b'{"values": [1, 2]}')
    async with serve_raw(saying(body, "Content-Encoding: gzip")) as server, connect_http(server.url) as http:
        assert await http.json("GET", "/") == {"values": [1, 2]}


async def test_a_gzip_body_that_goes_on_after_its_end_is_not_cut_silently(
    saying: Saying, failure: Failure
) -> None:
    body = gzip.compress(b"[1]") + gzip.compress(b"[2]")
    error = await failure(saying(body, "Content-Encoding: gzip"), ProtocolError)
    assert "goes on after its end" in str(error)


async def test_an_empty_body_that_calls_itself_gzip_keeps_its_status(saying: Saying, failure: Failure) -> None:
    await failure(saying(b"", "Content-Encoding: gzip", status="401 Unauthorized"), AuthError)


async def test_a_gzip_bomb_is_stopped_at_the_cap(
    serve_raw: ServeRaw, connect_http: ConnectHttp, saying: Saying
) -> None:
    # 1 MB is allowed; unpacked it would be 160 MB.
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    block = bytes(2**20)
    bomb = b"".join(packer.compress(block) for _ in range(160)) + packer.flush()
    async with (
        serve_raw(saying(bomb, "Content-Encoding: gzip")) as server,
        connect_http(server.url, max_body_mb=1) as http,
    ):
        await http.opened()
        tracemalloc.start()
        try:
            with pytest.raises(ProtocolError, match="larger than 1 MB after decompression") as raised:
                await http.json("GET", "/")
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 8 * 2**20
    assert "max_body_mb" in raised.value.hint


async def test_a_plain_body_over_the_cap_is_refused_and_its_sender_cut_off(
    serve_raw: ServeRaw, connect_http: ConnectHttp
) -> None:
    cut_off = Event()

    async def endless(stream: Stream) -> None:
        await stream.send(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while True:
                await stream.send(bytes(2**16))
        except anyio.BrokenResourceError:
            cut_off.set()

    async with serve_raw(endless) as server, connect_http(server.url, max_body_mb=1) as http:
        with fail_after(10):
            with pytest.raises(ProtocolError, match="larger than 1 MB"):
                await http.json("GET", "/")
            await cut_off.wait()


async def test_a_corrupt_gzip_body_is_a_protocol_error(saying: Saying, failure: Failure) -> None:
    body = bytearray(gzip.compress(b'{"values": [1, 2, 3, 4]}' * 20))
    body[15:25] = b"\xff" * 10
    error = await failure(saying(bytes(body), "Content-Encoding: gzip"), ProtocolError)
    assert "gzip body is corrupt" in str(error)


async def test_a_gzip_body_that_ends_early_is_not_taken_for_whole(saying: Saying, failure: Failure) -> None:
    body = gzip.compress(b'{"a": 1}' * 50)[:-10]
    error = await failure(saying(body, "Content-Encoding: gzip"), UpstreamError)
    assert "cut off" in str(error)


async def test_a_body_shorter_than_its_length_is_cut_off(saying: Saying, failure: Failure) -> None:
    error = await failure(saying(b'{"a": 1}', length=500), UpstreamError)
    assert "the body was cut off" in str(error)


@pytest.mark.parametrize("coding", ["br", "deflate", "zstd", "gzip, gzip"])
async def test_an_encoding_that_was_not_asked_for_is_refused(
    coding: str, saying: Saying, failure: Failure
) -> None:
    error = await failure(saying(b"{}", f"Content-Encoding: {coding}"), ProtocolError)
    assert f"content-encoding {coding}" in str(error)


async def test_a_connection_reset_before_the_answer_is_an_upstream_error(failure: Failure) -> None:
    async def reset(stream: Stream) -> None:
        await stream.aclose()

    error = await failure(reset, UpstreamError)
    assert "isconnected" in str(error)


async def test_a_refused_connection_is_an_upstream_error_that_says_what_to_look_at(
    serve_raw: ServeRaw, connect_http: ConnectHttp, saying: Saying
) -> None:
    async with serve_raw(saying(b"")) as server:
        pass
    async with connect_http(server.url) as http:
        with pytest.raises(UpstreamError, match=r"could not be reached: .*127\.0\.0\.1") as raised:
            await http.json("GET", "/")
    assert "url" in raised.value.hint
    assert raised.value.retryable


async def test_an_unknown_host_is_an_upstream_error(connect_http: ConnectHttp) -> None:
    async with connect_http("http://backend.invalid") as http:
        with fail_after(30), pytest.raises(UpstreamError, match=r"could not be reached: .*backend\.invalid"):
            await http.json("GET", "/")


async def test_something_that_is_not_http_is_an_upstream_error(failure: Failure) -> None:
    async def ssh(stream: Stream) -> None:
        await stream.send(b"SSH-2.0-OpenSSH_9.2\r\n")

    await failure(ssh, UpstreamError)


async def test_a_dripping_body_is_ended_by_the_callers_deadline(
    serve_raw: ServeRaw, connect_http: ConnectHttp
) -> None:
    gone = Event()

    async def dripping(stream: Stream) -> None:
        await stream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
        try:
            while True:
                await stream.send(b" ")
                await anyio.sleep(0.02)
        except (anyio.BrokenResourceError, get_cancelled_exc_class()):
            gone.set()
            raise

    async with serve_raw(dripping) as server, connect_http(server.url) as http:
        started = anyio.current_time()
        with pytest.raises(TimeoutError), fail_after(0.3):
            await http.json("GET", "/")
        assert anyio.current_time() - started < 0.3 + 0.5
        with fail_after(5):
            await gone.wait()


async def test_a_read_time_out_of_the_transport_is_a_time_out() -> None:
    def silent(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("nothing came", request=request)

    with pytest.raises(SourceTimeoutError, match="went silent"):
        await mocked(silent).json("GET", "/")


async def test_a_page_instead_of_json_is_a_protocol_error_that_shows_its_beginning(
    saying: Saying, failure: Failure
) -> None:
    error = await failure(saying(b"<html><title>Sign in</title></html>", "Content-Type: text/html"), ProtocolError)
    assert "not JSON; it begins with: <html><title>Sign in" in str(error)
    assert "url" in error.hint


async def test_the_backends_own_words_are_found_or_quoted() -> None:
    def refusing(request: httpx.Request) -> httpx.Response:
        return httpx.Response(400, json={"error": "parse\nerror"})

    with pytest.raises(BadQueryError, match=r'^HTTP 400: {"error":"parse'):
        await mocked(refusing).json("GET", "/")
    with pytest.raises(BadQueryError, match=r"^HTTP 400: parse error$"):
        await mocked(refusing).json("GET", "/", explain=lambda reply: str(parse_json(reply.body)["error"]))


async def test_a_rate_limit_brings_its_hint() -> None:
    http = mocked(lambda request: httpx.Response(429, headers={"Retry-After": "7"}))
    with pytest.raises(RateLimitedError) as raised:
        await http.json("GET", "/")
    assert raised.value.retry_after_s == 7


async def test_request_hands_over_any_status_as_it_is() -> None:
    reply = await mocked(lambda request: httpx.Response(503, text="maintenance")).request("GET", "/")
    assert (reply.status, reply.body) == (503, b"maintenance")
