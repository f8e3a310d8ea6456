"""Streamable HTTP: /mcp, and /healthz, /readyz and /metrics beside it, on a uvicorn that ends gracefully."""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from types import FrameType
from typing import Any

import uvicorn
from anyio import CancelScope, current_time
from mcp.server import MCPServer
from mcp.server.subscriptions import ListenHandler
from mcp.server.transport_security import TransportSecurityMiddleware, TransportSecuritySettings
from sse_starlette.sse import AppStatus
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from telemetry_mcp.access.setting import AccessSettings
from telemetry_mcp.access.verifier import verifier_for
from telemetry_mcp.client import warm
from telemetry_mcp.config import ServerSettings
from telemetry_mcp.server.bearer import Door, Told, host_of, is_at_home, metadata_route, tell
from telemetry_mcp.server.bus import LISTEN
from telemetry_mcp.server.metric import Metrics
from telemetry_mcp.server.passage import PASSAGE, Passage
from telemetry_mcp.server.record import turned_away
from telemetry_mcp.server.throttle import RetryAfter
from telemetry_mcp.server.wire import MAX_HEAD_BYTES, Patience, Whole

PATH = "/mcp"
MAX_REQUEST_BYTES = 256 * 1024
GRACE_S = 10.0
"""How long calls under way may go on after the signal to end."""
FAREWELL_S = 2
"""What uvicorn waits beyond that for the answers to be sent, before it cuts them off with a traceback."""
KEEP_ALIVE_S = 75
"""How long an idle connection is kept: longer than load balancers and clients keep theirs, for whoever closes it
first makes the other's next request fail."""
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
NOBODY_IS_ASKED = AccessSettings()


class Life:
    """`ready` is what /readyz tells; `open` are the requests under way, `standing` those of them that are streams
    which answer nothing: what an older client keeps open for as long as it lives."""

    def __init__(self) -> None:
        self.ready = False
        self.open: set[CancelScope] = set()
        self.standing: set[CancelScope] = set()

    def hang_up(self) -> None:
        for request in self.standing:
            request.cancel()

    def give_up(self) -> None:
        for request in self.open:
            request.cancel()


class Mortal:
    """ASGI: a request that is given up is answered 503, or its stream closed, in place of being cut off.

    `answered` is told the status of every answer.
    """

    def __init__(self, app: ASGIApp, life: Life, answered: Callable[[int], None] = lambda status: None) -> None:
        self.app = app
        self.life = life
        self.answered = answered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun = complete = False
        passage = Passage(CancelScope(), current_time())

        async def sending(message: Message) -> None:
            nonlocal begun, complete
            if begins_stream(message):
                passage.request.deadline = passage.until
                if scope["method"] != "POST":
                    self.life.standing.add(passage.request)
            begun = True
            if message["type"] == "http.response.start":
                self.answered(message["status"])
            complete = message["type"] == "http.response.body" and not message.get("more_body")
            await send(message)

        with passage.request as request:
            self.life.open.add(request)
            try:
                await self.app({**scope, PASSAGE: passage}, receive, sending)
            finally:
                self.life.open.discard(request)
                self.life.standing.discard(request)
        if not request.cancelled_caught:
            return
        if not begun:
            self.answered(503)
            await PlainTextResponse("the server has ended", 503)(scope, receive, send)
        elif not complete:
            await send({"type": "http.response.body"})


def recorder(metrics: Metrics) -> Told:
    """Records whom the door does not let in, for as long as the engine runs."""

    def told(address: str | None, why: str) -> None:
        tell(address, why)
        if metrics.engine is not None:
            turned_away(metrics.engine.auditor, name=PATH, reason=why, address=address)

    return told


def begins_stream(message: Message) -> bool:
    if message["type"] != "http.response.start":
        return False
    return any(
        name == b"content-type" and value.startswith(b"text/event-stream") for name, value in message["headers"]
    )


def application(
    server: MCPServer[Any],
    metrics: Metrics,
    settings: ServerSettings,
    life: Life,
    access: AccessSettings = NOBODY_IS_ASKED,
) -> ASGIApp:
    """The ASGI application. Hosts and origins that are not loopback, nor named in the settings, are refused, and
    so is whoever shows no valid token, where `access` asks for one.

    Raises KeyFault when the file of keys cannot be used.
    """
    allowed = security(settings, access)
    endpoint: ASGIApp = Whole(
        server.streamable_http_app(
            streamable_http_path=PATH,
            max_request_body_size=MAX_REQUEST_BYTES,
            transport_security=allowed,
            stateless_http=bool(settings.stateless),
        ),
        MAX_REQUEST_BYTES,
    )
    check = TransportSecurityMiddleware(allowed)
    verifier = verifier_for(access)
    door = Door(endpoint, verifier, access, check, tell=recorder(metrics)) if verifier else None

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        await warm()
        async with AsyncExitStack() as stack:
            if verifier:
                stack.push_async_callback(verifier.close)
            await stack.enter_async_context(server.session_manager.run())
            life.ready = True
            yield
            life.ready = False

    routes = Starlette(
        routes=[
            *beside(metrics, life, door, check),
            *metadata_route(access),
            # A client looks for metadata in several places: what is not there must not seem to need a token.
            Mount("/.well-known", routes=[]),
            Mount("/", app=door or endpoint),
        ],
        lifespan=lifespan,
    )
    return Mortal(RetryAfter(routes), life, metrics.answered)


