"""The chain of audit records: every kind of tampering is found and named, and what is harmless is not."""

from __future__ import annotations

from collections.abc import Callable

import orjson
import pytest

from telemetry_mcp.audit import AuditRecord
from telemetry_mcp.audit.chain import Chain, Seal, Tail, link_of, resumed, tail_document
from telemetry_mcp.audit.ecs import document
from telemetry_mcp.audit.report import Report
from telemetry_mcp.audit.verify import verify

SECRET = b"a secret of the server for tests, long enough"
OTHER = b"another secret of the server, as long as that"
NOW_MS = 1_790_000_000_000

Lines = list[bytes]
Tamper = Callable[[Lines], Lines]


def record(number: int, action: str = "tools/call", **fields: object) -> AuditRecord:
    made = {
        "name": f"tool_{number}",
        "outcome": "answered",
        "duration_ms": 12.5,
        "arguments": {"hours": 1.5, "n": number},
    }
    return AuditRecord(NOW_MS + number, action, **{**made, **fields})  # type: ignore[arg-type]


def written(count: int, secret: bytes | None = SECRET, chain: Chain | None = None) -> Lines:
    """So many records, one after another."""
    chain = chain or Chain(Seal(secret))
    lines = []
    for number in range(chain.tail.sequence + 1, chain.tail.sequence + count + 1):
        line, chain.tail = chain.line(document(record(number)), chain.tail)
        lines.append(line)
    return lines


def told(report: Report) -> list[tuple[str, int]]:
    """Kind and line of every fault."""
    faults = [*report.faults, *(fault for chain in report.chains for fault in chain.faults)]
    return sorted((fault.kind, fault.line) for fault in faults)


def edited(line: bytes, old: bytes, new: bytes) -> bytes:
    assert old in line
    return line.replace(old, new)


def forged(line: bytes, sequence: int) -> bytes:
    """A record with the number of another, which keeps its hash."""
    fields = orjson.loads(line)
    fields["event"]["sequence"] = sequence
    return orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)


def unsigned(lines: Lines, at: int) -> Lines:
    """A record changed by somebody who knows how hashes are made, but has no key."""
    fields = orjson.loads(lines[at])
    link = link_of(fields)
    fields["user"]["id"] = "somebody else"
    del fields["event"]["hash"]
    made, _ = Chain(Seal(None)).line(fields, Tail(link.chain, link.sequence - 1, link.previous or ""))
    return [*lines[:at], made, *lines[at + 1 :]]


TAMPERINGS: dict[str, tuple[Tamper, list[tuple[str, int]]]] = {
    "a value was changed": (
        lambda lines: [*lines[:4], edited(lines[4], b"tool_5", b"tool_6"), *lines[5:]],
        [("changed", 5)],
    ),
    "the first was changed": (lambda lines: [edited(lines[0], b"tool_1", b"x"), *lines[1:]], [("changed", 1)]),
    "the last was changed": (lambda lines: [*lines[:-1], edited(lines[-1], b"12", b"13")], [("changed", 10)]),
    "one was signed by hand without the key": (lambda lines: unsigned(lines, 4), [("changed", 5)]),
    "its hash was taken away": (
        lambda lines: [*lines[:4], edited(lines[4], b'"hash"', b'"hush"'), *lines[5:]],
        [("removed", 6), ("unreadable", 5)],
    ),
    "one was removed": (lambda lines: [*lines[:4], *lines[5:]], [("removed", 5)]),
    "several were removed": (
        lambda lines: [*lines[:2], *lines[5:7], *lines[8:]],
        [("removed", 3), ("removed", 5)],
    ),
    "two were exchanged": (
        lambda lines: [*lines[:4], lines[5], lines[4], *lines[6:]],
        [("reordered", 6)],
    ),
    "the first two were exchanged": (lambda lines: [lines[1], lines[0], *lines[2:]], [("reordered", 2)]),
    "one was moved to the end": (lambda lines: [*lines[:4], *lines[5:], lines[4]], [("reordered", 10)]),
    "the head was cut off": (lambda lines: lines[3:], [("head", 1)]),
    "one was put in before the true one": (
        lambda lines: [*lines[:4], edited(lines[4], b"tool_5", b"tool_x"), *lines[4:]],
        [("inserted", 5)],
    ),
    "one was put in behind the true one": (
        lambda lines: [*lines[:5], edited(lines[4], b"tool_5", b"tool_x"), *lines[5:]],
        [("inserted", 6)],
    ),
    "one was put in with a number far ahead": (
        lambda lines: [*lines[:5], forged(lines[4], 10**15), *lines[5:]],
        [("changed", 6)],
    ),
    "something else was put in": (lambda lines: [*lines[:5], b'{"a": 1}', *lines[5:]], [("unreadable", 6)]),
    "a line was torn": (lambda lines: [*lines[:9], lines[9][:40]], [("unreadable", 10)]),
    "a whole chain was made without the key": (lambda lines: [*lines, *written(3, None)], [("unsigned", 11)]),
    "a whole chain was made with another key": (lambda lines: [*lines, *written(3, OTHER)], [("key", 11)]),
}


@pytest.mark.parametrize("name", TAMPERINGS)
def test_what_was_tampered_with_is_named_with_its_line(name: str) -> None:
    tamper, faults = TAMPERINGS[name]
    report = verify(tamper(written(10)), SECRET)
    assert told(report) == faults
    assert not report.ok


def test_what_was_not_tampered_with_is_sound() -> None:
    report = verify(written(10), SECRET)
    assert report.ok
    (chain,) = report.chains
    assert (chain.records, chain.duplicates, chain.signed, chain.checked) == (10, 0, True, True)
    assert chain.first < chain.last


