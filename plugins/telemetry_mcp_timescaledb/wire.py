"""Packed rows to normalized series. Nothing here does I/O."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from telemetry_mcp import ProtocolError, Reply, Series
from telemetry_mcp_timescaledb.query import Ask, Shape

EPOCH_2000_MS = 946_684_800_000
"""PostgreSQL counts microseconds from the year 2000 on."""

Times = NDArray[np.int64]
Numbers = NDArray[np.float64]


@dataclass(slots=True)
class Decoder:
    """Reads the rows of one `packed` statement, and counts what has to be said of them."""

    shape: Shape
    ask: Ask
    sql: str
    points: int = 0
    nameless: int = 0
    odd: int = 0
    doubled: int = 0

    def reply(self, rows: Sequence[Sequence[Any]], points: int, series: int) -> Reply[Series]:
        """`points` and `series` are the limits that the statement was given, plus one that tells of more.

        Where there is a service column, a row without a service is left out and counted. Raises ProtocolError
        where the bytes are not those that were asked for.
        """
        items = [item for row in rows[:series] for item in self.series(row) if len(item)]
        reasons = []
        if len(rows) > series:
            reasons.append(f"the first {series} series taken, there are more: ask for fewer services or labels")
        if self.points > points:
            reasons.append(f"the newest {points} points taken, there are more: ask for a longer step")
        return Reply(items, [self.sql], list(self.remarks()), "; ".join(reasons) or None)

    def series(self, row: Sequence[Any]) -> Iterator[Series]:
        service, *labels, raw = row
        times, columns = unpacked(raw, len(self.shape.numbers))
        self.points += len(times)
        if self.shape.service and not service:
            self.nameless += len(times)
            return
        names = (name for name, _ in self.shape.labels)
        told = {name: text for name, text in zip(names, labels, strict=True) if text is not None}
        if self.shape.odd:
            self.odd += int(columns.pop().sum())
        else:
            self.odd += sum(int(np.count_nonzero(~np.isfinite(numbers))) for numbers in columns)
        for value, numbers in zip(self.shape.values, columns, strict=True):
            at, kept = self.in_order(times, np.where(np.isfinite(numbers), numbers, np.nan))
            yield Series(service or "", value.metric, at, kept, value.unit, told, self.sql)

    def in_order(self, times: Times, values: Numbers) -> tuple[Times, Numbers]:
        """Sorted by time, one value a time: the mean of several. Of the newest values only the very last."""
        if self.ask.latest:
            known = ~np.isnan(values)
            times, values = times[known], values[known]
            newest = times == times.max(initial=0)
            times, values = times[newest], values[newest]
        at, which = np.unique(times, return_inverse=True)
        if len(at) == len(times):
            order = np.argsort(times)
            return at, values[order]
        self.doubled += len(times) - len(at)
        known = ~np.isnan(values)
        counts = np.bincount(which, known)
        sums = np.bincount(which, np.where(known, values, 0.0))
        return at, np.divide(sums, counts, out=np.full(len(at), np.nan), where=counts > 0)

    def remarks(self) -> Iterator[str]:
        if self.odd:
            yield f"{self.odd} values that are no numbers (NaN, infinite or NULL) left out"
        if self.doubled:
            yield f"{self.doubled} rows share the time of another of their series: the mean is taken"
        if self.nameless:
            yield f"{self.nameless} points without a service left out"


def unpacked(raw: Any, columns: int) -> tuple[Times, list[Numbers]]:
    """The times in ms and the number columns, in the order of the rows."""
    kinds = [("at", ">i8"), *((f"v{nth}", ">f8") for nth in range(columns))]
    try:
        points = np.frombuffer(raw, dtype=kinds)
    except (TypeError, ValueError):
        raise ProtocolError("the points are not the bytes that were asked for") from None
    times = points["at"].astype(np.int64) // 1000 + EPOCH_2000_MS
    return times, [points[f"v{nth}"].astype(np.float64) for nth in range(columns)]
