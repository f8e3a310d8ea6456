"""Columns as an answer holds them, and the tables of numbers that they become. Nothing here does I/O."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from telemetry_mcp import BadQueryError

TIME = "time"
"""The column that says when, in every frame."""

NEVER_MS = -1
"""Before every window: the time of a row that has none."""

UTC_TEXT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?Z?")


Values = Sequence[Any] | NDArray[np.float64]
"""Texts, numbers and nulls as they came, or numbers in an array."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """Columns of one length as they came; `labels` hold for all of their rows."""

    name: str
    labels: Mapping[str, str]
    columns: Mapping[str, Values]


@dataclass(frozen=True, slots=True)
class Answer:
    """`partial` says what is missing, `unreadable` counts what was skipped for it is not as documented."""

    frames: Sequence[Frame]
    warnings: Sequence[str] = ()
    partial: Sequence[str] = ()
    unreadable: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """The numbers of one label set: a column each, all as long as `times_ms`. What is no number is NaN."""

    name: str
    labels: Mapping[str, str]
    times_ms: NDArray[np.int64]
    columns: Mapping[str, NDArray[np.float64]]


def tables_of(frame: Frame) -> tuple[list[Table], int]:
    """One table for each set of texts, for a column that holds texts is a label; and how many rows have no time.

    Raises BadQueryError where no column says when.
    """
    if TIME not in frame.columns:
        raise BadQueryError("the answer has no times: it is no time series")
    times = instants(frame.columns[TIME])
    columns = {name: column for name, column in frame.columns.items() if name != TIME}
    dated = np.flatnonzero(times != NEVER_MS)
    skipped = len(times) - len(dated)
    if skipped:
        times = times[dated]
        columns = {name: [column[row] for row in dated.tolist()] for name, column in columns.items()}
    texts = {name: column for name, column in columns.items() if is_text(column)}
    numbers = {name: floats(column) for name, column in columns.items() if name not in texts}
    tables = []
    for key, index in grouped(texts, len(times)):
        own = {name: text for name, text in zip(texts, key, strict=True) if isinstance(text, str) and text}
        values = {name: column[index] for name, column in numbers.items()}
        tables.append(Table(frame.name, {**frame.labels, **own}, times[index], values))
    return tables if len(times) else [], skipped


def is_text(column: Values) -> bool:
    """A column of texts and nulls. One with a number in it is of numbers, as InfluxDB's columns have one type."""
    if isinstance(column, np.ndarray):
        return False
    return any(isinstance(value, str) for value in column) and all(
        value is None or isinstance(value, str) for value in column
    )


def grouped(texts: Mapping[str, Values], count: int) -> Iterator[tuple[tuple[Any, ...], slice | NDArray[np.intp]]]:
    """Each set of texts with the rows that have it."""
    if not texts:
        yield (), slice(0, count)
        return
    rows: dict[tuple[Any, ...], list[int]] = {}
    for number, key in enumerate(zip(*texts.values(), strict=True)):
        rows.setdefault(key, []).append(number)
    for key, numbers in rows.items():
        yield key, np.array(numbers)


def floats(column: Values) -> NDArray[np.float64]:
    try:
        values = np.array(column, dtype=np.float64)  # null is NaN, true is 1
    except (OverflowError, TypeError, ValueError):
        values = np.array([number(value) for value in column])
    return values if values.ndim == 1 else np.full(len(column), np.nan)


def number(value: Any) -> float:
    try:
        return float(value) if isinstance(value, int | float) else math.nan
    except OverflowError:
        return math.nan


def instants(column: Values) -> NDArray[np.int64]:
    """Epoch milliseconds of RFC 3339 texts, which are UTC where they name no zone, or of epoch numbers.

    Numbers are seconds, ms, us or ns by their magnitude: a proxy may have dropped the unit that was asked for.
    NEVER_MS where it is no time.
    """
    if isinstance(column, np.ndarray):
        return from_numbers(column)
    if all(isinstance(at, str) and UTC_TEXT.fullmatch(at) for at in column):
        try:
            return np.array([at[:23].rstrip("Z") for at in column], dtype="datetime64[ms]").astype(np.int64)
        except ValueError:  # a day that no month has
            pass
    if any(isinstance(at, str) for at in column):
        return np.array([milliseconds(at) if isinstance(at, str) else instants([at])[0] for at in column])
    return from_numbers(floats(column))


def from_numbers(times: NDArray[np.float64]) -> NDArray[np.int64]:
    size = np.abs(times)
    scale = np.select([size < 1e11, size < 1e14, size < 1e17], [1e3, 1.0, 1e-3], 1e-6)
    told = size <= 2**63  # of nanoseconds there are no more, and NaN is none
    return np.floor(np.where(told, times * scale, NEVER_MS)).astype(np.int64)


def milliseconds(text: str) -> int:
    try:
        at = datetime.fromisoformat(text)
        return math.floor((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
    except (OverflowError, ValueError):
        return NEVER_MS
