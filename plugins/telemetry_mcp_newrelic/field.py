"""Single fields of NerdGraph's JSON, whatever stands in them: nothing here raises."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from math import isfinite, nan
from typing import Any

from telemetry_mcp import clean

LAST_MS = 253_402_300_799_000
"""The end of the year 9999. A larger number was in microseconds or nanoseconds."""
SECONDS_BELOW = 10**11
"""A time below this, the year 5138 in seconds and 1973 in milliseconds, was in seconds."""
LONGEST = 10**19


def record(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def records(value: Any) -> tuple[list[dict[str, Any]], int]:
    """The objects of a list, and how many of its entries are none."""
    entries = value if isinstance(value, list) else []
    found = [entry for entry in entries if isinstance(entry, dict)]
    return found, len(entries) - len(found)


def texts(value: Any) -> list[str]:
    """A text, or the texts of a list; numbers are written out, so that large identifiers stay exact."""
    entries = value if isinstance(value, list) else [value]
    written = (clean(str(entry)) for entry in entries if isinstance(entry, str | int | float))
    return [each for each in written if each]


def text(value: Any) -> str:
    """The first text there is; empty where there is none."""
    return next(iter(texts(value)), "")


def link(value: Any) -> str | None:
    return value if isinstance(value, str) and value.startswith(("https://", "http://")) else None


def number(value: Any) -> float:
    """NaN for everything that is not a finite number, written as one or as a text."""
    if type(value) is float:
        return value if isfinite(value) else nan
    if isinstance(value, bool) or not isinstance(value, int | float | str) or "_" in str(value):
        return nan
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return nan
    return found if isfinite(found) else nan


def moment(value: Any) -> int | None:
    """Epoch milliseconds of a time in s, ms, us, ns or ISO 8601; None where it is no time."""
    at = number(value)
    if at != at:
        return iso(value)
    if not 0 < at < LONGEST:
        return None
    while at > LAST_MS:
        at /= 1000
    return int(at * 1000) if at < SECONDS_BELOW else int(at)


def iso(value: Any) -> int | None:
    try:
        at = datetime.fromisoformat(value)
        at_ms = int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
    except (TypeError, ValueError, OverflowError):
        return None
    return at_ms if 0 < at_ms <= LAST_MS else None


def tag_pairs(tags: Any) -> Iterator[tuple[str, str]]:
    """Key and value of an entity's tags; several values are joined by a comma."""
    for tag in records(tags)[0]:
        if (key := text(tag.get("key"))) and (values := texts(tag.get("values"))):
            yield key, clean(",".join(values))


def unreadable(count: int, what: str) -> list[str]:
    """The warning about items that had to be skipped."""
    return [f"{count} {what} could not be read"] if count else []
