"""telemetry-mcp: one question, every source, one honest answer.

These names are all that a plugin author needs; everything else is the engine's own and may change.
"""

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
from telemetry_mcp.model import (
    Change,
    ChangeQuery,
    Check,
    Dependency,
    DependencyQuery,
    Incident,
    IncidentQuery,
    NativeQuery,
    Reply,
    Series,
    SeriesQuery,
    Service,
    ServiceQuery,
    Window,
)
from telemetry_mcp.setting import Duration, HttpSettings, MetricQuery, SourceSettings
from telemetry_mcp.source import Context, Source
from telemetry_mcp.text import clean
from telemetry_mcp.thread import Threads

__all__ = [
    "AuthError",
    "BadQueryError",
    "Change",
    "ChangeQuery",
    "Check",
    "ConfigError",
    "Context",
    "Dependency",
    "DependencyQuery",
    "Duration",
    "ForbiddenError",
    "Http",
    "HttpReply",
    "HttpSettings",
    "Incident",
    "IncidentQuery",
    "MetricQuery",
    "NativeQuery",
    "NotFoundError",
    "PlanError",
    "ProtocolError",
    "RateLimitedError",
    "Reply",
    "Series",
    "SeriesQuery",
    "Service",
    "ServiceQuery",
    "Source",
    "SourceError",
    "SourceSettings",
    "SourceTimeoutError",
    "TelemetryError",
    "Threads",
    "UpstreamError",
    "Window",
    "bounded",
    "clean",
    "decode_json",
    "error_for_status",
    "gather",
    "hookimpl",
    "http_for",
    "parse_json",
    "retry_after",
]
