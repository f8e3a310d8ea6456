"""Annotated CSV, in which Flux answers: several tables, each with lines that say what its columns are."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from io import StringIO
from math import nan
from typing import Any

from telemetry_mcp import ProtocolError
from telemetry_mcp_influxdb.table import TIME, Frame
from telemetry_mcp_influxdb.wire import refusal

TIMES = ("_time", "_start")
"""The columns that can say when, the best first: an aggregate of the whole range has the range's start only."""

RESULT = "result"
META = ("", RESULT, "table")
"""The columns that stand first in every table, and are not data."""


def real(text: str) -> float:
    """A number; NaN where the text is none."""
    try:
        return float(text)
    except ValueError:
        return nan


TYPES: Mapping[str, Callable[[str], Any]] = {
    "string": str,
    "double": real,
    "long": real,
    "unsignedLong": real,
    "boolean": {"true": 1.0, "false": 0.0}.get,
}
"""Datatype -> how a value is read. A column of any other, such as a duration, is left out."""


@dataclass(slots=True)
class Block:
    """The lines from one set of annotations to the next. Its rows may belong to several tables."""

    notes: dict[str, list[str]] = field(default_factory=dict)
    header: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)


def frames_of(text: str) -> tuple[list[Frame], int]:
    """The data of an answer, and how many lines could not be read.

    Of several results, which each yield() names, the name is a label: they may hold the same series.
    Raises the error that an answer holds in place of data or after some; ProtocolError for what is no annotated
    CSV.
    """
    frames: list[tuple[str, Frame]] = []
    unreadable = 0
    for block in blocks(text):
        if block.header[1:3] == ["error", "reference"] or block.header[:2] == ["error", "reference"]:
            words = next((row[block.header.index("error")] for row in block.rows if row), "")
            raise refusal(words)
        whole = [row for row in block.rows if len(row) == len(block.header)]
        unreadable += len(block.rows) - len(whole)
        frames.append((result_of(block, whole), frame_of(block, whole)))
    several = len({name for name, _ in frames}) > 1
    labelled = [replace(frame, labels={RESULT: name}) if several else frame for name, frame in frames]
    return labelled, unreadable


def result_of(block: Block, rows: Sequence[Sequence[str]]) -> str:
    """The name of the result that a block is of: in its rows, or once for all of them among the defaults."""
    at = block.header.index(RESULT) if RESULT in block.header[: len(META)] else None
    if at is None:
        return ""
    named = rows[0][at] if rows else ""
    return named or "".join(block.notes.get("#default", [])[at : at + 1])


def blocks(text: str) -> Iterator[Block]:
    """A blank line ends a block, and so does an annotation after data."""
    block = Block()
    try:
        for row in csv.reader(StringIO(text, newline=""), strict=True):
            noted = bool(row) and row[0].startswith("#")
            if block.header and (not row or noted):
                yield block
                block = Block()
            if noted:
                block.notes[row[0]] = row
            elif row and not block.header:
                block.header = row
            elif row:
                block.rows.append(row)
    except csv.Error as error:
        raise ProtocolError(f"the CSV cannot be read: {error}") from None
    if block.header:
        yield block


def frame_of(block: Block, rows: Sequence[Sequence[str]]) -> Frame:
    """The block's columns that are a time, a text or a number; its first time column is called `time`."""
    types = block.notes.get("#datatype", [])
    if len(types) != len(block.header):
        raise ProtocolError("the body is not the annotated CSV that was asked for: it has no #datatype of its own")
    defaults = block.notes.get("#default", []) + [""] * len(block.header)
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(block.header)
    when = next((block.header.index(name) for name in TIMES if name in block.header), None)
    named: dict[str, list[Any]] = {}
    for at, name in enumerate(block.header):
        read = str if at == when else TYPES.get(types[at].partition(":")[0])
        if (at < len(META) and name in META) or read is None:
            continue
        values = [text or defaults[at] for text in columns[at]]
        named[TIME if at == when else free(name, named)] = [read(value) if value else None for value in values]
    return Frame("", {}, named)


def free(name: str, taken: Mapping[str, Any]) -> str:
    """A name that no earlier column has: Flux lets two columns be called the same."""
    return name if name not in taken else free(f"{name}_1", taken)
