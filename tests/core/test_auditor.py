"""Delivery to sinks that are down, slow or hung: nobody else is harmed, and nothing is lost up to the bound."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import anyio
import orjson
import pytest
from anyio import CancelScope, Event, fail_after

from telemetry_mcp.audit import AuditRecord, AuditSink
from telemetry_mcp.audit.auditor import Auditor
from telemetry_mcp.audit.delivery import Pace
from telemetry_mcp.audit.flood import MOST, WINDOW_S, Flood
from telemetry_mcp.audit.journal import SpoolError
from telemetry_mcp.audit.spool import Place, Spool
from telemetry_mcp.audit.verify import verify
from telemetry_mcp.setting import PluginSettings

SECRET = b"a secret of the server for tests, long enough"
QUICK = Pace(deadline_s=0.2, first_s=0.01, longest_s=0.05, last_s=0.5, linger_s=0.01)
LIMIT_S = 15


class Kept(AuditSink):
    """Keeps what it gets, while it is up."""

    def __init__(self) -> None:
        super().__init__(PluginSettings(plugin="kept"))
        self.got: list[AuditRecord] = []
        self.up = True
        self.tries = 0

    async def write_batch(self, records: Sequence[AuditRecord]) -> None:
        self.tries += 1
        if not self.up:
            raise OSError(28, "No space left")
        self.got += records

    @property
    def names(self) -> list[str]:
        """Of the calls, without what the spool itself wrote."""
        return [record.name for record in self.got if record.action == "tools/call"]

    @property
    def lines(self) -> list[bytes]:
        return [record.line for record in self.got]


class Hung(Kept):
    async def write_batch(self, records: Sequence[AuditRecord]) -> None:
        self.tries += 1
        await anyio.sleep_forever()


class Leaving(Kept):
    """A plugin that ends the program."""

    async def write_batch(self, records: Sequence[AuditRecord]) -> None:
        self.tries += 1
        raise SystemExit(3)


def record(name: object = 0) -> AuditRecord:
    return AuditRecord(1_790_000_000_000, "tools/call", str(name), "answered", 1.0)


def auditor(folder: Path, *, required: bool = False, max_mb: float = 1, **sinks: AuditSink) -> Auditor:
    place = Place(folder / "spool", (), max_mb=max_mb, secret=SECRET)
    return Auditor(sinks, place, required=required, pace=QUICK)


async def until(happened: Callable[[], object]) -> None:
    with fail_after(LIMIT_S):
        while not happened():  # noqa: ASYNC110 - it is asked from outside, and tells nobody
            await anyio.sleep(0.005)


async def test_every_sink_gets_every_record_in_order_and_with_its_line(tmp_path: Path) -> None:
    one, two = Kept(), Kept()
    async with auditor(tmp_path, one=one, two=two) as audit:
        for number in range(2500):
            audit.record(record(number))
        await until(lambda: len(one.names) == len(two.names) == 2500)
    assert one.names == [str(number) for number in range(2500)]
    assert one.got == two.got
    assert one.tries <= 30
    assert len({each.id for each in one.got}) == len(one.got)
    assert verify(one.lines, SECRET).ok
    standing = audit.standing().sinks["one"]
    assert (standing.waiting, standing.delivered, standing.dropped) == (0, 2501, 0)


async def test_what_a_sink_gets_is_masked(tmp_path: Path) -> None:
    sink = Kept()
    async with auditor(tmp_path, sink=sink) as audit:
        audit.record(
            AuditRecord(0, "tools/call", "x", "refused", 1.0, {"token": "hunter2"}, reason="password=hunter22")
        )
        await until(lambda: sink.names)
    assert sink.got[-1].arguments == {"token": "***"}
    assert sink.got[-1].reason == "password=***"
    assert b"hunter2" not in b"".join(sink.lines)


async def test_a_sink_that_is_down_gets_everything_when_it_is_up_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    down, other = Kept(), Kept()
    caplog.set_level(logging.ERROR)
    down.up = False
    async with auditor(tmp_path, down=down, other=other) as audit:
        for number in range(1000):
            audit.record(record(number))
        await until(lambda: len(other.names) == 1000 and down.tries > 3)
        standing = audit.standing().sinks["down"]
        assert standing.waiting == 1001
        assert standing.waiting_bytes > 100_000
        assert standing.failures >= 3
        assert standing.last_error == "OSError: [Errno 28] No space left"
        down.up = True
        await until(lambda: len(down.names) == 1000)
        await until(lambda: audit.standing().sinks["down"].waiting == 0)
        assert audit.standing().sinks["down"].last_error is None
    assert down.got == other.got
    said = [each.getMessage() for each in caplog.records if "No space left" in each.getMessage()]
    assert said == ["the audit sink down failed, what it should have got waits: OSError: [Errno 28] No space left"]


@pytest.mark.parametrize("kind", [Hung, Leaving])
async def test_a_sink_that_hangs_or_ends_the_program_harms_nobody(kind: type[Kept], tmp_path: Path) -> None:
    bad, good = kind(), Kept()
    with fail_after(LIMIT_S):
        async with auditor(tmp_path, bad=bad, good=good) as audit:
            for number in range(100):
                audit.record(record(number))
            await until(lambda: len(good.names) == 100 and bad.tries > 1)
            await audit.settled(audit.record(record("settled")))
            assert audit.standing().sinks["bad"].failures >= 1
    assert bad.got == []


async def test_what_was_not_delivered_is_at_the_next_start(tmp_path: Path) -> None:
    sink = Kept()
    sink.up = False
    async with auditor(tmp_path, sink=sink) as audit:
        audit.record(record("before"))
        await until(lambda: sink.tries)
    sink.up = True
    async with auditor(tmp_path, sink=sink) as audit:
        audit.record(record("after"))
        await until(lambda: len(sink.names) == 2)
    assert sink.names == ["before", "after"]
    report = verify(sink.lines, SECRET)
    assert report.ok
    assert len(report.chains) == 1


async def test_what_is_recorded_last_is_delivered_before_the_end(tmp_path: Path) -> None:
    sink = Kept()
    async with auditor(tmp_path, sink=sink) as audit:
        audit.record(record("last"))
    assert sink.names == ["last"]


async def test_a_start_that_is_cancelled_keeps_what_was_recorded(tmp_path: Path) -> None:
    """As over stdio, where the scope around the server is cancelled at its end."""
    sink = Kept()
    with CancelScope() as scope:
        async with auditor(tmp_path, sink=sink) as audit:
            await anyio.lowlevel.checkpoint()
            scope.cancel()
            audit.record(record("last"))
    assert sink.names == ["last"]


async def test_beyond_the_bound_drops_are_counted_alarmed_and_recorded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    down, up = Kept(), Kept()
    caplog.set_level(logging.ERROR)
    down.up = False
    async with auditor(tmp_path, down=down, up=up) as audit:
        for first in range(0, 4000, 50):
            entries = [audit.record(record(number)) for number in range(first, first + 50)]
            await audit.settled(entries[-1])
            await until(lambda wanted=first + 50: len(up.names) == wanted)  # type: ignore[misc]
        dropped = audit.standing().sinks["down"].dropped
        assert dropped > 1000
        assert audit.standing().sinks["up"].dropped == 0
        assert audit.standing().spool_bytes <= 2**20
        down.up = True
        await until(lambda: audit.standing().sinks["down"].waiting == 0)
    assert down.names[-1] == "3999"
    told = [each for each in up.got if each.action == "audit.dropped"]
    assert {each.name for each in told} == {"down"}
    assert sum(each.items for each in told) == dropped
    alarms = [
        each for each in caplog.records if each.levelno == logging.ERROR and "were dropped" in each.getMessage()
    ]
    # The first at once, the rest at the end: the minute between has not passed.
    assert len(alarms) == len(told) == 2
    assert verify(up.lines, SECRET).ok
    report = verify(down.lines, SECRET, headless=True)
    assert report.ok, report
    assert [chain.records for chain in report.chains] == [4001 + len(told) - dropped]


async def test_a_record_settles_when_it_is_on_disk(tmp_path: Path) -> None:
    async with auditor(tmp_path, required=True) as audit:
        await audit.settled(audit.record(record("settled")))
        written = b"".join(path.read_bytes() for path in (tmp_path / "spool").glob("*.jsonl"))
        assert b'"settled"' in written


@pytest.mark.parametrize("required", [True, False])
async def test_a_spool_that_cannot_be_had_is_a_fault_until_it_can(
    tmp_path: Path, required: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    (tmp_path / "spool").write_text("a file, where a directory should be")
    sink = Kept()
    async with auditor(tmp_path, required=required, sink=sink) as audit:
        assert audit.fault is not None
        entry = audit.record(record("early"))
        with pytest.raises(SpoolError, match="File exists"):
            await audit.settled(entry)
        (tmp_path / "spool").unlink()
        await until(lambda: audit.fault is None and sink.names)
        await audit.settled(audit.record(record("later")))
        await until(lambda: len(sink.names) == 2)
    assert sink.names == ["early", "later"]
    assert (sink.got[1].outcome, sink.got[1].reason) == ("refused", "not answered: it could not be recorded")
    assert len([each for each in caplog.records if "cannot be written to the spool" in each.getMessage()]) == 1


async def test_a_full_spool_refuses_where_records_are_required_until_a_sink_has_taken_some(tmp_path: Path) -> None:
    sink = Kept()
    sink.up = False
    async with auditor(tmp_path, required=True, sink=sink) as audit:
        with pytest.raises(SpoolError, match="is full: sink did not take"):
            await fill(audit)
        assert audit.fault is not None
        sink.up = True
        await until(lambda: audit.fault is None)
        await audit.settled(audit.record(record("room")))
        await until(lambda: "room" in sink.names)
        assert audit.standing().sinks["sink"].dropped == 0
    assert verify(sink.lines, SECRET).ok


async def fill(audit: Auditor) -> None:
    for number in range(10_000):
        await audit.settled(audit.record(record(number)))


async def test_a_spool_that_is_deleted_under_a_server_is_begun_anew_and_said_so(tmp_path: Path) -> None:
    sink = Kept()
    async with auditor(tmp_path, required=True, sink=sink) as audit:
        await audit.settled(audit.record(record("before")))
        await until(lambda: sink.names)
        shutil.rmtree(tmp_path / "spool")
        await audit.settled(audit.record(record("after")))
        await until(lambda: len(sink.names) == 2)
    report = verify(sink.lines, SECRET)
    assert report.ok
    assert len(report.chains) == 2
    assert sink.got[-2].action == "chain.start"
    assert sink.got[-2].arguments["sequence"] == 2


async def test_what_ended_processes_left_is_delivered_by_the_next(tmp_path: Path) -> None:
    place = Place(tmp_path / "spool", ("sink",), secret=SECRET)
    one, two = Spool(place), Spool(place)
    for spool, name in ((one, "one"), (two, "two")):
        spool.commit([record(name)])
        spool.close()
    sink = Kept()
    async with auditor(tmp_path, sink=sink):
        await until(lambda: len(sink.names) == 2)
    assert sorted(sink.names) == ["one", "two"]
    async with auditor(tmp_path, sink=sink) as audit:
        audit.record(record("three"))
    assert sorted(sink.names) == ["one", "three", "two"]


async def test_without_sinks_nothing_is_written_at_all(tmp_path: Path) -> None:
    async with auditor(tmp_path) as audit:
        audit.record(record())
    assert not audit.active
    assert not (tmp_path / "spool").exists()


async def test_more_records_than_memory_holds_while_the_spool_is_gone_are_counted_and_told(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("a file, where a directory should be")
    sink = Kept()
    async with auditor(tmp_path, sink=sink, max_mb=100) as audit:
        for number in range(20_500):
            audit.record(record(number))
        assert audit.standing().lost == 500
        (tmp_path / "spool").unlink()
        await until(lambda: any(each.action == "audit.dropped" for each in sink.got))
        await until(lambda: audit.standing().sinks["sink"].waiting == 0)
    assert len(sink.names) == 20_000
    (told,) = [each for each in sink.got if each.action == "audit.dropped"]
    assert (told.name, told.items) == ("spool", 500)


async def test_recording_goes_on_while_a_batch_is_under_way(tmp_path: Path) -> None:
    class Gate(Kept):
        async def write_batch(self, records: Sequence[AuditRecord]) -> None:
            began.set()
            await may_go.wait()
            await super().write_batch(records)

    began, may_go, sink = Event(), Event(), Gate()
    async with Auditor({"sink": sink}, Place(tmp_path / "spool", (), secret=SECRET)) as audit:
        audit.record(record("first"))
        await began.wait()
        await audit.settled(audit.record(record("second")))
        assert sink.names == []
        may_go.set()
        await until(lambda: len(sink.names) == 2)


def test_strangers_are_counted_when_they_are_many() -> None:
    now = 0.0
    flood = Flood(lambda: now)
    assert [flood.admitted() for _ in range(MOST + 5)] == [1] * MOST + [0] * 5
    now = WINDOW_S
    assert flood.admitted() == 6
    assert flood.admitted() == 1


async def test_lines_hold_what_identifies_the_server(tmp_path: Path) -> None:
    sink = Kept()
    async with auditor(tmp_path, sink=sink) as audit:
        audit.record(record())
    fields = orjson.loads(sink.lines[-1])
    with suppress(KeyError):
        assert fields["service"]["name"] == "telemetry-mcp"
    assert fields["service"]["node"]["name"] == (tmp_path / "spool" / "instance").read_text()
    assert fields["event"]["id"] == sink.got[-1].id
