"""The HTTP endpoint as a process of its own: every protocol version, what is refused, and how it ends."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import anyio
import httpx
import pytest
import uvicorn
from mcp import Client, MCPError
from mcp.server import MCPServer

from telemetry_mcp.config import ServerSettings, read
from telemetry_mcp.server.metric import Metrics
from telemetry_mcp.server.web import Graceful, Life, application, bound, run
from telemetry_mcp.terminal.target import server_over

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.server.conftest import Gate, Serve, Served

BOTH = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
KIB = 1024


@pytest.fixture(scope="module")
def served(serve: Serve) -> Served:
    return serve("--demo")


@pytest.fixture
def http(served: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.root, trust_env=False, timeout=10) as client:
        yield client


def call(method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


def initialize(version: str) -> dict[str, Any]:
    who = {"name": "test", "version": "1"}
    return call("initialize", protocolVersion=version, capabilities={}, clientInfo=who)


def message(response: httpx.Response) -> Any:
    """The JSON-RPC message of an answer, whether it came as JSON or as the first event of a stream."""
    if response.headers["content-type"].startswith("text/event-stream"):
        (data, *_) = [line[6:] for line in response.text.splitlines() if line.startswith("data: ")]
        return json.loads(data)
    return response.json()


@pytest.mark.parametrize(("mode", "version"), [("auto", "2026-07-28"), ("legacy", "2025-11-25")])
async def test_the_sdks_client_asks_in_either_era(served: Served, mode: str, version: str) -> None:
    async with Client(served.url, mode=mode) as client:
        assert client.protocol_version == version
        tools = await client.list_tools()
        result = await client.call_tool("list_services", {})
    assert len(tools.tools) == 10
    assert result.structured_content
    assert len(result.structured_content["services"]) == 8
    assert result.structured_content["coverage"]["complete"] is True


@pytest.mark.parametrize("version", ["2025-11-25", "2025-06-18", "2025-03-26"])
def test_an_older_client_gets_the_version_that_it_asks_for(http: httpx.Client, version: str) -> None:
    first = http.post("/mcp", json=initialize(version), headers=BOTH)
    assert message(first)["result"]["protocolVersion"] == version
    session = {"mcp-session-id": first.headers["mcp-session-id"], "mcp-protocol-version": version}
    http.post("/mcp", json={"jsonrpc": "2.0", "method": "notifications/initialized"}, headers={**BOTH, **session})
    asked = call("tools/call", name="list_sources", arguments={})
    answer = message(http.post("/mcp", json=asked, headers={**BOTH, **session}))
    assert json.loads(answer["result"]["content"][0]["text"])["total"] == 4


async def test_progress_tells_of_each_source_as_it_answers(served: Served) -> None:
    told: list[tuple[float, float | None, str]] = []

    async def tell(progress: float, total: float | None, message: str | None) -> None:
        told.append((progress, total, message or ""))

    async with Client(served.url) as client:
        arguments = {"service": "payment-processor", "fresh": True}
        await client.call_tool("get_current_metrics", arguments, progress_callback=tell)
    assert [(done, total) for done, total, _ in told] == [(1, 3), (2, 3), (3, 3)]
    assert {text.partition(":")[0] for _, _, text in told} == {"prometheus", "datadog", "newrelic"}


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "169.254.169.254"])
def test_a_foreign_host_is_refused(http: httpx.Client, host: str) -> None:
    response = http.post("/mcp", json=initialize("2025-11-25"), headers={**BOTH, "host": host})
    assert response.status_code == 421


@pytest.mark.parametrize("path", ["/metrics", "/readyz"])
def test_a_foreign_host_learns_nothing_but_that_the_server_lives(http: httpx.Client, path: str) -> None:
    assert http.get(path, headers={"host": "evil.example"}).status_code == 421
    assert http.get(path, headers={"origin": "https://evil.example"}).status_code == 403
    assert http.get("/healthz", headers={"host": "evil.example"}).status_code == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "http://127.0.0.1.evil.example", "null"])
def test_a_foreign_origin_is_refused(http: httpx.Client, origin: str) -> None:
    response = http.post("/mcp", json=initialize("2025-11-25"), headers={**BOTH, "origin": origin})
    assert response.status_code == 403


@pytest.mark.parametrize("origin", ["http://localhost:5173", "https://localhost", "https://127.0.0.1:8443"])
def test_a_page_of_this_machine_is_let_in(http: httpx.Client, origin: str) -> None:
    headers = {**BOTH, "origin": origin}
    assert http.post("/mcp", json=initialize("2025-11-25"), headers=headers).status_code == 200


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_limit_is_refused(http: httpx.Client, chunked: bool) -> None:
    body = json.dumps(call("tools/call", name="list_services", arguments={"query": "x" * 300 * KIB})).encode()
    content = iter([body[: 128 * KIB], body[128 * KIB :]]) if chunked else body
    assert http.post("/mcp", content=content, headers=BOTH).status_code == 413


def test_health_and_readiness_are_told(http: httpx.Client) -> None:
    assert (http.get("/healthz").status_code, http.get("/healthz").text) == (200, "ok")
    assert (http.get("/readyz").status_code, http.get("/readyz").json()) == (200, {"ready": True})


async def test_calls_are_counted_by_tool_and_by_source(served: Served, http: httpx.Client) -> None:
    def count(line: str) -> float:
        found = [text for text in http.get("/metrics").text.splitlines() if text.startswith(line)]
        return float(found[0].rpartition(" ")[2]) if found else 0.0

    good = 'telemetry_mcp_tool_calls_total{outcome="ok",tool="list_incidents"}'
    bad = 'telemetry_mcp_tool_calls_total{outcome="tool_error",tool="list_incidents"}'
    asked = 'telemetry_mcp_source_requests_total{kind="",source="pagerduty",status="ok"}'
    before = [count(line) for line in (good, bad, asked)]
    async with Client(served.url) as client:
        await client.call_tool("list_incidents", {"fresh": True})
        await client.call_tool("list_incidents", {"status": "closed"})
        await client.call_tool("no_such_tool", {})
    assert [count(line) for line in (good, bad, asked)] == [number + 1 for number in before]
    assert count('telemetry_mcp_tool_calls_total{outcome="tool_error",tool="no_such_tool"}') == 0


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_call_under_way_is_finished_before_the_server_ends(serve: Serve, gate: Gate, mode: str) -> None:
    served = serve("--config", str(gate.config))
    services: list[str] = []

    async def ask() -> None:
        async with Client(served.url, mode=mode) as client:
            await client.list_tools()  # it would ask for them after the call, when nobody listens any more
            result = await client.call_tool("list_services", {})
            assert result.structured_content
            services.extend(row["name"] for row in result.structured_content["services"])

    with anyio.fail_after(15):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await gate.asked.wait()
            served.process.send_signal(signal.SIGTERM)
            await refused(served.url)
            await anyio.sleep(0.7)  # the SDK's library for streams looks every half second whether to cut them off
            gate.may_answer.set()
        assert await asyncio.to_thread(served.end) in (0, -signal.SIGTERM)
    assert services == ["checkout"]


def test_a_stream_that_an_older_client_keeps_open_does_not_hold_up_the_end(serve: Serve) -> None:
    served = serve("--demo")
    with httpx.Client(base_url=served.root, trust_env=False, timeout=10) as client:
        first = client.post("/mcp", json=initialize("2025-11-25"), headers=BOTH)
        session = {"mcp-session-id": first.headers["mcp-session-id"], "mcp-protocol-version": "2025-11-25"}
        with client.stream("GET", "/mcp", headers={"accept": "text/event-stream", **session}) as stream:
            assert stream.status_code == 200
            started = time.monotonic()
            served.end()
            assert time.monotonic() - started < 5
            assert [*stream.iter_lines()] == []


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_call_that_outlasts_the_grace_period_fails_and_the_server_ends_without_a_traceback(
    gate: Gate, caplog: pytest.LogCaptureFixture, mode: str
) -> None:
    config, ready, over = read(gate.config), anyio.Event(), anyio.Event()
    server = server_over(config)

    async def ask(url: str) -> None:
        async with Client(url, mode=mode) as client:
            await client.list_tools()
            with pytest.raises(MCPError):
                await client.call_tool("list_services", {"deadline_s": 30})
            over.set()

    async def serve(sock: socket.socket) -> None:
        await run(server, Metrics(), config.server, sock, ready.set, grace_s=0.2)

    with bound("127.0.0.1", 0) as sock, anyio.fail_after(15):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(serve, sock)
            await ready.wait()
            tasks.start_soon(ask, f"http://127.0.0.1:{sock.getsockname()[1]}/mcp")
            await gate.asked.wait()
            signal.raise_signal(signal.SIGTERM)
            await over.wait()
    assert not caplog.records


async def test_the_server_is_unready_from_the_signal_on() -> None:
    life = Life()
    config = ServerSettings()
    server: MCPServer[Any] = MCPServer("test")
    app = application(server, Metrics(), config, life)
    life.ready = True
    graceful = Graceful(uvicorn.Config(app), server, life, 1.0, lambda: None, lambda: None)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        assert (await client.get("/readyz")).status_code == 200
        graceful.handle_exit(signal.SIGTERM, None)
        assert (await client.get("/readyz")).status_code == 503


async def refused(url: str) -> None:
    """Returns when nobody takes connections there any more."""
    address = urlsplit(url)
    while True:
        try:
            _, writer = await asyncio.open_connection(address.hostname, address.port)
        except OSError:
            return
        writer.close()
        await writer.wait_closed()
