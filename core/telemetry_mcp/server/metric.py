"""The server's own metrics, in Prometheus' exposition format."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from time import perf_counter
from typing import Any

from mcp.server import MCPServer
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.registry import Collector

from telemetry_mcp.access.visit import VISIT
from telemetry_mcp.engine import Engine
from telemetry_mcp.fanout import Found
from telemetry_mcp.model import Outcome
from telemetry_mcp.server.gauge import AuditStanding, Gauges
from telemetry_mcp.server.trace import METHODS

BUCKETS_S = (0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
OTHER = "other"


def audit_of(engine: Engine) -> AuditStanding | None:
    """How the records of a running engine stand; None where nothing is recorded."""
    return engine.auditor.standing() if engine.auditor.active else None


class Metrics:
    """Counts what the sources and the tools do. Its own registry: two servers can live in one process.

    Only what the configuration and the code name becomes a label, nothing that a caller or a backend writes.
    `audit` gives how the records of a running engine stand.
    """

    def __init__(self, audit: Callable[[Engine], AuditStanding | None] = audit_of) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # when each series began is one more series for each
        self.registry = CollectorRegistry()
        self.audit = audit
        self.engine: Engine | None = None
        self.source_requests = self.counter("source_requests", "Upstream calls", "source", "status", "kind")
        self.source_seconds = self.histogram("source_seconds", "How long a source took", "source")
        self.cache_lookups = self.counter(
            "cache_lookups", "Questions to a source, by what was kept of them", "source", "result"
        )
        self.requests = self.counter("requests", "Messages of MCP clients", "method", "outcome")
        self.tool_calls = self.counter("tool_calls", "Tool calls", "tool", "outcome")
        self.tool_seconds = self.histogram("tool_seconds", "How long a tool call took", "tool")
        running = Gauge(
            "telemetry_mcp_tool_calls_running", "Tool calls under way", ["tool"], registry=self.registry
        )
        self.tools_running = cache(running.labels)
        self.refusals = self.counter(
            "refusals", "Requests that the server itself turned away: denied, or one too many", "reason", "caller"
        )
        self.http_answers = self.counter("http_answers", "Answers of the HTTP endpoint", "code")
        build = Gauge(
            "telemetry_mcp_build_info", "What runs; always 1", ["version", "python"], registry=self.registry
        )
        build.labels(version("telemetry-mcp"), platform.python_version()).set(1)
        ProcessCollector(registry=self.registry)

    def counter(self, name: str, what: str, *labels: str) -> Callable[..., Counter]:
        """Gives the counter of some labels; finding it takes the library longer than counting."""
        made = Counter(f"telemetry_mcp_{name}_total", what, labels, registry=self.registry)
        return cache(made.labels)

    def histogram(self, name: str, what: str, *labels: str) -> Callable[..., Histogram]:
        made = Histogram(f"telemetry_mcp_{name}", what, labels, buckets=BUCKETS_S, registry=self.registry)
        return cache(made.labels)

    @contextmanager
    def of(self, engine: Engine) -> Iterator[None]:
        """Within the block the state of `engine` is read whenever the metrics are."""
        gauges: Collector = Gauges(engine, self.audit)
        self.registry.register(gauges)
        self.engine = engine
        try:
            yield
        finally:
            self.engine = None
            self.registry.unregister(gauges)

    def observe(self, outcome: Outcome[Any]) -> None:
        """A request to a source that really was made."""
        kind = outcome.failure.kind if outcome.failure else ""
        self.source_requests(outcome.source, outcome.status, kind).inc()
        self.source_seconds(outcome.source).observe((outcome.latency_ms or 0) / 1000)

    def found(self, source: str, found: Found) -> None:
        """What the cache had of a question to a source."""
        self.cache_lookups(source, found).inc()

    def answered(self, code: int) -> None:
        """An answer of the HTTP endpoint has begun."""
        self.http_answers(code).inc()

    def watch(self, server: MCPServer[Any]) -> Any:
        """The middleware that counts what is asked of `server`; its place is right after the one that says who
        asks. Only names of real methods and tools become labels."""

        async def count(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
            tool = tool_of(server, ctx)
            started, outcome = perf_counter(), "error"
            if tool:
                self.tools_running(tool).inc()
            try:
                answer = await call_next(ctx)
                outcome = "tool_error" if failed(answer) else "ok"
                return answer
            except asyncio.CancelledError:
                outcome = "cancelled"
                raise
            finally:
                self.requests(ctx.method if ctx.method in METHODS else OTHER, outcome).inc()
                if tool:
                    self.tools_running(tool).dec()
                    self.tool_calls(tool, outcome).inc()
                    self.tool_seconds(tool).observe(perf_counter() - started)
                if (visit := VISIT.get(None)) is not None and visit.refusal is not None:
                    self.refusals(visit.refusal, visit.caller.kind).inc()

        return count

    def exposition(self) -> bytes:
        return generate_latest(self.registry)


def tool_of(server: MCPServer[Any], ctx: ServerRequestContext[Any, Any]) -> str | None:
    """The tool that is called, if there is such a tool."""
    name = (ctx.params or {}).get("name") if ctx.method == "tools/call" else None
    return name if isinstance(name, str) and server._tool_manager.get_tool(name) is not None else None


def failed(answer: Any) -> bool:
    return bool(answer.get("isError") if isinstance(answer, dict) else getattr(answer, "is_error", False))
