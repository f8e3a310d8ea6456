"""Spans that are kept in memory while a test listens. The process has one provider, and it is quiet otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult


class Switch(Sampler):
    """Samples everything while it is on, and nothing otherwise."""

    on = False

    def should_sample(
        self,
        parent_context: Any,
        trace_id: int,
        name: str,
        kind: Any = None,
        attributes: Any = None,
        links: Any = None,
        trace_state: Any = None,
    ) -> SamplingResult:
        return SamplingResult(Decision.RECORD_AND_SAMPLE if self.on else Decision.DROP, attributes)

    def get_description(self) -> str:
        return "switch"


class Spans(InMemorySpanExporter):
    """What has ended so far."""

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.get_finished_spans() if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        (span,) = self.named(name)
        return span


@cache
def provided() -> tuple[Switch, Spans]:
    switch, spans = Switch(), Spans()
    provider = TracerProvider(sampler=switch, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    trace.set_tracer_provider(provider)
    return switch, spans


@contextmanager
def recorded() -> Iterator[Spans]:
    """Records every span of this process within the block."""
    switch, spans = provided()
    spans.clear()
    switch.on = True
    try:
        yield spans
    finally:
        switch.on = False


def id_of(span: ReadableSpan) -> int:
    assert span.context
    return int(span.context.span_id)


def trace_of(span: ReadableSpan) -> int:
    assert span.context
    return int(span.context.trace_id)


def parent_of(span: ReadableSpan) -> int | None:
    return span.parent.span_id if span.parent else None


def traceparent_of(span: ReadableSpan) -> str:
    """What a backend is told of the span."""
    assert span.context
    return f"00-{trace_of(span):032x}-{id_of(span):016x}-{span.context.trace_flags:02x}"
