"""A record that has no form as JSON: it harms no other, and is not lost without a word."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from anyio import fail_after

from telemetry_mcp.audit import AuditRecord, AuditSink
from telemetry_mcp.audit.auditor import Auditor
from telemetry_mcp.audit.spool import Place
from telemetry_mcp.audit.verify import verify
from telemetry_mcp.setting import PluginSettings

SECRET = b"a secret of the server for tests, long enough"
SOUND = AuditRecord(1_790_000_000_000, "tools/call", "sound", "answered", 1.0, subject="alice")
ODD = {
    "a trace that is no text": replace(SOUND, name="odd", trace_id="\ud800"),
    "a source of no name": replace(SOUND, name="odd", sources={"\ud800": "ok"}),
    "more items than a number holds": replace(SOUND, name="odd", items=2**80),
    "no duration": replace(SOUND, name="odd", duration_ms=float("nan")),
    "an endless duration": replace(SOUND, name="odd", duration_ms=float("inf")),
    "a time after all years": replace(SOUND, name="odd", at_ms=10**18),
    "a time before all years": replace(SOUND, name="odd", at_ms=-(10**18)),
}


class Kept(AuditSink):
    def __init__(self) -> None:
        super().__init__(PluginSettings(plugin="kept"))
        self.got: list[AuditRecord] = []
        self.lines: list[bytes] = []

    async def write_batch(self, records: Sequence[AuditRecord]) -> None:
        self.got += [record for record in records if record.action == "tools/call"]
        self.lines += [record.line for record in records]


@pytest.mark.parametrize("what", ODD)
@pytest.mark.parametrize("required", [False, True])
async def test_an_odd_record_is_written_in_part_and_those_behind_it_whole(
    what: str, required: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sink = Kept()
    place = Place(tmp_path / "spool", (), max_mb=1, secret=SECRET)
    with caplog.at_level(logging.ERROR):
        async with Auditor({"kept": sink}, place, required=required) as audit:
            with fail_after(10):
                await audit.settled(audit.record(ODD[what]))
                await audit.settled(audit.record(SOUND))
                while len(sink.got) < 2:  # noqa: ASYNC110 - it is asked from outside, and tells nobody
                    await anyio.sleep(0.005)
    odd, sound = sink.got
    assert (odd.name, odd.subject, odd.outcome) == ("odd", "alice", "answered")
    assert "in part only" in (odd.reason or "")
    assert (sound.name, sound.reason) == ("sound", None)
    assert verify(sink.lines, SECRET).ok
    assert "written in part only" in caplog.text
