"""A metric template made into a Datadog query. Datadog has no escape: what is unsafe is never put in."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from telemetry_mcp import BadQueryError, MetricQuery, SeriesQuery, Window

FILTER = re.compile(r"([\w.-]+):\$(?:\{service\}|service\b)")
LEFT_OVER = re.compile(r"\$(?:\{service\}|service\b)")
SAFE = re.compile(r"\w[\w.:/@-]*")
WORDS = frozenset({"and", "in", "not", "or"})
LONGEST_LIST = 2000
"""Characters of names in one query; with more, all services are asked and the others left out here."""
SELECTION = re.compile(r"(?:\w+:)?(?P<metric>[a-zA-Z][\w.]*)\{[^{}]*\}(?:\s*by\s*\{[^{}]*\})?(?:\.\w+\([^()]*\))*")
"""One metric of a query: `avg:metric{...} by {...}.rollup(...)`; what is around it is arithmetic."""


@dataclass(frozen=True, slots=True)
class Names:
    """The services asked that can be asked: `all` is set where none was named, `refused` cannot exist there."""

    usable: tuple[str, ...]
    refused: tuple[str, ...]
    all: bool


def usable(services: Sequence[str]) -> Names:
    """A tag value holds letters, digits and `_ - : . / @`; any other name matches nothing at Datadog."""
    good = tuple(name for name in services if SAFE.fullmatch(name) and name.lower() not in WORDS)
    refused = tuple(name for name in services if name not in good)
    return Names(good, refused, not services)


def one_of(tag: str, names: Names) -> str:
    """The filter for a tag: `tag:a`, `tag IN (a,b)`, or `tag:*` for all."""
    listed = ",".join(names.usable)
    if names.all or len(listed) > LONGEST_LIST:
        return f"{tag}:*"
    return f"{tag}:{listed}" if len(names.usable) == 1 else f"{tag} IN ({listed})"


def render(metric: MetricQuery, names: Names, query: SeriesQuery, tag: str = "service") -> str:
    """The query to send. `$__interval` and `$__range` become whole seconds, as `.rollup(avg, ...)` takes them,
    and `$service_tag` the tag that names the service.

    Raises BadQueryError when `$service` stands anywhere but behind a tag.
    """
    given = {
        "__interval": str(max(1, query.step_ms // 1000)),
        "__range": str(max(1, query.window.duration_ms // 1000)),
        "service_tag": tag,
    }
    text = FILTER.sub(lambda match: one_of(match[1], names), metric.render(**given))
    if LEFT_OVER.search(text):
        raise BadQueryError("$service can only stand behind a tag and a colon, as in {service:$service}")
    return text


def formula_request(text: str, window: Window, step_ms: int) -> dict[str, Any]:
    """The body of POST /api/v2/query/timeseries that asks the same as `text`: each metric of it a query of its
    own, what is around them the formula."""
    names: dict[str, str] = {}
    formula = SELECTION.sub(lambda match: names.setdefault(match[0], f"q{len(names)}"), text)
    queries = [{"data_source": "metrics", "name": name, "query": one} for one, name in names.items()]
    if not queries:
        raise BadQueryError(f"no metric could be found in {text!r}; write one as avg:metric{{*}}")
    attributes = {
        "from": window.start_ms,
        "to": window.end_ms,
        "interval": step_ms,
        "formulas": [{"formula": formula}],
        "queries": queries,
    }
    return {"data": {"type": "timeseries_request", "attributes": attributes}}


def metrics_in(text: str) -> list[str]:
    return [match["metric"] for match in SELECTION.finditer(text)]
