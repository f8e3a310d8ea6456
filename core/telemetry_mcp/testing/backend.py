"""A backend on loopback, on threads of its own: a real server, so that a source over a vendor's SDK is tested as
well as one over httpx, and so that it answers (or hangs) while the source's event loop is blocked."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from threading import Event, Thread, current_thread
from time import monotonic
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

import orjson

from telemetry_mcp.boundary import contain
from telemetry_mcp.testing.fault import BODIES, BOMB_MB, DRIP_S, SLOW_S, STATUSES, bomb


@dataclass(frozen=True, slots=True)
class Request:
    """What the source sent. Header names are in lower case; of repeated parameters the last one counts."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    target: str
    """The path with its query string, as it was sent."""
    at_s: float = field(default_factory=monotonic, compare=False)

    @property
    def json(self) -> Any:
        """The body as JSON; None when it is none."""
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return None

    @property
    def form(self) -> dict[str, str]:
        """The fields of the query string and of a form in the body, together."""
        return {**self.query, **dict(parse_qsl(self.body.decode("utf-8", "replace"), keep_blank_values=True))}


@dataclass(frozen=True, slots=True)
class Response:
    """An answer that is not simply 200 with JSON."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


RELAY_S = 30.0
NOT_RELAYED = ("host", "connection", "content-length", "transfer-encoding", "accept-encoding", "date", "server")
"""The headers that belong to one connection, not to what is asked or answered."""

Respond = Callable[[Request], object]


def response_of(told: object) -> Response:
    """What `respond` gave, as it goes over the wire: text and bytes as they are, anything else as JSON."""
    if isinstance(told, Response):
        return told
    if isinstance(told, str | bytes):
        return Response(body=told.encode() if isinstance(told, str) else told)
    body = orjson.dumps(told, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)
    return Response(body=body, headers={"content-type": "application/json"})


def relay(request: Request, url: str) -> Response:
    """What the server at `url` (`http://host:port`) answers to the request: for a test over a real backend."""
    sent = {name: value for name, value in request.headers.items() if name not in NOT_RELAYED}
    with closing(HTTPConnection(urlsplit(url).netloc, timeout=RELAY_S)) as connection:
        connection.request(request.method, request.target, request.body or None, sent)
        answer = connection.getresponse()
        headers = {name: value for name, value in answer.getheaders() if name.lower() not in NOT_RELAYED}
        return Response(answer.status, answer.read(), headers)


class Backend:
    """A `with` block in which a server on loopback is in one state; `requests` is what reached it.

    `change`, when set, is put between `respond` and the wire. `mistakes` are the exceptions of `respond` itself.
    """

    def __init__(self, respond: Respond, state: str = "healthy", redirect_to: str = "") -> None:
        self.respond, self.state, self.redirect_to = respond, state, redirect_to
        self.change: Callable[[Response], Response] = lambda response: response
        self.requests: list[Request] = []
        self.mistakes: list[BaseException] = []
        self.kept = False
        """Whether a request that came before is answered as before, without asking `respond` again."""
        self.known: dict[tuple[str, str, bytes], Response] = {}
        self.bomb_mb = BOMB_MB
        self.server: Server | None = None
        self.stopping = Event()
        self.connections: set[socket.socket] = set()
        self.workers: set[Thread] = set()

    def __enter__(self) -> Self:
        if self.state == "refused":  # bound but not listening: nobody else can take the port meanwhile
            self.held = bound()
            self.url = f"http://127.0.0.1:{self.held.getsockname()[1]}"
            return self
        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.owner = self
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self.server is None:
            self.held.close()
            return
        self.stopping.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()
        for connection in list(self.connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for worker in list(self.workers):
            worker.join(1)

    def healthy(self, request: Request) -> Response:
        """What `respond` says, changed; a mistake in it is kept, and is a 500 for the source."""
        with contain() as kept:
            key = request.method, request.target, request.body
            if not (self.kept and key in self.known):
                self.known[key] = response_of(self.respond(request))
            return self.change(self.known[key])
        assert kept.error is not None
        self.mistakes.append(kept.error)
        return Response(500, b"the test's own respond() failed")


def bound() -> socket.socket:
    held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    held.bind(("127.0.0.1", 0))
    return held


class Server(ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 128
    owner: Backend

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that gave up is what some tests are about."""


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    @property
    def owner(self) -> Backend:
        return self.server.owner

    def setup(self) -> None:
        super().setup()
        self.owner.connections.add(self.connection)
        self.owner.workers.add(current_thread())

    def finish(self) -> None:
        self.owner.connections.discard(self.connection)
        self.owner.workers.discard(current_thread())
        with suppress(OSError):
            super().finish()

    def answer(self) -> None:
        request = self.received()
        self.owner.requests.append(request)
        state = self.owner.state
        act = getattr(self, "do_" + state.replace(" ", "_"), None)
        if act is not None:
            act(request)
        elif state in STATUSES:
            status, headers = STATUSES[state]
            self.send(
                Response(status, b'{"message": "told to fail"}', {"content-type": "application/json", **headers})
            )
        elif state in BODIES:
            kind, body = BODIES[state]
            self.send(Response(200, body, {"content-type": kind}))
        else:
            self.send(self.owner.healthy(request))

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = answer

    def received(self) -> Request:
        parts = urlsplit(self.path)
        return Request(
            method=self.command,
            path=parts.path,
            query=dict(parse_qsl(parts.query, keep_blank_values=True)),
            headers={name.lower(): value for name, value in self.headers.items()},
            body=self.body(),
            target=self.path,
        )

    def body(self) -> bytes:
        if "chunked" not in self.headers.get("transfer-encoding", ""):
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        pieces = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)

    def send(self, response: Response, promised: int | None = None) -> None:
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(response.body) if promised is None else promised))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a test's output is for its findings."""

    # ---- the states that are more than a status or a body

    def do_slow(self, request: Request) -> None:
        response = self.owner.healthy(request)
        self.owner.stopping.wait(SLOW_S)
        self.send(response)

    def do_hang(self, request: Request) -> None:
        self.close_connection = True
        self.owner.stopping.wait()

    def do_drip(self, request: Request) -> None:
        self.close_connection = True
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.end_headers()
        while not self.owner.stopping.wait(DRIP_S):
            self.wfile.write(b" ")

    def do_reset(self, request: Request) -> None:
        self.close_connection = True
        # A lingering time of zero turns the close into an RST.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def do_truncated(self, request: Request) -> None:
        self.close_connection = True
        whole = self.owner.healthy(request)
        half = Response(whole.status, whole.body[: len(whole.body) // 2], whole.headers)
        self.send(half, promised=len(whole.body))

    def do_redirect(self, request: Request) -> None:
        self.send(Response(302, b"", {"location": self.owner.redirect_to + self.path}))

    def do_gzip_bomb(self, request: Request) -> None:
        whole = self.owner.healthy(request)
        self.send(
            Response(200, bomb(whole.body, self.owner.bomb_mb), {**whole.headers, "content-encoding": "gzip"})
        )
