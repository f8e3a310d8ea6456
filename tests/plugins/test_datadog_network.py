"""The way to Datadog: a private certificate authority, and a proxy."""

from __future__ import annotations

import socket
import ssl
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trustme

from telemetry_mcp import SeriesQuery, SourceError, UpstreamError, Window
from telemetry_mcp_datadog import Datadog

if TYPE_CHECKING:
    from tests.plugins.conftest import ConnectDatadog, Failure, Stub

START = 1_700_000_040_000
QUESTION = SeriesQuery(("a",), ("cpu",), Window(START, START + 600_000), 60_000)
FOUND = {"series": [{"tag_set": ["service:a"], "interval": 60, "pointlist": [[START, 1.0]]}]}

Relay = Callable[[socket.socket, bytes], socket.socket | None]


class Middle:
    """Listens on loopback, reads a request's head, and lets `relay` say where the rest of the talk goes."""

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self.heads: list[bytes] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.open: list[socket.socket] = [self.listener]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        try:
            while True:
                threading.Thread(target=self.serve, args=[self.listener.accept()[0]], daemon=True).start()
        except OSError:
            return

    def serve(self, near: socket.socket) -> None:
        self.open.append(near)
        try:
            head = b""
            while b"\r\n\r\n" not in head:
                if not (piece := near.recv(65536)):
                    return
                head += piece
            self.heads.append(head)
            far = self.relay(near, head)
            if far is not None:
                self.open.append(far)
                threading.Thread(target=pump, args=[near, far], daemon=True).start()
                pump(far, near)
        except OSError:
            return

    def close(self) -> None:
        for one in self.open:
            one.close()


def pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while piece := source.recv(65536):
            target.sendall(piece)
    except OSError:
        return


def proxied(near: socket.socket, head: bytes) -> socket.socket:
    """A proxy: it opens a tunnel for CONNECT, and passes any other request on."""
    method, target, _ = head.split(b" ", 2)
    place = target if method == b"CONNECT" else target.split(b"/")[2]
    host, _, port = place.decode().partition(":")
    far = socket.create_connection((host, int(port)))
    if method == b"CONNECT":
        near.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
    else:
        far.sendall(head)
    return far


@pytest.fixture
def proxy() -> Iterator[Middle]:
    one = Middle(proxied)
    yield one
    one.close()


@pytest.fixture
def authority(tmp_path: Path) -> tuple[trustme.CA, Path]:
    ca, pem = trustme.CA(), tmp_path / "ca.pem"
    ca.cert_pem.write_to_path(pem)
    return ca, pem


@pytest.fixture
def secure(stub: Stub, authority: tuple[trustme.CA, Path]) -> Iterator[str]:
    """The stub behind TLS of a private authority: the url."""
    stub.on("/api/v1/query", FOUND)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority[0].issue_cert("localhost").configure_cert(context)
    plain = int(stub.url.rpartition(":")[2])
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                near = listener.accept()[0]
            except OSError:
                return
            try:
                wrapped = context.wrap_socket(near, server_side=True)
            except OSError:
                near.close()
                continue
            with wrapped, socket.create_connection(("127.0.0.1", plain)) as far:
                far.sendall(wrapped.recv(65536))
                pump(far, wrapped)

    threading.Thread(target=serve, daemon=True).start()
    yield f"https://localhost:{listener.getsockname()[1]}"
    listener.close()


async def found(one: Datadog) -> list[str]:
    return [series.service for series in (await one.fetch_series(QUESTION)).items]


async def test_a_private_authority_is_trusted_when_it_is_named(
    secure: str, authority: tuple[trustme.CA, Path], connect_datadog: ConnectDatadog
) -> None:
    assert await found(connect_datadog(secure, timeout="2s", ca_file=str(authority[1]))) == ["a"]


async def test_a_certificate_of_nobody_we_know_is_refused_with_what_to_do(
    secure: str, stub: Stub, connect_datadog: ConnectDatadog, failure: Failure
) -> None:
    raised = await failure(connect_datadog(secure, timeout="2s").fetch_series(QUESTION))
    assert isinstance(raised, UpstreamError)
    assert "ca_file" in raised.hint
    assert stub.asked == []


async def test_another_hosts_certificate_is_refused(
    secure: str, stub: Stub, authority: tuple[trustme.CA, Path], connect_datadog: ConnectDatadog
) -> None:
    one = connect_datadog(secure.replace("localhost", "127.0.0.1"), timeout="2s", ca_file=str(authority[1]))
    with pytest.raises(UpstreamError, match="no secure connection"):
        await one.fetch_series(QUESTION)
    assert stub.asked == []


async def test_verification_can_be_switched_off(secure: str, connect_datadog: ConnectDatadog) -> None:
    assert await found(connect_datadog(secure, timeout="2s", verify_tls=False)) == ["a"]


async def test_a_proxy_carries_plain_requests(stub: Stub, proxy: Middle, connect_datadog: ConnectDatadog) -> None:
    stub.on("/api/v1/query", FOUND)
    one = connect_datadog(stub.url, proxy=f"http://ann:s3cret-word@127.0.0.1:{proxy.port}")
    assert await found(one) == ["a"]
    (head,) = proxy.heads
    assert head.startswith(f"GET {stub.url}/api/v1/query?".encode())
    assert b64encode(b"ann:s3cret-word") in head


async def test_a_proxy_carries_encrypted_requests_without_seeing_a_key(
    secure: str, authority: tuple[trustme.CA, Path], proxy: Middle, connect_datadog: ConnectDatadog
) -> None:
    one = connect_datadog(secure, ca_file=str(authority[1]), proxy=f"http://127.0.0.1:{proxy.port}")
    assert await found(one) == ["a"]
    (head,) = proxy.heads
    assert head.startswith(b"CONNECT localhost:")
    assert b"key-1" not in head


async def test_a_proxy_that_is_down_is_named_and_no_way_around_it_is_taken(
    stub: Stub, connect_datadog: ConnectDatadog
) -> None:
    stub.on("/api/v1/query", FOUND)
    one = connect_datadog(stub.url, proxy="http://127.0.0.1:1")
    with pytest.raises(SourceError, match="proxy") as raised:
        await one.fetch_series(QUESTION)
    assert "key-1" not in f"{raised.value}"
    assert stub.asked == []
