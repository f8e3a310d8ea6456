"""Prometheus' JSON and ours: answers to rows of numbers, refusals to our errors. Nothing here does I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from telemetry_mcp import (
    BadQueryError,
    HttpReply,
    NotFoundError,
    ProtocolError,
    SourceError,
    SourceTimeoutError,
    UpstreamError,
    clean,
    error_for_status,
    parse_json,
    retry_after,
)

SPLIT_BYTES = 1024 * 1024
"""From here on a matrix is parsed series by series: one parse of it all would hold the interpreter throughout."""

ENVELOPE = b'{"status":"success","data":{"resultType":"matrix","result":['
# These can only be structure. In a string their quotes would be escaped, and the value of a label is a string.
SERIES = b'{"metric":{'
VALUES = b'},"values":[['

ERRORS: Mapping[str, type[SourceError]] = {
    "bad_data": BadQueryError,
    "execution": BadQueryError,
    "timeout": SourceTimeoutError,
    "canceled": SourceTimeoutError,
    "not_found": NotFoundError,
}
"""`errorType` -> our error. Any other goes by the status."""


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One labelled series as it came: int64 ms in rising order, float64 with NaN and infinities."""

    labels: Mapping[str, str]
    timestamps_ms: NDArray[np.int64]
    values: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Answer:
    """`warnings` mean that data is missing, `infos` that a query could be better; `histograms` counts series."""

    rows: Sequence[Row]
    warnings: Sequence[str] = ()
    infos: Sequence[str] = ()
    histograms: int = 0
    truncated: str = field(default="")


def failure(reply: HttpReply) -> SourceError:
    """The error that a reply outside 2xx means, in Prometheus' own words where it has any."""
    try:
        body = parse_json(reply.body)
    except ProtocolError:
        body = None
    if isinstance(body, dict) and body.get("status") == "error":
        return refusal(body, reply)
    words = reply.body[:600].decode("utf-8", "replace")
    error = error_for_status(reply.status, words, retry_after_s=retry_after(reply.headers))
    if isinstance(error, NotFoundError):
        error.hint = "the url's path is wrong: give what stands before /api/v1, such as http://host/prometheus"
    return error


def refusal(body: Mapping[str, Any], reply: HttpReply) -> SourceError:
    kind, words = str(body.get("errorType", "")), str(body.get("error", ""))
    if kind not in ERRORS:
        if reply.status < 300:
            return UpstreamError(f"{clean(kind)}: {clean(words)}")
        return error_for_status(reply.status, words or kind, retry_after_s=retry_after(reply.headers))
    too_much = "too many" in words or "exceed" in words
    return ERRORS[kind](
        f"{kind}: {clean(words)}", hint="ask for a shorter window or fewer services" if too_much else ""
    )


def data_of(reply: HttpReply) -> tuple[Any, Mapping[str, Any]]:
    """The `data` of a 2xx reply and the envelope around it. Raises the error that a refusal in it means."""
    body = parse_json(reply.body)
    if not isinstance(body, dict) or body.get("status") not in ("success", "error"):
        raise ProtocolError("the body is JSON, but not an answer of the Prometheus API")
    if body["status"] == "error":
        raise refusal(body, reply)
    return body.get("data"), body


def decode(reply: HttpReply) -> Answer:
    """The rows of a query's 2xx reply. ProtocolError when it has not the shape that is documented."""
    try:
        large = len(reply.body) >= SPLIT_BYTES and reply.body.startswith(ENVELOPE)
        return (decode_split(reply.body) if large else None) or decode_whole(reply)
    except (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise ProtocolError(f"the answer is not as Prometheus documents it: {clean(repr(error))}") from error


def decode_whole(reply: HttpReply) -> Answer:
    data, envelope = data_of(reply)
    shape, result = data["resultType"], data["result"]
    if shape == "string":
        raise BadQueryError(f"the query gives a text, not numbers: {clean(result[1])}")
    if shape == "scalar":
        return answer([row({}, [result])], envelope)
    if shape not in ("vector", "matrix"):
        raise ProtocolError(f"a result of type {clean(shape)} is none that Prometheus documents")
    rows, histograms = [], 0
    for item in result:
        points = item.get("values", []) if shape == "matrix" else [item["value"]] if "value" in item else []
        histograms += "histogram" in item or "histograms" in item
        if points:
            rows.append(row(item["metric"], points))
    return answer(rows, envelope, histograms)


def row(labels: Mapping[str, str], points: Sequence[Sequence[Any]]) -> Row:
    times = np.fromiter((point[0] for point in points), np.float64, len(points))
    return in_order(labels, times, np.fromiter((float(point[1]) for point in points), np.float64, len(points)))


def decode_split(body: bytes) -> Answer | None:
    """A large matrix, series by series; None where it is not written exactly as Prometheus writes it."""
    head, *pieces = body.split(SERIES)
    rows: list[Row] = []
    tail = b""
    for piece in pieces:
        labels, found, rest = piece.partition(VALUES)
        points, closed, tail = rest.partition(b"]]")
        numbers = flat(points)
        if not found or not closed or numbers is None or (tail != b"}," and len(rows) + 1 < len(pieces)):
            return None
        rows.append(in_order(orjson.loads(b"{" + labels + b"}"), numbers[:, 0], numbers[:, 1]))
    if head != ENVELOPE or not tail.startswith(b"}]"):
        return None
    envelope = parse_json(head + tail[1:])
    return answer(rows, envelope)


def flat(points: bytes) -> NDArray[np.float64] | None:
    """`1,"2"],[3,"4"` as rows of (time, value). Without brackets and quotes it is one list of plain numbers."""
    bare = points.translate(None, b'[]"')
    try:
        numbers = np.array(orjson.loads(b"[" + bare + b"]"), dtype=np.float64)
    except orjson.JSONDecodeError:
        numbers = np.array([float(number) for number in bare.split(b",")])  # NaN, +Inf and -Inf are not JSON
    pairs = points.count(b"],[") + 1
    return numbers.reshape(-1, 2) if numbers.shape == (2 * pairs,) else None


def in_order(labels: Mapping[str, str], times_s: NDArray[np.float64], values: NDArray[np.float64]) -> Row:
    """Sorted by time; of two values at one time the later written stays."""
    times = np.rint(times_s * 1000).astype(np.int64)
    if len(times) > 1 and not np.all(np.diff(times) > 0):
        times, last = np.unique(times[::-1], return_index=True)
        values = values[::-1][last]
    return Row(labels, times, np.ascontiguousarray(values))


def answer(rows: Iterable[Row], envelope: Mapping[str, Any], histograms: int = 0) -> Answer:
    """Rows of one label set, as some proxies send them, become one."""
    joined: dict[frozenset[tuple[str, str]], Row] = {}
    for new in rows:
        key = frozenset(new.labels.items())
        old = joined.get(key)
        joined[key] = new if old is None else together(old, new)
    return Answer(
        tuple(joined.values()), texts(envelope.get("warnings")), texts(envelope.get("infos")), histograms
    )


def together(old: Row, new: Row) -> Row:
    times = np.concatenate([old.timestamps_ms, new.timestamps_ms]) / 1000
    return in_order(old.labels, times, np.concatenate([old.values, new.values]))


def texts(words: Any) -> list[str]:
    return [clean(str(word)) for word in words or ()]


Decoder = Callable[[HttpReply], Answer]
