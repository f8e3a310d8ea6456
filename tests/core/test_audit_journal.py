"""The journal on disk: what a killed process leaves, what happens when it is full, and who may write where."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import orjson
import pytest

from telemetry_mcp.audit import AuditRecord
from telemetry_mcp.audit.chain import link_of
from telemetry_mcp.audit.claim import claimed, default_place, first_free
from telemetry_mcp.audit.journal import Journal, LostError, SpoolError
from telemetry_mcp.audit.spool import Place, Spool, delivered_tails, orphans
from telemetry_mcp.audit.verify import verify

SECRET = b"a secret of the server for tests, long enough"
LIMIT_S = 20
WRITER = """
import sys
from pathlib import Path
from telemetry_mcp.audit import AuditRecord
from telemetry_mcp.audit.spool import Place, Spool
spool = Spool(Place(Path(sys.argv[1]), ("file",), secret=sys.argv[2].encode()))
for number in range(10**9):
    spool.commit([AuditRecord(number, "tools/call", "x" * 200, "answered", 1.0)] * 50)
"""


def record(number: int = 0) -> AuditRecord:
    return AuditRecord(1_790_000_000_000 + number, "tools/call", "list_services", "answered", 1.0)


def place(folder: Path, *sinks: str, max_mb: float = 1, keep: bool = False) -> Place:
    return Place(folder / "spool", sinks or ("file",), max_mb=max_mb, secret=SECRET, keep=keep)


def lines_of(folder: Path) -> list[bytes]:
    return [line for path in sorted(folder.glob("*.jsonl")) for line in path.read_bytes().split(b"\n") if line]


def numbers(lines: list[bytes]) -> list[int]:
    return [link_of(orjson.loads(line)).sequence for line in lines]


def taken(journal: Journal, sink: str = "file", most: int = 1000) -> list[bytes]:
    """What a sink takes in one go."""
    portion = journal.read(sink, most)
    journal.advance(sink, portion.after)
    return portion.lines


def test_a_restart_goes_on_with_the_chain_and_where_each_sink_was(tmp_path: Path) -> None:
    spool = Spool(place(tmp_path, "a", "b"))
    spool.commit([record(n) for n in range(5)])
    assert numbers(taken(spool.journal, "a", 4)) == [1, 2, 3, 4]
    spool.close()
    again = Spool(place(tmp_path, "a", "b"))
    again.commit([record(5)])
    assert again.instance == spool.instance
    assert numbers(taken(again.journal, "a")) == [5, 6, 7]
    assert numbers(taken(again.journal, "b")) == [1, 2, 3, 4, 5, 6, 7]
    assert again.journal.waiting("a") == again.journal.waiting("b") == (0, 0)
    again.close()
    report = verify(lines_of(tmp_path / "spool"), SECRET)
    assert report.ok
    assert [chain.records for chain in report.chains] == [7]


def test_another_secret_begins_a_chain_that_names_the_end_of_the_last(tmp_path: Path) -> None:
    for secret in (b"1" * 32, b"2" * 32):
        spool = Spool(Place(tmp_path / "spool", ("file",), secret=secret))
        spool.commit([record()])
        spool.close()
    first, second = (orjson.loads(line) for line in lines_of(tmp_path / "spool")[1:3])
    assert second["event"]["action"] == "chain.start"
    assert second["telemetry_mcp"]["arguments"] == {
        "chain": link_of(first).chain,
        "sequence": 2,
        "hash": first["event"]["hash"],
    }


def test_a_spool_that_was_emptied_is_named_by_the_next_chain(tmp_path: Path) -> None:
    spool = Spool(place(tmp_path))
    spool.commit([record(), record()])
    spool.close()
    (segment,) = (tmp_path / "spool").glob("*.jsonl")
    last = link_of(orjson.loads(lines_of(tmp_path / "spool")[-1])).tail
    segment.unlink()
    again = Spool(place(tmp_path))
    assert again.broken_off == last
    again.close()


@pytest.mark.parametrize("torn", [b"{", b'{"a": 1}\n', b"\x00" * 4096, b"\n\n", b'{"event":{"id":"'])
def test_what_a_killed_writer_left_half_written_is_cut_off(tmp_path: Path, torn: bytes) -> None:
    spool = Spool(place(tmp_path))
    spool.commit([record(1), record(2)])
    spool.close()
    (segment,) = (tmp_path / "spool").glob("*.jsonl")
    with segment.open("ab") as file:
        file.write(torn)
    again = Spool(place(tmp_path))
    assert numbers(lines_of(tmp_path / "spool")) == [1, 2, 3]
    again.commit([record(3)])
    again.close()
    lines = lines_of(tmp_path / "spool")
    assert numbers(lines) == [1, 2, 3, 4]
    assert verify(lines, SECRET).ok


def test_a_process_that_is_killed_while_it_writes_loses_no_record_that_was_written(tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    for _ in range(3):
        command = [sys.executable, "-c", WRITER, str(folder), SECRET.decode()]
        writer = subprocess.Popen(command)
        before = sum(path.stat().st_size for path in folder.glob("*.jsonl"))
        until = time.monotonic() + LIMIT_S
        while sum(path.stat().st_size for path in folder.glob("*.jsonl")) < before + 500_000:
            assert time.monotonic() < until
            assert writer.poll() is None
            time.sleep(0.005)
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
    spool = Spool(Place(folder, ("file",), secret=SECRET))
    spool.commit([record()])
    spool.close()
    report = verify(lines_of(folder), SECRET)
    assert report.ok, report
    assert len(report.chains) == 1


def test_beyond_the_bound_the_oldest_go_and_what_went_is_known(tmp_path: Path) -> None:
    spool = Spool(place(tmp_path, "slow", "fast"))
    dropped = []
    for number in range(300):
        spool.commit([record(number)] * 10)
        taken(spool.journal, "fast")
        dropped += spool.journal.take_dropped()
    assert spool.journal.size <= 2**20
    assert sum(path.stat().st_size for path in spool.claim.folder.glob("*.jsonl")) == spool.journal.size
    assert {drop.sink for drop in dropped} == {"slow"}
    left = []
    while lines := taken(spool.journal, "slow"):
        left += lines
    spool.close()
    gone = sum(drop.records for drop in dropped)
    assert gone > 0
    assert numbers(left) == list(range(gone + 1, 3002))
    assert dropped[0].first.endswith(".1")
    assert dropped[-1].last.endswith(f".{gone}")


def test_a_sink_that_had_a_part_of_what_is_dropped_lost_only_the_rest(tmp_path: Path) -> None:
    spool = Spool(place(tmp_path))
    spool.commit([record()] * 9)
    taken(spool.journal, most=4)
    while not (dropped := spool.journal.take_dropped()):
        spool.commit([record()] * 100)
    assert dropped[0].first.endswith(".5")
    assert dropped[0].records == int(dropped[0].last.rpartition(".")[2]) - 4
    spool.close()


def test_what_must_be_kept_is_not_dropped_but_refused_until_there_is_room(tmp_path: Path) -> None:
    spool = Spool(place(tmp_path, keep=True))

    def fill() -> None:
        for _ in range(100):
            spool.commit([record()] * 100)

    with pytest.raises(SpoolError, match="is full: file did not take what waits there"):
        fill()
    written = spool.chain.tail.sequence
    assert spool.journal.take_dropped() == []
    got = []
    while lines := taken(spool.journal):
        got += lines
    assert numbers(got) == list(range(1, written + 1))
    spool.commit([record()] * 100)
    spool.close()


def test_files_that_are_deleted_under_a_writer_are_noticed(tmp_path: Path) -> None:
    spool = Spool(place(tmp_path))
    spool.commit([record()])
    (segment,) = spool.claim.folder.glob("*.jsonl")
    segment.unlink()
    with pytest.raises(LostError, match="was deleted"):
        spool.commit([record()])
    spool.close()


def test_a_segment_that_somebody_cut_is_passed_over_and_counted(tmp_path: Path) -> None:
    spool = Spool(place(tmp_path))
    for _ in range(10):
        spool.commit([record()] * 100)
    first, *_ = sorted(spool.claim.folder.glob("*.jsonl"))
    records = first.read_bytes().count(b"\n")
    os.truncate(first, 100)
    portion = spool.journal.read("file", 1000)
    assert (portion.lines, portion.missed) == ([], records)
    spool.journal.advance("file", portion.after)
    assert numbers(spool.journal.read("file", 1).lines) == [records + 1]
    spool.close()


def test_two_processes_never_share_a_directory(tmp_path: Path) -> None:
    first, second = Spool(place(tmp_path)), Spool(place(tmp_path))
    assert [spool.claim.folder.name for spool in (first, second)] == ["spool", "spool.1"]
    assert claimed(first.claim.folder) is None
    first.close()
    third = first_free(tmp_path / "spool")
    assert third.folder.name == "spool"
    third.release()
    second.close()


def test_what_ended_processes_left_is_found_and_what_others_still_write_is_not(tmp_path: Path) -> None:
    left, alive, done = (Spool(place(tmp_path)) for _ in range(3))
    for spool in (left, alive, done):
        spool.commit([record()])
    taken(done.journal)
    left.close()
    done.close()
    (orphan,) = orphans(place(tmp_path))
    assert orphan.claim.folder.name == "spool"
    assert len(taken(orphan.journal)) == 2
    assert orphan.delivered
    orphan.close()
    assert list(orphans(place(tmp_path))) == []
    alive.close()


def test_the_spool_tells_which_record_every_sink_has(tmp_path: Path) -> None:
    spool = Spool(place(tmp_path, "a", "b"))
    spool.commit([record()] * 9)
    assert list(delivered_tails(tmp_path / "spool")) == []
    taken(spool.journal, "a", 7)
    taken(spool.journal, "b", 5)
    assert [tail.sequence for tail in delivered_tails(tmp_path / "spool")] == [5]
    spool.close()


def test_each_configuration_has_a_spool_of_its_own(tmp_path: Path) -> None:
    one, two = default_place(tmp_path / "a" / "plugins.toml"), default_place(tmp_path / "b" / "plugins.toml")
    assert one != two
    assert one.parent == two.parent
    assert one.parent.name == "spool"
