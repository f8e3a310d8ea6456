"""The emulators through a plain client, sources that do as they are told, and a raw server that may misbehave."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any, Self

import anyio
import httpx
import pytest
from anyio import Event, create_task_group, get_cancelled_exc_class, sleep_forever
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.tls import TLSStream

from telemetry_mcp.demo import datadog, newrelic, pagerduty
from telemetry_mcp.demo.emulator import Emulators
from telemetry_mcp.demo.estate import Estate
from telemetry_mcp.demo.topology import MEMBERS
from telemetry_mcp.fanout import Fanout
from telemetry_mcp.guard import Guard
from telemetry_mcp.http import Http, http_for
from telemetry_mcp.model import Outcome, Reply, Series, Service
from telemetry_mcp.question import SeriesQuery, ServiceQuery
from telemetry_mcp.registry import Absent, Instance, Registry
from telemetry_mcp.secret import Redactor
from telemetry_mcp.setting import HttpSettings, MetricQuery, SourceSettings
from telemetry_mcp.source import Context, Source

# ---- the emulators

NOW_MS = (20_500 * 86_400 + 15 * 3600) * 1000
KEYS = {
    "prometheus": {},
    "datadog": {"DD-API-KEY": datadog.API_KEY, "DD-APPLICATION-KEY": datadog.APP_KEY},
    "newrelic": {"Api-Key": newrelic.API_KEY},
    "pagerduty": {"Authorization": f"Token token={pagerduty.API_KEY}"},
}
NRQL = "query($id: Int!, $q: Nrql!) { actor { account(id: $id) { nrql(query: $q, timeout: 30) { results } } } }"


class Vendor:
    """One emulator through a client, with its credentials."""

    def __init__(self, name: str, world: Emulators, client: httpx.Client) -> None:
        self.url, self.keys, self.client = world.urls[name], KEYS[name], client

    def get(self, path: str, **params: Any) -> httpx.Response:
        renamed = {name.rstrip("_"): value for name, value in params.items()}
        return self.client.get(self.url + path, params=renamed, headers=self.keys)

    def series(self, query: str, span_s: int = 3600) -> Any:
        """What Datadog gives for the time up to the world's moment."""
        now_s = NOW_MS // 1000
        return self.get("/api/v1/query", from_=now_s - span_s, to=now_s, query=query).json()["series"]

    def nrql(self, query: str, account: int = newrelic.ACCOUNT_ID) -> Any:
        body = {"query": NRQL, "variables": {"id": account, "q": query}}
        return self.client.post(f"{self.url}/graphql", json=body, headers=self.keys).json()

    def rows(self, query: str) -> Any:
        """What New Relic finds."""
        return self.nrql(query)["data"]["actor"]["account"]["nrql"]["results"]


@pytest.fixture(scope="module")
def emulators() -> Iterator[Emulators]:
    with Emulators(Estate.today(NOW_MS), clock=lambda: NOW_MS) as emulators:
        yield emulators


@pytest.fixture
def world(emulators: Emulators) -> Iterator[Emulators]:
    """The four vendors at 2026-02-16T15:00:00Z, all well."""
    yield emulators
    for faults in emulators.faults.values():
        faults.clear()


@pytest.fixture
def vendor(world: Emulators) -> Iterator[Callable[[str], Vendor]]:
    with httpx.Client(trust_env=False, timeout=5) as client:
        yield lambda name: Vendor(name, world, client)


@pytest.fixture
def prometheus(vendor: Callable[[str], Vendor]) -> Vendor:
    return vendor("prometheus")


@pytest.fixture
def dog(vendor: Callable[[str], Vendor]) -> Vendor:
    return vendor("datadog")


@pytest.fixture
def relic(vendor: Callable[[str], Vendor]) -> Vendor:
    return vendor("newrelic")


@pytest.fixture
def duty(vendor: Callable[[str], Vendor]) -> Vendor:
    return vendor("pagerduty")


@pytest.fixture
def apps() -> set[str]:
    """The services of the estate that keep no state: those an agent runs in."""
    return {name for name, member in MEMBERS.items() if member.kind == "app"}


# ---- the fan-out

FOUND: Reply[Service] = Reply([Service("checkout")])

Answer = Callable[[], Awaitable[Reply[Service]]]
MakeFanout = Callable[..., Fanout]
MakeRegistry = Callable[..., Registry]
Statuses = Callable[[list[Outcome[Any]]], dict[str, str]]


