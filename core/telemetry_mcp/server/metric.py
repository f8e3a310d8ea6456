"""The server's own metrics, in Prometheus' exposition format."""

from __future__ import annotations

from time import perf_counter
from typing import Any

from mcp.server import MCPServer
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from telemetry_mcp.model import Outcome

BUCKETS_S = (0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """Counts what the sources and the tools do. Its own registry: two servers can live in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.source_requests = Counter(
            "telemetry_mcp_source_requests_total",
            "Upstream calls by source and outcome",
            ["source", "status", "kind"],
            registry=self.registry,
        )
        self.source_seconds = Histogram(
            "telemetry_mcp_source_seconds",
            "How long a source took",
            ["source"],
            buckets=BUCKETS_S,
            registry=self.registry,
        )
        self.tool_calls = Counter(
            "telemetry_mcp_tool_calls_total", "Tool calls by outcome", ["tool", "outcome"], registry=self.registry
        )
        self.tool_seconds = Histogram(
            "telemetry_mcp_tool_seconds",
            "How long a tool call took",
            ["tool"],
            buckets=BUCKETS_S,
            registry=self.registry,
        )

    def observe(self, outcome: Outcome[Any]) -> None:
        """A request to a source that really was made."""
        kind = outcome.failure.kind if outcome.failure else ""
        self.source_requests.labels(outcome.source, outcome.status, kind).inc()
        self.source_seconds.labels(outcome.source).observe((outcome.latency_ms or 0) / 1000)

    def watch(self, server: MCPServer[Any]) -> None:
        """Count the tool calls of `server`. Only names of real tools become labels."""

        async def count(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
            name = (ctx.params or {}).get("name") if ctx.method == "tools/call" else None
            if not isinstance(name, str) or server._tool_manager.get_tool(name) is None:
                return await call_next(ctx)
            started, outcome = perf_counter(), "error"
            try:
                answer = await call_next(ctx)
                outcome = "tool_error" if failed(answer) else "ok"
                return answer
            finally:
                self.tool_calls.labels(name, outcome).inc()
                self.tool_seconds.labels(name).observe(perf_counter() - started)

        server.middleware.insert(0, count)

    def exposition(self) -> bytes:
        return generate_latest(self.registry)


def failed(answer: Any) -> bool:
    return bool(answer.get("isError") if isinstance(answer, dict) else getattr(answer, "is_error", False))
