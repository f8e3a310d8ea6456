"""The HTTP discipline, against a raw server on loopback that can misbehave in every way, and against a mock."""

import base64
import gzip
import ssl
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from email.utils import formatdate
from pathlib import Path
from time import time
from typing import Any

import anyio
import httpx
import pytest
import trustme
from anyio import Event, create_task_group, fail_after, get_cancelled_exc_class
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.tls import TLSStream

from telemetry_mcp.errors import (
    AuthError,
    BadQueryError,
    ForbiddenError,
    NotFoundError,
    PlanError,
    ProtocolError,
    RateLimitedError,
    SourceError,
    SourceTimeoutError,
    UpstreamError,
)
from telemetry_mcp.http import (
    OFF_LOOP_BYTES,
    Http,
    decode_json,
    error_for_status,
    http_for,
    parse_json,
    retry_after,
)
from telemetry_mcp.setting import HttpSettings

Stream = SocketStream | TLSStream
Handler = Callable[[Stream], Awaitable[None]]


class Server:
    """Reads request heads and hands the connection to `handle`, which writes whatever bytes it likes."""

    def __init__(self, handle: Handler) -> None:
        self.handle = handle
        self.heads: list[str] = []
        self.url = ""

    async def serve(self, stream: Stream) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += await stream.receive()
        self.heads.append(head.decode().lower())
        await self.handle(stream)
        await stream.aclose()


@asynccontextmanager
async def running(handle: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    server = Server(handle)

    async def serve(stream: SocketStream) -> None:
        async with stream:
            with suppress(ssl.SSLError, anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                wrapped = (
                    stream
                    if tls is None
                    else await TLSStream.wrap(stream, server_side=True, ssl_context=tls, standard_compatible=False)
                )
                await server.serve(wrapped)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
    port = listener.extra(SocketAttribute.local_port)
    server.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    async with listener, create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        try:
            yield server
        finally:
            tasks.cancel_scope.cancel()


@asynccontextmanager
async def client(url: str, **settings: Any) -> AsyncIterator[Http]:
    http = http_for(HttpSettings.model_validate({"plugin": "x", "url": url, **settings}))
    try:
        yield http
    finally:
        await http.close()


def saying(body: bytes, *headers: str, status: str = "200 OK", length: int | None = None) -> Handler:
    """A handler that writes one whole response and closes."""
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body) if length is None else length}", *headers]
    head = "\r\n".join([*lines, "connection: close", "", ""]).encode()

    async def handle(stream: Stream) -> None:
        await stream.send(head + body)

    return handle


def mocked(reply: Callable[[httpx.Request], httpx.Response], **settings: Any) -> Http:
    transport = httpx.MockTransport(reply)
    return Http(lambda: httpx.AsyncClient(transport=transport, base_url="http://backend.test"), **settings)


async def failure(handle: Handler, kind: type[SourceError], **settings: Any) -> SourceError:
    """What asking a server that behaves so raises."""
    async with running(handle) as server, client(server.url, **settings) as http:
        with fail_after(10), pytest.raises(kind) as raised:
            await http.json("GET", "/")
    assert type(raised.value) is kind
    return raised.value


# ---- what is sent


async def test_a_request_carries_its_parts_and_the_answer_is_whole() -> None:
    async with running(saying(b'{"up": 1}', "X-Took: 3")) as server, client(f"{server.url}/api/") as http:
        reply = await http.request("GET", "/v1/query", params={"q": "up{a='b'}"}, headers={"x-one": "1"})
    assert (reply.status, reply.headers["x-took"], reply.body) == (200, "3", b'{"up": 1}')
    (head,) = server.heads
    assert head.startswith("get /api/v1/query?q=up%7ba%3d'b'%7d http/1.1")
    assert "x-one: 1" in head
    assert "accept-encoding: gzip\r\n" in head


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"bearer_token": "t0ken"}, "authorization: bearer t0ken"),
        ({"username": "u", "password": "p"}, f"authorization: basic {base64.b64encode(b'u:p').decode().lower()}"),
        ({"username": "u"}, f"authorization: basic {base64.b64encode(b'u:').decode().lower()}"),
        ({"headers": {"X-Scope-OrgID": "team"}}, "x-scope-orgid: team"),
    ],
)
async def test_credentials_are_sent_as_configured(settings: dict[str, Any], line: str) -> None:
    async with running(saying(b"{}")) as server, client(server.url, **settings) as http:
        await http.json("GET", "/")
    assert f"{line}\r\n" in server.heads[0]


