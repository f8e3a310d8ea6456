"""`telemetry-mcp audit verify`: whether the records in files are as they were written."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from telemetry_mcp.audit.report import ChainReport, Fault, Report
from telemetry_mcp.audit.spool import delivered_tails
from telemetry_mcp.audit.verify import Verifier
from telemetry_mcp.config import Config
from telemetry_mcp.engine import place_of
from telemetry_mcp.errors import ConfigError
from telemetry_mcp.terminal.target import CommandError

GZIP = b"\x1f\x8b"
MOST_FAULTS = 50
OPEN_END = "no farewell of the server stands at its end: it runs, it was killed, or newer records were cut off"


def verified(files: Sequence[Path], config: Config | None, *, headless: bool = False) -> Report:
    """What is in `files`, whatever their order. The key, and the spool to compare the ends with, are those of the
    configuration. Raises CommandError for a file that cannot be opened."""
    place = None if config is None else place_of(usable(config))
    # Before the files are read: records that are delivered meanwhile are not missing.
    tails = [] if place is None else list(delivered_tails(place.path))
    verifier = Verifier(place.secret if place else None, headless=headless)
    for path in sorted(files, key=begins):
        number = 0
        try:
            for number, line in enumerate(lines(path), 1):
                verifier.take(line, str(path), number)
        except (EOFError, zlib.error, gzip.BadGzipFile):
            verifier.report.faults.append(Fault("unreadable", str(path), number + 1, "the file breaks off"))
    return verifier.finished(tails)


def usable(config: Config) -> Config:
    """ConfigError where it is not known which key it names."""
    wrong = [problem for problem in config.problems if problem.table in ("access", "spool")]
    if wrong:
        raise ConfigError(wrong)
    return config


def lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            packed = file.read(2) == GZIP
            file.seek(0)
            yield from gzip.GzipFile(fileobj=file) if packed else file
    except gzip.BadGzipFile:
        raise
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror or error}") from None


def begins(path: Path) -> str:
    """The time of the first record: of rotated files the oldest is read first."""
    try:
        return str(orjson.loads(next(lines(path)))["@timestamp"])
    except (StopIteration, ValueError, KeyError, TypeError, EOFError, zlib.error, gzip.BadGzipFile):
        return ""


def document(report: Report) -> dict[str, Any]:
    """The report as one JSON document."""
    return {"ok": report.ok, **asdict(report)}


def told(report: Report) -> Iterator[str]:
    """The report in lines for a person."""
    for fault in report.faults[:MOST_FAULTS]:
        yield sentence(fault)
    if len(report.faults) > MOST_FAULTS:
        yield f"and {len(report.faults) - MOST_FAULTS} more lines that are no records"
    for chain in report.chains:
        yield headline(chain)
        yield from (f"  {sentence(fault)}" for fault in chain.faults[:MOST_FAULTS])
        if len(chain.faults) > MOST_FAULTS:
            yield f"  and {len(chain.faults) - MOST_FAULTS} more"
        yield from (f"  note: {note}" for note in [*chain.notes, *([] if chain.ended else [OPEN_END])])
    faults = len(report.faults) + sum(len(chain.faults) for chain in report.chains)
    records = sum(chain.records for chain in report.chains)
    yield f"{records} records in {len(report.chains)} chains: {'ok' if report.ok else f'{faults} faults'}"


def headline(chain: ChainReport) -> str:
    signed = "signed" if chain.signed else "not signed"
    dropped = f", {chain.dropped} dropped" if chain.dropped else ""
    verdict = "ok" if not chain.faults else f"{len(chain.faults)} faults"
    return (
        f"chain {chain.chain} of {chain.instance or 'nobody'} ({signed}): {chain.records} records, "
        f"{chain.first or '-'} to {chain.last or '-'}, {chain.duplicates} duplicates{dropped}: {verdict}"
    )


def sentence(fault: Fault) -> str:
    return f"{fault.where}:{fault.line}: {fault.kind}: {fault.text}"
