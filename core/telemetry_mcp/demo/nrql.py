"""The part of NRQL that the New Relic emulator understands, as a parser without data.

    SELECT column [, column] FROM event [, event] [WHERE name = 'a' | IN ('a', 'b') | IS NOT NULL [AND ...]]
    [FACET name] [SINCE ms | n minutes ago] [UNTIL ...] [TIMESERIES n seconds|minutes|hours|days] [LIMIT MAX|n]

The clauses may come in any order. `name` is the attribute that names whom the event is about, which differs.
"""

import re
from dataclasses import dataclass

_TOKEN = re.compile(r"\s*(?:('(?:[^'\\]|\\.)*')|(`[^`]*`)|([\w.%]+)|([(),*=/<>!+-]))")
_CLAUSES = ("SELECT", "FROM", "WHERE", "FACET", "SINCE", "UNTIL", "TIMESERIES", "LIMIT")
_UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400, "week": 604_800}
_SYNTAX = "NRDB:1101002"
_LIMITS = "NRDB:1103019"
_MOST_BUCKETS = 366
_HOUR_MS = 3_600_000

EVENTS = {
    "Transaction": ("appName",),
    "Metric": ("appName", "entity.name"),
    "Span": ("entity.name",),
    "SystemSample": ("entityName",),
    "StorageSample": ("entityName",),
    "NetworkSample": ("entityName",),
    "ChangeTrackingEvent": ("entity.name",),
    "Deployment": ("entity.name",),
}
"""Event type -> the attributes that name whom it is about."""
RAW = ("ChangeTrackingEvent", "Deployment")
"""Events that are asked for as they are."""

_DURATION = r"(?:duration|apm\.service\.transaction\.duration)"
_SERVED = r"count\(%\.server%duration\)"
_COUNT = rf"(?:count\((?:\*|apm\.service\.transaction\.duration)\)|{_SERVED})"
_FAILED = r"numeric\(http\.status_code\)>=500ornumeric\(http\.response\.status_code\)>=500"
# Column, without spaces and in lower case -> what is computed, and the key of its result.
_COLUMNS = (
    (re.compile(r"count\(\*\)"), "count", "count"),
    (re.compile(rf"rate\({_COUNT},1minute\)"), "throughput", "rate.count"),
    (re.compile(r"percentage\(count\(\*\),whereerroristrue\)"), "error_rate", "percentage"),
    (re.compile(r"percentage\(count\(\*\),whereerrorisfalse\)"), "availability", "percentage"),
    (
        re.compile(r"percentage\(count\(\*\),whereotel\.status_code!='error'orotel\.status_codeisnull\)"),
        "availability",
        "percentage",
    ),
    (
        re.compile(r"\(?count\(apm\.service\.error\.count\)/count\(apm\.service\.transaction\.duration\)\)?\*100"),
        "error_rate",
        "result",
    ),
    (re.compile(rf"filter\({_SERVED},where{_FAILED}\)\*100/{_SERVED}"), "error_rate", "result"),
    (re.compile(r"filter\(count\(\*\),whereerrorisfalse\)/count\(\*\)\*100"), "availability", "result"),
    (re.compile(r"filter\(count\(\*\),whereerrorisfalse\)"), "good", "count"),
    (re.compile(r"clamp_max\(sum\(newrelic\.sli\.good\)/sum\(newrelic\.sli\.valid\)\*100,100\)"), "sli", "result"),
    (re.compile(r"apdex\(apm\.service\.apdex\)"), "apdex", "apdex"),
    (re.compile(r"percentile\(duration\.ms,[\d,.]+\)"), "percentile_ms", "percentile.duration.ms"),
    (re.compile(rf"percentile\({_DURATION},[\d,.]+\)"), "percentile", "percentile.duration"),
    (re.compile(r"average\(duration\.ms\)"), "average_ms", "average.duration.ms"),
    (re.compile(rf"average\({_DURATION}\)\*1000"), "average_ms", "result"),
    (re.compile(rf"average\({_DURATION}\)"), "average", "average.duration"),
    (re.compile(r"average\(cpupercent\)"), "cpu", "average.cpuPercent"),
    (re.compile(r"average\(memoryusedpercent\)"), "memory", "average.memoryUsedPercent"),
    (re.compile(r"average\(diskusedpercent\)"), "disk", "average.diskUsedPercent"),
    (re.compile(r"average\(receivebytespersecond\)"), "network", "average.receiveBytesPerSecond"),
    (re.compile(r"average\(transmitbytespersecond\)"), "network", "average.transmitBytesPerSecond"),
)


