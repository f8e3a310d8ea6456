"""telemetry-mcp: one question, every source, one honest answer.

These names are all that a plugin author needs; everything else is the engine's own and may change.
"""

from telemetry_mcp.audit import AuditRecord, AuditSink
from telemetry_mcp.client import tls_context
from telemetry_mcp.clock import clock_check, date_s
from telemetry_mcp.detector import Detector
from telemetry_mcp.errors import (
    AuthError,
    BadQueryError,
    ConfigError,
    ForbiddenError,
    NotFoundError,
    PlanError,
    ProtocolError,
    RateLimitedError,
    SourceError,
    SourceTimeoutError,
    TelemetryError,
    UpstreamError,
)
from telemetry_mcp.gather import gather
from telemetry_mcp.hookspecs import hookimpl
from telemetry_mcp.http import (
    Http,
    HttpReply,
    bounded,
    decode_json,
    error_for_status,
    http_for,
    parse_json,
    retry_after,
)
from telemetry_mcp.look import failed_check, side_by_side
from telemetry_mcp.model import Change, Check, Dependency, Entry, Incident, OnCall, Reply, Series, Service, Slo
from telemetry_mcp.question import (
    ChangeQuery,
    DependencyQuery,
    IncidentQuery,
    NativeQuery,
    OnCallQuery,
    RelatedQuery,
    SeriesQuery,
    ServiceQuery,
    SloQuery,
    TimelineQuery,
    Window,
)
from telemetry_mcp.quota import Quota
from telemetry_mcp.setting import (
    Duration,
    HttpSettings,
    MetricQuery,
    PluginSettings,
    RemoteSettings,
    SourceSettings,
)
from telemetry_mcp.source import Context, Source, now_ms
from telemetry_mcp.span import trace_headers
from telemetry_mcp.text import clean
from telemetry_mcp.thread import Threads

__all__ = [
    "AuditRecord",
    "AuditSink",
    "AuthError",
    "BadQueryError",
    "Change",
    "ChangeQuery",
    "Check",
    "ConfigError",
    "Context",
    "Dependency",
    "DependencyQuery",
    "Detector",
    "Duration",
    "Entry",
    "ForbiddenError",
    "Http",
    "HttpReply",
    "HttpSettings",
    "Incident",
    "IncidentQuery",
    "MetricQuery",
    "NativeQuery",
    "NotFoundError",
    "OnCall",
    "OnCallQuery",
    "PlanError",
    "PluginSettings",
    "ProtocolError",
    "Quota",
    "RateLimitedError",
    "RelatedQuery",
    "RemoteSettings",
    "Reply",
    "Series",
    "SeriesQuery",
    "Service",
    "ServiceQuery",
    "Slo",
    "SloQuery",
    "Source",
    "SourceError",
    "SourceSettings",
    "SourceTimeoutError",
    "TelemetryError",
    "Threads",
    "TimelineQuery",
    "UpstreamError",
    "Window",
    "bounded",
    "clean",
    "clock_check",
    "date_s",
    "decode_json",
    "error_for_status",
    "failed_check",
    "gather",
    "hookimpl",
    "http_for",
    "now_ms",
    "parse_json",
    "retry_after",
    "side_by_side",
    "tls_context",
    "trace_headers",
]
