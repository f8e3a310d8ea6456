"""`plugin = "file"`: JSON lines in a file that is rotated by size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from telemetry_mcp import AuditRecord, AuditSink, PluginSettings, Threads, hookimpl
from telemetry_mcp_audit.batch import BatchSink
from telemetry_mcp_audit.rotation import Rotated


class FileSettings(PluginSettings):
    path: Path = Field(description="where to; older files are path.1, path.2 and so on")
    max_mb: int = Field(100, ge=1, description="how large a file becomes before the next one is begun")
    keep: int = Field(10, ge=1, le=1000, description="how many older files are kept")
    fsync: bool = Field(True, description="wait until the disk has it: survives a power cut")


class File(BatchSink):
    Settings = FileSettings
    settings: FileSettings

    def __init__(self, settings: PluginSettings) -> None:
        super().__init__(settings)
        own = self.settings
        self.file = Rotated(own.path.expanduser(), own.max_mb * 2**20, own.keep, fsync=own.fsync)
        self.threads = Threads(1)

    async def write_batch(self, records: Sequence[AuditRecord]) -> None:
        await self.threads.run(lambda: self.file.append([record.line + b"\n" for record in records]))

    async def close(self) -> None:
        await self.threads.run(self.file.close)


@hookimpl
def telemetry_audit_sinks() -> Sequence[type[AuditSink]]:
    return [File]
