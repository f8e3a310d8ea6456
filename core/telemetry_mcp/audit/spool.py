"""The spool of one process: a claimed directory, the chain that goes on in it, and the journal of its lines."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any

import orjson

from telemetry_mcp.audit import AuditRecord
from telemetry_mcp.audit.chain import START, Seal, Tail, link_of, resumed, tail_document, tail_from
from telemetry_mcp.audit.claim import Claim, claimed, first_free, neighbours
from telemetry_mcp.audit.ecs import document
from telemetry_mcp.audit.journal import CURSOR, SUFFIX, Journal, content, replace_file
from telemetry_mcp.audit.mask import told
from telemetry_mcp.boundary import contain
from telemetry_mcp.text import plain

LOG = logging.getLogger(__name__)

MIB = 2**20
INSTANCE = "instance"
TAIL = "tail"
UNWRITTEN = "audit.unwritten"
LATEST_MS = 253_402_300_799_000
"""The end of the year 9999."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where spools are, and what holds for each of them. `keep`: full means refuse, not drop."""

    path: Path
    sinks: tuple[str, ...]
    max_mb: float = 256
    secret: bytes | None = None
    keep: bool = False
    version: str = ""


class Spool:
    """Opened in a directory that no other process has. All methods block; `commit` from one thread at a time.

    OSError where there is no directory to be had.
    """

    def __init__(self, place: Place, known: Tail | None = None) -> None:
        self.place = place
        self.claim = first_free(place.path)
        try:
            self.journal = opened(self.claim, place)
            self.instance = instance_of(self.claim.folder)
            noted = noted_tail(self.claim.folder) if known is None else known
            self.chain, self.broken_off = resumed(Seal(place.secret), self.journal.last_line(), noted)
        except BaseException:
            self.claim.release()
            raise
        self.service = {"name": "telemetry-mcp", "version": place.version, "node": {"name": self.instance}}
        self.host = {"name": socket.gethostname()}

    def commit(self, records: Sequence[AuditRecord]) -> None:
        """Write records as the next ones of the chain, all or none. SpoolError or OSError where it cannot be."""
        fresh = not self.chain.begun
        lines, tail = [], self.chain.tail
        if fresh:
            records = [self.beginning(records), *records]
        for record in records:
            line, tail = self.line(record, tail)
            lines.append(line)
        self.journal.append(lines, fresh=fresh)
        self.chain.tail = tail

    def line(self, record: AuditRecord, tail: Tail) -> tuple[bytes, Tail]:
        """A record that has no form as JSON must not keep others out: it is written without what is odd, or else
        one is in its place."""
        for form, left in ((as_it_is, "in part only"), (in_part, "not at all, another is in its place")):
            with contain() as kept:
                return self.chain.line(self.fields(form(record)), tail)
            LOG.error("an audit record is written %s: %s", left, told(kept.error))
        return self.chain.line(self.fields(in_its_place()), tail)

    def beginning(self, records: Sequence[AuditRecord]) -> AuditRecord:
        """The first record of a chain: it names the end of the one before it, as far as that is known."""
        at_ms = records[0].at_ms if records else 0
        return AuditRecord(at_ms, START, self.instance, "answered", 0.0, arguments=tail_document(self.broken_off))

    def fields(self, record: AuditRecord) -> Mapping[str, Any]:
        return {**document(record), "service": self.service, "host": self.host}

    def close(self) -> None:
        """The claim is released in any case."""
        try:
            with suppress(OSError):
                if self.chain.begun:
                    replace_file(self.claim.folder / TAIL, orjson.dumps(tail_document(self.chain.tail)))
        finally:
            self.journal.close()
            self.claim.release()


def as_it_is(record: AuditRecord) -> AuditRecord:
    return record


def in_part(record: AuditRecord) -> AuditRecord:
    """Who asked for what and what came of it, without the rest; the time is cut to what can be written."""
    return AuditRecord(
        at_ms=min(max(record.at_ms, 0), LATEST_MS),
        action=plain(record.action),
        name=record.name,
        outcome=plain(record.outcome),
        duration_ms=0.0,
        subject=record.subject,
        kind=plain(record.kind),
        roles=record.roles,
        client=record.client,
        address=record.address,
        reason="written in part only: the rest has no form as JSON",
        user_agent=record.user_agent,
    )


def in_its_place() -> AuditRecord:
    now_ms = time.time_ns() // 1_000_000
    why = "a record has no form as JSON, not even in part"
    return AuditRecord(now_ms, UNWRITTEN, "spool", "answered", 0.0, reason=why, items=1)


class Orphan:
    """The spool of a process that has ended, of which sinks have not got everything. Nothing is written to it."""

    def __init__(self, claim: Claim, journal: Journal) -> None:
        self.claim = claim
        self.journal = journal

    @property
    def delivered(self) -> bool:
        return not any(self.journal.waiting(sink)[0] for sink in self.journal.cursors)

    def close(self) -> None:
        self.journal.close()
        self.claim.release()


def orphans(place: Place) -> Iterator[Orphan]:
    """What ended processes left undelivered beside `place`. A directory that is no good is named in the log."""
    for folder in neighbours(place.path):
        orphan = None
        with contain() as kept:
            orphan = left_in(folder, place)
        if kept.error is not None:
            LOG.warning("%s cannot be looked into: %s", folder, told(kept.error))
        if orphan is not None:
            yield orphan


def left_in(folder: Path, place: Place) -> Orphan | None:
    """None where a process is at work there, and where every sink has everything."""
    claim = claimed(folder)
    if claim is None:
        return None
    orphan = Orphan(claim, opened(claim, place))
    if not orphan.delivered:
        return orphan
    orphan.close()
    return None


def opened(claim: Claim, place: Place) -> Journal:
    """The claim is released where it cannot be opened."""
    try:
        return Journal(claim.folder, round(place.max_mb * MIB), place.sinks, keep=place.keep)
    except BaseException:
        claim.release()
        raise


def instance_of(folder: Path) -> str:
    """The id of whoever writes here: the host's name and what was drawn when the directory was new."""
    path = folder / INSTANCE
    with suppress(OSError, UnicodeDecodeError):
        kept = path.read_text(encoding="utf-8").strip()
        if kept.isprintable() and kept:
            return kept
    drawn = f"{socket.gethostname()}-{token_hex(4)}"
    replace_file(path, drawn.encode())
    return drawn


def noted_tail(folder: Path) -> Tail | None:
    try:
        return tail_from(orjson.loads((folder / TAIL).read_bytes()))
    except (OSError, ValueError):
        return None


def delivered_tails(path: Path) -> Iterator[Tail]:
    """Of each spool at `path`, the newest record that every sink has got. What cannot be read is passed over."""
    for folder in neighbours(path):
        with suppress(OSError, ValueError, TypeError):
            cursors = [orjson.loads(cursor.read_bytes()) for cursor in folder.glob(f"*{CURSOR}")]
            number, offset, _ = min(cursors, default=(0, 0, 0))
            if offset:
                before = content(folder / f"{number:08}{SUFFIX}", 0, offset)
                yield link_of(orjson.loads(before.rstrip(b"\n").rpartition(b"\n")[2])).tail
