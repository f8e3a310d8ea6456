"""How Datadog's JSON is read, whatever stands in it: pure functions that every subject shares.

A row that cannot be read raises ProtocolError; `each` counts it and goes on. A whole that has not the shape that
Datadog documents is a ProtocolError too.
"""

from __future__ import annotations

import re
from ast import literal_eval
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from math import isfinite
from typing import Any, TypeVar

from telemetry_mcp import (
    BadQueryError,
    HttpReply,
    ProtocolError,
    RateLimitedError,
    Reply,
    SourceError,
    UpstreamError,
    clean,
    parse_json,
    retry_after,
)

T = TypeVar("T")
Row = Mapping[str, Any]

PASSING = re.compile(r"timed? ?out|internal|unavailable|try again|overload", re.IGNORECASE)
MAGNITUDES = ((1e11, 1000.0), (1e14, 1.0), (1e17, 1e-3), (1e20, 1e-6))
"""Seconds, milli-, micro- and nanoseconds: a time below the first number becomes milliseconds by the second."""
LAST_MS = 253_402_300_799_000


def explain(reply: HttpReply) -> str:
    """The vendor's own words in an error body, in whichever of its many shapes they come."""
    try:
        return "; ".join(dict.fromkeys(words(parse_json(reply.body))))
    except ProtocolError:
        return re.sub(r"<[^>]*>", " ", reply.body[:2000].decode("utf-8", "replace"))


def words(value: Any, depth: int = 0) -> list[str]:
    if depth > 8 or value is None:
        return []
    if isinstance(value, str):
        return words_of_repr(value, depth) if value.startswith("{") else [value.strip()] * bool(value.strip())
    if isinstance(value, list):
        return [word for item in value for word in words(item, depth + 1)]
    if not isinstance(value, dict):
        return []
    if "errors" in value or "error" in value:
        return words(value.get("errors"), depth + 1) + words(value.get("error"), depth + 1)
    said = ": ".join(str(value[key]) for key in ("title", "message", "detail") if value.get(key))
    place = text(dig(value, "source", "pointer")) or text(dig(value, "source", "parameter"))
    return [f"{said} (at {place})" if place else said or text(value.get("code"))]


def words_of_repr(said: str, depth: int) -> list[str]:
    """Some endpoints answer with a Python dict printed into a string."""
    try:
        return words(literal_eval(said[:4000]), depth + 1)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return [said]


def complaint(body: Any) -> str:
    """What an answer with status 200 complains of; empty where it is content."""
    if not isinstance(body, dict):
        return ""
    said = words({"errors": body.get("errors"), "error": body.get("error")})
    return clean("; ".join(filter(None, dict.fromkeys(said)))) or "error" * (body.get("status") == "error")


def refusal(said: str, headers: Mapping[str, str]) -> SourceError:
    """The error that an answer with status 200 means."""
    if "rate limit" in said.lower():
        return RateLimitedError(said, retry_after_s=retry_after(headers))
    return UpstreamError(said) if PASSING.search(said) else BadQueryError(said)


def dig(value: Any, *path: str) -> Any:
    """What lies at a path through objects; None where one of them is missing or something else."""
    for key in path:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def table(body: Any, *path: str) -> list[Any]:
    """The list that an answer is about; ProtocolError when it is none."""
    found = dig(body, *path)
    if not isinstance(found, list):
        raise ProtocolError(f"the answer has no list at {'.'.join(path)}")
    return found


def text(value: Any) -> str:
    """A name or a title, cleaned; empty where there is none."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    return clean(str(value))


def required(value: Any, what: str) -> str:
    if found := text(value):
        return found
    raise ProtocolError(f"without {what}")


def number(value: Any) -> float | None:
    """A finite number, also one that is written as text."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if isfinite(found) else None


def epoch_ms(value: Any) -> int | None:
    """A time, as RFC 3339 text or a number of whichever magnitude; None where there is none, as with 0."""
    if isinstance(value, str) and number(value) is None:
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            return None
        found = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000
    else:
        count = number(value) or 0.0
        found = count * next((factor for limit, factor in MAGNITUDES if abs(count) < limit), 0.0)
    at_ms = round(found)
    return at_ms if 0 < at_ms <= LAST_MS else None


def rfc3339(at_ms: int) -> str:
    """A time as Datadog's newer endpoints take it."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")


def tags(given: Iterable[Any]) -> dict[str, str]:
    """`tag:value` pairs by tag, the first of a tag counting; a bare one has the value empty."""
    found: dict[str, str] = {}
    for each_tag in given:
        key, _, value = text(each_tag).strip().partition(":")
        if key:
            found.setdefault(key, value)
    return found


def each(rows: Sequence[Any], read: Callable[[Row], T | None], what: str) -> Reply[T]:
    """What `read` makes of the rows; None is left out. A row that cannot be read is counted in a warning.

    ProtocolError when none can be.
    """
    items: list[T] = []
    unread = 0
    for row in rows:
        try:
            item = read(row) if isinstance(row, dict) else None
            unread += not isinstance(row, dict)
        except ProtocolError:
            item, unread = None, unread + 1
        if item is not None:
            items.append(item)
    if rows and unread == len(rows):
        raise ProtocolError(f"none of {unread} {what} could be read")
    return Reply(items, warnings=[f"{unread} {what} could not be read"] if unread else [])


def limited(found: Reply[T], limit: int, what: str) -> Reply[T]:
    """The first `limit` items; how many more there were stands in `partial`."""
    left = len(found.items) - limit
    if left <= 0:
        return found
    reasons = [found.partial, f"{left} {what} were left out"]
    return replace(found, items=found.items[:limit], partial="; ".join(filter(None, reasons)))
