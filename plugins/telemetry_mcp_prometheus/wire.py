"""Prometheus' JSON and ours: answers to rows of numbers, refusals to our errors. Nothing here does I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
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

FAR_S = 1e11
"""The year 5138: what lies beyond it was written in milliseconds."""

# These can only be structure: inside a string their quotes would be escaped, and a label's value is a string.
RESULT = b'"resultType":"matrix","result":['
SERIES = b'{"metric":{'
VALUES = b'},"values":[['

ERRORS: Mapping[str, type[SourceError]] = {
    "bad_data": BadQueryError,
    "execution": BadQueryError,
    "timeout": SourceTimeoutError,
    "canceled": UpstreamError,
    "not_found": NotFoundError,
}
"""`errorType` -> our error. Any other goes by the status."""

WRONG_PATH = "the url's path is wrong: give what stands before /api/v1, such as http://host/prometheus"
UNSUPPORTED = "unsupported path requested"
"""How VictoriaMetrics says that there is no such path, with status 400."""
REQUEST = re.compile(r'^remoteAddr: ".*?"; requestURI: \S*; ')
"""What VictoriaMetrics puts before its words: the addresses of this side."""

MALFORMED = (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError)


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One labelled series as it came: int64 ms in rising order, float64 with NaN and infinities."""

    labels: Mapping[str, str]
    timestamps_ms: NDArray[np.int64]
    values: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Answer:
    """`warnings` mean that data is missing, `infos` that a query could be better.

    `histograms` counts the series with native histograms, of which nothing is taken.
    """

    rows: Sequence[Row]
    warnings: Sequence[str]
    infos: Sequence[str]
    histograms: int = 0


def failure(reply: HttpReply) -> SourceError:
    """The error that a reply outside 2xx means, in Prometheus' own words where it has any."""
    try:
        body = parse_json(reply.body)
    except ProtocolError:
        body = None
    if isinstance(body, dict) and body.get("status") == "error":
        return refusal(body, reply)
    words = REQUEST.sub("", reply.body[:600].decode("utf-8", "replace"))
    if UNSUPPORTED in words:
        return NotFoundError(f"HTTP {reply.status}: {clean(words)}", hint=WRONG_PATH)
    error = error_for_status(reply.status, words, retry_after_s=retry_after(reply.headers))
    if isinstance(error, NotFoundError):
        error.hint = WRONG_PATH
    return error


def refusal(body: Mapping[str, Any], reply: HttpReply) -> SourceError:
    kind, words = str(body.get("errorType", "")), str(body.get("error", ""))
    too_much = "too many" in words or "exceed" in words
    hint = "ask for a shorter window or fewer services" if too_much else ""
    if kind in ERRORS:
        return ERRORS[kind](f"{kind}: {clean(words)}", hint=hint)
    if reply.status < 300:
        return UpstreamError(f"{clean(kind)}: {clean(words)}")
    error = error_for_status(reply.status, words or kind, retry_after_s=retry_after(reply.headers))
    if too_much and isinstance(error, BadQueryError):
        error.hint = hint
    return error


def envelope_of(reply: HttpReply) -> Mapping[str, Any]:
    """The decoded body of a 2xx reply. Raises the error of a refusal that came with a good status."""
    body = parse_json(reply.body)
    if not isinstance(body, dict) or body.get("status") not in ("success", "error"):
        raise ProtocolError("the body is JSON, but not an answer of the Prometheus API")
    if body["status"] == "error":
        raise refusal(body, reply)
    return body


def decode(reply: HttpReply) -> Answer:
    """The rows of a query's 2xx reply. ProtocolError when it has not the shape that is documented."""
    try:
        split = decode_split(reply) if len(reply.body) >= SPLIT_BYTES else None
        return split or decode_whole(reply)
    except MALFORMED as error:
        raise malformed(error) from error


def malformed(error: Exception) -> ProtocolError:
    return ProtocolError(f"the answer is not as Prometheus documents it: {clean(repr(error))}")


