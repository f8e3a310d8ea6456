"""Streamable HTTP: /mcp, and /healthz, /readyz and /metrics beside it, on a uvicorn that ends gracefully."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import FrameType
from typing import Any

import uvicorn
from mcp.server import MCPServer
from mcp.server.subscriptions import ListenHandler
from mcp.server.transport_security import TransportSecuritySettings
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route

from telemetry_mcp.config import ServerSettings
from telemetry_mcp.http import warm
from telemetry_mcp.server.metric import Metrics

PATH = "/mcp"
MAX_REQUEST_BYTES = 256 * 1024
GRACE_S = 10
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


def application(server: MCPServer[Any], metrics: Metrics, settings: ServerSettings) -> Starlette:
    """The ASGI application. Hosts and origins that are not loopback, nor named in the settings, are refused."""
    endpoint = server.streamable_http_app(
        streamable_http_path=PATH,
        max_request_body_size=MAX_REQUEST_BYTES,
        transport_security=security(settings),
    )
    ready = False

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        nonlocal ready
        await warm()
        async with server.session_manager.run():
            ready = True
            yield
            ready = False

    async def health(request: Request) -> Response:
        return PlainTextResponse("ok")

    async def readiness(request: Request) -> Response:
        return JSONResponse({"ready": ready}, status_code=200 if ready else 503)

    async def exposition(request: Request) -> Response:
        return Response(metrics.exposition(), media_type="text/plain; version=1.0.0; charset=utf-8")

    return Starlette(
        routes=[
            Route("/healthz", health),
            Route("/readyz", readiness),
            Route("/metrics", exposition),
            Mount("/", app=endpoint),
        ],
        lifespan=lifespan,
    )


def security(settings: ServerSettings) -> TransportSecuritySettings:
    hosts = [*LOOPBACK, *settings.allowed_hosts]
    origins = [f"http://{host}" for host in LOOPBACK] + list(settings.allowed_origins)
    return TransportSecuritySettings(
        allowed_hosts=[*hosts, *(f"{host}:*" for host in hosts)],
        allowed_origins=[*origins, *(f"{origin}:*" for origin in origins)],
    )


class Graceful(uvicorn.Server):
    """Ends on a signal without dying of it, and closes the streams that listen for updates: they would hold it
    open for ever."""

    def __init__(
        self,
        config: uvicorn.Config,
        server: MCPServer[Any],
        ready: Callable[[], None],
        ending: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self.ready = ready
        self.ending = ending
        entry = server._lowlevel_server.get_request_handler("subscriptions/listen")
        self.listeners = entry.handler if entry and isinstance(entry.handler, ListenHandler) else None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self.ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.ending()
        if self.listeners is not None:
            self.listeners.close()
        # uvicorn would keep the signal and send it to the process again, once all is closed.
        self.force_exit = self.should_exit
        self.should_exit = True


async def run(
    server: MCPServer[Any],
    metrics: Metrics,
    settings: ServerSettings,
    sock: socket.socket,
    ready: Callable[[], None] = lambda: None,
    ending: Callable[[], None] = lambda: None,
) -> None:
    """Serve on a socket that is bound already, until SIGTERM or SIGINT; calls under way may finish.

    `ready` is called once connections are accepted and signals are heeded, `ending` when a signal has come.
    """
    config = uvicorn.Config(
        application(server, metrics, settings),
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
    )
    await Graceful(config, server, ready, ending).serve(sockets=[sock])


def bound(host: str, port: int) -> socket.socket:
    """A listening address, taken before anything is started, so that a port in use is found out first."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Without the protocol's number asyncio does not switch Nagle's delay off: 40 ms more a request.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((host, port))
    return sock
