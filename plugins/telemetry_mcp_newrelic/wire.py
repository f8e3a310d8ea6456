"""NerdGraph's JSON and ours: pure functions. A status of 200 says nothing there, and `errors` not much."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from telemetry_mcp import (
    AuthError,
    BadQueryError,
    ForbiddenError,
    ProtocolError,
    RateLimitedError,
    Series,
    Service,
    SourceError,
    SourceTimeoutError,
    UpstreamError,
    Window,
    clean,
)

ERRORS: Mapping[str, type[SourceError]] = {
    "BAD_API_KEY": AuthError,
    "UNAUTHENTICATED": AuthError,
    "UNAUTHORIZED": AuthError,
    "ACCESS_DENIED": ForbiddenError,
    "FORBIDDEN": ForbiddenError,
    "TOO_MANY_REQUESTS": RateLimitedError,
    "TIMEOUT": SourceTimeoutError,
    "INVALID_INPUT": BadQueryError,
    "BAD_USER_INPUT": BadQueryError,
}
STRUCTURE = frozenset({"facet", "beginTimeSeconds", "endTimeSeconds", "timestamp", "inspectedCount", "comparison"})
STATUS = {"NOT_ALERTING": "OK", "WARNING": "WARNING", "CRITICAL": "CRITICAL"}


@dataclass(frozen=True, slots=True)
class Shape:
    """What a row is read by: which attribute names the service, and what holds where a row says nothing."""

    metric: str
    attribute: str
    window: Window
    now_ms: int
    step_ms: int = 0
    only: str = ""
    unit: str = ""
    query: str = ""


@dataclass(slots=True)
class Column:
    """The points of one series while its rows are gathered."""

    times: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)


def errors_of(body: Any) -> list[dict[str, Any]]:
    found = body.get("errors") if isinstance(body, dict) else None
    return [error for error in found if isinstance(error, dict)] if isinstance(found, list) else []


def explain(body: Any) -> str:
    """The words of all errors of a body; empty where it has none."""
    return "; ".join(dict.fromkeys(str(error.get("message") or "no message") for error in errors_of(body)))


def error_of(body: Any) -> SourceError:
    """The error that a body without the wanted data means: the first whose class is known decides."""
    message = clean(explain(body)) or "the answer has no data, and no error that says why"
    errors = errors_of(body)
    for error in errors:
        for name in classes(error):
            if name in ERRORS:
                return ERRORS[name](message)
    if any(is_syntax(error) for error in errors):
        return BadQueryError(message)
    return UpstreamError(message) if errors else ProtocolError(message)


def classes(error: Mapping[str, Any]) -> list[str]:
    extensions = error.get("extensions")
    if not isinstance(extensions, dict):
        return []
    return [str(extensions.get(key) or "").upper() for key in ("error_code", "errorClass", "code")]


def is_syntax(error: Mapping[str, Any]) -> bool:
    extensions = error.get("extensions")
    code = str(extensions.get("errorCode") or "") if isinstance(extensions, dict) else ""
    message = str(error.get("message") or "").lower()
    return code.startswith("NRDB:") or "syntax error" in message or "nrdb:" in message


def found_at(body: Any, *path: str) -> tuple[dict[str, Any], list[str], str | None]:
    """The object at `data.<path>`, the deprecations beside it as warnings, and other errors as why it is partial.

    Raises `error_of` the body when the object is not there.
    """
    node = body.get("data") if isinstance(body, dict) else None
    for step in path:
        node = node.get(step) if isinstance(node, dict) else None
    if not isinstance(node, dict):
        raise error_of(body)
    messages = [clean(str(error.get("message") or "no message")) for error in errors_of(body)]
    warnings = [message for message in messages if "deprecated" in message.lower()]
    return node, warnings, "; ".join(message for message in messages if message not in warnings) or None


def nrql_items(nrql: Mapping[str, Any], shape: Shape) -> tuple[list[Series], list[str], str | None]:
    """The series of a NRQL result, its warnings, and why it is partial.

    Timestamps are the beginnings of buckets; a bucket that goes beyond the window's end or beyond now is left
    out. Null is NaN. Raises ProtocolError.
    """
    rows = nrql.get("results")
    if not isinstance(rows, list):
        raise ProtocolError("the NRQL answer has no list of results")
    metadata = nrql.get("metadata")
    meta: Mapping[str, Any] = metadata if isinstance(metadata, dict) else {}
    named = meta.get("facets") if isinstance(meta.get("facets"), list) else None
    facets = [str(name) for name in named or []]
    columns: dict[tuple[str, tuple[tuple[str, str], ...]], Column] = {}
    nameless = 0
    for row in rows:
        if isinstance(row, dict):
            nameless += add(row, facets, shape, columns)
    messages = [clean(str(message)) for message in meta.get("messages") or [] if message]
    if nameless:
        messages.append(f"{nameless} rows have no {shape.attribute}: add FACET {shape.attribute} to the query")
    several = len({name for _, labels in columns for key, name in labels if key == "column"}) > 1
    items = [series(service, labels, column, shape, several) for (service, labels), column in columns.items()]
    rest = "New Relic left out services beyond the query's LIMIT" if has_rest(nrql.get("otherResult")) else None
    return items, messages, rest


def add(
    row: Mapping[str, Any],
    facets: Sequence[str],
    shape: Shape,
    columns: dict[tuple[str, tuple[tuple[str, str], ...]], Column],
) -> bool:
    """Put a row's values into their columns; True when its service is not known."""
    at_ms, complete = moment(row, shape)
    if not complete:
        return False
    labels = faceted(row, facets)
    service = labels.pop(shape.attribute, "") or ("" if "facet" in row else shape.only)
    if not service:
        return True
    fixed = tuple(labels.items())
    for name, value in numbers(row, {*facets, shape.attribute}):
        column = columns.setdefault((service, (*fixed, *name)), Column())
        column.times.append(at_ms)
        column.values.append(value)
    return False


