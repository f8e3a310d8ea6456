"""Every hook, on one page. pluggy registers, it does not query: a hook hands over classes, and the fan-out
calls their async methods itself, with its own deadlines and names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from telemetry_mcp.source import Source

PROJECT = "telemetry_mcp"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def telemetry_sources() -> Sequence[type[Source]]:  # type: ignore[empty-body]
    """The source classes of this plugin; usually one."""
