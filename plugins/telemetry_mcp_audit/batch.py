"""What the sinks share: all of them write batches."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from telemetry_mcp import AuditRecord, AuditSink, PluginSettings, clean

LOG = logging.getLogger(__name__)


class BatchSink(AuditSink):
    """A sink that writes many records at once. `refused` counts those that its backend will never take."""

    def __init__(self, settings: PluginSettings) -> None:
        super().__init__(settings)
        self.refused = 0

    async def write(self, record: AuditRecord) -> None:
        await self.write_batch([record])

    async def write_batch(self, records: Sequence[AuditRecord]) -> None:
        raise NotImplementedError

    def refuse(self, record: AuditRecord, why: str) -> None:
        """Give one record up, so that the others need not wait behind it for ever."""
        self.refused += 1
        LOG.error(
            "the audit record %s was refused for good and is left out (%d so far): %s",
            *(record.id, self.refused, clean(why)),
        )


def lines(records: Sequence[AuditRecord]) -> bytes:
    """The records as JSON lines."""
    return b"".join(record.line + b"\n" for record in records)