async def test_a_plugins_own_headers_are_sent_beside_the_users() -> None:
    async with running(saying(b"{}")) as server:
        settings = HttpSettings.model_validate({"plugin": "x", "url": server.url, "headers": {"a": "1"}})
        http = http_for(settings, {"dd-api-key": "k"})
        await http.json("GET", "/")
        await http.close()
    assert "a: 1\r\n" in server.heads[0]
    assert "dd-api-key: k\r\n" in server.heads[0]


async def test_the_environments_proxy_and_netrc_are_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login eve password stolen\n", encoding="utf-8")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    async with running(saying(b"{}")) as proxy, running(saying(b"{}")) as server:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "https_proxy"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        async with client(server.url) as http:
            await http.json("GET", "/")
    assert proxy.heads == []
    assert "authorization" not in server.heads[0]


async def test_the_configured_proxy_is_used() -> None:
    url = "http://backend.invalid:9090/api"
    async with running(saying(b'{"by": "proxy"}')) as proxy, client(url, proxy=proxy.url) as http:
        assert await http.json("GET", "/up") == {"by": "proxy"}
    assert proxy.heads[0].startswith("get http://backend.invalid:9090/api/up http/1.1")


async def test_cookies_are_not_kept() -> None:
    async with running(saying(b"{}", "Set-Cookie: session=1; Path=/")) as server, client(server.url) as http:
        await http.json("GET", "/")
        await http.json("GET", "/")
    assert len(server.heads) == 2
    assert all("cookie" not in head for head in server.heads)


async def test_a_redirect_is_not_followed_and_its_target_hears_nothing() -> None:
    async with running(saying(b"{}")) as elsewhere:
        redirect = saying(b"", f"Location: {elsewhere.url}/", status="302 Found")
        async with running(redirect) as server, client(server.url, bearer_token="t0ken") as http:
            with pytest.raises(ProtocolError, match="redirect; not followed"):
                await http.json("GET", "/")
        assert len(server.heads) == 1
        assert elsewhere.heads == []


# ---- what comes back


async def test_a_gzip_body_is_decompressed() -> None:
    body = gzip.compress(b'{"values": [1, 2]}')
    async with running(saying(body, "Content-Encoding: gzip")) as server, client(server.url) as http:
        assert await http.json("GET", "/") == {"values": [1, 2]}


async def test_a_gzip_body_that_goes_on_after_its_end_is_not_cut_silently() -> None:
    body = gzip.compress(b"[1]") + gzip.compress(b"[2]")
    error = await failure(saying(body, "Content-Encoding: gzip"), ProtocolError)
    assert "goes on after its end" in str(error)


async def test_an_empty_body_that_calls_itself_gzip_keeps_its_status() -> None:
    await failure(saying(b"", "Content-Encoding: gzip", status="401 Unauthorized"), AuthError)