def moment(row: Mapping[str, Any], shape: Shape) -> tuple[int, bool]:
    """When a row holds, in ms, and whether its bucket is complete. Buckets count in seconds, events in ms."""
    begin, end, stamp = (row.get(key) for key in ("beginTimeSeconds", "endTimeSeconds", "timestamp"))
    if isinstance(begin, int | float):
        # The last bucket's end may be cut to UNTIL: by the asked width it is seen to be unfinished all the same.
        until_ms = max(end * 1000 if isinstance(end, int | float) else 0, begin * 1000 + shape.step_ms)
        return int(begin * 1000), until_ms <= min(shape.window.end_ms, shape.now_ms)
    return int(stamp) if isinstance(stamp, int | float) else shape.window.end_ms - 1, True


def faceted(row: Mapping[str, Any], facets: Sequence[str]) -> dict[str, str]:
    """Facet attribute -> value; `facet` is a text for one attribute and a list for several."""
    facet = row.get("facet")
    values = facet if isinstance(facet, list) else [facet]
    placed = dict(zip(facets, values, strict=False)) if "facet" in row else {}
    own = {name: row[name] for name in facets if name in row}
    return {name: clean(str(value)) for name, value in {**placed, **own}.items() if value not in (None, "")}


def numbers(row: Mapping[str, Any], taken: Iterable[str]) -> list[tuple[tuple[tuple[str, str], ...], float]]:
    """The values of a row, each with the labels that tell it from the others; percentiles come as an object."""
    found: list[tuple[tuple[tuple[str, str], ...], float]] = []
    for key, value in row.items():
        if key in STRUCTURE or key in taken:
            continue
        column = ("column", key)
        if isinstance(value, dict):
            many = len(value) > 1
            found += [
                ((column, ("percentile", name.removesuffix(".0"))) if many else (column,), number(part))
                for name, part in value.items()
            ]
        elif not isinstance(value, str | list | bool):
            found.append(((column,), number(value)))
    return found


def number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else float("nan")


def series(service: str, labels: Iterable[tuple[str, str]], column: Column, shape: Shape, several: bool) -> Series:
    """Sorted by time, the last of duplicate times; the column's name is a label only where there are several."""
    times, values = np.array(column.times, dtype=np.int64), np.array(column.values, dtype=np.float64)
    order = np.argsort(times, kind="stable")
    times, values = times[order], values[order]
    keep = np.append(times[1:] != times[:-1], True)
    shown = {key: value for key, value in labels if several or key != "column"}
    return Series(
        service, shape.metric, times[keep], values[keep], unit=shape.unit, labels=shown, query=shape.query
    )


def has_rest(other: Any) -> bool:
    """Whether `otherResult` (an object, a list of them under TIMESERIES, or null) counts anything."""
    if isinstance(other, list):
        return any(has_rest(item) for item in other)
    if not isinstance(other, dict):
        return False
    return any(
        has_rest(value) if isinstance(value, dict) else isinstance(value, int | float) and value != 0
        for key, value in other.items()
        if key not in STRUCTURE
    )


def services(found: Mapping[str, Any]) -> tuple[list[Service], str | None]:
    """One page of an entity search and the cursor of the next."""
    results = found.get("results")
    entities = results.get("entities") if isinstance(results, dict) else None
    if not isinstance(results, dict) or not isinstance(entities, list):
        raise ProtocolError("the entity search has no list of entities")
    items = [service(entity) for entity in entities if isinstance(entity, dict) and entity.get("name")]
    return items, str(results["nextCursor"]) if results.get("nextCursor") else None


def service(entity: Mapping[str, Any]) -> Service:
    tags = dict(tag_pairs(entity.get("tags")))
    link = entity.get("permalink")
    return Service(
        clean(str(entity["name"])),
        team=tags.get("team"),
        environment=tags.get("environment") or tags.get("env"),
        tags=tags,
        status=STATUS.get(str(entity.get("alertSeverity"))),
        url=clean(str(link), 1000) if link else None,
    )


def tag_pairs(tags: Any) -> Iterable[tuple[str, str]]:
    for tag in tags if isinstance(tags, list) else []:
        values = tag.get("values") if isinstance(tag, dict) else None
        if isinstance(values, list) and values and tag.get("key"):
            yield clean(str(tag["key"])), clean(",".join(str(value) for value in values))
