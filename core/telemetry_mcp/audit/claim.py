"""One directory, one process: a directory of the spool is written by whoever holds its lock, by nobody else."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

LOCK = "lock"
MOST = 1000
"""Directories beside each other: so many processes of one configuration at most."""


def state_directory() -> Path:
    """Where this user's programs keep what they must not lose."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "telemetry-mcp"
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "telemetry-mcp"


def default_place(config: Path) -> Path:
    """The directory of the spool where [spool] names none: one for each configuration file."""
    named = sha256(str(config.resolve()).encode()).hexdigest()[:10]
    return state_directory() / "spool" / f"{config.resolve().parent.name or 'root'}-{named}"


def numbered(place: Path, number: int) -> Path:
    return place if number == 0 else place.with_name(f"{place.name}.{number}")


def neighbours(place: Path) -> list[Path]:
    """`place` and its numbered neighbours, as far as they are there."""
    pattern = re.compile(rf"{re.escape(place.name)}(?:\.(\d+))?")
    with suppress(OSError):
        found = [path for path in place.parent.iterdir() if pattern.fullmatch(path.name) and path.is_dir()]
        return sorted(found, key=lambda path: (len(path.name), path.name))
    return []


class Claim:
    """The right to write in `folder`, which ends with `release` or with the process."""

    def __init__(self, folder: Path, descriptor: int) -> None:
        self.folder = folder
        self.descriptor = descriptor

    def release(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def claimed(folder: Path) -> Claim | None:
    """The claim on a directory that is there; None where another process has it. OSError where that is unknown."""
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        locked = lock(descriptor)
    except OSError:
        os.close(descriptor)
        raise
    if not locked:
        os.close(descriptor)
        return None
    return Claim(folder, descriptor)


def first_free(place: Path) -> Claim:
    """The claim on `place`, or on the first of its numbered neighbours that nobody has. OSError without any."""
    for folder in free_places(place):
        claim = claimed(folder)
        if claim is not None:
            return claim
    raise OSError(f"{MOST} processes hold {place} and its neighbours")


def free_places(place: Path) -> Iterator[Path]:
    for number in range(MOST):
        folder = numbered(place, number)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        yield folder


if sys.platform == "win32":
    import msvcrt

    def lock(descriptor: int) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
else:
    import fcntl

    def lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