class NrqlError(ValueError):
    """What NRDB says about a query, and its error code."""

    def __init__(self, message: str, code: str = _SYNTAX) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Column:
    """One value of a row: what it is, the key it goes under, and the percentiles if it is one of them."""

    measure: str
    key: str
    percentiles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Query:
    """A query taken apart. `names` None: whoever there is; `bucket_s` None: one row for the whole window."""

    columns: tuple[Column, ...]
    events: tuple[str, ...]
    attribute: str
    names: frozenset[str] | None
    guid: str | None
    facet: bool
    since_ms: int
    until_ms: int
    bucket_s: int | None
    limit: int


def parse(text: str, now_ms: int) -> Query:
    """The query that `text` is at `now_ms`, when one without times asks for the last hour. Raises NrqlError."""
    clauses = _clauses(text)
    for needed in ("SELECT", "FROM"):
        if not clauses.get(needed):
            raise NrqlError(f"NRQL Syntax Error: Error at line 1 position 1, missing {needed}")
    events = tuple(event for (event,) in _split(clauses["FROM"], at=","))
    if unknown := [event for event in events if event not in EVENTS]:
        raise NrqlError(f"NRQL Syntax Error: no such event type in this emulator: {unknown[0]}")
    attribute, names, guid = _where(clauses.get("WHERE", []), events[0])
    facet = "".join(clauses.get("FACET", [attribute])).strip("`")
    if facet not in EVENTS[events[0]]:
        raise NrqlError(f"NRQL Syntax Error: this emulator does not facet {events[0]} by {facet}")
    since, until = (
        _time(clauses.get("SINCE"), now_ms, now_ms - _HOUR_MS),
        _time(clauses.get("UNTIL"), now_ms, now_ms),
    )
    return Query(
        columns=tuple(_column(part, raw=events[0] in RAW) for part in _split(clauses["SELECT"], at=",")),
        events=events,
        attribute=facet,
        names=names,
        guid=guid,
        facet="FACET" in clauses,
        since_ms=since,
        until_ms=until,
        bucket_s=_bucket(clauses["TIMESERIES"], until - since) if "TIMESERIES" in clauses else None,
        limit=_limit(clauses.get("LIMIT", ["10"])),
    )


def _clauses(text: str) -> dict[str, list[str]]:
    """The tokens of each clause; a keyword inside parentheses belongs to the clause around it."""
    found: dict[str, list[str]] = {}
    current: list[str] | None = None
    depth = 0
    for token in _tokens(text):
        depth += (token == "(") - (token == ")")
        if depth == 0 and token.upper() in _CLAUSES:
            current = found.setdefault(token.upper(), [])
        elif current is None:
            raise NrqlError(f"NRQL Syntax Error: Error at line 1 position 1, unexpected '{token}'")
        else:
            current.append(token)
    if depth:
        raise NrqlError("NRQL Syntax Error: unbalanced parentheses")
    return found


def _tokens(text: str) -> list[str]:
    tokens, at, end = [], 0, len(text.rstrip())
    while at < end:
        found = _TOKEN.match(text, at)
        if found is None:
            unexpected = text[at:].strip()[:1]
            raise NrqlError(f"NRQL Syntax Error: Error at line 1 position {at + 1}, unexpected '{unexpected}'")
        tokens.append(found[0].strip())
        at = found.end()
    return tokens


