"""Sends spans to where the standard OTEL_* variables say, for as long as `serve` runs."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from threading import Thread
from typing import TYPE_CHECKING

from opentelemetry import trace

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

LOG = logging.getLogger(__name__)

FLUSH_S = 2.0
"""What is left at the end for the spans that have not been sent yet."""
LONGEST_VALUE = 512
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
EXPORTERS = ("otlp", "console")
LENGTHS = ("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT")


@contextmanager
def traced(environ: Mapping[str, str] = os.environ) -> Iterator[None]:
    """Within the block spans are recorded and sent, if the environment says so; what is left is sent at its end.

    What stands in the way of that is one warning, never an error.
    """
    provider = provider_for(environ)
    if provider is None:
        yield
        return
    trace.set_tracer_provider(provider)
    try:
        yield
    finally:
        # Its own time-out is half a minute, and it cannot be told otherwise.
        sending = Thread(target=provider.shutdown, daemon=True)
        sending.start()
        sending.join(FLUSH_S)


def provider_for(environ: Mapping[str, str]) -> TracerProvider | None:
    """What records and sends the spans; None where that is not wished, or cannot be."""
    wished = exporter_of(environ)
    if wished is None:
        return None
    variable, name = wished
    if name not in EXPORTERS:
        LOG.warning("no traces are sent: %s=%s is not supported; valid: otlp, console, none", variable, name)
        return None
    protocol = first(environ, PROTOCOLS)
    if name == "otlp" and protocol and protocol[1] != "http/protobuf":
        LOG.warning("no traces are sent: %s=%s is not supported; valid: http/protobuf", *protocol)
        return None
    try:
        return provider(environ, name)
    except ImportError:
        LOG.warning(
            "no traces are sent although %s is set: install the extra, pip install 'telemetry-mcp[otel]'", variable
        )
        return None


def exporter_of(environ: Mapping[str, str]) -> tuple[str, str] | None:
    """The variable by which traces are switched on, and what sends them."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    name = environ.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    if name:
        return None if name == "none" else ("OTEL_TRACES_EXPORTER", name)
    endpoint = first(environ, ENDPOINTS)
    return (endpoint[0], "otlp") if endpoint else None


def first(environ: Mapping[str, str], names: tuple[str, ...]) -> tuple[str, str] | None:
    return next(((name, value) for name in names if (value := environ.get(name, "").strip())), None)


def provider(environ: Mapping[str, str], exporter: str) -> TracerProvider:
    from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
    from opentelemetry.sdk.trace import SpanLimits, TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    own = {SERVICE_VERSION: version("telemetry-mcp")}
    # Resource.create reads OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES, but what it is given comes before them.
    if "service.name" not in environ.get("OTEL_RESOURCE_ATTRIBUTES", "") and not environ.get("OTEL_SERVICE_NAME"):
        own[SERVICE_NAME] = "telemetry-mcp"
    made = TracerProvider(
        resource=Resource.create(own),
        span_limits=SpanLimits()
        if first(environ, LENGTHS)
        else SpanLimits(max_span_attribute_length=LONGEST_VALUE),
        shutdown_on_exit=False,
    )
    made.add_span_processor(BatchSpanProcessor(exporter_called(exporter)))
    return made


def exporter_called(name: str) -> SpanExporter:
    if name == "console":
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        # Under stdio, stdout is the protocol's.
        return ConsoleSpanExporter(out=sys.stderr)
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter()
