"""The part of Datadog's metric query language that its emulator understands.

avg:metric{service:a, env:b} by {service}     {service IN (a,b)}     {service:*}     {*}     .rollup(avg, 120)
"""

import re
from dataclasses import dataclass

_QUERY = re.compile(
    r"\s*(?:(?P<aggregator>avg|sum|min|max):)?(?P<metric>[a-zA-Z][\w.]*)\{(?P<scope>[^{}]*)\}"
    r"(?:\s*by\s*\{(?P<by>[\w.,\s-]*)\})?(?:\.rollup\(\s*(?:\w+\s*,\s*)?(?P<rollup>\d+)\s*\))?\s*"
)
_TAG_IN = re.compile(r"([\w.-]+)\s+IN\s+\(([^()]*)\)")


class QueryError(ValueError):
    """A query, or the part of one, that cannot be read."""


@dataclass(frozen=True, slots=True)
class MetricQuery:
    """A metric query taken apart; `scope` holds for each tag the values that are let through."""

    text: str
    metric: str
    aggregator: str | None
    scope: dict[str, set[str]]
    by: tuple[str, ...]
    rollup: int | None


def parse(text: str) -> MetricQuery:
    """The query that `text` is. Raises QueryError."""
    found = _QUERY.fullmatch(text)
    if found is None:
        raise QueryError(f"{text}: Rule 'scope_expr' didn't match")
    by = tuple(tag.strip() for tag in (found["by"] or "").split(",") if tag.strip())
    rollup = int(found["rollup"]) if found["rollup"] else None
    scope = _scope(found["scope"])
    return MetricQuery(text, found["metric"], found["aggregator"], scope, by, rollup)


def _scope(text: str) -> dict[str, set[str]]:
    """`*`, `tag:value` and `tag IN (a,b)`, joined by commas or AND."""
    let = {tag: {value.strip() for value in values.split(",")} for tag, values in _TAG_IN.findall(text)}
    for part in re.split(r"\s+AND\s+|,", _TAG_IN.sub("*", text)):
        tag, colon, value = part.strip().partition(":")
        if colon and tag and value:
            let.setdefault(tag, set()).add(value)
        elif part.strip() != "*":
            raise QueryError(f"{{{text}}}")
    return let
