"""From tables of numbers to normalized series: whose they are, which points count, what must be said of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from telemetry_mcp import ProtocolError, Reply, Series, Window
from telemetry_mcp_influxdb.statement import MAX_POINTS, Statement
from telemetry_mcp_influxdb.table import TIME, Answer, Table, tables_of

MEASUREMENT, FIELD, VALUE = "_measurement", "_field", "_value"
"""What Flux calls them; its values stand in one column, whatever field they are of."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One statement and how its answer is to be read.

    `metric` empty: the query is the user's own, each series keeps its own name, and one without a service counts
    too. `wished_ms` is the step that was asked for, `step_ms` the one that is sent.
    """

    statement: Statement
    window: Window
    wished_ms: int
    step_ms: int
    service_tag: str
    limit: int
    services: tuple[str, ...] = ()
    metric: str = ""
    unit: str = ""
    latest: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """One column of numbers: `name` is that of the field, `service` None where no tag tells and none is meant."""

    service: str | None
    measurement: str
    name: str
    table: Table

    @property
    def full_name(self) -> str:
        return ".".join(part for part in (self.measurement, self.name) if part)

    @property
    def values(self) -> NDArray[np.float64]:
        return self.table.columns[VALUE if VALUE in self.table.columns else self.name]


def reply_of(answer: Answer, ask: Ask) -> Reply[Series]:
    """At most `ask.limit` series of the services that were asked for, with the points inside the window."""
    tables, unreadable, timeless = readable(answer)
    columns = [column for table in tables for column in columns_of(table, ask)]
    asked = [
        one for one in columns if one.service is not None and (not ask.services or one.service in ask.services)
    ]
    taken = asked[: ask.limit]
    several = len({(one.measurement, one.name) for one in taken}) > 1
    told = str(ask.statement)
    series = [series_of(one, ask, told, several=several) for one in taken]
    partial = list(answer.partial)
    if len(asked) > len(taken):
        partial.append(f"{len(taken)} of {len(asked)} series taken: group by {ask.service_tag}")
    if any(len(one) > MAX_POINTS for one in series):
        partial.append(f"only the newest {MAX_POINTS:,} points of a series are taken: group by time")
    return Reply(
        items=[newest(one) for one in series if np.isfinite(one.values).any()],
        queries=[told],
        warnings=[*answer.warnings, *timeless, *remarks(columns, taken, ask, unreadable)],
        partial="; ".join(partial) or None,
    )


def readable(answer: Answer) -> tuple[list[Table], int, list[str]]:
    """The tables of an answer, what could not be read of it, and what is no time series and so is left out.

    Raises ProtocolError where nothing could be read, BadQueryError where nothing is a time series.
    """
    tables: list[Table] = []
    unreadable = answer.unreadable
    timed = [frame for frame in answer.frames if TIME in frame.columns]
    timeless = len(answer.frames) - len(timed)
    for frame in timed or answer.frames:
        found, skipped = tables_of(frame)
        tables += found
        unreadable += skipped
    if unreadable and not tables:
        raise ProtocolError("the answer is not as InfluxDB documents it: none of its rows can be read")
    # Such as what the Flux profiler puts behind the data.
    said = [f"{timeless} tables without times left out: they are no time series"] if timeless else []
    return tables, unreadable, said


def columns_of(table: Table, ask: Ask) -> Iterator[Column]:
    """A column without a service belongs to the service that was asked for, if it was only one."""
    alone = ask.services[0] if len(ask.services) == 1 else None
    service = table.labels.get(ask.service_tag) or ("" if not ask.metric else alone)
    measurement = table.labels.get(MEASUREMENT, table.name)
    for name in [VALUE] if VALUE in table.columns else table.columns:
        yield Column(service, measurement, table.labels.get(FIELD, name) if name == VALUE else name, table)


def series_of(column: Column, ask: Ask, told: str, *, several: bool) -> Series:
    """The points inside the window; of buckets only those that lie whole in it."""
    times, values = in_order(column.table.times_ms, column.values)
    wanted = whole(times, ask)
    inside = np.flatnonzero(wanted & np.isfinite(values))[-1:] if ask.latest else np.flatnonzero(wanted)
    own = (ask.service_tag, MEASUREMENT, FIELD)
    labels = {name: text for name, text in column.table.labels.items() if name not in own}
    if several and ask.metric:
        labels["column"] = column.full_name
    return Series(
        service=column.service or "",
        metric=ask.metric or column.full_name,
        timestamps_ms=times[inside],
        values=np.where(np.isinf(values), np.nan, values)[inside],
        unit=ask.unit,
        labels=labels,
        query=told,
    )


def whole(times: NDArray[np.int64], ask: Ask) -> NDArray[np.bool_]:
    """Which samples, or buckets as wide as they are, lie whole inside the window."""
    last_ms = ask.window.end_ms - max(1, ask.statement.width_ms)
    return (times >= ask.window.start_ms) & (times <= last_ms)


def in_order(
    times: NDArray[np.int64], values: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Sorted by time; of several values at one time the last that is a number stays."""
    if np.all(np.diff(times) > 0):
        return times, values
    order = np.lexsort((np.isfinite(values), times))
    last = order[np.append(np.diff(times[order]) > 0, True)]
    return times[last], values[last]


def newest(series: Series) -> Series:
    if len(series) <= MAX_POINTS:
        return series
    return replace(series, timestamps_ms=series.timestamps_ms[-MAX_POINTS:], values=series.values[-MAX_POINTS:])


def remarks(columns: Sequence[Column], taken: Sequence[Column], ask: Ask, unreadable: int) -> Iterator[str]:
    tag = ask.service_tag
    if ask.step_ms != ask.wished_ms:
        wished, sent = f"{ask.wished_ms / 1000:g} s", f"{ask.step_ms / 1000:g} s"
        yield f"step widened from {wished} to {sent}: {MAX_POINTS:,} points at most"
    if nameless := sum(one.service is None for one in columns):
        yield f"{nameless} series without the tag {tag} left out: group by it"
    if ask.metric and any(tag not in one.table.labels for one in taken):
        yield f"a result without the tag {tag} is taken for {ask.services[0]}: group by it"
    if unreadable:
        yield f"{unreadable} series or rows could not be read"
    if outside := sum(not whole(one.table.times_ms, ask).any() for one in taken):
        of_1970 = any((one.table.times_ms == 0).any() for one in taken)
        why = ": an aggregate without times is of 1970, it needs GROUP BY time" if of_1970 else ""
        yield f"{outside} series have nothing that lies whole in the window{why}"
    if infinite := sum(int(np.isinf(one.values).sum()) for one in taken):
        yield f"{infinite} infinite values left out"
    if any(len(np.unique(one.table.times_ms)) < len(one.values) for one in taken):
        yield "several values at one time: the last of each is taken; group by all that tells them apart"
