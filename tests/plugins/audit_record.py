"""Audit records for tests of sinks, and whoever hands them over again until they are taken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic, sleep
from typing import Any

import anyio
import orjson

from telemetry_mcp import AuditRecord, AuditSink, SourceError

AT_MS = 1_790_000_000_123


def record(number: int, **more: Any) -> AuditRecord:
    """A record of the size that real ones have, whose `line` says its number; with text that is not ASCII."""
    document = {
        "@timestamp": "2026-09-21T14:13:20.123Z",
        "event": {"id": f"id-{number}", "action": "tools/call", "outcome": "success"},
        "labels": {"number": number},
        "message": 'résumé "of" [the] call \\ ' + "x" * 200,
    }
    told = {"action": "tools/call", "name": "list_services", "outcome": "answered", "duration_ms": 1.5}
    return AuditRecord(
        **{"at_ms": AT_MS + number, "id": f"id-{number}", "line": orjson.dumps(document), **told, **more}
    )


def records(count: int, first: int = 0) -> list[AuditRecord]:
    return [record(number) for number in range(first, first + count)]


def number_of(line: str | bytes) -> int:
    number: int = orjson.loads(line)["labels"]["number"]
    return number


async def hand_over(sink: AuditSink, all_of: Sequence[AuditRecord], size: int, within_s: float = 12.0) -> int:
    """Hand them over in order, each batch until it is taken. How often one was not."""
    failed, deadline = 0, monotonic() + within_s
    for start in range(0, len(all_of), size):
        batch = all_of[start : start + size]
        while not await taken(sink, batch):
            failed += 1
            assert monotonic() < deadline, "it was never taken"
            await anyio.sleep(0.02)
    return failed


async def soon(condition: Callable[[], bool], within_s: float = 10.0) -> bool:
    """Whether it comes true; looked at in a thread, as what it looks at may be files."""

    def look() -> bool:
        deadline = monotonic() + within_s
        while not (found := condition()) and monotonic() < deadline:
            sleep(0.01)
        return found

    return await anyio.to_thread.run_sync(look)


async def taken(sink: AuditSink, batch: Sequence[AuditRecord]) -> bool:
    try:
        await sink.write_batch(batch)
    except SourceError:
        return False
    return True