def test_records_that_come_twice_are_counted_and_harmless() -> None:
    lines = written(10)
    report = verify([*lines[:6], *lines[3:8], *lines], SECRET)
    assert report.ok
    assert report.chains[0].duplicates == 11
    assert report.chains[0].records == 10


def test_interleaved_chains_are_told_apart() -> None:
    one, two = written(10), written(10)
    mixed = [line for pair in zip(one, two, strict=True) for line in pair]
    assert verify(mixed, SECRET).ok
    assert told(verify([*mixed[:6], *mixed[7:]], SECRET)) == [("removed", 8)]


def test_lines_whose_keys_another_program_reordered_are_sound_still() -> None:
    shuffled = [orjson.dumps(dict(reversed(orjson.loads(line).items()))) for line in written(10)]
    assert verify(shuffled, SECRET).ok


def test_without_the_key_signed_records_are_not_called_sound() -> None:
    report = verify(written(10))
    assert told(report) == [("key", 1)]
    assert not report.chains[0].checked
    assert told(verify(written(10)[3:])) == [("head", 1), ("key", 1)]


def test_where_there_is_no_key_changes_show_but_the_report_says_what_it_is_worth() -> None:
    lines = written(10, None)
    report = verify(lines)
    assert report.ok
    assert not report.chains[0].signed
    assert "anew" in report.chains[0].notes[0]
    assert told(verify([*lines[:4], edited(lines[4], b"tool_5", b"x"), *lines[5:]])) == [("changed", 5)]


def test_a_record_that_was_made_anew_without_any_key_does_not_fit_to_what_follows() -> None:
    lines = written(10, None)
    assert told(verify(unsigned(lines, 4))) == [("changed", 6)]


def test_a_missing_head_is_no_fault_where_the_oldest_files_are_known_to_be_gone() -> None:
    assert verify(written(10)[3:], SECRET, headless=True).ok
    assert told(verify([*written(10)[3:6], *written(2)], SECRET, headless=True)) == []
    lines = written(10)
    assert told(verify([*lines[3:5], *lines[6:]], SECRET, headless=True)) == [("removed", 3)]


def begun_after(tail: Tail | None, secret: bytes | None = SECRET) -> Lines:
    """A chain whose first record names the end of the one before."""
    chain = Chain(Seal(secret))
    line, chain.tail = chain.line(document(record(1, "chain.start", arguments=tail_document(tail))), chain.tail)
    return [line, *written(3, chain=chain)]


def tail_of(lines: Lines) -> Tail:
    return link_of(orjson.loads(lines[-1])).tail


def test_a_tail_that_was_cut_off_shows_only_against_a_later_chain() -> None:
    lines = written(10)
    assert verify(lines[:7], SECRET).ok
    later = begun_after(tail_of(lines))
    assert verify([*lines, *later], SECRET).ok
    assert told(verify([*lines[:7], *later], SECRET)) == [("tail", 7)]


def test_a_chain_without_a_key_is_trusted_as_far_as_a_signed_one_names_its_end() -> None:
    lines = written(10, None)
    later = begun_after(tail_of(lines))
    assert verify([*lines, *later], SECRET).ok
    assert told(verify([*written(10, None), *later], SECRET)) == [("unsigned", 1)]


def drop(chain: str, first: int, last: int) -> AuditRecord:
    told = {"sink": "file", "records": last - first + 1, "ranges": [[f"{chain}.{first}", f"{chain}.{last}"]]}
    return record(11, "audit.dropped", arguments=told)


def test_records_that_were_dropped_for_want_of_room_are_no_tampering_but_are_counted() -> None:
    chain = Chain(Seal(SECRET))
    lines = written(10, chain=chain)
    line, chain.tail = chain.line(document(drop(chain.tail.chain, 4, 6)), chain.tail)
    report = verify([*lines[:3], *lines[6:], line], SECRET)
    assert report.ok
    assert report.chains[0].dropped == 3
    assert told(verify([*lines[:3], *lines[7:], line], SECRET)) == [("removed", 4)]


def test_a_chain_that_nobody_can_check_excuses_no_gap() -> None:
    lines, false = written(10), Chain(Seal(OTHER))
    line, _ = false.line(document(drop(tail_of(lines).chain, 4, 6)), false.tail)
    assert ("removed", 4) in told(verify([*lines[:3], *lines[6:], line], SECRET))


@pytest.mark.parametrize("secret", [SECRET, None])
def test_a_chain_goes_on_after_its_last_record(secret: bytes | None) -> None:
    lines = written(5, secret)
    chain, broken_off = resumed(Seal(secret), lines[-1], None)
    assert broken_off is None
    assert verify([*lines, *written(5, chain=chain)], secret).ok


@pytest.mark.parametrize(
    ("last", "known"),
    [
        (lambda lines: lines[-1], None),
        (lambda lines: None, tail_of),
        (lambda lines: lines[2], tail_of),
    ],
    ids=["other key", "empty spool", "cut spool"],
)
def test_a_chain_that_cannot_go_on_is_named_by_the_next(
    last: Callable[[Lines], bytes | None], known: Callable[[Lines], Tail] | None
) -> None:
    lines = written(5)
    seal = Seal(SECRET if known else OTHER)
    chain, broken_off = resumed(seal, last(lines), known(lines) if known else None)
    assert chain.tail.chain != tail_of(lines).chain
    assert not chain.begun
    assert broken_off == tail_of(lines)


def test_a_last_record_that_was_changed_in_the_spool_begins_a_new_chain() -> None:
    lines = written(5)
    chain, broken_off = resumed(Seal(SECRET), edited(lines[-1], b"tool_5", b"tool_6"), None)
    assert not chain.begun
    assert broken_off == tail_of(lines)
