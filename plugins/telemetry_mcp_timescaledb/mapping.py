"""A metric that is described by its columns, as a SELECT."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from telemetry_mcp import Window
from telemetry_mcp_timescaledb.query import (
    Ask,
    Binds,
    Server,
    Shape,
    Statement,
    Value,
    bucket,
    interval,
    moment,
    quoted,
)
from telemetry_mcp_timescaledb.setting import DatabaseSettings, Inventory, SqlMetric, relation

# NaN is greater than Infinity to PostgreSQL: one comparison leaves out both, and max() is a number again.
FINITE = "FILTER (WHERE v > '-Infinity' AND v < 'Infinity')"

AGGREGATES: Mapping[str, str] = {
    **{name: f"{name}(v) {FINITE}" for name in ("avg", "min", "max", "sum")},
    **{f"p{nth}": f"percentile_cont(0.{nth}) WITHIN GROUP (ORDER BY v) {FINITE}" for nth in (50, 75, 90, 95, 99)},
    "count": "count(*)",
    "first": f"(array_agg(v ORDER BY t) {FINITE})[1]",
    "last": f"(array_agg(v ORDER BY t DESC) {FINITE})[1]",
    "sum_per_s": f"sum(v) {FINITE} / {{width}}",
    "count_per_s": "count(*) / {width}",
}


@dataclass(frozen=True, slots=True)
class Columns:
    """Where a mapped metric is: every name that its SELECT uses."""

    table: str
    time: str
    value: str | None
    service: str
    labels: tuple[str, ...]
    where: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(cls, metric: SqlMetric, settings: DatabaseSettings) -> Columns:
        counted = metric.aggregate in ("count", "count_per_s")
        return cls(
            table=metric.table or "",
            time=metric.time or settings.time_column,
            value=metric.value or (None if counted else settings.value_column),
            service=metric.service or settings.service_column,
            labels=metric.labels,
            where={
                column: (value,) if isinstance(value, str) else value for column, value in metric.where.items()
            },
        )

    @property
    def used(self) -> tuple[str, ...]:
        value = (self.value,) if self.value else ()
        return tuple(dict.fromkeys((self.time, *value, self.service, *self.labels, *self.where)))


def named(table: str) -> str:
    """The table's name, quoted."""
    return ".".join(quoted(part) for part in relation(table))


def select(columns: Columns, aggregate: str, ask: Ask, server: Server, binds: Binds) -> str:
    """One row an interval, service and set of labels, with the columns that `shape_of_mapped` names."""
    labels = [f"l{nth}" for nth in range(len(columns.labels))]
    read = [f"{quoted(columns.time)}::timestamptz AS t", f"{quoted(columns.service)}::text AS s"]
    read.append(f"{quoted(columns.value)}::float8 AS v" if columns.value else "0::float8 AS v")
    read += [f"{quoted(column)}::text AS {alias}" for column, alias in zip(columns.labels, labels, strict=True)]
    rows = f"SELECT {', '.join(read)} FROM {named(columns.table)} WHERE {conditions(columns, ask, binds)}"
    binned = f"SELECT *, {bucket('t', ask, server, binds)} AS b FROM ({rows}) AS rows"
    more = "".join(f", {label}" for label in labels)
    return (
        f"SELECT b AS time, s AS service, {aggregated(aggregate, ask, binds)} AS value,"
        f" count(v) - count(v) {FINITE} AS odd{more} FROM ({binned}) AS binned GROUP BY b, s{more}"
    )


def shape_of_mapped(columns: Columns, metric: str, unit: str) -> Shape:
    labels = tuple((label, f"l{nth}") for nth, label in enumerate(columns.labels))
    return Shape("time", (Value("value", metric, unit),), "service", labels, odd="odd")


def aggregated(aggregate: str, ask: Ask, binds: Binds) -> str:
    """The aggregate; what counts by the second knows that the window's last interval may be cut short."""
    sql = AGGREGATES[aggregate]
    if "{width}" not in sql:
        return sql
    step, end = binds(interval(ask.step_ms), "interval"), binds(moment(ask.window.end_ms), "timestamptz")
    return sql.format(width=f"extract(epoch FROM least({step}, {end} - b))::float8")


def conditions(columns: Columns, ask: Ask, binds: Binds) -> str:
    """The rows inside the window; the bare time column is compared, so that its index and chunks are used."""
    time = quoted(columns.time)
    start, end = (binds(moment(at), "timestamptz") for at in (ask.window.start_ms, ask.window.end_ms))
    found = [f"{time} >= {start}", f"{time} < {end}"]
    if ask.services:
        found.append(f"{quoted(columns.service)}::text = ANY({binds(list(ask.services), 'text[]')})")
    found += [
        f"{quoted(name)}::text = ANY({binds([*any_of], 'text[]')})" for name, any_of in columns.where.items()
    ]
    return " AND ".join(found)


def inventory(table: Inventory, settings: DatabaseSettings, window: Window, binds: Binds, limit: int) -> Statement:
    """Service, team, environment; of the table's rows those in the window, where it has a time column."""
    service = f"{quoted(table.service or settings.service_column)}::text"
    more = [f"{quoted(column)}::text" if column else "NULL::text" for column in (table.team, table.environment)]
    found = [f"{service} <> ''"]
    if table.time:
        start, end = (binds(moment(at), "timestamptz") for at in (window.start_ms, window.end_ms))
        found += [f"{quoted(table.time)} >= {start}", f"{quoted(table.time)} < {end}"]
    sql = (
        f"SELECT DISTINCT {', '.join([service, *more])} FROM {named(table.table)}"
        f" WHERE {' AND '.join(found)} ORDER BY 1, 2, 3 LIMIT {binds(limit + 1, 'bigint')}"
    )
    return Statement(sql, binds.values)
