"""Datadog's JSON and ours: pure functions.

Raises ProtocolError where an answer has not the shape that Datadog documents.
"""

from __future__ import annotations

import re
from ast import literal_eval
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from telemetry_mcp import (
    BadQueryError,
    HttpReply,
    ProtocolError,
    RateLimitedError,
    Series,
    Service,
    UpstreamError,
    Window,
    clean,
    parse_json,
    retry_after,
)

PASSING = re.compile(r"timed? ?out|internal|unavailable|try again|overload", re.IGNORECASE)
FAMILIES = {"time": "s", "percentage": "percent", "bytes": "bytes"}
"""Unit families whose `scale_factor` leads to one unit of ours."""
RATES = {"second": "per_s", "minute": "per_min", "hour": "per_h"}


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
    text = ": ".join(str(value[key]) for key in ("title", "message", "detail") if value.get(key))
    source = value.get("source")
    place = (source.get("pointer") or source.get("parameter")) if isinstance(source, dict) else None
    return [f"{text} (at {place})" if place else text or str(value.get("code") or "")]


def words_of_repr(text: str, depth: int) -> list[str]:
    """Some endpoints answer with a Python dict printed into a string."""
    try:
        return words(literal_eval(text[:4000]), depth + 1)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return [text]


def query_series(body: Any, headers: Mapping[str, str]) -> tuple[list[dict[str, Any]], str]:
    """The `series` of a v1 query, and what it complains of beside them. An error with status 200 is raised."""
    if not isinstance(body, dict) or not isinstance(body.get("series") or [], list):
        raise ProtocolError("the answer to a metric query is not an object with a list of series")
    rows = [row for row in body.get("series") or [] if isinstance(row, dict)]
    complaint = clean(str(body.get("error") or ""))
    if rows or not (complaint or body.get("status") == "error"):
        return rows, complaint
    if "rate limit" in complaint.lower():
        raise RateLimitedError(complaint, retry_after_s=retry_after(headers))
    if PASSING.search(complaint):
        raise UpstreamError(complaint)
    raise BadQueryError(complaint or "the query was refused without a word of why")


def tags(row: Mapping[str, Any]) -> dict[str, str]:
    """The tags a series is grouped by: `tag_set`, or `scope` where that is missing."""
    given = row.get("tag_set")
    listed: Iterable[str] = given if isinstance(given, list) and given else str(row.get("scope") or "").split(",")
    return {key: value for key, found, value in (str(tag).strip().partition(":") for tag in listed) if found}


def points(
    row: Mapping[str, Any], window: Window, *, touching: bool = False
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The complete buckets of the window by their beginning, the last of duplicates; null is NaN.

    A bucket that goes beyond the window's end is unfinished and left out; one that begins before the window and
    reaches into it counts only with `touching`.
    """
    try:
        table = np.array(row.get("pointlist") or [], dtype=np.float64).reshape(-1, 2)
        table = table[np.isfinite(table[:, 0])]
        interval_ms = float(row.get("interval") or 0) * 1000
    except (ValueError, TypeError) as error:
        raise ProtocolError("a series has points that are not pairs of time and number") from error
    table = table[np.argsort(table[:, 0], kind="stable")]
    starts = table[:, 0]
    earliest_ms = window.start_ms - (interval_ms if touching else 0)
    keep = (starts >= earliest_ms) & (starts < window.end_ms) & (starts + interval_ms <= window.end_ms)
    keep[:-1] &= starts[1:] != starts[:-1]
    return table[keep, 0].astype(np.int64), table[keep, 1]


def newest(times: NDArray[np.int64], values: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The newest point that is a number; empty when there is none."""
    known = np.flatnonzero(~np.isnan(values))[-1:]
    return times[known], values[known]


def unit(row: Mapping[str, Any]) -> tuple[str, float]:
    """Our name of a series' unit, and the factor that leads to it."""
    given = row.get("unit")
    pair: Sequence[Any] = given if isinstance(given, list) else []
    first, per = ((pair[i] if len(pair) > i and isinstance(pair[i], dict) else {}) for i in (0, 1))
    if not first:
        return "", 1.0
    scale = first.get("scale_factor")
    ours = FAMILIES.get(str(first.get("family")))
    known = ours is not None and isinstance(scale, int | float)
    name = ours if known and ours else str(first.get("name") or "")
    if per:
        # How many of anything in a time is a rate; how much of a measure (bytes in a second) is one of its own.
        rate = RATES.get(str(per.get("name")), f"per {per.get('name')}")
        name = f"{name} {rate}" if known else rate
    return name, float(scale) if known and scale else 1.0


def series(row: Mapping[str, Any], like: Series, window: Window, *, latest: bool = False) -> Series:
    """One row as a Series with the names of `like`, whose unit (the settings') holds where there is one.

    With `latest`, only its newest point that is a number; none when there is none.
    """
    times, values = points(row, window, touching=latest)
    if latest:
        times, values = newest(times, values)
    name, factor = (like.unit, 1.0) if like.unit else unit(row)
    return replace(like, timestamps_ms=times, values=values * factor, unit=name)


def apm_services(body: Any, env: str) -> list[Service]:
    """The names of GET /api/v2/apm/services."""
    data = body.get("data") if isinstance(body, dict) else None
    attributes = data.get("attributes") if isinstance(data, dict) else None
    names = attributes.get("services") if isinstance(attributes, dict) else None
    if not isinstance(names, list):
        raise ProtocolError("the APM service list has no data.attributes.services")
    return [Service(clean(str(name)), environment=env) for name in names if name]


def catalog_services(body: Any) -> list[Service]:
    """One page of GET /api/v2/catalog/entity."""
    data = body.get("data") if isinstance(body, dict) else None
    if not isinstance(data, list):
        raise ProtocolError("the software catalog's page has no list of data")
    rows = [row.get("attributes") for row in data if isinstance(row, dict)]
    return [catalog_service(row) for row in rows if isinstance(row, dict) and row.get("name")]


def catalog_service(row: Mapping[str, Any]) -> Service:
    listed = row.get("tags") if isinstance(row.get("tags"), list) else []
    pairs = dict(str(tag).partition(":")[::2] for tag in listed or [])
    owner = row.get("owner") or pairs.get("team")
    return Service(
        clean(str(row["name"])),
        team=clean(str(owner)) if owner else None,
        environment=pairs.get("env"),
        tags={clean(key): clean(value) for key, value in pairs.items()},
    )


def united(listed: Iterable[Service]) -> list[Service]:
    """One Service a name: the first that knows a thing wins."""
    byname: dict[str, Service] = {}
    for new in listed:
        old = byname.get(new.name, new)
        byname[new.name] = Service(
            new.name, old.team or new.team, old.environment or new.environment, {**new.tags, **old.tags}
        )
    return [byname[name] for name in sorted(byname)]
