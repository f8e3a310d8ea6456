"""What the sinks share: all of them write batches."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from telemetry_mcp import AuditRecord, AuditSink, PluginSettings, UpstreamError, clean

LOG = logging.getLogger(__name__)

SMALL = 64 * 1024
"""Bytes that every server takes at once, unless a limit is wrong."""


class BatchSink(AuditSink):
    """A sink that writes many records at once. `refused` counts those that its backend will never take.

    A record is given up only where others beside it were taken, or where it alone is too large. When all are
    refused the fault is not theirs, and they wait until somebody has put it right.
    """

    def __init__(self, settings: PluginSettings) -> None:
        super().__init__(settings)
        self.refused = 0

    async def write(self, record: AuditRecord) -> None:
        await self.write_batch([record])

    async def write_batch(self, records: Sequence[AuditRecord]) -> None:
        raise NotImplementedError

    async def write_halves(self, records: Sequence[AuditRecord], why: str) -> None:
        """For a batch that is too large as a whole."""
        if len(records) > 1:
            middle = len(records) // 2
            await self.write_batch(records[:middle])
            await self.write_batch(records[middle:])
        elif len(records[0].line) > SMALL:
            self.refuse(records[0], why)
        else:
            raise UpstreamError(f"not even one record may be sent at once: raise the limit ({clean(why)})")

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
