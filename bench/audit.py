"""Audit records a second through the spool to a file, how long the loop stands still meanwhile, and how long a
call waits where its record is required."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from time import perf_counter

import anyio
from anyio.lowlevel import checkpoint
from figure import Figure

from telemetry_mcp import AuditRecord, AuditSink, PluginSettings
from telemetry_mcp.audit.auditor import Auditor
from telemetry_mcp.audit.spool import Place
from telemetry_mcp.audit.verify import verify

SUSTAINED_S = 3.0
LEAST = 5000.0
WAITING = 4000
"""Records on their way at most: more than a server has calls under way."""
SETTLED = 500
SETTLED_MS = 5.0
PACED_S = 1.5
EVERY_S = 0.005
STALL_MS = 100.0
SECRET = b"a secret of the server for the bench, long enough"
ARGUMENTS = {"service": "payment-processor", "metric_type": "latency", "hours": 24, "max_points": 60}
SOURCES = {"prometheus": "ok", "datadog": "ok", "newrelic": "no_data", "pagerduty": "skipped"}


class File(AuditSink):
    """The least that a file sink can do."""

    def __init__(self, path: Path) -> None:
        super().__init__(PluginSettings(plugin="file"))
        self.path = path
        self.written = 0

    async def write_batch(self, records: Sequence[AuditRecord]) -> None:
        text = b"".join(record.line + b"\n" for record in records)
        async with await anyio.open_file(self.path, "ab") as file:
            await file.write(text)
        self.written += len(records)


def record(number: int) -> AuditRecord:
    at_ms = 1_795_000_000_000 + number
    caller = {"subject": "alice@example.org", "kind": "user", "roles": ("viewer",), "address": "192.0.2.7"}
    return AuditRecord(
        *(at_ms, "tools/call", "query_historical_metrics", "answered", 12.5, ARGUMENTS, SOURCES),
        **caller,  # type: ignore[arg-type]
        items=8,
    )


async def sustained(folder: Path) -> float:
    """Records a second, from the first that is made to the last in the file."""
    sink, number = File(folder / "audit.jsonl"), 0
    async with Auditor({"file": sink}, place(folder)) as auditor:
        began = perf_counter()
        while perf_counter() - began < SUSTAINED_S:
            for _ in range(50):
                number += 1
                auditor.record(record(number))
            await checkpoint()
            while len(auditor.pending) > WAITING:  # noqa: ASYNC110 - it tells nobody
                await anyio.sleep(0.001)
        while sink.written < number:  # noqa: ASYNC110 - it tells nobody
            await anyio.sleep(0.001)
        took_s = perf_counter() - began
    report = verify((folder / "audit.jsonl").read_bytes().splitlines(), SECRET)
    assert report.ok
    assert report.chains[0].records == number + 1
    return number / took_s


async def stalled(folder: Path) -> float:
    """How late, in ms and at the worst, a task wakes while as many records come as must be possible."""
    longest_s, burst = 0.0, round(LEAST * EVERY_S)
    async with Auditor({"file": File(folder / "audit.jsonl")}, place(folder)) as auditor:
        for number in range(round(PACED_S / EVERY_S)):
            for nth in range(burst):
                auditor.record(record(number * burst + nth))
            began = perf_counter()
            await anyio.sleep(EVERY_S)
            longest_s = max(longest_s, perf_counter() - began - EVERY_S)
    return 1000 * longest_s


async def settled(folder: Path) -> float:
    """Milliseconds until one record is on disk, at the median of many one after another."""
    took = []
    async with Auditor({"file": File(folder / "audit.jsonl")}, place(folder), required=True) as auditor:
        for number in range(SETTLED):
            began = perf_counter()
            await auditor.settled(auditor.record(record(number)))
            took.append(1000 * (perf_counter() - began))
    return median(took)


def place(folder: Path) -> Place:
    return Place(folder / "spool", ("file",), secret=SECRET)


def measure() -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        rate = anyio.run(sustained, Path(folder))
    with tempfile.TemporaryDirectory() as folder:
        stall_ms = anyio.run(stalled, Path(folder))
    with tempfile.TemporaryDirectory() as folder:
        settled_ms = anyio.run(settled, Path(folder))
    return [
        Figure(f"audit, spooled and to a file for {SUSTAINED_S:g} s", rate, "records/s", LEAST, relation=">="),
        Figure(f"audit, longest stall of the loop at {LEAST:g} records/s", stall_ms, "ms", STALL_MS),
        Figure("audit, until a required record is on disk", settled_ms, "ms", SETTLED_MS),
    ]