def _split(tokens: list[str], at: str) -> list[list[str]]:
    """The tokens between those that are `at`, outside of parentheses."""
    parts: list[list[str]] = [[]]
    depth = 0
    for token in tokens:
        depth += (token == "(") - (token == ")")
        if token.upper() == at and depth == 0:
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def _column(tokens: list[str], *, raw: bool) -> Column:
    alias = None
    if len(tokens) > 2 and tokens[-2].upper() == "AS":
        alias, tokens = tokens[-1].strip("'`"), tokens[:-2]
    if raw and "*" not in tokens:
        name = "".join(tokens).strip("`")
        return Column(name, alias or name)
    text = "".join(tokens).lower()
    for pattern, measure, key in _COLUMNS:
        if pattern.fullmatch(text):
            percentiles = tuple(text[:-1].split(",")[1:]) if measure.startswith("percentile") else ()
            return Column(measure, alias or key, percentiles)
    raise NrqlError(f"NRQL Syntax Error: this emulator does not know the column {' '.join(tokens)}")


def _where(tokens: list[str], event: str) -> tuple[str, frozenset[str] | None, str | None]:
    """The attribute of the names, the names (None: all), and the guid of an entity."""
    attribute, names, guid = EVENTS[event][0], None, None
    for part in _split(tokens, at="AND") if tokens else []:
        words, first = [token.upper() for token in part], part[0].strip("`")
        if first == "entity.guid" and words[1:2] == ["="]:
            guid = _string(part[2])
        elif first in EVENTS[event]:
            attribute, names = first, _names(part, words)
        elif not _harmless(words):
            raise NrqlError(f"NRQL Syntax Error: this emulator does not know the condition {' '.join(part)}")
    return attribute, names, guid


def _names(tokens: list[str], words: list[str]) -> frozenset[str] | None:
    if words[1:] == ["IS", "NOT", "NULL"]:
        return None
    if words[1:2] == ["="] and len(tokens) == 3:
        return frozenset([_string(tokens[2])])
    if words[1:3] == ["IN", "("] and tokens[-1] == ")":
        return frozenset(_string(token) for token in tokens[3:-1:2])
    raise NrqlError(f"NRQL Syntax Error: this emulator does not know the condition {' '.join(tokens)}")


def _harmless(words: list[str]) -> bool:
    """Conditions that everything here fulfils: attributes that are there, and spans of servers."""
    inner = words[1:-1] if words[0] == "(" else words
    there = [part[1:] == ["IS", "NOT", "NULL"] and ".SERVER." in part[0] for part in _split(inner, at="OR")]
    return all(there) or inner == ["SPAN.KIND", "=", "'SERVER'"]


def _string(token: str) -> str:
    if not token.startswith("'"):
        raise NrqlError(f"NRQL Syntax Error: unexpected '{token}', expected a string")
    return re.sub(r"\\(.)", r"\1", token[1:-1])


def _time(tokens: list[str] | None, now_ms: int, default_ms: int) -> int:
    match tokens:
        case None:
            return default_ms
        case [number] if number.isdigit():
            return int(number)
        case [number, unit, ago] if number.isdigit() and ago.upper() == "AGO" and _seconds(unit):
            return now_ms - int(number) * _seconds(unit) * 1000
    raise NrqlError(f"NRQL Syntax Error: unexpected time '{' '.join(tokens)}'")


def _seconds(unit: str) -> int:
    return _UNITS.get(unit.lower().rstrip("s"), 0)


def _bucket(tokens: list[str], window_ms: int) -> int:
    if len(tokens) != 2 or not tokens[0].isdigit() or not int(tokens[0]) or not _seconds(tokens[1]):
        raise NrqlError(f"NRQL Syntax Error: unexpected TIMESERIES {' '.join(tokens)}")
    bucket = int(tokens[0]) * _seconds(tokens[1])
    if window_ms / 1000 / bucket > _MOST_BUCKETS:
        raise NrqlError(
            f"The maximum number of buckets for TIMESERIES is {_MOST_BUCKETS}. "
            "Please use a larger interval or a shorter time window.",
            _LIMITS,
        )
    return bucket


def _limit(tokens: list[str]) -> int:
    if tokens[0].upper() == "MAX":
        return 5000
    if len(tokens) != 1 or not tokens[0].isdigit():
        raise NrqlError(f"NRQL Syntax Error: unexpected LIMIT {' '.join(tokens)}")
    return int(tokens[0])
