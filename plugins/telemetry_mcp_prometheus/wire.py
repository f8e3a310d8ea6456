"""Prometheus' JSON and ours: answers to rows of numbers, refusals to our errors. Nothing here does I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from telemetry_mcp import (
    BadQueryError,
    HttpReply,
    NotFoundError,
    ProtocolError,
    Service,
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
    words = reply.body[:600].decode("utf-8", "replace")
    error = error_for_status(reply.status, words, retry_after_s=retry_after(reply.headers))
    if isinstance(error, NotFoundError):
        error.hint = "the url's path is wrong: give what stands before /api/v1, such as http://host/prometheus"
    return error


def refusal(body: Mapping[str, Any], reply: HttpReply) -> SourceError:
    kind, words = str(body.get("errorType", "")), str(body.get("error", ""))
    if kind in ERRORS:
        too_much = "too many" in words or "exceed" in words
        hint = "ask for a shorter window or fewer services" if too_much else ""
        return ERRORS[kind](f"{kind}: {clean(words)}", hint=hint)
    if reply.status < 300:
        return UpstreamError(f"{clean(kind)}: {clean(words)}")
    return error_for_status(reply.status, words or kind, retry_after_s=retry_after(reply.headers))


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
    shape, result = envelope["data"]["resultType"], envelope["data"]["result"]
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
        rows.append(in_order(orjson.loads(b"{" + labels + b"}"), milliseconds(pairs[:, 0]), pairs[:, 1]))
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
    return in_order(labels, milliseconds(times), values)


def milliseconds(times_s: NDArray[np.float64]) -> NDArray[np.int64]:
    if not np.all(np.abs(times_s) < FAR_S):
        raise ValueError("timestamps that are not Unix seconds")
    return np.rint(times_s * 1000).astype(np.int64)


def in_order(labels: Mapping[str, str], times: NDArray[np.int64], values: NDArray[np.float64]) -> Row:
    """Sorted by time; of two values at one time the later written stays."""
    if not np.all(np.diff(times) > 0):
        times, last = np.unique(times[::-1], return_index=True)
        values = values[::-1][last]
    return Row(labels, times, np.ascontiguousarray(values))


def answer(rows: Iterable[Row], envelope: Mapping[str, Any], histograms: int = 0) -> Answer:
    """Rows of one label set, as some proxies send them, become one."""
    joined: dict[frozenset[tuple[str, str]], Row] = {}
    for new in rows:
        key = frozenset(new.labels.items())
        old = joined.get(key)
        joined[key] = together(old, new) if old else new
    warnings = texts(envelope.get("warnings"))
    if envelope.get("isPartial"):  # VictoriaMetrics, when one of its storage nodes did not answer
        warnings.append("the backend calls its answer partial")
    return Answer(tuple(joined.values()), warnings, texts(envelope.get("infos")), histograms)


def together(old: Row, new: Row) -> Row:
    times = np.concatenate([old.timestamps_ms, new.timestamps_ms])
    return in_order(old.labels, times, np.concatenate([old.values, new.values]))


def texts(words: Iterable[Any] | None) -> list[str]:
    return [clean(str(word)) for word in words or ()]


def listed(reply: HttpReply) -> tuple[list[Any], str | None]:
    """The `data` list of a label or series reply, and why it is not whole."""
    envelope = envelope_of(reply)
    if not isinstance(envelope.get("data"), list):
        raise ProtocolError("the answer holds no list")
    return envelope["data"], "; ".join(texts(envelope.get("warnings"))) or None


def services_of(
    label_sets: Iterable[Any], service: str, team: str | None, environment: str | None
) -> list[Service]:
    """One Service a name, in order of names; its team and environment are the first that a series tells."""
    found: dict[str, Service] = {}
    try:
        for labels in label_sets:
            name = str(labels.get(service, ""))
            known = found.get(name, Service(name))
            found[name] = Service(
                name,
                team=known.team or labels.get(team) or None,
                environment=known.environment or labels.get(environment) or None,
            )
    except MALFORMED as error:
        raise malformed(error) from error
    return [found[name] for name in sorted(found) if name]


def ahead_s(reply: HttpReply, now_s: float) -> float | None:
    """How far the backend's clock is ahead of `now_s` by its Date header; None where it sent none."""
    try:
        return parsedate_to_datetime(reply.headers["date"]).timestamp() - now_s
    except (KeyError, ValueError):
        return None
