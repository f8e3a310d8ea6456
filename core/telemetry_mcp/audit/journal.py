"""The journal on disk: lines in segment files, and for each sink how far it has come.

Lines are appended by one write a batch, and are in the hands of the operating system when that returns: they
outlive the process, though the last seconds not a power cut. All methods block, and may be called from any thread.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from urllib.parse import quote

import orjson

from telemetry_mcp.audit.chain import link_of

LOG = logging.getLogger(__name__)

SEGMENT_BYTES = 4 * 2**20
READ_BYTES = 2**20
SUFFIX = ".jsonl"
CURSOR = ".cursor"


class SpoolError(OSError):
    """The journal cannot take a record; its text says why."""


class LostError(SpoolError):
    """Somebody deleted or cut the journal's files under it: it must be opened anew."""


@dataclass(slots=True)
class Segment:
    number: int
    path: Path
    bytes: int = 0
    records: int = 0


@dataclass(frozen=True, slots=True)
class Cursor:
    """The next line of a sink: in which segment, at which byte, and how many lines of the segment come before."""

    segment: int = 0
    offset: int = 0
    records: int = 0


@dataclass(frozen=True, slots=True)
class Drop:
    """Records that a sink will never get. `first` and `last` are their ids, where they can be read."""

    sink: str
    records: int
    first: str
    last: str


@dataclass(frozen=True, slots=True)
class Portion:
    """The next lines of a sink, and where it stands when it has them; `missed` records are unreadable."""

    lines: list[bytes]
    after: Cursor
    missed: int = 0


class Journal:
    """The segments in `folder`, of which only the holder of its claim may make a Journal.

    `keep` is for records that must not be dropped before every sink has them: SpoolError is raised then in place
    of dropping. Opening cuts off what a killed process left half written. OSError where the directory is no good.
    """

    def __init__(self, folder: Path, max_bytes: int, sinks: Collection[str], *, keep: bool = False) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self.segment_bytes = min(SEGMENT_BYTES, max(max_bytes // 4, 1))
        self.keep = keep
        self.lock = Lock()
        self.descriptor = -1
        paths = sorted(path for path in folder.glob(f"*{SUFFIX}") if path.stem.isdecimal())
        self.segments = [segment(path, newest=path == paths[-1]) for path in paths]
        self.cursors = {sink: self.kept_cursor(sink) for sink in sinks}
        self.dropped: list[Drop] = []

    # ---- writing

    def append(self, lines: Sequence[bytes], *, fresh: bool = False) -> None:
        """Add lines, all or none. `fresh` begins a segment with them. SpoolError or OSError where it cannot be."""
        blob = b"".join(line + b"\n" for line in lines)
        with self.lock:
            self.make_room(len(blob))
            segment = self.segments[-1] if self.segments else None
            if segment is None or fresh or (segment.bytes and segment.bytes + len(blob) > self.segment_bytes):
                segment = self.begin()
            self.write(segment, blob)
            segment.bytes += len(blob)
            segment.records += len(lines)

    def write(self, segment: Segment, blob: bytes) -> None:
        try:
            if self.descriptor < 0:
                self.descriptor = os.open(segment.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            found = os.fstat(self.descriptor)
            if found.st_nlink == 0 or found.st_size < segment.bytes:
                raise LostError(f"{segment.path} was deleted or cut")
            if found.st_size > segment.bytes:
                os.ftruncate(self.descriptor, segment.bytes)
            left = memoryview(blob)
            while left:
                left = left[os.write(self.descriptor, left) :]
        except OSError:
            # What got there of it is cut off before the next lines are written.
            self.shut()
            raise

    def begin(self) -> Segment:
        """A new segment; what every sink has of the older ones is done with."""
        self.shut()
        number = self.segments[-1].number + 1 if self.segments else 1
        self.segments.append(Segment(number, self.folder / f"{number:08}{SUFFIX}"))
        self.forget_delivered()
        return self.segments[-1]

    def make_room(self, more: int) -> None:
        """Let the oldest segments go until `more` bytes fit in. SpoolError where they may not go."""
        if more > self.max_bytes:
            raise SpoolError(f"{more} bytes at once are more than [spool] max_mb")
        while self.size + more > self.max_bytes:
            if len(self.segments) == 1:
                self.begin()
                continue
            oldest = self.segments[0]
            behind = [sink for sink, cursor in self.cursors.items() if self.owed(oldest, cursor)]
            if behind and self.keep:
                raise SpoolError(f"{self.folder} is full: {', '.join(behind)} did not take what waits there")
            self.dropped += [self.drop(oldest, sink) for sink in behind]
            self.remove(oldest)

    def drop(self, segment: Segment, sink: str) -> Drop:
        cursor = self.cursors[sink]
        offset, before = (cursor.offset, cursor.records) if cursor.segment == segment.number else (0, 0)
        lines = content(segment.path, offset, segment.bytes - offset).split(b"\n")[:-1] or [b""]
        return Drop(sink, segment.records - before, place(lines[0]), place(lines[-1]))

    def remove(self, segment: Segment) -> None:
        if segment is self.segments[-1]:
            self.shut()
        segment.path.unlink(missing_ok=True)
        self.segments.remove(segment)

    def shut(self) -> None:
        if self.descriptor >= 0:
            with suppress(OSError):
                os.close(self.descriptor)
            self.descriptor = -1

    # ---- reading

    def read(self, sink: str, most: int) -> Portion:
        """No lines where there is nothing new, or where the rest of a segment was damaged by somebody else."""
        with self.lock:
            segment, cursor = self.next_segment(self.cursors[sink])
            if segment is None or cursor.offset >= segment.bytes:
                return Portion([], cursor)
            lines = self.lines(segment, cursor.offset, most)
        if not lines:
            end = Cursor(segment.number, segment.bytes, segment.records)
            return Portion([], end, missed=segment.records - cursor.records)
        read = sum(map(len, lines)) + len(lines)
        after = replace(cursor, offset=cursor.offset + read, records=cursor.records + len(lines))
        return Portion(lines, after)

    @staticmethod
    def lines(segment: Segment, offset: int, most: int) -> list[bytes]:
        """The lines from `offset` on, at most `most`, of about a megabyte, and whole ones only."""
        wanted = READ_BYTES
        while True:
            try:
                found = content(segment.path, offset, min(wanted, segment.bytes - offset))
            except FileNotFoundError:
                return []
            lines = found.split(b"\n")[:-1][:most]
            if lines or len(found) < wanted:
                return lines
            wanted *= 2

    def next_segment(self, cursor: Cursor) -> tuple[Segment | None, Cursor]:
        """The first segment that a sink has not read to its end."""
        for segment in self.segments:
            if segment.number < cursor.segment:
                continue
            here = cursor if segment.number == cursor.segment else Cursor(segment.number)
            if here.offset < segment.bytes or segment is self.segments[-1]:
                return segment, here
        return None, cursor

    def advance(self, sink: str, cursor: Cursor) -> None:
        """Note that a sink has everything before `cursor`. OSError where it cannot be noted for the next start."""
        with self.lock:
            self.cursors[sink] = cursor
            self.forget_delivered()
            self.note_cursor(sink, cursor)

    def note_cursor(self, sink: str, cursor: Cursor) -> None:
        path = self.cursor_path(sink)
        noted = orjson.dumps([cursor.segment, cursor.offset, cursor.records])
        with suppress(FileNotFoundError):
            replace_file(path, noted)

    def forget_delivered(self) -> None:
        """The newest segment stays, whoever has it: the chain goes on from its last line."""
        while self.cursors and len(self.segments) > 1:
            oldest = self.segments[0]
            if any(self.owed(oldest, cursor) for cursor in self.cursors.values()):
                return
            self.remove(oldest)

    @staticmethod
    def owed(segment: Segment, cursor: Cursor) -> bool:
        """Whether something of `segment` is still to be given to whom the cursor belongs to."""
        if cursor.segment != segment.number:
            return segment.number > cursor.segment and segment.records > 0
        return cursor.offset < segment.bytes

    def waiting(self, sink: str) -> tuple[int, int]:
        """How many records and bytes a sink has not got yet."""
        cursor = self.cursors[sink]
        behind = [segment for segment in tuple(self.segments) if segment.number >= cursor.segment]
        records, size = sum(each.records for each in behind), sum(each.bytes for each in behind)
        if behind and behind[0].number == cursor.segment:
            records, size = records - cursor.records, size - cursor.offset
        return records, size

    @property
    def size(self) -> int:
        return sum(segment.bytes for segment in tuple(self.segments))

    def last_line(self) -> bytes | None:
        """The newest line that there is."""
        for segment in reversed(self.segments):
            if segment.bytes:
                return content(segment.path, 0, segment.bytes).rstrip(b"\n").rpartition(b"\n")[2]
        return None

    def take_dropped(self) -> list[Drop]:
        """What was dropped since this was last asked."""
        with self.lock:
            dropped, self.dropped = self.dropped, []
        return dropped

    def cursor_path(self, sink: str) -> Path:
        return self.folder / f"{quote(sink, safe='')}{CURSOR}"

    def kept_cursor(self, sink: str) -> Cursor:
        """How far a sink had come when it was last noted; a new one begins with the oldest line."""
        try:
            number, offset, records = orjson.loads(self.cursor_path(sink).read_bytes())
            kept = Cursor(int(number), int(offset), int(records))
        except (OSError, ValueError, TypeError):
            return Cursor()
        segment = next((each for each in self.segments if each.number == kept.segment), None)
        # Beyond the end: what it had was cut off, or the files are others.
        beyond = segment and (kept.offset > segment.bytes or kept.records > segment.records)
        newest = self.segments[-1].number if self.segments else 0
        return Cursor() if beyond or kept.segment > newest else kept

    def close(self) -> None:
        with self.lock:
            self.shut()


def segment(path: Path, *, newest: bool) -> Segment:
    """A segment as it is on disk. At the end of the newest, what is no whole record is cut off: its writer was
    killed meanwhile."""
    found = path.read_bytes()
    end = found.rfind(b"\n") + 1
    while newest and end and not is_record(found[(start := found.rfind(b"\n", 0, end - 1) + 1) : end - 1]):
        end = start
    if newest and end < len(found):
        LOG.warning("%s: %d bytes at its end are no whole record: cut off", path, len(found) - end)
        os.truncate(path, end)
    return Segment(int(path.stem), path, end, found.count(b"\n", 0, end))


def is_record(line: bytes) -> bool:
    try:
        link_of(orjson.loads(line))
    except ValueError:
        return False
    return True


def content(path: Path, offset: int, size: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(size)


def place(line: bytes) -> str:
    """The id of the record of a line: its chain and number."""
    try:
        link = link_of(orjson.loads(line))
    except ValueError:
        return "?"
    return f"{link.chain}.{link.sequence}"


def replace_file(path: Path, text: bytes) -> None:
    """Write a small file, whole or not at all."""
    new = path.with_name(f"{path.name}.new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(text)
    new.replace(path)
