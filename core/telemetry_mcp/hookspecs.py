"""Every hook, on one page. pluggy registers, it does not query: a hook hands over classes, and the engine makes
and calls the objects itself, with its own deadlines and names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from telemetry_mcp.audit import AuditSink
    from telemetry_mcp.detector import Detector
    from telemetry_mcp.source import Source

PROJECT = "telemetry_mcp"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def telemetry_sources() -> Sequence[type[Source]]:  # type: ignore[empty-body]
    """The source classes of this plugin; usually one."""


@hookspec
def telemetry_detectors() -> Sequence[type[Detector]]:  # type: ignore[empty-body]
    """The anomaly detectors of this plugin; `[detectors.<name>]` switches one on."""


@hookspec
def telemetry_audit_sinks() -> Sequence[type[AuditSink]]:  # type: ignore[empty-body]
    """Where records of what was asked are written to; `[audit.<name>]` switches one on."""
