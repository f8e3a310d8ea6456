"""The contract of an audit sink that a plugin brings: where records of what was asked are written to.

    class Ledger(AuditSink):
        async def write(self, record): ...

    @hookimpl
    def telemetry_audit_sinks():
        return [Ledger]

It is switched on by a table `[audit.<name>]` in plugins.toml. No call waits for a sink: records are spooled first,
and handed over in order, in batches, again and again until the sink takes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from telemetry_mcp.setting import PluginSettings


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One call of a tool, one reading of a resource, one denial, or one act of whoever runs the server.

    `at_ms` is when it began, `name` the tool, the resource's address, the key, the file. `outcome` is answered,
    refused for a question that could not be asked or that no source answered, denied for one that this caller may
    not ask, limited for one too many. `sources` is the ledger: source -> status, `items` how many items came from
    all of them. `arguments` are masked. `line` is the record as one line of JSON with ECS field names, chained to
    the one before: what a sink should write where it can. `id` is the same when it is handed over again.
    """

    at_ms: int
    action: str
    name: str
    outcome: str
    duration_ms: float
    arguments: Mapping[str, Any] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)
    subject: str = "local"
    kind: str = "local"
    roles: tuple[str, ...] = ()
    client: str | None = None
    address: str | None = None
    reason: str | None = None
    items: int = 0
    trace_id: str | None = None
    id: str = ""
    line: bytes = b""
    user_agent: str | None = None


class AuditSink:
    """Base of every audit sink."""

    Settings: ClassVar[type[PluginSettings]] = PluginSettings

    takes_stdout: ClassVar[bool] = False
    """Whether it writes to stdout. Under stdio that is the protocol's: such a sink is refused there."""

    def __init__(self, settings: PluginSettings) -> None:
        self.settings = settings

    async def write(self, record: AuditRecord) -> None:
        """Keep one record. What it raises is logged, and the record is handed over again later."""
        raise NotImplementedError

    async def write_batch(self, records: Sequence[AuditRecord]) -> None:
        """Keep several, in order. When it returns they are kept for good; when it raises, or takes more than half
        a minute, all are handed over again later, so that some may come twice: `id` tells."""
        for record in records:
            await self.write(record)

    async def close(self) -> None:
        """Let go of what was opened."""
