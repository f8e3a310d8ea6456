"""Whether records are as they were written: nothing changed, removed, reordered or put in.

What no reader can see is that the newest records of a chain are missing: only a later record tells (the first one
of the next chain names the last of the one before), or the spool that the chain was written in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson

from telemetry_mcp.audit.chain import SIGNED, START, Link, Seal, Tail, link_of, tail_from
from telemetry_mcp.audit.report import ChainReport, Fault, Kind, Report
from telemetry_mcp.text import clean

DROPPED = "audit.dropped"
STOP = "server.stop"
LONGEST_GAP = 1_000_000
"""Missing records that are kept in mind one by one, as they may come later."""

At = tuple[str, int]
"""Where a line stands: file and number."""


class Reader:
    """The records of one chain, as they come. Of each, no more is kept than tells it from another."""

    def __init__(self, seal: Seal, link: Link, fields: Mapping[str, Any]) -> None:
        plain, signed = Seal(None), link.algorithm == SIGNED
        self.kind = (link.algorithm, link.key)
        self.fits = seal.fits if seal.made(link) else plain.fits
        checked = seal.made(link) or plain.made(link)
        self.report = ChainReport(link.chain, instance(fields), signed, checked)
        self.seen: dict[int, int | None] = {}
        self.bad: dict[int, Fault] = {}
        self.missing: dict[int, At] = {}
        self.lowest = self.newest = 0
        self.newest_hash = ""
        self.first_at: At = ("", 0)
        self.newest_at: At = ("", 0)
        self.before: Tail | None = None
        self.gaps: list[tuple[str, str]] = []

    def fault(self, kind: Kind, at: At, text: str) -> Fault:
        made = Fault(kind, *at, text)
        self.report.faults.append(made)
        return made

    def take(self, link: Link, fields: Mapping[str, Any], at: At) -> None:
        known = self.seen.get(link.sequence)
        if (link.algorithm, link.key) != self.kind or (self.report.checked and not self.fits(link, fields)):
            self.take_bad(link, at)
        elif known is not None and known == short(link.hash):
            self.report.duplicates += 1
        elif known is not None:
            self.fault("inserted", at, f"is another record {link.sequence}: one of the two was put in")
        else:
            self.take_good(link, fields, at)

    def take_good(self, link: Link, fields: Mapping[str, Any], at: At) -> None:
        number = link.sequence
        if number in self.bad:
            impostor = self.bad.pop(number)
            impostor.kind = "inserted"
            impostor.text = f"was put in as record {number}, which stands in line {at[1]}"
        elif number < self.newest:
            self.fault("reordered", at, f"record {number} stands behind record {self.newest}")
        self.place(link, at)
        self.seen[number] = short(link.hash)
        before = self.seen.get(number - 1)
        # Of signed records, each of which fits, this is never wrong unless the spool was copied and went on twice.
        if before is not None and link.previous is not None and before != short(link.previous):
            self.fault("changed", at, f"record {number} does not follow on the record {number - 1} that is there")
        self.note(fields)

    def take_bad(self, link: Link, at: At) -> None:
        """Its hash does not fit: it was changed in its place, or is none of ours."""
        number = link.sequence
        if self.seen.get(number) is not None:
            self.fault("inserted", at, f"says that it is record {number}, which was there already")
        elif number == self.newest + 1 or number in self.missing:
            self.bad[number] = self.fault("changed", at, f"record {number} is not as it was written")
            self.place(link, at)
            self.seen[number] = None
        else:
            self.fault("changed", at, f"says that it is record {number}, and its hash does not fit")

    def place(self, link: Link, at: At) -> None:
        number = link.sequence
        if not self.seen:
            self.lowest, self.first_at = number, at
        elif number < self.lowest:
            self.open_gap(number + 1, self.lowest, self.first_at)
            self.lowest, self.first_at = number, at
        else:
            self.open_gap(self.newest + 1, number, at)
        self.missing.pop(number, None)
        if number >= self.newest:
            self.newest, self.newest_hash, self.newest_at = number, link.hash, at

    def open_gap(self, first: int, end: int, at: At) -> None:
        if end - first > LONGEST_GAP:
            self.fault("removed", at, f"records {first} to {end - 1} are missing before it")
        else:
            self.missing.update(dict.fromkeys(range(first, end), at))

    def note(self, fields: Mapping[str, Any]) -> None:
        report = self.report
        report.records += 1
        at = clean(str(fields.get("@timestamp")))
        report.first = min(report.first or at, at)
        report.last = max(report.last, at)
        action, arguments = fields["event"].get("action"), fields["telemetry_mcp"].get("arguments")
        report.ended = action == STOP
        if action == START:
            self.before = tail_from(arguments)
        ranges = arguments.get("ranges") if action == DROPPED and isinstance(arguments, dict) else None
        if isinstance(ranges, list):
            self.gaps += [(str(pair[0]), str(pair[-1])) for pair in ranges if isinstance(pair, list) and pair]

    def expect(self, tail: Tail, teller: str) -> None:
        """The chain goes to `tail` at least, as `teller` says."""
        if self.newest < tail.sequence:
            self.open_gap(self.newest + 1, tail.sequence + 1, self.newest_at)
            self.report.notes.append(f"{teller} names record {tail.sequence}")
        elif self.seen.get(tail.sequence, short(tail.hash)) not in (short(tail.hash), None):
            self.fault("changed", self.newest_at, f"record {tail.sequence} is not the one that {teller} names")

    def close_gaps(self, told: Iterable[tuple[str, str]]) -> None:
        """What is still missing was removed, unless a record says that it was dropped for want of room."""
        dropped = {number for gap in told for number in self.within(gap)}
        self.report.dropped = len(dropped)
        for first, last in stretches(sorted(set(self.missing) - dropped)):
            which = f"record {first} is" if first == last else f"records {first} to {last} are"
            if first > self.newest:
                self.fault("tail", self.newest_at, f"{which} missing behind it: the end was cut off")
            else:
                self.fault("removed", self.missing[first], f"{which} missing before it")
        if self.lowest > 1:
            self.fault(
                "head", self.first_at, f"the chain begins with record {self.lowest}: those before are missing"
            )

    def within(self, gap: tuple[str, str]) -> Iterator[int]:
        """The missing numbers that lie in a range of ids."""
        (chain, _, first), (other, _, last) = (end.rpartition(".") for end in gap)
        if chain == other == self.report.chain and first.isdecimal() and last.isdecimal():
            yield from (number for number in self.missing if int(first) <= number <= int(last))


class Verifier:
    """Takes lines one by one; `finished` says what came of it. `headless`: the oldest files are known to be gone.
    Without a secret, of signed chains only the order is looked at."""

    def __init__(self, secret: bytes | None = None, *, headless: bool = False) -> None:
        self.seal = Seal(secret)
        self.keyed = secret is not None
        self.headless = headless
        self.readers: dict[str, Reader] = {}
        self.report = Report()

    def take(self, line: bytes, where: str, number: int) -> None:
        if not line.strip():
            return
        try:
            fields = orjson.loads(line)
            link = link_of(fields)
        except ValueError as error:
            what = "is no JSON" if isinstance(error, orjson.JSONDecodeError) else "is no record of an audit chain"
            self.report.faults.append(Fault("unreadable", where, number, what))
            return
        reader = self.readers.get(link.chain)
        if reader is None:
            reader = self.readers[link.chain] = Reader(self.seal, link, fields)
        reader.take(link, fields, (where, number))

    def finished(self, tails: Iterable[Tail] = ()) -> Report:
        """`tails`: the last records that every sink has got, as their spools say."""
        readers = [reader for reader in self.readers.values() if reader.seen]
        for reader in readers:
            self.judge_key(reader)
            if reader.before is not None:
                self.expect(reader.before, "the record that begins the next chain")
        for tail in tails:
            self.expect(tail, "the spool")
        told = [gap for reader in readers if reader.report.checked for gap in reader.gaps]
        for reader in readers:
            reader.close_gaps(told)
            if self.headless:
                reader.report.faults = [fault for fault in reader.report.faults if fault.kind != "head"]
        self.report.chains = [reader.report for reader in self.readers.values()]
        return self.report

    def expect(self, tail: Tail, teller: str) -> None:
        reader = self.readers.get(tail.chain)
        if reader is not None and reader.seen:
            reader.expect(tail, teller)

    def judge_key(self, reader: Reader) -> None:
        report = reader.report
        if not report.checked:
            signed = "with another key than this one" if self.keyed else "and there is no key to check it with"
            reader.fault("key", reader.first_at, f"the chain is signed {signed}: only its order was looked at")
        elif not report.signed and self.keyed and not self.vouched(reader):
            text = "the chain is not signed, though there is a key: anybody could have made it"
            reader.fault("unsigned", reader.first_at, text)
        elif not report.signed:
            report.notes.append("not signed: whoever can write the file could have made it anew")

    def vouched(self, reader: Reader) -> bool:
        """Whether a signed chain names the end of this one."""
        tail = Tail(reader.report.chain, reader.newest, reader.newest_hash)
        others = [other for other in self.readers.values() if other.report.signed and other.report.checked]
        return any(other.before == tail for other in others)


def short(hashed: str) -> int:
    return hash(hashed)


def instance(fields: Mapping[str, Any]) -> str:
    found: Any = fields
    for name in ("service", "node", "name"):
        found = found.get(name) if isinstance(found, dict) else None
    return clean(str(found or ""))


def stretches(numbers: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Sorted numbers as first and last of each stretch without a gap."""
    first = last = None
    for number in numbers:
        if first is None or last is None:
            first = number
        elif number != last + 1:
            yield first, last
            first = number
        last = number
    if first is not None and last is not None:
        yield first, last


def verify(lines: Iterable[bytes], secret: bytes | None = None, *, headless: bool = False) -> Report:
    """What is wrong with `lines`, of one or several chains that may be interleaved. Records that come twice are
    counted, and harmless."""
    verifier = Verifier(secret, headless=headless)
    for number, line in enumerate(lines, 1):
        verifier.take(line, "", number)
    return verifier.finished()
