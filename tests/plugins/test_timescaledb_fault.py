"""The TimescaleDB source in front of something that is no PostgreSQL, or one that goes silent."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import pytest

from telemetry_mcp import Context, ProtocolError, SeriesQuery, SourceError, UpstreamError, Window
from telemetry_mcp_timescaledb import TimescaleDB

QUESTION = SeriesQuery((), ("cpu",), Window(0, 60_000), 1000)
PASSWORD = "planted-secret-7"
VERSION = b"server_version\0" + b"15.0\0"
READY = (
    b"R\0\0\0\x08\0\0\0\0"  # let in
    + b"S\0\0\0"
    + bytes([4 + len(VERSION)])
    + VERSION
    + b"K\0\0\0\x0c\0\0\0\x01\0\0\0\x02"
    + b"Z\0\0\0\x05I"
)


class Server(socketserver.ThreadingTCPServer):
    """Answers what comes with `answers`, one after the other; then hangs up, or is silent until it is shut."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, answers: tuple[bytes, ...], hangs: bool) -> None:
        self.heard, self.over = b"", threading.Event()
        server = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                for answer in answers:
                    server.heard += self.request.recv(65536)
                    self.request.sendall(answer)
                if hangs:
                    server.over.wait(10)

        super().__init__(("127.0.0.1", 0), Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that gave up is what these tests are about."""


Serve = Callable[..., Server]


@pytest.fixture
def serve() -> Iterator[Serve]:
    started: list[Server] = []

    def start(*answers: bytes, hangs: bool = False) -> Server:
        server = Server(answers, hangs)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        started.append(server)
        return server

    yield start
    for server in started:
        server.over.set()
        server.shutdown()
        server.server_close()


def source(port: int, **more: Any) -> TimescaleDB:
    table = {
        **{"plugin": "timescaledb", "host": "127.0.0.1", "port": port, "database": "d", "username": "reader"},
        **{"password": PASSWORD, "sslmode": "disable", "metrics": {"cpu": {"table": "cpu"}}, **more},
    }
    return TimescaleDB(TimescaleDB.Settings.model_validate(table), Context("pg"))


async def failure(port: int, **more: Any) -> SourceError:
    asked = source(port, **more)
    with anyio.fail_after(5), pytest.raises(SourceError) as caught:
        await asked.fetch_series(QUESTION)
    await asked.close()
    error: BaseException | None = caught.value
    while error is not None:
        assert PASSWORD not in f"{error!r} {getattr(error, 'hint', '')}"
        error = error.__cause__ or error.__context__
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize(
    "answers",
    [
        (),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n<html>",),
        (b"R\0\0\0\x08\0\0\0\x63",),
        (READY[:-3],),
        (READY, b"Z"),
        (READY, b"T\0\0\0\x06\0\x01"),
        (READY, b"E\0\0\0\x12SERROR\0C08P01\0\0"),
    ],
)
async def test_what_is_no_postgresql_is_a_typed_error(serve: Serve, answers: tuple[bytes, ...]) -> None:
    error = await failure(serve(*answers).server_address[1])
    assert isinstance(error, UpstreamError | ProtocolError), repr(error)


@pytest.mark.parametrize("answer", [b"N", b"H", b"S garbage instead of TLS"])
async def test_a_server_that_does_not_speak_tls_is_never_sent_the_password(serve: Serve, answer: bytes) -> None:
    server = serve(answer)
    error = await failure(server.server_address[1], sslmode="require")
    assert isinstance(error, UpstreamError)
    assert server.heard == b"\0\0\0\x08\x04\xd2\x16/"


async def test_an_authority_that_is_no_pem_is_a_typed_error() -> None:
    error = await failure(1, sslmode="verify-full", ca_file=__file__)
    assert str(error).startswith("TLS: ")


async def test_nobody_listening_is_an_upstream_error() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        error = await failure(free.getsockname()[1])
    assert isinstance(error, UpstreamError)
    assert "could not be reached" in str(error)


@pytest.mark.parametrize("answers", [(), (READY,)])
async def test_a_silent_server_is_left_as_soon_as_the_question_is_cancelled(
    serve: Serve, answers: tuple[bytes, ...]
) -> None:
    asked = source(serve(*answers, hangs=True).server_address[1])
    with anyio.move_on_after(0.1) as limit:
        await asked.fetch_series(QUESTION)
    assert anyio.current_time() - limit.deadline < 0.1
    assert limit.cancelled_caught
    with anyio.fail_after(3):
        await asked.close()
