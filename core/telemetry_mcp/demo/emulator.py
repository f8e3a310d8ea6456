"""The four emulators on loopback ports, served by a thread of their own."""

import asyncio
import functools
import logging
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Self

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from telemetry_mcp.demo import datadog, newrelic, pagerduty, prometheus
from telemetry_mcp.demo.estate import Estate
from telemetry_mcp.demo.fault import Faults
from telemetry_mcp.demo.wire import Asked, answer, emulator

CONFIG = Path(__file__).with_name("plugins.toml")

_VENDORS = {"prometheus": prometheus, "datadog": datadog, "newrelic": newrelic, "pagerduty": pagerduty}
_CREDENTIALS = {
    "TELEMETRY_DEMO_DATADOG_API_KEY": datadog.API_KEY,
    "TELEMETRY_DEMO_DATADOG_APP_KEY": datadog.APP_KEY,
    "TELEMETRY_DEMO_NEWRELIC_API_KEY": newrelic.API_KEY,
    "TELEMETRY_DEMO_PAGERDUTY_API_KEY": pagerduty.API_KEY,
}

_SILENT = logging.Logger("emulators", logging.CRITICAL + 1)


class Emulators:
    """The outside world while the `with` (or `async with`) block runs, on an event loop of its own.

    `urls`, `faults` and `requests` go by prometheus, datadog, newrelic and pagerduty; the first is the address
    without a path. `environ` holds the variables that `CONFIG`, the plugins.toml of this estate, asks for.
    `stranger` is the address of one more server for redirects to lead to: what reaches it is in
    `requests["stranger"]`. `clock` gives epoch ms (by default the real one), `estate` is by default that of today.
    """

    def __init__(
        self, estate: Estate | None = None, clock: Callable[[], int] | None = None, seed: int = 7
    ) -> None:
        self.clock = clock or (lambda: time.time_ns() // 1_000_000)
        self.estate = estate or Estate.today(self.clock(), seed)
        self.faults = {name: Faults() for name in _VENDORS}
        self._apps = {
            name: vendor.app(self.estate, self.clock, self.faults[name]) for name, vendor in _VENDORS.items()
        }
        self._apps["stranger"] = _stranger()
        self.requests: dict[str, deque[Asked]] = {name: app.state.requests for name, app in self._apps.items()}
        self.urls: dict[str, str] = {}
        self.stranger = ""
        self._thread: threading.Thread | None = None
        self._stop: Callable[[], object] = lambda: None

    @property
    def environ(self) -> dict[str, str]:
        """Addresses and credentials under the names that `CONFIG` uses. Empty addresses before the start."""
        urls = {f"TELEMETRY_DEMO_{name.upper()}_URL": url for name, url in self.urls.items()}
        return {**urls, **_CREDENTIALS}

    def __enter__(self) -> Self:
        listeners = {name: _listener() for name in self._apps}
        addresses = {name: f"http://127.0.0.1:{listener.getsockname()[1]}" for name, listener in listeners.items()}
        # Another name for the same machine, so that a redirect really leads to another host.
        self.stranger = addresses.pop("stranger").replace("127.0.0.1", "localhost")
        self.urls = addresses
        serving = threading.Event()
        self._thread = threading.Thread(target=self._run, args=[listeners, serving], name="emulators", daemon=True)
        self._thread.start()
        serving.wait()
        return self

    def __exit__(self, *reason: object) -> None:
        assert self._thread is not None
        self._stop()
        self._thread.join()

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, *reason: object) -> None:
        self.__exit__(*reason)

    def _run(self, listeners: dict[str, socket.socket], serving: threading.Event) -> None:
        try:
            with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
                runner.run(self._serve(listeners, serving))
        finally:
            serving.set()

    async def _serve(self, listeners: dict[str, socket.socket], serving: threading.Event) -> None:
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        self._stop = functools.partial(loop.call_soon_threadsafe, stop.set)
        state = ServerState()
        servers = []
        for name, listener in listeners.items():
            config = Config(self._apps[name], lifespan="off", ws="none", log_config=None)
            servers.append(await loop.create_server(functools.partial(_Wire, config, state, {}), sock=listener))
        serving.set()
        await stop.wait()
        # Nothing may be half accepted when a server closes: asyncio would leave that connection open.
        for listener in listeners.values():
            loop.remove_reader(listener)
        await _hang_up(state)
        for server in servers:
            server.close()


async def _hang_up(state: ServerState) -> None:
    """Drops every connection and ends every request, also those which hang."""
    # In turns, because a connection that was just accepted becomes one, and a request, while others are dropped.
    while state.connections or len(asyncio.all_tasks()) > 1:
        for connection in list(state.connections):
            connection.transport.abort()
        for task in list(state.tasks):
            task.cancel()
        await asyncio.sleep(0)


class _Wire(H11Protocol):
    """Uvicorn's protocol, which hands its transport to the application and keeps quiet about broken answers."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.logger = _SILENT
        inner = self.app

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await inner({**scope, "extensions": {"transport": transport}}, receive, send)

        self.app = app


def _listener() -> socket.socket:
    # With the protocol named, asyncio switches Nagle's algorithm off; without it every answer takes 40 ms more.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    return listener


def _stranger() -> Starlette:
    """A server that answers everything, as the login page behind a redirect does."""

    async def anything(request: Request) -> Response:
        return answer({"welcome": "stranger"})

    return emulator([Route("/{path:path}", anything, methods=["GET", "POST"])], Faults())
