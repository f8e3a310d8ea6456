"""The JSON of InfluxDB 1.x as it really comes: several documents in one body, and large ones series by series."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from telemetry_mcp import ProtocolError, parse_json

SPLIT_BYTES = 1024 * 1024
"""From here on each series is parsed by itself: one parse of it all would hold the interpreter throughout."""

# This can only be structure: inside a string its quotes would be escaped, and a tag's value is a string.
VALUES = b'"values":[['


def documents(body: bytes) -> list[Any]:
    """One document, or several on lines of their own, as a chunked answer is. ProtocolError where it is no JSON.

    The `values` of a series are a list of rows, or an array of them where all are numbers.
    """
    if len(body) >= SPLIT_BYTES and (document := split(body)) is not None:
        return [document]
    try:
        return [parse_json(body)]
    except ProtocolError:
        lines = [line for line in body.splitlines() if line.strip()]
        if len(lines) < 2:
            raise
        return [parse_json(line) for line in lines]


def split(body: bytes) -> Any:
    """One document, parsed series by series; None where it is not written exactly as InfluxDB writes it."""
    head, *pieces = body.split(VALUES)
    rows, bones = [], [head]
    try:
        for number, piece in enumerate(pieces):
            values, _, rest = piece.partition(b"]]")
            rows.append(matrix(values))
            bones.append(b'"values":%d%s' % (number, rest))
        document = orjson.loads(b"".join(bones))
        for result in document["results"]:
            for series in result.get("series", []):
                series["values"] = rows[series["values"]]
    except (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError):
        return None
    return document


def matrix(values: bytes) -> list[Any] | NDArray[np.float64]:
    """Rows of `1,2],[3,null`: one list of numbers without the brackets. ValueError where they are uneven."""
    if b'"' in values:
        rows: list[Any] = orjson.loads(b"[[" + values + b"]]")
        return rows
    width = values.partition(b"]")[0].count(b",") + 1
    numbers = np.array(orjson.loads(b"[" + values.translate(None, b"[]") + b"]"), dtype=np.float64)
    if len(numbers) != width * (values.count(b"],[") + 1):
        raise ValueError("rows of different lengths")
    return numbers.reshape(-1, width)
