"""What `serve` does with the standard variables of OpenTelemetry, up to a collector that takes its spans."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import httpx
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from telemetry_mcp.terminal.tracing import provider_for
from tests.real.collector import Collector, collecting
from tests.real.program import free_port
from tests.server.test_web import BOTH, call, message

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.server.conftest import Serve

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"
SLOW = {"OTEL_BSP_SCHEDULE_DELAY": "600000"}
"""So that nothing is sent before the end, unless there is a lot of it."""


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


def ask(url: str, tool: str) -> None:
    """Call a tool as a part of the caller's trace."""
    version = "2026-07-28"
    about = {
        "io.modelcontextprotocol/protocolVersion": version,
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    headers = {"mcp-protocol-version": version, "mcp-method": "tools/call", "mcp-name": tool}
    answer = httpx.post(
        url,
        json=call("tools/call", name=tool, arguments={}, _meta=about),
        headers={**BOTH, **headers, "traceparent": f"00-{TRACE}-{CALLER}-01"},
        trust_env=False,
        timeout=20,
    )
    assert not message(answer)["result"].get("isError"), answer.text


def test_the_spans_of_a_call_reach_the_collector_by_the_end_at_the_latest(
    serve: Serve, collector: Collector
) -> None:
    served = serve("--demo", "--fault", "newrelic=status:503", OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, **SLOW)
    ask(served.url, "list_incidents")
    assert served.end() == 0
    assert collector.paths == {"/v1/traces"}
    (tool,) = collector.named("tools/call list_incidents")
    assert (tool.trace_id.hex(), tool.parent_span_id.hex()) == (TRACE, CALLER)
    sources = {span.name: span for span in collector.spans if span.parent_span_id == tool.span_id}
    assert sources.keys() == {"source datadog", "source newrelic", "source pagerduty", "source prometheus"}
    failed = [name for name, span in sources.items() if span.status.code == Status.STATUS_CODE_ERROR]
    assert failed == ["source newrelic"]
    resource = {each.key: each.value.string_value for each in collector.resources[0].attributes}
    assert resource["service.name"] == "telemetry-mcp"
    assert resource["service.version"]


def test_stdio_sends_its_spans_too(collector: Collector) -> None:
    collector.spans.clear()
    lines = (
        '{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},'
        '"clientInfo":{"name":"t","version":"1"}}}\n'
        '{"jsonrpc":"2.0","method":"notifications/initialized"}\n'
    )
    done = subprocess.run(
        [sys.executable, "-m", "telemetry_mcp", "serve", "--demo"],
        input=lines,
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, **SLOW},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert collector.named("initialize")


def test_a_collector_that_does_not_answer_keeps_nobody_from_ending(serve: Serve) -> None:
    served = serve("--demo", OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{free_port()}", **SLOW)
    ask(served.url, "list_sources")
    served.process.send_signal(signal.SIGTERM)
    _, said = served.process.communicate(timeout=8)
    assert served.process.returncode == 0
    assert "Traceback" not in said


def test_a_missing_extra_is_one_warning_and_no_fault() -> None:
    without = (
        "import sys; sys.modules['opentelemetry.sdk'] = None; from telemetry_mcp.__main__ import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", without, "serve", "--demo"],
        input="",
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"},
        check=False,
    )
    assert done.returncode == 0
    (line,) = done.stderr.splitlines()
    assert "OTEL_EXPORTER_OTLP_ENDPOINT is set" in line
    assert "pip install 'telemetry-mcp[otel]'" in line


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"},
        {"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"},
    ],
)
def test_who_does_not_wish_for_traces_is_told_nothing(
    environ: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    assert provider_for(environ) is None
    assert not caplog.records


@pytest.mark.parametrize(
    ("environ", "word"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER=zipkin"),
        (
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "OTEL_EXPORTER_OTLP_PROTOCOL=grpc",
        ),
    ],
)
def test_what_is_not_supported_is_named_in_one_warning(
    environ: dict[str, str], word: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    assert provider_for(environ) is None
    (record,) = caplog.records
    assert word in record.getMessage()
    assert "valid: " in record.getMessage()