def beside(metrics: Metrics, life: Life, door: Door | None, check: TransportSecurityMiddleware) -> list[Route]:
    """What there is beside the MCP endpoint. Only the server's own metrics need a token, and not from nearby."""

    async def health(request: Request) -> Response:
        return PlainTextResponse("ok")

    async def readiness(request: Request) -> Response:
        return JSONResponse({"ready": life.ready}, status_code=200 if life.ready else 503)

    async def exposition(request: Request) -> Response:
        if door and not is_at_home(request) and isinstance(answer := await door.admitted(request), Response):
            return answer
        return Response(metrics.exposition(), media_type="text/plain; version=1.0.0; charset=utf-8")

    def checked(endpoint: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def guarded(request: Request) -> Response:
            return await check.validate_request(request) or await endpoint(request)

        return guarded

    return [
        Route("/healthz", health),
        Route("/readyz", checked(readiness)),
        Route("/metrics", checked(exposition)),
    ]


def security(settings: ServerSettings, access: AccessSettings) -> TransportSecuritySettings:
    hosts = [*LOOPBACK, *settings.allowed_hosts, *host_of(access.resource)]
    own = [f"{scheme}://{host}" for scheme in ("http", "https") for host in LOOPBACK]
    origins = [*own, *settings.allowed_origins]
    return TransportSecuritySettings(
        allowed_hosts=[*hosts, *(f"{host}:*" for host in hosts)],
        allowed_origins=[*origins, *(f"{origin}:*" for origin in origins)],
    )


class Graceful(uvicorn.Server):
    """Ends on a signal without dying of it: calls under way have `grace_s` to finish, and the streams that listen
    for updates, which would hold it open for ever, are closed at once."""

    def __init__(
        self,
        config: uvicorn.Config,
        server: MCPServer[Any],
        life: Life,
        grace_s: float,
        ready: Callable[[], None],
        ending: Callable[[], object],
    ) -> None:
        super().__init__(config)
        self.life = life
        self.grace_s = grace_s
        self.ready = ready
        self.ending = ending
        entry = server._lowlevel_server.get_request_handler(LISTEN)
        self.listeners = entry.handler if entry and isinstance(entry.handler, ListenHandler) else None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self.ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.life.ready = False
        self.ending()
        self.life.hang_up()
        if self.listeners is not None:
            self.listeners.close()
        # uvicorn would keep the signal and send it to the process again, once all is closed.
        self.force_exit = self.should_exit
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        patience = asyncio.get_running_loop().call_later(self.grace_s, self.life.give_up)
        await super().shutdown(sockets)
        patience.cancel()


async def run(
    server: MCPServer[Any],
    metrics: Metrics,
    settings: ServerSettings,
    sock: socket.socket,
    ready: Callable[[], None] = lambda: None,
    ending: Callable[[], object] = lambda: None,
    *,
    grace_s: float = GRACE_S,
    access: AccessSettings = NOBODY_IS_ASKED,
) -> None:
    """Serve on a socket that is bound already, until SIGTERM or SIGINT; calls under way have `grace_s` to finish.

    `ready` is called once connections are accepted and signals are heeded, `ending` when a signal has come.
    """
    life = Life()
    # It would cut every stream off at the signal, also those that a call under way is to be answered by.
    AppStatus.disable_automatic_graceful_drain()  # type: ignore[no-untyped-call]
    config = uvicorn.Config(
        application(server, metrics, settings, life, access),
        http=Patience,
        ws="none",
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        access_log=False,
        # Unless it is told otherwise, uvicorn believes whoever is on this machine.
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
        log_config=None,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=math.ceil(grace_s) + FAREWELL_S,
    )
    await Graceful(config, server, life, grace_s, ready, ending).serve(sockets=[sock])


def bound(host: str, port: int) -> socket.socket:
    """A listening address, taken before anything is started, so that a port in use is found out first."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Without the protocol's number asyncio does not switch Nagle's delay off: 40 ms more a request.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock
