"""A file of lines that is never torn: appended to, synced, rotated by size. It blocks; one thread at a time."""

from __future__ import annotations

import logging
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from telemetry_mcp import TelemetryError

if sys.platform != "win32":
    import fcntl

LOG = logging.getLogger(__name__)

PRIVATE = 0o600
PIECE = 64 * 1024


class Rotated:
    """`path` and at most `keep` older files, path.1 being the newest of them, each at most `most` bytes long.

    Raises OSError for what the disk refuses, TelemetryError for a file that cannot be ours.
    """

    def __init__(self, path: Path, most: int, keep: int, *, fsync: bool = True) -> None:
        self.path, self.most, self.keep, self.fsync = path, most, keep, fsync
        self.file: int | None = None

    def append(self, lines: Sequence[bytes]) -> None:
        """Write all of them, each with its line end. When it raises, the file still ends with a whole line."""
        file = self.opened()
        for nth, piece in enumerate(self.pieces(lines, os.fstat(file).st_size)):
            if nth:
                file = self.rotated()
            if piece:
                self.write(file, piece)

    def pieces(self, lines: Sequence[bytes], size: int) -> Iterator[bytes]:
        """What belongs into the file that has `size` bytes, then what belongs into the next ones."""
        piece: list[bytes] = []
        for line in lines:
            if size and size + len(line) > self.most:
                yield b"".join(piece)
                piece, size = [], 0
            piece.append(line)
            size += len(line)
        yield b"".join(piece)

    def write(self, file: int, piece: bytes) -> None:
        before = os.fstat(file).st_size
        left = memoryview(piece)
        try:
            while left:
                left = left[os.write(file, left) :]
            if self.fsync:
                os.fsync(file)
        except OSError:
            os.ftruncate(file, before)
            raise

    def opened(self) -> int:
        """The file that is at `path` now: another program may have moved the one that we had open."""
        if self.file is not None and not same(self.file, self.path):
            self.close()
        if self.file is None:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.file = self.claimed()
        return self.file

    def claimed(self) -> int:
        file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, PRIVATE)
        try:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise TelemetryError(f"{self.path} is not a file: audit records need one of their own")
            self.lock(file)
            self.mend(file)
            if self.fsync:
                sync_folder(self.path.parent)
        except BaseException:
            os.close(file)
            raise
        return file

    def lock(self, file: int) -> None:
        if sys.platform == "win32":
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TelemetryError(
                f"another process writes its audit records to {self.path}: give each instance a path of its own"
            ) from None

    def mend(self, file: int) -> None:
        """Cut off half a record that a crash left at the end: it was never confirmed, so that it comes again."""
        end = os.fstat(file).st_size
        tail = b""
        start = end
        while start and b"\n" not in tail:
            start, more = max(0, start - PIECE), start
            tail = os.pread(file, more - start, start) + tail
        torn = tail.rpartition(b"\n")[2]
        if not torn:
            return
        if not torn.startswith(b"{"):
            raise TelemetryError(f"{self.path} does not hold audit records: give them a file of their own")
        LOG.warning("%s ended in the middle of an audit record: %d bytes are cut off", self.path, len(torn))
        os.ftruncate(file, end - len(torn))

    def rotated(self) -> int:
        """Put the file aside and begin the next one, which whoever could read the last one can read too."""
        mode = stat.S_IMODE(os.stat(self.path).st_mode)
        self.close()
        free = next((nth for nth in range(1, self.keep + 1) if not self.older(nth).exists()), self.keep)
        for nth in range(free, 1, -1):
            os.replace(self.older(nth - 1), self.older(nth))
        os.replace(self.path, self.older(1))
        file = self.opened()
        os.chmod(self.path, mode)
        return file

    def older(self, nth: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{nth}")

    def close(self) -> None:
        if self.file is not None:
            file, self.file = self.file, None
            os.close(file)


def same(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False


def sync_folder(folder: Path) -> None:
    """Names are the folder's: without this a power cut may leave a new file without one."""
    if sys.platform == "win32":
        return
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
