"""Rows of NRQL as series. Pure, and run in a thread where the rows may be many."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from telemetry_mcp import Reply, Series, Window, clean
from telemetry_mcp_newrelic.field import moment, number, record, records, text, texts, unreadable
from telemetry_mcp_newrelic.graph import Found

STRUCTURE = frozenset({"facet", "beginTimeSeconds", "endTimeSeconds", "timestamp", "inspectedCount", "comparison"})
Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Shape:
    """What a row is read by: which attribute names the service, and what holds where a row says nothing.

    `labels` are put on every series. Without a `metric` it is a native query, whose rows all count.
    """

    metric: str
    attribute: str
    window: Window
    now_ms: int
    step_ms: int = 0
    only: str = ""
    unit: str = ""
    query: str = ""
    labels: Labels = ()


@dataclass(slots=True)
class Column:
    """The points of one series while its rows are gathered."""

    times: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Table:
    """The series of an answer by service and labels, and the rows that went into none."""

    columns: dict[tuple[str, Labels], Column] = field(default_factory=dict)
    named: dict[Any, tuple[str, Labels]] = field(default_factory=dict)
    """Facet -> service and labels: a facet comes again in every bucket."""
    nameless: int = 0
    unread: int = 0
    earlier: int = 0
    late: int = 0

    def put(self, service: str, labels: Labels, at_ms: int, value: float) -> None:
        column = self.columns.setdefault((service, labels), Column())
        column.times.append(at_ms)
        column.values.append(value)


def reply_of(found: Found, shape: Shape) -> Reply[Series]:
    """The series of a NRQL result.

    Timestamps are the beginnings of buckets; a bucket that goes beyond the window's end or beyond now is left
    out. Null is NaN. Messages of New Relic are warnings, beside an empty answer the reason why it is partial.
    Raises ProtocolError.
    """
    rows, unread = rows_of(found)
    metadata = record(found.node.get("metadata"))
    own = [shape.attribute] if any(shape.attribute in row for row in rows) else []
    table, facets = Table(unread=unread), texts(metadata.get("facets")) or own
    for row in rows:
        add(row, facets, shape, table)
    warnings = [*found.warnings, *complaints(table, shape)]
    messages = texts(metadata.get("messages"))
    rest = ["New Relic left out services beyond the query's LIMIT"] * has_rest(found.node.get("otherResult"))
    reasons = [*filter(None, [found.partial]), *rest, *([] if rows else messages)]
    several = len({name for _, labels in table.columns for key, name in labels if key == "column"}) > 1
    items = [series(key, column, shape, several) for key, column in table.columns.items()]
    return Reply(items, [shape.query], warnings + (messages if rows else []), "; ".join(reasons) or None)


def rows_of(found: Found) -> tuple[list[dict[str, Any]], int]:
    """The rows of an answer, also where COMPARE WITH split them, and how many entries are none."""
    rows, unread = found.listing("results")
    if rows or unread:
        return rows, unread
    rows, unread = records(found.node.get("currentResults"))
    before, also = records(found.node.get("previousResults"))
    return [*rows, *({"comparison": "previous", **row} for row in before)], unread + also


def complaints(table: Table, shape: Shape) -> list[str]:
    said = unreadable(table.unread, "rows of New Relic's answer")
    if table.nameless:
        said.append(f"{table.nameless} rows have no {shape.attribute}: add FACET {shape.attribute} to the query")
    if table.late and not table.columns:
        said.append(f"all {table.late} buckets go beyond the window's end, or are not over yet")
    if table.earlier:
        said.append("COMPARE WITH is left out: a metric has one window")
    return said


def add(row: Mapping[str, Any], facets: Sequence[str], shape: Shape, table: Table) -> None:
    """Put a row's values into their columns, or count why not."""
    compared = text(row.get("comparison"))
    if compared == "previous" and shape.metric:
        table.earlier += 1
        return
    at_ms, complete = when(row, shape)
    if at_ms is None or not complete:
        table.unread += at_ms is None
        table.late += at_ms is not None
        return
    service, labels = whose(row, facets, shape, table)
    if not service:
        table.nameless += 1
        return
    fixed = (*labels, ("comparison", compared)) if compared else labels
    for name, value in numbers(row, facets):
        table.put(service, (*fixed, *name), at_ms, value)