def decode_whole(reply: HttpReply) -> Answer:
    envelope = envelope_of(reply)
    data = envelope.get("data")
    if not isinstance(data, dict) or not data.keys() >= {"resultType", "result"}:
        raise ProtocolError("the answer is not one to a query, as Prometheus documents it")
    shape, result = data["resultType"], data["result"]
    if shape == "string":
        raise BadQueryError(f"the query gives a text, not numbers: {clean(result[1])}")
    if shape == "scalar":
        return answer([row({}, [result])], envelope)
    if shape not in ("vector", "matrix"):
        raise ProtocolError(f"a result of type {clean(shape)} is none that Prometheus documents")
    if not isinstance(result, list):
        raise ProtocolError("the answer's result is not the list that Prometheus documents")
    rows, histograms, failures = [], 0, []
    for item in result:
        try:
            points = item.get("values", []) if shape == "matrix" else [item["value"]] if "value" in item else []
            histograms += "histogram" in item or "histograms" in item
            if points:
                rows.append(row(item["metric"], points))
        except MALFORMED as error:
            failures.append(error)
    if failures and len(failures) == len(result):
        raise failures[0]
    return answer(rows, envelope, histograms, len(failures))


def decode_split(reply: HttpReply) -> Answer | None:
    """A large matrix, series by series; None where it is not written exactly as Prometheus writes it."""
    head, *pieces = reply.body.split(SERIES)
    rows, tail = [], b""
    for left, piece in enumerate(pieces, 1 - len(pieces)):
        labels, found, rest = piece.partition(VALUES)
        points, _, tail = rest.partition(b"]]}")
        numbers = flat(points) if found and (tail == b"," or not left) else None
        if numbers is None:
            return None
        pairs = numbers.reshape(-1, 2)
        rows.append(in_order(text_map(orjson.loads(b"{" + labels + b"}")), milliseconds(pairs[:, 0]), pairs[:, 1]))
    if not head.endswith(RESULT):
        return None
    return answer(rows, envelope_of(HttpReply(reply.status, reply.headers, head + tail)))


def flat(points: bytes) -> NDArray[np.float64] | None:
    """Time, value, time, value ... of `1,"2"],[3,"4"`: without brackets and quotes it is one list of numbers."""
    bare = points.translate(None, b'[]"')
    try:
        numbers = np.array(orjson.loads(b"[" + bare + b"]"), dtype=np.float64)
    except orjson.JSONDecodeError:
        numbers = np.array([float(number) for number in bare.split(b",")])  # NaN, +Inf and -Inf are not JSON
    sound = len(numbers) == points.count(b'"') == 2 * (points.count(b"],[") + 1)
    return numbers if sound else None


def row(labels: Mapping[str, str], points: Sequence[Sequence[Any]]) -> Row:
    times = np.fromiter((point[0] for point in points), np.float64, len(points))
    values = np.fromiter((float(point[1]) for point in points), np.float64, len(points))
    return in_order(text_map(labels), milliseconds(times), values)


def text_map(labels: Any) -> Mapping[str, str]:
    """Labels or annotations as they must be: texts by name. TypeError otherwise."""
    if not isinstance(labels, dict) or not all(isinstance(text, str) for text in labels.values()):
        raise TypeError(f"labels that are not: {clean(repr(labels), 80)}")
    return labels


def milliseconds(times_s: NDArray[np.float64]) -> NDArray[np.int64]:
    if not np.all((times_s >= 0) & (times_s < FAR_S)):
        raise ValueError("timestamps that are not Unix seconds")
    return np.rint(times_s * 1000).astype(np.int64)


def in_order(labels: Mapping[str, str], times: NDArray[np.int64], values: NDArray[np.float64]) -> Row:
    """Sorted by time; of two values at one time the later written stays."""
    if not np.all(np.diff(times) > 0):
        times, last = np.unique(times[::-1], return_index=True)
        values = values[::-1][last]
    return Row(labels, times, np.ascontiguousarray(values))


def answer(rows: Iterable[Row], envelope: Mapping[str, Any], histograms: int = 0, unreadable: int = 0) -> Answer:
    """Rows of one label set, as some proxies send them, become one."""
    joined: dict[frozenset[tuple[str, str]], Row] = {}
    for new in rows:
        key = frozenset(new.labels.items())
        old = joined.get(key)
        joined[key] = together(old, new) if old else new
    warnings = texts(envelope.get("warnings"))
    if envelope.get("isPartial"):  # VictoriaMetrics, when one of its storage nodes did not answer
        warnings.append("the backend calls its answer partial")
    infos = texts(envelope.get("infos"))
    if unreadable:
        infos.append(f"{unreadable} series could not be read")
    return Answer(tuple(joined.values()), warnings, infos, histograms)


def together(old: Row, new: Row) -> Row:
    times = np.concatenate([old.timestamps_ms, new.timestamps_ms])
    return in_order(old.labels, times, np.concatenate([old.values, new.values]))


def texts(words: Any) -> list[str]:
    """`warnings` and `infos`: a list of texts, or one text where a proxy writes it so."""
    return [clean(str(word)) for word in (words if isinstance(words, list) else [words] if words else ())]
