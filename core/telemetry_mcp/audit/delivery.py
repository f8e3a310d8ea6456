"""Takes what is in the journal to one sink: in order, in batches, again and again until it is taken."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from anyio import CapacityLimiter, Event, move_on_after, to_thread

from telemetry_mcp.audit import AuditRecord, AuditSink
from telemetry_mcp.audit.ecs import read
from telemetry_mcp.audit.journal import Journal, Portion
from telemetry_mcp.audit.mask import told
from telemetry_mcp.boundary import contain
from telemetry_mcp.secret import Redactor
from telemetry_mcp.setting import PluginSettings

LOG = logging.getLogger(__name__)

MOST_RECORDS = 1000


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds: `linger_s` for more to come before a batch is made up, `deadline_s` for one batch, `last_s` for all
    that is still to be done at the end. Waits between tries begin with `first_s` and double up to `longest_s`."""

    deadline_s: float = 30.0
    first_s: float = 0.5
    longest_s: float = 30.0
    last_s: float = 2.0
    linger_s: float = 0.25


class Delivery:
    """One sink. `journals` are those that it is owed the records of; the list may change meanwhile.

    Whatever goes wrong, in the sink or here, is counted as a failure of this sink and tried again later.
    """

    def __init__(self, name: str, sink: AuditSink, journals: Callable[[], Sequence[Journal]], pace: Pace) -> None:
        self.name = name
        self.sink = sink
        # A plugin's own __init__ may have left it out.
        self.redact = Redactor(getattr(sink, "settings", PluginSettings(plugin=name)))
        self.journals = journals
        self.pace = pace
        self.bell = Event()
        self.ending = Event()
        self.reader = CapacityLimiter(1)
        self.delivered = 0
        self.dropped = 0
        self.failures = 0
        self.last_error: str | None = None

    async def run(self) -> None:
        """Until `end` was called and all is delivered, or the one last try has failed."""
        wait_s = self.pace.first_s
        while True:
            carried: bool | None = False
            with contain() as kept:
                carried = await self.carried()
            if kept.error is not None:
                self.failed(f"the handing over failed: {told(kept.error, self.redact)}")
            if carried is None:
                if self.ending.is_set():
                    return
                await self.more()
            elif carried:
                wait_s = self.pace.first_s
            elif self.ending.is_set():
                return
            else:
                with move_on_after(wait_s * random.uniform(0.5, 1.0)):
                    await self.ending.wait()
                wait_s = min(2 * wait_s, self.pace.longest_s)

    async def more(self) -> None:
        """Wait until there is something new, and a little longer."""
        self.bell = Event()
        await self.bell.wait()
        with move_on_after(self.pace.linger_s):
            await self.ending.wait()

    def ring(self) -> None:
        """There is something new."""
        self.bell.set()

    def end(self) -> None:
        self.ending.set()
        self.bell.set()

    def owing(self) -> Journal | None:
        return next((journal for journal in self.journals() if journal.waiting(self.name)[0]), None)

    async def carried(self) -> bool | None:
        """Whether the sink took the next batch; None where it is owed nothing."""
        journal = self.owing()
        if journal is None:
            return None
        try:
            portion, records = await to_thread.run_sync(self.next, journal, limiter=self.reader)
        except OSError as error:
            self.failed(f"the spool cannot be read: {told(error)}")
            return False
        if records and not await self.taken(records):
            return False
        try:
            await to_thread.run_sync(journal.advance, self.name, portion.after, limiter=self.reader)
        except OSError as error:
            LOG.error(
                "how far %s has come cannot be noted, so that it gets records again: %s", self.name, told(error)
            )
        self.delivered += len(records)
        self.missed(portion.missed + len(portion.lines) - len(records))
        self.last_error = None
        return True

    def next(self, journal: Journal) -> tuple[Portion, list[AuditRecord]]:
        """In a worker thread. A line that is no record any more is left out."""
        portion = journal.read(self.name, MOST_RECORDS)
        records = []
        for line in portion.lines:
            with suppress(ValueError):
                records.append(read(line))
        return portion, records

    def missed(self, records: int) -> None:
        if records:
            self.dropped += records
            LOG.error("%d audit records in the spool are damaged: %s does not get them", records, self.name)

    async def taken(self, records: Sequence[AuditRecord]) -> bool:
        with move_on_after(self.pace.deadline_s) as scope, contain() as kept:
            await self.handed_over(records)
        if kept.error is not None:
            self.failed(told(kept.error, self.redact))
        elif scope.cancelled_caught:
            self.failed(f"it did not take {len(records)} records within {self.pace.deadline_s:g} s")
        else:
            return True
        return False

    async def handed_over(self, records: Sequence[AuditRecord]) -> None:
        try:
            await self.sink.write_batch(records)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # Nobody cancelled it: the sink raised this itself, and it would end the delivery without a word.
            raise RuntimeError("a part of it was cancelled") from error

    def failed(self, why: str) -> None:
        if why != self.last_error:
            LOG.error("the audit sink %s failed, what it should have got waits: %s", self.name, why)
        self.failures += 1
        self.last_error = why