def whose(row: Mapping[str, Any], facets: Sequence[str], shape: Shape, table: Table) -> tuple[str, Labels]:
    """The service of a row, empty where it has none, and the labels of its series."""
    facet = row.get("facet")
    key = facet if isinstance(facet, str) else (repr(facet),)
    if "facet" in row and key in table.named:
        return table.named[key]
    labels = faceted(row, facets)
    service = labels.pop(shape.attribute, "") or ("" if "facet" in row else shape.only)
    found = service, (*shape.labels, *labels.items())
    if "facet" in row:
        table.named[key] = found
    return found


def when(row: Mapping[str, Any], shape: Shape) -> tuple[int | None, bool]:
    """When a row holds in ms (None: that is no time), and whether its bucket is complete.

    Buckets count in seconds, events in milliseconds.
    """
    if "beginTimeSeconds" in row:
        begin_ms = moment(row["beginTimeSeconds"])
        # The last bucket's end may be cut to UNTIL: by the asked width it is seen to be unfinished all the same.
        ends_ms = max(moment(row.get("endTimeSeconds")) or 0, (begin_ms or 0) + shape.step_ms)
        return begin_ms, ends_ms <= min(shape.window.end_ms, shape.now_ms)
    return (moment(row["timestamp"]) if row.get("timestamp") else shape.window.end_ms - 1), True


def faceted(row: Mapping[str, Any], facets: Sequence[str]) -> dict[str, str]:
    """Facet attribute -> value. `facet` is a text for one attribute and a list for several; a row without it has
    the attributes themselves, which in the others an alias may have overwritten."""
    if "facet" not in row:
        placed = {name: row.get(name) for name in facets}
    else:
        facet = row["facet"]
        placed = dict(zip(facets, facet if isinstance(facet, list) else [facet], strict=False))
    return {name: found for name, value in placed.items() if (found := text(value))}


def numbers(row: Mapping[str, Any], facets: Sequence[str]) -> Iterable[tuple[Labels, float]]:
    """The values of a row, each with the labels that tell it from the others."""
    for key, value in row.items():
        # What stands under a facet's name is its value, except where a column's alias took the name.
        if key in STRUCTURE or (key in facets and not taken(value, row)):
            continue
        column = ("column", tidy(key))
        if isinstance(value, dict):
            yield from parts(column, value)
        elif (found := number(value)) == found or value is None:
            yield (column,), found


@lru_cache(256)
def tidy(key: str) -> str:
    """The name of a column, which comes again in every row."""
    return clean(key)


def taken(value: Any, row: Mapping[str, Any]) -> bool:
    """Whether a column's alias took a facet's name, so that its value is one of the column."""
    return "facet" in row and isinstance(value, int | float) and text(value) not in texts(row["facet"])


def parts(column: tuple[str, str], value: Mapping[str, Any]) -> Iterable[tuple[Labels, float]]:
    """What an object holds: an apdex its score, a percentile its value, several of them one each."""
    if "score" in value:
        yield (column,), number(value["score"])
        return
    held = {
        clean(name).removesuffix(".0"): part for name, part in value.items() if not isinstance(part, dict | list)
    }
    for name, part in held.items():
        yield (column, ("percentile", name)) if len(held) > 1 else (column,), number(part)


def series(key: tuple[str, Labels], column: Column, shape: Shape, several: bool) -> Series:
    """Sorted by time, the last of duplicate times; the column's name is a label only where there are several."""
    service, labels = key
    times, values = np.array(column.times, dtype=np.int64), np.array(column.values, dtype=np.float64)
    order = np.argsort(times, kind="stable")
    times, values = times[order], values[order]
    keep = np.append(times[1:] != times[:-1], True)
    shown = {name: value for name, value in labels if several or name != "column"}
    return Series(
        service, shape.metric, times[keep], values[keep], unit=shape.unit, labels=shown, query=shape.query
    )


def newest(item: Series) -> Series:
    """Only the newest point that is a number."""
    known = [index for index, value in enumerate(item.values) if value == value][-1:]
    times, values = item.timestamps_ms[known], item.values[known]
    return Series(item.service, item.metric, times, values, item.unit, item.labels, item.query)


def has_rest(other: Any) -> bool:
    """Whether `otherResult` (an object, a list of them under TIMESERIES, or null) counts anything."""
    if isinstance(other, list):
        return any(has_rest(item) for item in other)
    return any(
        has_rest(value) if isinstance(value, dict) else abs(number(value)) > 0
        for key, value in record(other).items()
        if key not in STRUCTURE
    )
