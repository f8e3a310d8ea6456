"""`plugin = "stdout"`: one line a record, for whoever collects what a container prints."""

from __future__ import annotations

import os
import select
from collections.abc import Sequence

from telemetry_mcp import AuditRecord, AuditSink, PluginSettings, Threads, hookimpl
from telemetry_mcp_audit.batch import BatchSink, lines

STDOUT = 1
"""The descriptor and not sys.stdout, which holds lines back."""


class Stdout(BatchSink):
    """Not for stdio, where stdout is the protocol's: `serve` refuses it there by `takes_stdout`."""

    takes_stdout = True

    def __init__(self, settings: PluginSettings) -> None:
        super().__init__(settings)
        self.threads = Threads(1)

    async def write_batch(self, records: Sequence[AuditRecord]) -> None:
        text = lines(records)
        await self.threads.run(lambda: put(text))


def put(text: bytes) -> None:
    """Waits for a reader that is slow, even where another program made the pipe one that does not block."""
    left = memoryview(text)
    while left:
        try:
            left = left[os.write(STDOUT, left) :]
        except BlockingIOError:
            select.select([], [STDOUT], [])


@hookimpl
def telemetry_audit_sinks() -> Sequence[type[AuditSink]]:
    return [Stdout]