class Scripted(Source):
    """Lists services as its `answer` says, and counts how often it was asked."""

    def __init__(self, answer: Answer, settings: SourceSettings | None = None) -> None:
        super().__init__(settings or SourceSettings(plugin="scripted"), Context("scripted"))
        self.answer = answer
        self.calls = 0

    async def list_services(self, query: ServiceQuery) -> Reply[Service]:
        self.calls += 1
        return await self.answer()

    @classmethod
    def finding(cls) -> Self:
        async def answer() -> Reply[Service]:
            return FOUND

        return cls(answer)

    @classmethod
    def raising(cls, error: BaseException, settings: SourceSettings | None = None) -> Self:
        async def answer() -> Reply[Service]:
            raise error

        return cls(answer, settings)

    @classmethod
    def hanging(cls) -> Self:
        async def answer() -> Reply[Service]:
            await sleep_forever()
            raise AssertionError

        return cls(answer)

    @classmethod
    def telling(cls, started: Event, cancelled: Event, release: Event | None = None) -> Self:
        """Says when it is asked and when it is cancelled, and answers when it is released."""

        async def answer() -> Reply[Service]:
            started.set()
            try:
                await (release or Event()).wait()
            except get_cancelled_exc_class():
                cancelled.set()
                raise
            return FOUND

        return cls(answer)


class Metered(Source):
    """Gives the series that it was handed, and remembers the metrics it was asked for."""

    def __init__(self, items: Any, *metrics: str) -> None:
        queries = {metric: MetricQuery(query="up") for metric in metrics}
        super().__init__(SourceSettings(plugin="metered", metrics=queries), Context("metered"))
        self.items = items
        self.asked: list[tuple[str, ...]] = []

    async def fetch_series(self, query: SeriesQuery) -> Reply[Series]:
        self.asked.append(query.metrics)
        return Reply(self.items)


@pytest.fixture
def scripted() -> type[Scripted]:
    return Scripted


@pytest.fixture
def metered() -> type[Metered]:
    return Metered


@pytest.fixture
def registry() -> MakeRegistry:
    """Makes a registry of named sources and of absent ones; `timeout_s` is each source's own."""

    def make(*absent: Absent, timeout_s: float = 30.0, **sources: Source) -> Registry:
        present = (
            Instance(
                *(name, source.settings.plugin, source),
                Guard(timeout_s=timeout_s, max_concurrency=16),
                Redactor(source.settings),
            )
            for name, source in sources.items()
        )
        return Registry(tuple(present), absent)

    return make


@pytest.fixture
def fanout(registry: MakeRegistry) -> MakeFanout:
    return lambda *absent, **sources: Fanout(registry(*absent, **sources))


@pytest.fixture
def statuses() -> Statuses:
    """The kind of failure of each source that failed or was skipped, and the status of the others."""
    return lambda outcomes: {o.source: o.failure.kind if o.failure else o.status for o in outcomes}


# ---- HTTP

Stream = SocketStream | TLSStream
Handler = Callable[[Stream], Awaitable[None]]
Saying = Callable[..., Handler]


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


ServeRaw = Callable[..., AbstractAsyncContextManager[Server]]
ConnectHttp = Callable[..., AbstractAsyncContextManager[Http]]


@pytest.fixture
def serve_raw() -> ServeRaw:
    """Runs a server of a handler, and of a TLS context where there is one, while the block lasts."""

    @asynccontextmanager
    async def running(handle: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
        server = Server(handle)

        async def serve(stream: SocketStream) -> None:
            async with stream:
                with suppress(
                    ssl.SSLError, anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError
                ):
                    await server.serve(await secured(stream, tls) if tls else stream)

        listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
        port = listener.extra(SocketAttribute.local_port)
        server.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
        async with listener, create_task_group() as tasks:
            tasks.start_soon(listener.serve, serve)
            try:
                yield server
            finally:
                tasks.cancel_scope.cancel()

    return running


async def secured(stream: SocketStream, tls: ssl.SSLContext) -> TLSStream:
    return await TLSStream.wrap(stream, server_side=True, ssl_context=tls, standard_compatible=False)


@pytest.fixture
def connect_http() -> ConnectHttp:
    """An Http of a URL and settings, which is closed at the block's end."""

    @asynccontextmanager
    async def connected(url: str, **settings: Any) -> AsyncIterator[Http]:
        http = http_for(HttpSettings.model_validate({"plugin": "x", "url": url, **settings}))
        try:
            yield http
        finally:
            await http.close()

    return connected


@pytest.fixture
def saying() -> Saying:
    """Makes a handler that writes one whole response and closes."""

    def make(body: bytes, *headers: str, status: str = "200 OK", length: int | None = None) -> Handler:
        lines = [f"HTTP/1.1 {status}", f"content-length: {len(body) if length is None else length}", *headers]
        head = "\r\n".join([*lines, "connection: close", "", ""]).encode()

        async def handle(stream: Stream) -> None:
            await stream.send(head + body)

        return handle

    return make