async def test_a_gzip_bomb_is_stopped_at_the_cap() -> None:
    # 1 MB is allowed; unpacked it would be 160 MB.
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    block = bytes(2**20)
    bomb = b"".join(packer.compress(block) for _ in range(160)) + packer.flush()
    async with (
        running(saying(bomb, "Content-Encoding: gzip")) as server,
        client(server.url, max_body_mb=1) as http,
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


async def test_a_plain_body_over_the_cap_is_refused_and_its_sender_cut_off() -> None:
    cut_off = Event()

    async def endless(stream: Stream) -> None:
        await stream.send(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while True:
                await stream.send(bytes(2**16))
        except anyio.BrokenResourceError:
            cut_off.set()

    async with running(endless) as server, client(server.url, max_body_mb=1) as http:
        with fail_after(10):
            with pytest.raises(ProtocolError, match="larger than 1 MB"):
                await http.json("GET", "/")
            await cut_off.wait()


async def test_a_corrupt_gzip_body_is_a_protocol_error() -> None:
    body = bytearray(gzip.compress(b'{"values": [1, 2, 3, 4]}' * 20))
    body[15:25] = b"\xff" * 10
    error = await failure(saying(bytes(body), "Content-Encoding: gzip"), ProtocolError)
    assert "gzip body is corrupt" in str(error)


async def test_a_gzip_body_that_ends_early_is_not_taken_for_whole() -> None:
    body = gzip.compress(b'{"a": 1}' * 50)[:-10]
    error = await failure(saying(body, "Content-Encoding: gzip"), UpstreamError)
    assert "cut off" in str(error)


async def test_a_body_shorter_than_its_length_is_cut_off() -> None:
    error = await failure(saying(b'{"a": 1}', length=500), UpstreamError)
    assert "the body was cut off" in str(error)


@pytest.mark.parametrize("coding", ["br", "deflate", "zstd", "gzip, gzip"])
async def test_an_encoding_that_was_not_asked_for_is_refused(coding: str) -> None:
    error = await failure(saying(b"{}", f"Content-Encoding: {coding}"), ProtocolError)
    assert f"content-encoding {coding}" in str(error)


async def test_a_connection_reset_before_the_answer_is_an_upstream_error() -> None:
    async def reset(stream: Stream) -> None:
        await stream.aclose()

    error = await failure(reset, UpstreamError)
    assert "isconnected" in str(error)


async def test_a_refused_connection_is_an_upstream_error_that_says_what_to_look_at() -> None:
    async with running(saying(b"")) as server:
        pass
    async with client(server.url) as http:
        with pytest.raises(UpstreamError, match=r"could not be reached: .*127\.0\.0\.1") as raised:
            await http.json("GET", "/")
    assert "url" in raised.value.hint
    assert raised.value.retryable


async def test_an_unknown_host_is_an_upstream_error() -> None:
    async with client("http://backend.invalid") as http:
        with fail_after(30), pytest.raises(UpstreamError, match=r"could not be reached: .*backend\.invalid"):
            await http.json("GET", "/")


async def test_something_that_is_not_http_is_an_upstream_error() -> None:
    async def ssh(stream: Stream) -> None:
        await stream.send(b"SSH-2.0-OpenSSH_9.2\r\n")

    await failure(ssh, UpstreamError)


async def test_a_dripping_body_is_ended_by_the_callers_deadline() -> None:
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

    async with running(dripping) as server, client(server.url) as http:
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


async def test_a_page_instead_of_json_is_a_protocol_error_that_shows_its_beginning() -> None:
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


# ---- TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


async def test_a_private_authority_is_trusted_when_it_is_named(server_tls: ssl.SSLContext, ca_file: str) -> None:
    async with running(saying(b"[1]"), server_tls) as server:
        async with client(server.url, ca_file=ca_file) as http:
            assert await http.json("GET", "/") == [1]
        async with client(server.url) as http:
            with pytest.raises(UpstreamError, match=r"(?i)certificate"):
                await http.json("GET", "/")
        assert len(server.heads) == 1


async def test_verification_can_be_switched_off(server_tls: ssl.SSLContext) -> None:
    async with running(saying(b"[1]"), server_tls) as server, client(server.url, verify_tls=False) as http:
        assert await http.json("GET", "/") == [1]


async def test_a_certificate_of_another_host_is_refused(authority: trustme.CA, ca_file: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("other.test").configure_cert(context)
    async with running(saying(b"[1]"), context) as server, client(server.url, ca_file=ca_file) as http:
        with pytest.raises(UpstreamError, match=r"(?i)certificate"):
            await http.json("GET", "/")
    assert server.heads == []


async def test_a_client_certificate_is_shown_when_it_is_configured(
    authority: trustme.CA, server_tls: ssl.SSLContext, ca_file: str, tmp_path: Path
) -> None:
    authority.configure_trust(server_tls)
    server_tls.verify_mode = ssl.CERT_REQUIRED
    issued = authority.issue_cert("client.test")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    issued.cert_chain_pems[0].write_to_path(cert)
    issued.private_key_pem.write_to_path(key)
    async with running(saying(b"[1]"), server_tls) as server:
        async with client(server.url, ca_file=ca_file, cert_file=str(cert), key_file=str(key)) as http:
            assert await http.json("GET", "/") == [1]
        async with client(server.url, ca_file=ca_file) as http:
            with pytest.raises(UpstreamError):
                await http.json("GET", "/")


async def test_a_certificate_file_that_holds_none_is_said_in_our_own_error(tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("no certificate")
    async with client("https://127.0.0.1:1", ca_file=str(empty)) as http:
        with pytest.raises(SourceError, match="certificate"):
            await http.json("GET", "/")


# ---- the pure parts


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({}, None),
        ({"retry-after": "12"}, 12),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "-3"}, 0),
        ({"retry-after": ""}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
        ({"retry-after": "Wed, 99 Oct 2015 99:28:00 GMT"}, None),
        ({"x-ratelimit-reset": "4"}, 4),
        ({"ratelimit-reset": "5"}, 5),
        ({"retry-after": "soon", "ratelimit-reset": "5"}, 5),
        ({"retry-after": "1", "x-ratelimit-reset": "9"}, 1),
    ],
)
def test_how_long_to_wait_is_read_from_the_usual_headers(headers: dict[str, str], wait_s: float | None) -> None:
    assert retry_after(headers) == wait_s


def test_a_date_to_wait_for_is_seconds_from_now() -> None:
    wait_s = retry_after({"retry-after": formatdate(time() + 30, usegmt=True)})
    assert wait_s is not None
    assert 25 < wait_s <= 30


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, BadQueryError),
        (401, AuthError),
        (402, PlanError),
        (403, ForbiddenError),
        (404, NotFoundError),
        (408, SourceTimeoutError),
        (422, BadQueryError),
        (429, RateLimitedError),
        (302, ProtocolError),
        (500, UpstreamError),
        (503, UpstreamError),
    ],
)
def test_each_status_is_the_error_it_means(status: int, kind: type[SourceError]) -> None:
    error = error_for_status(status, "why\x00\u202e not")
    assert type(error) is kind
    assert str(error).startswith(f"HTTP {status}: why not")
    assert "without a word" in str(error_for_status(status, "  "))


@pytest.mark.parametrize("body", [b'{"v": NaN, "w": Infinity, "x": -Infinity}', b'{"v":NaN,"w":1e999,"x":-1e999}'])
def test_numbers_that_json_does_not_know_are_read(body: bytes) -> None:
    found = parse_json(body)
    assert found["v"] != found["v"]
    assert (found["w"], found["x"]) == (float("inf"), float("-inf"))


@pytest.mark.parametrize("body", [b"", b"<html>", b"{", b"\xff\xfe\x00", b"[" * 100_000, b"9" * 5000])
def test_what_is_not_json_is_a_protocol_error(body: bytes) -> None:
    with pytest.raises(ProtocolError, match="not JSON; it begins with: "):
        parse_json(body)


async def test_a_large_body_is_decoded_as_a_small_one_is() -> None:
    large = b"[" + b"1," * OFF_LOOP_BYTES + b"1]"
    assert len(await decode_json(large)) == OFF_LOOP_BYTES + 1
    with pytest.raises(ProtocolError):
        await decode_json(large[:-1])


@pytest.fixture(autouse=True)
def no_tracing() -> Iterator[None]:
    yield
    assert not tracemalloc.is_tracing()
