"""What the server keeps its records with: it writes them down, and sees to it that every sink gets them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from traceback import extract_tb
from types import TracebackType
from typing import Any

from anyio import CancelScope, CapacityLimiter, Event, move_on_after, to_thread

from telemetry_mcp.audit import AuditRecord, AuditSink
from telemetry_mcp.audit.chain import Tail
from telemetry_mcp.audit.delivery import Delivery, Pace
from telemetry_mcp.audit.flood import Flood
from telemetry_mcp.audit.journal import Drop, Journal, LostError, SpoolError
from telemetry_mcp.audit.mask import masked, masked_text, told
from telemetry_mcp.audit.spool import MIB, Orphan, Place, Spool, orphans
from telemetry_mcp.audit.standing import SinkStanding, Standing
from telemetry_mcp.boundary import contain, words

LOG = logging.getLogger(__name__)

MOST_PENDING = 20_000
"""Records that are held in memory while the journal cannot be written; beyond that the oldest are dropped."""
MOST_AT_ONCE = 2000
BYTES_EACH = 8192
"""So much of the spool must there be for each record that is written at once: a batch fits into a segment."""
SETTLE_S = 5.0
"""Longest wait of a call for its record to be on disk."""
RETRY_S = 1.0
GATHER_S = 0.05
"""How long records gather before they are written together, where no call waits for that: what a killed process
has not written. Each batch costs the calls under way more than its records do."""
ALARM_S = 60.0
ADOPT_S = 30.0
DROPPED = "audit.dropped"


@dataclass(slots=True, eq=False)
class Entry:
    """A record on its way to the journal. `fault` is why it was not written when it was tried last."""

    record: AuditRecord
    written: bool = False
    fault: str | None = None


class Auditor:
    """An async context manager: entering it opens the spool, leaving it gives the sinks a bounded last try; what
    they do not take then waits for the next start. Without sinks, unless `required`, it does nothing at all."""

    def __init__(
        self,
        sinks: Mapping[str, AuditSink] | None = None,
        place: Place | None = None,
        *,
        required: bool = False,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        pace: Pace | None = None,
    ) -> None:
        sinks = sinks or {}
        self.place = place and replace(place, sinks=tuple(sinks), keep=required)
        self.active = place is not None and bool(sinks or required)
        self.required = required and self.active
        self.clock_ms = clock_ms
        self.pace = pace or Pace()
        self.fault: str | None = None
        self.spool: Spool | None = None
        self.adopted: list[Orphan] = []
        self.deliveries = {name: Delivery(name, sink, self.journals, self.pace) for name, sink in sinks.items()}
        self.pending: deque[Entry] = deque()
        self.writing: list[Entry] = []
        self.most_at_once = max(1, min(MOST_AT_ONCE, round(place.max_mb * MIB) // BYTES_EACH)) if place else 1
        self.at_once = self.most_at_once
        self.bell, self.turn, self.ending = Event(), Event(), Event()
        self.pen = CapacityLimiter(1)
        self.recorded = self.lost = self.lost_untold = 0
        self.dropped: dict[str, list[Drop]] = {}
        self.alarmed_at = -ALARM_S
        self.strangers = Flood()
        self.tasks: list[asyncio.Task[None]] = []

    # ---- recording

    def record(self, record: AuditRecord) -> Entry:
        """Take a record; it is masked here, and written soon. Never waits, never raises."""
        arguments: Mapping[str, Any] = {"arguments": "left out: they cannot be masked"}
        with contain() as kept:
            arguments = masked(record.arguments)
        if kept.error is not None:
            LOG.error("an audit record is written without its arguments: %s", told(kept.error))
        safe = replace(
            record,
            name=masked_text(record.name),
            arguments=arguments,
            reason=masked_text(record.reason) if record.reason else None,
        )
        return self.taken(safe)

    def taken(self, record: AuditRecord) -> Entry:
        entry = Entry(record)
        if self.active:
            self.pending.append(entry)
            self.bound_pending()
            self.bell.set()
        return entry

    def bound_pending(self) -> None:
        while len(self.pending) > MOST_PENDING:
            self.pending.popleft().fault = "too many records wait for the spool"
            self.lost += 1
            self.lost_untold += 1

    async def settled(self, entry: Entry) -> None:
        """Return when the record is on disk. SpoolError where it cannot be: then one is written, as soon as it can
        be, that says that the call was not answered."""
        with move_on_after(SETTLE_S):
            while not entry.written and entry.fault is None:
                await self.turn.wait()
        if entry.written:
            return
        fault = entry.fault or f"the spool did not take it within {SETTLE_S:g} s"
        self.fault = self.fault or fault
        unanswered = replace(entry.record, outcome="refused", reason="not answered: it could not be recorded")
        if entry in self.pending:
            entry.record = unanswered
        else:
            self.taken(unanswered)
        raise SpoolError(fault)

    # ---- standing

    def journals(self) -> Sequence[Journal]:
        own = [self.spool.journal] if self.spool else []
        return [*(orphan.journal for orphan in self.adopted), *own]

    def standing(self) -> Standing:
        journals = self.journals()
        return Standing(
            active=self.active,
            required=self.required,
            fault=self.fault,
            recorded=self.recorded,
            pending=len(self.pending) + len(self.writing),
            lost=self.lost,
            spool_bytes=sum(journal.size for journal in journals),
            sinks={name: self.of_sink(delivery, journals) for name, delivery in self.deliveries.items()},
        )

    def of_sink(self, delivery: Delivery, journals: Sequence[Journal]) -> SinkStanding:
        owed = [journal.waiting(delivery.name) for journal in journals]
        return SinkStanding(
            waiting=sum(records for records, _ in owed),
            waiting_bytes=sum(size for _, size in owed),
            delivered=delivery.delivered,
            dropped=delivery.dropped,
            failures=delivery.failures,
            last_error=delivery.last_error,
        )

    # ---- writing

    async def write(self) -> None:
        """Write what has come in, all of it at once, until `ending` and nothing is left."""
        while True:
            if not self.pending:
                if self.ending.is_set():
                    return
                self.bell = Event()
                await self.bell.wait()
                if not self.required:
                    with move_on_after(GATHER_S):
                        await self.ending.wait()
            if not await self.written() and await self.over_soon():
                return

    async def over_soon(self) -> bool:
        """Wait before the next try; whether there is to be none."""
        was_ending = self.ending.is_set()
        with move_on_after(RETRY_S):
            await self.ending.wait()
        return was_ending

    async def written(self) -> bool:
        """Whether what was pending is in the journal now, or as much of it as is written at once."""
        self.writing = entries = [self.pending.popleft() for _ in range(min(len(self.pending), self.at_once))]
        with contain() as kept:
            await to_thread.run_sync(self.commit, [entry.record for entry in entries], limiter=self.pen)
        self.writing = []
        if kept.error is not None:
            self.failed(kept.error, entries)
        else:
            self.fault = None
            self.at_once = min(2 * self.at_once, self.most_at_once)
            self.recorded += len(entries)
            for entry in entries:
                entry.written = True
            self.ring()
        self.turn.set()
        self.turn = Event()
        self.look_for_drops()
        return self.fault is None

    def failed(self, error: BaseException, entries: Sequence[Entry] = ()) -> None:
        """Try again later, with fewer at once, lest it is their number. What is unexpected is in the log only:
        callers are told the fault, and it may hold what another one wrote."""
        why = words(error) if isinstance(error, OSError) else f"an unexpected {type(error).__name__}"
        if why != self.fault:
            frames = extract_tb(error.__traceback__, -3)
            where = ", ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames)
            LOG.error("audit records cannot be written to the spool: %s (%s)", told(error), where)
        self.fault = why
        self.at_once = max(1, self.at_once // 2)
        for entry in reversed(entries):
            entry.fault = self.fault
            self.pending.appendleft(entry)
        self.bound_pending()

    def ring(self) -> None:
        for delivery in self.deliveries.values():
            delivery.ring()

    def commit(self, records: Sequence[AuditRecord]) -> None:
        """In the thread that has the pen: nobody else writes."""
        spool = self.open()
        try:
            spool.commit(records)
        except LostError as error:
            LOG.error("%s; the audit spool is begun anew", error)
            self.spool = None
            spool.close()
            self.open(spool.chain.tail if spool.chain.begun else spool.broken_off).commit(records)

    def open(self, known: Tail | None = None) -> Spool:
        if self.spool is None:
            assert self.place is not None
            self.spool = Spool(self.place, known)
        return self.spool

    def look_for_drops(self, *, at_once: bool = False) -> None:
        with contain() as kept:
            self.tell_of_drops(at_once=at_once)
        if kept.error is not None:
            self.failed(kept.error)

    def tell_of_drops(self, *, at_once: bool = False) -> None:
        """Dropped records are told in the log and in the chain, once a minute at most."""
        for drop in self.spool.journal.take_dropped() if self.spool else ():
            self.dropped.setdefault(drop.sink, []).append(drop)
            self.deliveries[drop.sink].dropped += drop.records
        now = time.monotonic()
        if not (self.dropped or self.lost_untold) or (now - self.alarmed_at < ALARM_S and not at_once):
            return
        self.alarmed_at = now
        for sink, drops in self.dropped.items():
            self.tell(sink, sum(drop.records for drop in drops), [[drop.first, drop.last] for drop in drops])
        self.dropped = {}
        if self.lost_untold and self.fault is None:
            self.tell("", self.lost_untold, [])
            self.lost_untold = 0

    def tell(self, sink: str, records: int, ranges: list[list[str]]) -> None:
        """Without a sink: they never got into the chain."""
        what = f"for the sink {sink} were dropped" if sink else "never got into the spool"
        LOG.error("the audit spool is full or fails: %d records %s", records, what)
        told = {"sink": sink, "records": records, "ranges": ranges}
        self.taken(AuditRecord(self.clock_ms(), DROPPED, sink or "spool", "answered", 0.0, told, items=records))

    # ---- the spools of processes that have ended

    async def adopt(self) -> None:
        """Deliver what they left, at the start and then now and again: a neighbour may have ended meanwhile."""
        place = self.place
        assert place is not None
        while not self.ending.is_set():
            with contain() as kept:
                await self.leave_adopted()
                self.adopted += await to_thread.run_sync(lambda: list(orphans(place)), limiter=self.pen)
            if kept.error is not None:
                LOG.error("what ended processes left is not delivered, for now: %s", told(kept.error))
            self.ring()
            with move_on_after(ADOPT_S):
                await self.ending.wait()

    async def leave_adopted(self) -> None:
        for orphan in [each for each in self.adopted if each.delivered]:
            self.adopted.remove(orphan)
            await to_thread.run_sync(orphan.close)

    # ---- life

    async def __aenter__(self) -> Auditor:
        if not self.active:
            return self
        with contain() as kept:
            await to_thread.run_sync(self.open, limiter=self.pen)
        if kept.error is not None:
            self.failed(kept.error)
        # Not in a task group of whoever opened this: that is cancelled first, and its last acts are recorded too.
        self.tasks = [asyncio.create_task(self.write())]
        self.tasks += [asyncio.create_task(delivery.run()) for delivery in self.deliveries.values()]
        if self.deliveries:
            self.tasks.append(asyncio.create_task(self.adopt()))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.active:
            return
        with CancelScope(shield=True):
            with move_on_after(self.pace.last_s):
                await self.last_try()
            for task in self.tasks:
                task.cancel()
            done, _ = await asyncio.wait(self.tasks, timeout=self.pace.last_s / 4)
            for task in done:
                if not task.cancelled() and (broken := task.exception()):
                    LOG.error("a part of the audit ended by itself", exc_info=broken)
            with move_on_after(self.pace.last_s / 4), contain() as kept:
                await to_thread.run_sync(self.close, abandon_on_cancel=True)
            if kept.error is not None:
                LOG.error("the audit spool was not closed as it should be: %s", told(kept.error))

    async def last_try(self) -> None:
        self.look_for_drops(at_once=True)
        self.ending.set()
        self.bell.set()
        await asyncio.wait(self.tasks[:1])
        for delivery in self.deliveries.values():
            delivery.end()
        await asyncio.wait(self.tasks)

    def close(self) -> None:
        with ExitStack() as stack:  # one that fails keeps no other open
            for journal in (*self.adopted, self.spool):
                if journal is not None:
                    stack.callback(journal.close)
