"""The part of NRQL that the New Relic emulator understands, as a parser without data.

    SELECT column [, column] FROM Transaction|Metric [WHERE appName = 'a' | IN ('a', 'b') | IS NOT NULL]
    [FACET appName] SINCE ms UNTIL ms [TIMESERIES n seconds|minutes|hours|days] [LIMIT MAX|n]

The clauses may come in any order. Times are numbers in epoch ms.
"""

import re
from dataclasses import dataclass

_TOKEN = re.compile(r"\s*(?:('(?:[^'\\]|\\.)*')|(`[^`]*`)|([\w.]+)|([(),*=/<>!+-]))")
_CLAUSES = ("SELECT", "FROM", "WHERE", "FACET", "SINCE", "UNTIL", "TIMESERIES", "LIMIT")
_UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}
_SYNTAX = "NRDB:1101002"
_LIMITS = "NRDB:1103019"
_MOST_BUCKETS = 366

_DURATION = r"(?:duration|apm\.service\.transaction\.duration)"
_COUNT = r"count\((?:\*|apm\.service\.transaction\.duration)\)"
# Column, without spaces and in lower case -> what is computed, and the key of its result.
_COLUMNS = (
    (re.compile(r"count\(\*\)"), "count", "count"),
    (re.compile(rf"rate\({_COUNT},1minute\)"), "throughput", "rate.count"),
    (re.compile(r"percentage\(count\(\*\),whereerroristrue\)"), "error_rate", "percentage"),
    (re.compile(r"percentage\(count\(\*\),whereerrorisfalse\)"), "availability", "percentage"),
    (
        re.compile(r"\(?count\(apm\.service\.error\.count\)/count\(apm\.service\.transaction\.duration\)\)?\*100"),
        "error_rate",
        "result",
    ),
    (re.compile(r"filter\(count\(\*\),whereerrorisfalse\)/count\(\*\)\*100"), "availability", "result"),
    (re.compile(r"filter\(count\(\*\),whereerrorisfalse\)"), "good", "count"),
    (re.compile(rf"percentile\({_DURATION},[\d,.]+\)"), "percentile", "percentile.duration"),
    (re.compile(rf"average\({_DURATION}\)\*1000"), "average_ms", "result"),
    (re.compile(rf"average\({_DURATION}\)"), "average", "average.duration"),
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
    """A query taken apart. `names` None: every application; `bucket_s` None: one row for the whole window."""

    columns: tuple[Column, ...]
    names: frozenset[str] | None
    facet: bool
    since_ms: int
    until_ms: int
    bucket_s: int | None
    limit: int


def parse(text: str) -> Query:
    """The query that `text` is. Raises NrqlError."""
    clauses = _clauses(text)
    for needed in ("SELECT", "FROM", "SINCE", "UNTIL"):
        if not clauses.get(needed):
            raise NrqlError(f"NRQL Syntax Error: Error at line 1 position 1, missing {needed}")
    if clauses["FROM"][0] not in ("Transaction", "Metric"):
        raise NrqlError(f"NRQL Syntax Error: no such event type in this emulator: {clauses['FROM'][0]}")
    if clauses.get("FACET", ["appName"]) != ["appName"]:
        raise NrqlError(f"NRQL Syntax Error: this emulator facets by appName, not {clauses['FACET']}")
    since, until = (_number(clauses[clause]) for clause in ("SINCE", "UNTIL"))
    bucket = _bucket(clauses["TIMESERIES"]) if "TIMESERIES" in clauses else None
    if bucket is not None and (until - since) / 1000 / bucket > _MOST_BUCKETS:
        raise NrqlError(
            f"The maximum number of buckets for TIMESERIES is {_MOST_BUCKETS}. "
            "Please use a larger interval or a shorter time window.",
            _LIMITS,
        )
    return Query(
        columns=tuple(_column(part) for part in _split(clauses["SELECT"])),
        names=_names(clauses.get("WHERE", [])),
        facet="FACET" in clauses,
        since_ms=since,
        until_ms=until,
        bucket_s=bucket,
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


def _split(tokens: list[str]) -> list[list[str]]:
    """The tokens between the commas outside of parentheses."""
    parts: list[list[str]] = [[]]
    depth = 0
    for token in tokens:
        depth += (token == "(") - (token == ")")
        if token == "," and depth == 0:
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def _column(tokens: list[str]) -> Column:
    alias = None
    if len(tokens) > 2 and tokens[-2].upper() == "AS":
        alias, tokens = tokens[-1].strip("'`"), tokens[:-2]
    text = "".join(tokens).lower()
    for pattern, measure, key in _COLUMNS:
        if pattern.fullmatch(text):
            percentiles = tuple(text[:-1].split(",")[1:]) if measure == "percentile" else ()
            return Column(measure, alias or key, percentiles)
    raise NrqlError(f"NRQL Syntax Error: this emulator does not know the column {' '.join(tokens)}")


def _names(tokens: list[str]) -> frozenset[str] | None:
    if not tokens:
        return None
    words = [token.upper() for token in tokens]
    if tokens[0] in ("appName", "`appName`"):
        if words[1:] == ["IS", "NOT", "NULL"]:
            return None
        if words[1:2] == ["="] and len(tokens) == 3:
            return frozenset([_string(tokens[2])])
        if words[1:3] == ["IN", "("] and tokens[-1] == ")":
            return frozenset(_string(token) for token in tokens[3:-1:2])
    raise NrqlError(f"NRQL Syntax Error: this emulator does not know the condition {' '.join(tokens)}")


def _string(token: str) -> str:
    if not token.startswith("'"):
        raise NrqlError(f"NRQL Syntax Error: unexpected '{token}', expected a string")
    return re.sub(r"\\(.)", r"\1", token[1:-1])


def _number(tokens: list[str]) -> int:
    if len(tokens) != 1 or not tokens[0].isdigit():
        raise NrqlError(f"NRQL Syntax Error: this emulator takes times in epoch ms, not '{' '.join(tokens)}'")
    return int(tokens[0])


def _bucket(tokens: list[str]) -> int:
    unit = _UNITS.get(tokens[1].lower().rstrip("s")) if len(tokens) == 2 else None
    if unit is None or not tokens[0].isdigit() or int(tokens[0]) == 0:
        raise NrqlError(f"NRQL Syntax Error: unexpected TIMESERIES {' '.join(tokens)}")
    return int(tokens[0]) * unit


def _limit(tokens: list[str]) -> int:
    if tokens[0].upper() == "MAX":
        return 5000
    return _number(tokens)
