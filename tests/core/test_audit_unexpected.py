"""Errors that nobody foresaw, in a sink and in what records: they are told, and the recording goes on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import anyio
import pytest
from anyio import fail_after
from pydantic import SecretStr

from telemetry_mcp.audit import AuditRecord, AuditSink
from telemetry_mcp.audit.auditor import Auditor
from telemetry_mcp.audit.delivery import Delivery, Pace
from telemetry_mcp.audit.journal import Journal, SpoolError
from telemetry_mcp.audit.spool import Place, Spool
from telemetry_mcp.audit.verify import verify
from telemetry_mcp.setting import PluginSettings

SECRET = b"a secret of the server for tests, long enough"
QUICK = Pace(deadline_s=5, first_s=0.01, longest_s=0.02, last_s=0.5, linger_s=0.01)
LIMIT_S = 15
KNOWN = "correct horse battery"


class Settings(PluginSettings):
    password: SecretStr = SecretStr(KNOWN)


class Ledger(AuditSink):
    """A sink that raises `error` while there is one."""

    def __init__(self, error: BaseException | None = None) -> None:
        super().__init__(Settings(plugin="ledger"))
        self.error = error
        self.got: list[AuditRecord] = []

    async def write(self, record: AuditRecord) -> None:
        if self.error is not None:
            raise self.error
        self.got.append(record)

    @property
    def names(self) -> list[str]:
        return [record.name for record in self.got if record.action == "tools/call"]


class MuteError(Exception):
    def __str__(self) -> str:
        raise KeyError("no words")


class OddSpool(Spool):
    error: BaseException | None = ValueError("token=hunter22 is odd")

    def commit(self, records: Sequence[AuditRecord]) -> None:
        if self.error is not None:
            raise self.error
        super().commit(records)

    def close(self) -> None:
        super().close()
        raise KeyError("closing")


class OddJournal:
    """A journal of which one method raises as long as it is odd."""

    def __init__(self, journal: Journal, method: str) -> None:
        self.journal = journal
        self.method = method

    def __getattr__(self, name: str) -> Any:
        return self.odd if name == self.method else getattr(self.journal, name)

    def odd(self, *_: object) -> None:
        raise KeyError("odd")


class Unspeakable:
    def __str__(self) -> str:
        raise RuntimeError("it has no form as text")


def record(name: object = 0, arguments: dict[str, Any] | None = None, **fields: Any) -> AuditRecord:
    return AuditRecord(1_790_000_000_000, "tools/call", str(name), "answered", 1.0, arguments or {}, **fields)


def auditor(folder: Path, *, required: bool = False, **sinks: AuditSink) -> Auditor:
    return Auditor(sinks, Place(folder / "spool", (), secret=SECRET), required=required, pace=QUICK)


def with_odd_spool(folder: Path, *, required: bool, **sinks: AuditSink) -> tuple[Auditor, OddSpool]:
    audit = auditor(folder, required=required, **sinks)
    assert audit.place is not None
    audit.spool = spool = OddSpool(audit.place)
    return audit, spool


async def until(happened: Callable[[], object]) -> None:
    with fail_after(LIMIT_S):
        while not happened():  # noqa: ASYNC110 - it is asked from outside, and tells nobody
            await anyio.sleep(0.005)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (KeyError("id"), "KeyError: 'id'"),
        (MuteError(), "MuteError: (and cannot say why)"),
        (asyncio.CancelledError(), "RuntimeError: a part of it was cancelled"),
        (RuntimeError(f"with {KNOWN}, Bearer abcdef123456"), "RuntimeError: with ***, Bearer ***"),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_what_a_sink_raises_is_told_and_it_gets_all_once_it_is_well(
    error: BaseException, said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bad, good = Ledger(error), Ledger()
    with caplog.at_level(logging.ERROR):
        async with auditor(tmp_path, bad=bad, good=good) as audit:
            for number in range(3):
                await audit.settled(audit.record(record(number)))
            await until(lambda: len(good.names) == 3 and audit.standing().sinks["bad"].failures > 2)
            assert audit.standing().sinks["bad"].last_error == said
            assert audit.standing().fault is None
            bad.error = None
            await until(lambda: len(bad.names) == 3)
            await until(lambda: audit.standing().sinks["bad"].last_error is None)
    assert [each.getMessage() for each in caplog.records] == [
        f"the audit sink bad failed, what it should have got waits: {said}"
    ]


async def test_a_sink_that_keeps_no_settings_gets_its_records(tmp_path: Path) -> None:
    class Bare(Ledger):
        def __init__(self) -> None:
            self.error, self.got = None, []

    bare = Bare()
    async with auditor(tmp_path, bare=bare) as audit:
        audit.record(record("one"))
    assert bare.names == ["one"]


@pytest.mark.parametrize("method", ["waiting", "read", "advance"])
async def test_what_cannot_be_handed_over_counts_as_a_failure_of_the_sink(method: str, tmp_path: Path) -> None:
    place = Place(tmp_path / "spool", ("sink",), secret=SECRET)
    spool, sink = Spool(place), Ledger()
    spool.commit([record("one")])
    journal = OddJournal(spool.journal, method)
    delivery = Delivery("sink", sink, lambda: [cast("Journal", journal)], QUICK)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(delivery.run)
        await until(lambda: delivery.failures > 2)
        assert delivery.last_error == "the handing over failed: KeyError: 'odd'"
        assert delivery.delivered == 0
        journal.method = ""
        await until(lambda: delivery.delivered == 2)
        assert delivery.last_error is None
        delivery.end()
    spool.close()
    assert "one" in sink.names


async def test_a_writer_that_fails_says_so_and_what_it_could_not_write_is_written_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sink = Ledger()
    audit, spool = with_odd_spool(tmp_path, required=False, sink=sink)
    with caplog.at_level(logging.ERROR):
        async with audit:
            entries = [audit.record(record(number)) for number in range(10)]
            await until(lambda: audit.standing().fault is not None)
            assert audit.standing().fault == "an unexpected ValueError"
            assert audit.standing().pending == 10
            spool.error = None
            await until(lambda: all(entry.written for entry in entries))
            audit.record(record("next"))
            await until(lambda: "next" in sink.names)
            assert audit.standing().fault is None
    assert sink.names == [*map(str, range(10)), "next"]
    assert verify([each.line for each in sink.got], SECRET).ok
    failed, closed = (each.getMessage() for each in caplog.records)
    assert failed.startswith("audit records cannot be written to the spool: ValueError: token=*** is odd (")
    assert "test_audit_unexpected.py:" in failed
    assert closed == "the audit spool was not closed as it should be: KeyError: 'closing'"


async def test_where_records_are_required_a_writer_that_fails_refuses_until_it_is_well(tmp_path: Path) -> None:
    sink = Ledger()
    audit, spool = with_odd_spool(tmp_path, required=True, sink=sink)
    async with audit:
        with fail_after(2), pytest.raises(SpoolError, match="an unexpected ValueError"):
            await audit.settled(audit.record(record("refused")))
        assert audit.fault == "an unexpected ValueError"
        spool.error = None
        await until(lambda: audit.fault is None)
        await audit.settled(audit.record(record("answered")))
        await until(lambda: len(sink.names) == 2)
    assert [each.outcome for each in sink.got if each.action == "tools/call"] == ["refused", "answered"]


async def test_a_spool_that_cannot_be_opened_for_an_odd_reason_ends_no_server(tmp_path: Path) -> None:
    async with auditor(tmp_path / "no\0path", sink=Ledger(), required=True) as audit:
        assert audit.fault == "an unexpected ValueError"
        with pytest.raises(SpoolError, match="an unexpected ValueError"):
            await audit.settled(audit.record(record()))
        assert not any(task.done() for task in audit.tasks)
        assert audit.standing().pending == 1


@pytest.mark.parametrize("required", [False, True])
async def test_a_record_of_which_nothing_can_be_written_has_another_in_its_place(
    required: bool, tmp_path: Path
) -> None:
    sink = Ledger()
    async with auditor(tmp_path, sink=sink, required=required) as audit:
        await audit.settled(audit.record(record("odd", roles=cast("tuple[str, ...]", None))))
        await audit.settled(audit.record(record("sound")))
        await until(lambda: len(sink.got) == 3)
    assert [each.action for each in sink.got] == ["chain.start", "audit.unwritten", "tools/call"]
    assert verify([each.line for each in sink.got], SECRET).ok


async def test_arguments_that_cannot_be_masked_are_left_out_of_their_record(tmp_path: Path) -> None:
    sink = Ledger()
    async with auditor(tmp_path, sink=sink) as audit:
        await audit.settled(audit.record(record("odd", {"a": Unspeakable()})))
        await until(lambda: sink.names)
    (odd,) = sink.got[1:]
    assert (odd.name, odd.outcome) == ("odd", "answered")
    assert odd.arguments == {"arguments": "left out: they cannot be masked"}
