"""The file sink: whole lines, whatever happens to the file, the disk or the process."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio.lowlevel
import pytest

from telemetry_mcp import TelemetryError
from telemetry_mcp_audit.file import File
from telemetry_mcp_audit.rotation import Rotated
from tests.plugins.audit_record import number_of, records

Sink = Callable[..., File]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log" / "audit.jsonl"


@pytest.fixture
def sink(path: Path) -> Sink:
    def make(**more: Any) -> File:
        return File(File.Settings.model_validate({"plugin": "file", "path": path, "fsync": False, **more}))

    return make


def numbers(path: Path) -> list[int]:
    """Those of every file, the oldest first. Each line must be whole."""
    older = sorted(path.parent.glob(f"{path.name}.*"), key=lambda one: -int(one.suffix[1:]))
    return [number_of(line) for one in (*older, path) for line in one.read_bytes().splitlines()]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def files(path: Path) -> list[Path]:
    """The file and the older ones beside it, the newest first."""
    return sorted(path.parent.iterdir())


def made(path: Path, content: bytes) -> None:
    """A file that is there already."""
    path.parent.mkdir()
    path.write_bytes(content)


def content(path: Path) -> bytes:
    return path.read_bytes()


def moved(path: Path, to: str) -> None:
    path.rename(path.with_name(to))


async def test_records_are_lines_and_what_a_restart_adds_comes_behind_them(sink: Sink, path: Path) -> None:
    for start in (0, 3):
        file = sink()
        await file.write_batch(records(2, first=start))
        await file.write(records(1, first=start + 2)[0])
        await file.close()
    assert content(path) == b"".join(one.line + b"\n" for one in records(6))


async def test_only_the_owner_may_read_it(sink: Sink, path: Path) -> None:
    await sink().write_batch(records(1))
    assert mode(path) == 0o600
    assert mode(path.parent) == 0o700


async def test_rotation_loses_and_splits_nothing_and_keeps_each_file_below_its_size(
    sink: Sink, path: Path
) -> None:
    file = sink(max_mb=1, keep=5)
    for start in range(0, 12_000, 700):
        await file.write_batch(records(700, first=start))
    found = files(path)
    assert [one.name for one in found] == ["audit.jsonl", *(f"audit.jsonl.{nth}" for nth in range(1, 5))]
    assert all(2**20 - 1000 < one.stat().st_size <= 2**20 for one in found[1:])
    written = numbers(path)
    assert written == list(range(700 * 18))


async def test_only_so_many_older_files_are_kept_and_the_oldest_goes_first(sink: Sink, path: Path) -> None:
    file = sink(max_mb=1, keep=2)
    for start in range(0, 20_000, 1000):
        await file.write_batch(records(1000, first=start))
    assert [one.name for one in files(path)] == ["audit.jsonl", "audit.jsonl.1", "audit.jsonl.2"]
    written = numbers(path)
    assert written == list(range(written[0], 20_000))
    assert written[0] > 0


def test_one_batch_may_fill_several_files(path: Path) -> None:
    file = Rotated(path, most=100, keep=9, fsync=True)
    file.append([b"%040d\n" % nth for nth in range(9)])
    assert [len(one.read_bytes().splitlines()) for one in files(path)] == [1, 2, 2, 2, 2]


def test_a_record_larger_than_a_file_has_one_for_itself(path: Path) -> None:
    file = Rotated(path, most=100, keep=9)
    file.append([b"small\n", b"x" * 500 + b"\n", b"small\n"])
    assert [one.stat().st_size for one in files(path)] == [6, 501, 6]


async def test_whoever_may_read_a_file_may_read_the_next_one(sink: Sink, path: Path) -> None:
    file = sink(max_mb=1)
    await file.write_batch(records(1))
    os.chmod(path, 0o640)
    await file.write_batch(records(4000, first=1))
    assert [mode(one) for one in files(path)] == [0o640, 0o640]


async def test_a_file_that_was_moved_away_is_followed_by_a_new_one(sink: Sink, path: Path) -> None:
    file = sink()
    await file.write_batch(records(2))
    moved(path, "audit.jsonl.1")
    await file.write_batch(records(2, first=2))
    assert len(content(path).splitlines()) == 2
    assert numbers(path) == [0, 1, 2, 3]


async def test_half_a_record_that_a_crash_left_is_cut_off(
    sink: Sink, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = b"".join(one.line + b"\n" for one in records(3))
    made(path, whole + b'{"@timestamp":"2026-09-' + b"x" * 100_000)
    await sink().write_batch(records(2, first=3))
    assert numbers(path) == [0, 1, 2, 3, 4]
    assert "100023 bytes are cut off" in caplog.text


async def test_a_file_of_somebody_else_is_left_alone(sink: Sink, path: Path) -> None:
    made(path, b"something else")
    with pytest.raises(TelemetryError, match="does not hold audit records"):
        await sink().write_batch(records(1))
    assert content(path) == b"something else"


async def test_what_is_no_file_is_refused(sink: Sink, path: Path) -> None:
    os.mkdir(os.path.dirname(path))
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with pytest.raises(TelemetryError, match="is not a file"):
            await sink().write_batch(records(1))
    finally:
        os.close(reader)


async def test_two_instances_cannot_write_to_one_file(sink: Sink, path: Path) -> None:
    first, second = sink(), sink()
    await first.write_batch(records(1))
    with pytest.raises(TelemetryError, match="give each instance a path of its own"):
        await second.write_batch(records(1, first=1))
    await first.close()
    await second.write_batch(records(1, first=1))
    assert numbers(path) == [0, 1]


FULL = """
import anyio, resource, signal, sys
from telemetry_mcp_audit.file import File
from tests.plugins.audit_record import records
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))

async def main():
    file = File(File.Settings(plugin="file", path=sys.argv[1]))
    await file.write_batch(records(10))
    try:
        await file.write_batch(records(100, first=10))
    except OSError as error:
        print(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await file.write_batch(records(100, first=10))

anyio.run(main)
"""


def test_a_disk_that_is_full_in_the_middle_of_a_batch_leaves_no_half_record(path: Path) -> None:
    ran = subprocess.run([sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, check=True)
    assert "File too large" in ran.stdout
    assert numbers(path) == list(range(110))


KILLED = """
import anyio, sys
from telemetry_mcp_audit.file import File
from tests.plugins.audit_record import records

async def main():
    file = File(File.Settings(plugin="file", path=sys.argv[1], max_mb=1, keep=500))
    for start in range(0, 10**9, 300):
        await file.write_batch(records(300, first=start))
        print(start + 300, flush=True)

anyio.run(main)
"""


def test_what_was_confirmed_is_there_after_a_kill(path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    confirmed = 0
    for line in process.stdout:
        confirmed = int(line)
        if confirmed >= 9_000:
            process.send_signal(signal.SIGKILL)
            break
    confirmed = max([confirmed, *map(int, process.stdout.read().split())])
    process.wait()
    process.stdout.close()
    file = File(File.Settings.model_validate({"plugin": "file", "path": path, "max_mb": 1, "keep": 500}))
    anyio.run(file.write_batch, records(1, first=10**6))
    *written, last = numbers(path)
    assert last == 10**6
    assert written == list(range(len(written)))
    assert len(written) >= confirmed


async def test_waiting_for_the_disk_holds_nobody_up(sink: Sink, path: Path) -> None:
    """The writing happens in a thread: what else there is to do goes on meanwhile."""
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(turn)
        await sink(fsync=True).write_batch(records(20_000))
        tasks.cancel_scope.cancel()
    assert turns > 100
    assert len(numbers(path)) == 20_000
