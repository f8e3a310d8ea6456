"""Spans of OpenTelemetry for what a call asks its sources. While nobody records any, nothing is made.

Only the API is needed here; who sends spans, and where to, is set up by `serve` (terminal/tracing.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from opentelemetry import trace
from opentelemetry.trace import INVALID_SPAN, Link, Span, SpanKind, StatusCode

from telemetry_mcp.model import Outcome

TRACER = trace.get_tracer("telemetry_mcp")


def begin(source: str, plugin: str, method: str, *, shares: Span = INVALID_SPAN) -> Span:
    """The span of one question to one source, a child of the current one; INVALID_SPAN while that records nothing.

    `shares` is the span of another call's upstream request by which this question is answered, too: each of the
    two gets a link to the other.
    """
    if not trace.get_current_span().is_recording():
        return INVALID_SPAN
    shared = shares.get_span_context().is_valid
    span = TRACER.start_span(
        f"source {source}",
        kind=SpanKind.INTERNAL if shared else SpanKind.CLIENT,
        attributes={
            "telemetry_mcp.source": source,
            "telemetry_mcp.plugin": plugin,
            "telemetry_mcp.method": method,
            "telemetry_mcp.shared": shared,
        },
        links=[Link(shares.get_span_context())] if shared else [],
    )
    if shared:
        shares.add_link(span.get_span_context())
    return span


def end(span: Span, outcome: Outcome[Any] | None) -> None:
    """End it with what came of the question; None: nobody waited for that any more. A second end does nothing."""
    if not span.is_recording():
        return
    span.set_attribute("telemetry_mcp.status", "left" if outcome is None else outcome.status)
    if outcome is not None:
        span.set_attribute("telemetry_mcp.cached", outcome.cached_age_s is not None)
        span.set_attribute("telemetry_mcp.items", len(outcome.reply.items))
        if outcome.failure is not None:
            # Not its words: they may quote the question.
            span.set_attribute("error.type", outcome.failure.kind)
            span.set_status(StatusCode.ERROR)
    span.end()


def kept(outcome: Outcome[Any], method: str) -> None:
    """A question that was answered from the cache."""
    end(begin(outcome.source, outcome.plugin, method), outcome)


def under(span: Span) -> AbstractContextManager[object]:
    """Within the block, `span` is the current one. Where it records nothing, what is current stays so."""
    if not span.is_recording():
        return nullcontext()
    return trace.use_span(span, end_on_exit=False, record_exception=False, set_status_on_exception=False)


def trace_headers() -> Mapping[str, str]:
    """The header `traceparent` for a request to a backend; empty while no span is recorded.

    Neither `tracestate` nor baggage: what the caller wrote there is not for the backends.
    """
    span = trace.get_current_span()
    if not span.is_recording():
        return {}
    at = span.get_span_context()
    return {"traceparent": f"00-{at.trace_id:032x}-{at.span_id:016x}-{at.trace_flags:02x}"}
