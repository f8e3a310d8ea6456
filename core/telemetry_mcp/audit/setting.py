"""`[spool]` in plugins.toml."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from telemetry_mcp.setting import Strict


class SpoolSettings(Strict):
    """Where audit records wait for their sinks, and how many bytes may wait."""

    path: Path | None = Field(None, description="a directory (default: in the user's state directory)")
    max_mb: int = Field(256, ge=1, description="most that waits; beyond it the oldest are dropped, and counted")
