"""The contract of an audit sink that a plugin brings: where records of what was asked are written to.

    class Ledger(AuditSink):
        async def write(self, record): ...

    @hookimpl
    def telemetry_audit_sinks():
        return [Ledger]

It is switched on by a table `[audit.<name>]` in plugins.toml.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from telemetry_mcp.setting import PluginSettings


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One call of a tool, or one reading of a resource.

    `at_ms` is when it began, `name` the tool or the resource's address. `outcome` is answered, or refused for a
    question that could not be asked or that no source answered. `sources` is the ledger: source -> status.
    """

    at_ms: int
    action: str
    name: str
    outcome: str
    duration_ms: float
    arguments: Mapping[str, Any] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)


class AuditSink:
    """Base of every audit sink. `write` should be quick: an answer waits for it, for a second at most."""

    Settings: ClassVar[type[PluginSettings]] = PluginSettings

    def __init__(self, settings: PluginSettings) -> None:
        self.settings = settings

    async def write(self, record: AuditRecord) -> None:
        """Keep the record. What it raises is logged, and harms neither the call nor the other sinks."""
        raise NotImplementedError

    async def close(self) -> None:
        """Let go of what was opened."""
