"""A metric template or a native query made into the NRQL that is sent."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from telemetry_mcp import BadQueryError, MetricQuery, Window

NAME = r"'?\$(?:\{service\}|service\b)'?"
FILTER = re.compile(
    rf"(?P<attribute>`[^`]+`|[\w.:]+)?(?P<space>\s*)(?<![!<>])(?:=\s*{NAME}|\bIN\s*\(\s*{NAME}\s*\))",
    re.IGNORECASE,
)
NEGATED = re.compile(rf"\bNOT\s+IN\s*\(\s*{NAME}", re.IGNORECASE)
LITERAL = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|`[^`]*`")
FORBIDDEN = re.compile(r";|--|//|/\*|['\"`]|\bDELETE\b|\bDROP\b", re.IGNORECASE)
TIMES = re.compile(
    r"\s*\b(?:SINCE|UNTIL)\b.*?(?=\s*\b(?:SINCE|UNTIL|LIMIT|FACET|TIMESERIES|COMPARE)\b|$)", re.IGNORECASE
)
MOST_BUCKETS = 366


@dataclass(frozen=True, slots=True)
class Buckets:
    """The part of a query that says when, and how fine."""

    window: Window
    step_ms: int

    @property
    def seconds(self) -> int:
        """The bucket's width: the wished one, or as much wider as New Relic's limit of buckets demands."""
        window_s = -(-self.window.duration_ms // 1000)
        return max(1, self.step_ms // 1000, -(-window_s // MOST_BUCKETS))

    @property
    def warnings(self) -> list[str]:
        if self.seconds * 1000 <= max(self.step_ms, 1000):
            return []
        wished = f"{self.step_ms / 1000:g} s"
        return [f"a point every {self.seconds} s, not {wished}: at most {MOST_BUCKETS}"]


def usable(services: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names that can be written into NRQL, and those with control characters, which no service has."""
    good = tuple(name for name in services if name and not any(unicodedata.category(c)[0] == "C" for c in name))
    return good, tuple(name for name in services if name not in good)


def quoted(name: str) -> str:
    """A string literal of NRQL. Variables carry the query, so that this is the only level of escapes."""
    escaped = name.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def condition(services: Sequence[str]) -> str:
    """What stands after the attribute that names the service: these, or every one that has a name."""
    return f"IN ({', '.join(quoted(name) for name in services)})" if services else "IS NOT NULL"


def attribute_of(metric: MetricQuery, default: str) -> str:
    """The attribute that names the service: the one that the query compares with `$service`."""
    found = FILTER.search(metric.query)
    return (found["attribute"] or default).strip("`") if found else default


def render(metric: MetricQuery, services: Sequence[str], buckets: Buckets) -> str:
    """The NRQL for these services (none: all that have a name).

    `$service` stands in `IN ($service)` or `= $service`, with or without quotes; `$__interval` and `$__range`
    become `60 seconds`; times of its own give way to the asked window. Without a FACET the rows of several
    services cannot be told apart: BadQueryError, as for everything that `must_read` refuses.
    """
    spans = {
        "__interval": f"{buckets.seconds} seconds",
        "__range": f"{buckets.window.duration_ms // 1000} seconds",
    }
    text = metric.render(**spans)
    bare = FILTER.sub(r"\g<attribute>\g<space>IS NOT NULL", text)
    if re.search(r"\$(?:\{service\}|service\b)", bare) or NEGATED.search(text):
        raise BadQueryError("$service can only stand in `IN ($service)` or `= $service`")
    must_read(bare)
    if len(services) != 1 and not has(LITERAL.sub("''", bare), "FACET"):
        raise BadQueryError("the query needs a FACET by the service's attribute to tell services apart")
    chosen = condition(services)
    text = FILTER.sub(lambda found: f"{found['attribute'] or ''}{found['space']}{chosen}", text)
    return timed(timeless(text), buckets.window, "MAX", f"TIMESERIES {buckets.seconds} seconds")


def must_read(text: str) -> None:
    """Raises BadQueryError unless this is one reading statement of NRQL on one line, without comments."""
    bare = LITERAL.sub("''", text)
    if not re.match(r"(?:SELECT|FROM)\b", bare.lstrip(), re.IGNORECASE) or not has(bare, "SELECT"):
        raise BadQueryError("only NRQL queries that begin with SELECT or FROM are sent")
    if any(unicodedata.category(char) in ("Cc", "Cf", "Zl", "Zp") for char in text):
        raise BadQueryError("a query has no line breaks, tabs or other control characters: write it on one line")
    if found := FORBIDDEN.search(bare.replace("''", "")):
        raise BadQueryError(f"a query has no {found[0]} outside of a quoted text")


def timed(text: str, window: Window, limit: str, timeseries: str = "") -> str:
    """The query with its window, buckets and limit, as far as it does not say them itself."""
    bare = LITERAL.sub("''", text)
    clauses = [f"SINCE {window.start_ms}", f"UNTIL {window.end_ms}", timeseries, f"LIMIT {limit}"]
    wanted = [clause for clause in clauses if clause and not has(bare, clause.split()[0])]
    return " ".join([text.strip(), *wanted])


def boxed(text: str, window: Window) -> str:
    """A query that New Relic wrote, over `window` instead of its own times. BadQueryError where it writes."""
    must_read(text)
    return timed(timeless(text), window, "MAX")


def timeless(text: str) -> str:
    """The query without SINCE and UNTIL."""
    # Of one length with the text, so that what is found in one is cut out of the other.
    bare = LITERAL.sub(lambda literal: "'" * len(literal[0]), text)
    kept = list(text)
    for found in TIMES.finditer(bare):
        kept[found.start() : found.end()] = [""] * (found.end() - found.start())
    return "".join(kept)


def has(text: str, keyword: str) -> bool:
    return re.search(rf"\b{keyword}\b", text, re.IGNORECASE) is not None
