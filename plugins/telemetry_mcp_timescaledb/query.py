"""SQL as it is sent: names quoted, values bound, and the rows of a series packed into one string of bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from telemetry_mcp import BadQueryError, SeriesQuery, Window

DATE_BIN = 140_000
"""The `server_version_num` from which PostgreSQL has date_bin."""


@dataclass(frozen=True, slots=True)
class Server:
    """What the server can do. `extension` is the schema that time_bucket is in, None without TimescaleDB."""

    version: int
    extension: str | None = None
    extension_version: str = ""


@dataclass(frozen=True, slots=True)
class Ask:
    """What is asked of one SELECT. No services: all of them."""

    window: Window
    step_ms: int
    services: tuple[str, ...] = ()
    latest: bool = False

    @classmethod
    def of(cls, query: SeriesQuery) -> Ask:
        """For the newest values the window begins later, so that its last interval is a whole one."""
        window = query.window
        if query.latest and window.duration_ms > query.step_ms:
            window = Window(window.start_ms + window.duration_ms % query.step_ms, window.end_ms)
        return cls(window, query.step_ms, query.services, query.latest)


class Binds:
    """The values of a statement's parameters, in the order of their numbers."""

    def __init__(self) -> None:
        self.values: list[object] = []

    def __call__(self, value: object, kind: str) -> str:
        self.values.append(value)
        return f"${len(self.values)}::{kind}"


@dataclass(frozen=True, slots=True)
class Statement:
    sql: str
    values: Sequence[object] = ()


@dataclass(frozen=True, slots=True)
class Value:
    """A number column of a SELECT, and the metric that it is."""

    column: str
    metric: str
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Shape:
    """The columns of a SELECT. `labels` pairs a label's name with its column; `odd` is the column that counts
    the rows of an interval that held no number, where they were filtered out already."""

    time: str
    values: tuple[Value, ...]
    service: str | None
    labels: tuple[tuple[str, str], ...] = ()
    odd: str | None = None

    @property
    def numbers(self) -> tuple[str, ...]:
        return (*(value.column for value in self.values), *((self.odd,) if self.odd else ()))


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def moment(at_ms: int) -> datetime:
    try:
        return datetime.fromtimestamp(at_ms // 1000, UTC) + timedelta(milliseconds=at_ms % 1000)
    except (OverflowError, ValueError, OSError):
        raise BadQueryError("a time outside the years 1 to 9999") from None


def interval(step_ms: int) -> timedelta:
    return timedelta(milliseconds=step_ms)


def bucket(column: str, ask: Ask, server: Server, binds: Binds) -> str:
    """The start of the interval that `column` lies in. Intervals are counted from the window's start, so that
    none begins before it; they are never months, which date_bin does not know."""
    step, origin = binds(interval(ask.step_ms), "interval"), binds(moment(ask.window.start_ms), "timestamptz")
    if server.extension is not None:
        return f"{quoted(server.extension)}.time_bucket({step}, ({column})::timestamptz, {origin})"
    if server.version < DATE_BIN:
        raise BadQueryError(
            f"PostgreSQL {server.version // 10_000} has neither date_bin nor the extension timescaledb",
            hint="use PostgreSQL 14 or newer, or CREATE EXTENSION timescaledb",
        )
    return f"date_bin({step}, ({column})::timestamptz, {origin})"


def packed(select: str, shape: Shape, ask: Ask, binds: Binds, points: int, series: int) -> Statement:
    """One row a series: service, labels, and all of its points in one `bytea`, big-endian.

    A point is the time in microseconds from 2000 on as int64, then each number column as float64: what the
    server sends in binary anyway, but without an object per point here. Of more than `points` the newest are
    kept, and one too many, which tells that there were more; likewise of `series`. Standing in brackets,
    `select` can be nothing but a SELECT: the grammar itself refuses all that writes.
    """
    time, service = quoted(shape.time), f"{quoted(shape.service)}::text" if shape.service else "NULL::text"
    start, end = (binds(moment(at), "timestamptz") for at in (ask.window.start_ms, ask.window.end_ms))
    inside = [f"{time} >= {start}", f"{time} < {end}"]
    if ask.services and shape.service:
        inside.append(f"{service} = ANY({binds(list(ask.services), 'text[]')})")
    sent = [f"timestamptz_send({time}::timestamptz)"]
    sent += [f"float8send(coalesce({quoted(column)}::float8, 'NaN'))" for column in shape.numbers]
    keys = [service, *(f"{quoted(column)}::text" for _, column in shape.labels)]
    sql = (
        f"SELECT {', '.join(keys)}, string_agg({' || '.join(sent)}, ''::bytea)"
        f" FROM (SELECT * FROM (\n{select}\n) AS asked WHERE {' AND '.join(inside)}"
        f" ORDER BY {time} DESC LIMIT {binds(points + 1, 'bigint')}) AS points"
        f" GROUP BY {', '.join(str(nth) for nth in range(1, len(keys) + 1))}"
        f" ORDER BY 1 LIMIT {binds(series + 1, 'bigint')}"
    )
    return Statement(sql, binds.values)
