"""The part of Datadog's metric query language that its emulator understands.

avg:metric{service:a, env:b} by {service}     {service IN (a,b)}     {service:*}     {*}     .rollup(avg, 120)
.as_count()     .as_rate()     and arithmetic with these: 100 * default_zero(sum:a{*}) / sum:b{*}
"""

import ast
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

_SELECTION = (
    r"(?:(?P<aggregator>avg|sum|min|max|p50|p75|p90|p95|p99):)?(?P<metric>[a-zA-Z][\w.]*)\{(?P<scope>[^{}]*)\}"
    r"(?:\s*by\s*\{(?P<by>[\w.,\s-]*)\})?(?P<calls>(?:\.\w+\([^()]*\))*)"
)
_QUERY = re.compile(rf"\s*{_SELECTION}\s*")
_INSIDE = re.compile(_SELECTION)
_ROLLUP = re.compile(r"\.rollup\(\s*(?:\w+\s*,\s*)?(\d+)\s*\)")
_CALLS = re.compile(r"(?:\.rollup\(\s*(?:\w+\s*,\s*)?\d+\s*\)|\.as_count\(\)|\.as_rate\(\))*")
_TAG_IN = re.compile(r"([\w.-]+)\s+IN\s+\(([^()]*)\)")
_OPERATORS: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


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
    counted: bool


@dataclass(frozen=True, slots=True)
class Formula:
    """Arithmetic over queries by name."""

    text: str
    expression: str
    queries: Mapping[str, MetricQuery]

    def value(self, values: Mapping[str, Any]) -> Any:
        """The result for the queries' values, numbers or arrays. Raises QueryError."""
        try:
            return _value(ast.parse(self.expression.strip(), mode="eval").body, values)
        except SyntaxError as error:
            raise QueryError(f"{self.text}: {error.msg}") from error


def parse(text: str) -> MetricQuery:
    """The one query that `text` is. Raises QueryError."""
    found = _QUERY.fullmatch(text)
    if found is None or not _CALLS.fullmatch(found["calls"]):
        raise QueryError(f"{text}: Rule 'scope_expr' didn't match")
    by = tuple(tag.strip() for tag in (found["by"] or "").split(",") if tag.strip())
    rollup = _ROLLUP.search(found["calls"])
    return MetricQuery(
        text,
        found["metric"],
        found["aggregator"],
        _scope(found["scope"]),
        by,
        int(rollup[1]) if rollup else None,
        ".as_count()" in found["calls"],
    )


def formula(text: str) -> Formula:
    """A query of the older API: arithmetic with the queries written out in it. Raises QueryError."""
    names: dict[str, str] = {}
    expression = _INSIDE.sub(lambda match: names.setdefault(match[0], f"query{len(names)}"), text)
    if not names:
        raise QueryError(f"{text}: Rule 'scope_expr' didn't match")
    found = Formula(text, expression, {name: parse(query) for query, name in names.items()})
    found.value(dict.fromkeys(found.queries, 1.0))
    return found


def _value(node: ast.expr, values: Mapping[str, Any]) -> Any:
    match node:
        case ast.Constant(value=int() | float() as number):
            return number
        case ast.Name(id=name) if name in values:
            return values[name]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, values)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            with np.errstate(divide="ignore", invalid="ignore"):
                return _OPERATORS[type(op)](_value(left, values), _value(right, values))
        case ast.Call(func=ast.Name(id="default_zero"), args=[argument]):
            return np.nan_to_num(_value(argument, values))
    raise QueryError(f"{ast.unparse(node)} is not understood")


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
