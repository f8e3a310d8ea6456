"""A call's trace, from the caller through the tool to each source and its backend."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest
from opentelemetry import trace

from telemetry_mcp.server.metric import Metrics
from telemetry_mcp.server.web import bound, run
from telemetry_mcp.terminal.target import server_over
from tests.server.test_web import BOTH, call, initialize, message
from tests.spans import Spans, id_of, parent_of, recorded, trace_of, traceparent_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from telemetry_mcp.config import Config
    from telemetry_mcp.demo.emulator import Emulators
    from tests.server.conftest import Ask

TRACER = trace.get_tracer("test")
CALLERS = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def spans() -> Iterator[Spans]:
    with recorded() as spans:
        yield spans


async def test_a_call_is_one_trace_from_the_caller_to_every_backend(
    ask: Ask, spans: Spans, world: Emulators
) -> None:
    with TRACER.start_as_current_span("caller"):
        await ask("query_historical_metrics", service="payment-processor", metric_type="cpu", hours=1)
    caller, tool = spans.one("caller"), spans.one("tools/call query_historical_metrics")
    assert trace_of(tool) == trace_of(caller)
    wanted = {"source prometheus", "source datadog"}
    under = [span for span in spans.get_finished_spans() if parent_of(span) == id_of(tool)]
    asked = [s for s in under if (s.attributes or {})["telemetry_mcp.method"] == "fetch_series"]
    assert {span.name for span in asked} == wanted
    for span in asked:
        source = span.name.removeprefix("source ")
        sent = [request.headers.get("traceparent", "") for request in world.requests[source]]
        assert traceparent_of(span) in sent
    assert "pagerduty" not in {(span.attributes or {}).get("telemetry_mcp.source") for span in asked}


async def test_a_vendors_own_client_passes_the_trace_on_too(ask: Ask, spans: Spans, world: Emulators) -> None:
    with TRACER.start_as_current_span("caller"):
        await ask("list_incidents")
    sent = {request.headers.get("traceparent") for request in world.requests["pagerduty"]}
    assert sent == {traceparent_of(spans.one("source pagerduty"))}
    assert trace_of(spans.one("source pagerduty")) == trace_of(spans.one("caller"))


async def test_a_call_that_nobody_traces_sends_no_trace(ask: Ask, world: Emulators) -> None:
    await ask("list_incidents")
    assert {request.headers.get("traceparent") for request in world.requests["pagerduty"]} == {None}


async def test_no_span_holds_what_was_asked_for(ask: Ask, spans: Spans) -> None:
    secret = "sk-0123456789abcdef"
    with TRACER.start_as_current_span("caller"):
        await ask("list_changes", service=secret)
        await ask("query_source", source="prometheus", query=secret)
    assert len(spans.get_finished_spans()) > 4
    assert not [span.name for span in spans.get_finished_spans() if secret in span.to_json()]


async def test_a_tool_that_does_not_exist_gives_its_span_no_name(ask: Ask, spans: Spans) -> None:
    await ask("x" * 5000)
    (span,) = [s for s in spans.get_finished_spans() if s.name.startswith("tools/call")]
    assert span.name == "tools/call"
    assert len(str((span.attributes or {})["gen_ai.tool.name"])) == 64


@pytest.mark.parametrize("version", ["2026-07-28", "2025-11-25"])
async def test_the_header_traceparent_is_the_calls_parent(config: Config, spans: Spans, version: str) -> None:
    headers = {"traceparent": CALLERS, "tracestate": "vendor=1"}
    await asked_over_http(config, version, headers, {})
    tool = spans.one("tools/call list_sources")
    assert f"{trace_of(tool):032x}" in CALLERS
    assert f"{parent_of(tool):016x}" in CALLERS


async def test_the_messages_own_traceparent_comes_before_the_headers(config: Config, spans: Spans) -> None:
    own = "00-11111111111111111111111111111111-2222222222222222-01"
    await asked_over_http(config, "2026-07-28", {"traceparent": CALLERS}, {"traceparent": own})
    assert f"{trace_of(spans.one('tools/call list_sources')):032x}" in own


@pytest.mark.parametrize("broken", ["", "00-xyz", "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "x" * 5000])
async def test_a_traceparent_that_is_none_begins_a_trace_of_its_own(
    config: Config, spans: Spans, broken: str
) -> None:
    await asked_over_http(config, "2026-07-28", {"traceparent": broken}, {})
    assert parent_of(spans.one("tools/call list_sources")) is None


async def asked_over_http(config: Config, version: str, headers: dict[str, str], meta: dict[str, Any]) -> None:
    """list_sources, called with these headers and this `_meta`."""
    about = {
        "io.modelcontextprotocol/protocolVersion": version,
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    body = call("tools/call", name="list_sources", arguments={}, _meta={**about, **meta})
    sent = {**BOTH, "mcp-protocol-version": version, "mcp-method": "tools/call", "mcp-name": "list_sources"}
    ready = anyio.Event()
    with bound("127.0.0.1", 0) as sock, anyio.fail_after(15):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run, server_over(config), Metrics(), config.server, sock, ready.set)
            await ready.wait()
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{sock.getsockname()[1]}") as client:
                if version == "2025-11-25":
                    first = await client.post("/mcp", json=initialize(version), headers=BOTH)
                    sent["mcp-session-id"] = first.headers["mcp-session-id"]
                answer = await client.post("/mcp", json=body, headers={**sent, **headers})
            signal.raise_signal(signal.SIGTERM)
    assert "result" in message(answer), answer.text
