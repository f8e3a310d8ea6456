"""The part of PromQL that the Prometheus emulator understands.

    metric{label="value",other=~"a|b"}     sum|avg|min|max by (label) (...)     ... * 100, ... / 60     1.5
    increase|count_over_time|last_over_time(metric[5m])     ... > 0     ... and|or ignoring (label) ...

Everything else is a ParseError in the server's own words, as far as it has any.
"""

import re
from dataclasses import dataclass
from typing import Literal, NoReturn

_TOKEN = re.compile(
    r"""\s*(?:(?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')|(?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)"""
    r"""|(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)|(?P<mark>=~|!~|!=|[=(){},*/\[\]+>-]))"""
)
_ESCAPE = re.compile(r"\\(?:(?P<plain>[abfnrtv\\'\"])|x(?P<x>[0-9a-fA-F]{2})|u(?P<u>[0-9a-fA-F]{4})|(?P<bad>.))")
_PLAIN = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
AGGREGATIONS = ("sum", "avg", "min", "max")
FUNCTIONS = ("increase", "count_over_time", "last_over_time")
UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


class ParseError(ValueError):
    """What the server says about a query it cannot read, with line and column."""


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition on a label; an absent label counts as empty."""

    label: str
    operator: str
    value: str

    def fits(self, labels: dict[str, str]) -> bool:
        """Whether `labels` meet the condition; regular expressions match the whole value."""
        have = labels.get(self.label, "")
        if self.operator in ("=", "!="):
            return (have == self.value) == (self.operator == "=")
        return (re.fullmatch(self.value, have) is not None) == (self.operator == "=~")


@dataclass(frozen=True, slots=True)
class Selector:
    """Series by their labels; the name of the metric is the label __name__."""

    matchers: tuple[Matcher, ...]


@dataclass(frozen=True, slots=True)
class Number:
    """A scalar."""

    value: float


@dataclass(frozen=True, slots=True)
class Aggregation:
    """`operator` over the groups of series which agree on the labels `by`."""

    operator: str
    by: tuple[str, ...]
    inner: "Expression"


@dataclass(frozen=True, slots=True)
class Scaling:
    """A vector times or divided by a number."""

    inner: "Expression"
    operator: Literal["*", "/"]
    number: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """What of a vector is larger than a number."""

    inner: "Expression"
    number: float


@dataclass(frozen=True, slots=True)
class Call:
    """A function of the samples in a range before each time."""

    function: str
    selector: Selector
    range_ms: int


@dataclass(frozen=True, slots=True)
class SetOperation:
    """Two vectors joined by the labels that they have beside `ignoring`."""

    left: "Expression"
    operator: Literal["and", "or"]
    ignoring: tuple[str, ...]
    right: "Expression"


Expression = Selector | Number | Aggregation | Scaling | Comparison | Call | SetOperation


def parse(query: str) -> Expression:
    """The expression that `query` is. Raises ParseError."""
    parser = _Parser(query)
    if parser.peek() == "":
        parser.fail("no expression found in input", 0)
    tree = parser.expression()
    if parser.peek() != "":
        parser.fail(f'unexpected "{parser.peek()}"')
    return tree


class _Parser:
    def __init__(self, query: str) -> None:
        self._query = query
        self._tokens: list[tuple[str, str, int]] = []
        self._next = 0
        at, end = 0, len(query.rstrip())
        while at < end:
            found = _TOKEN.match(query, at)
            if found is None or found.lastgroup is None:
                self.fail(f"unexpected character: {query[at:].strip()[:1]!r}", at)
            self._tokens.append((found.lastgroup, found[found.lastgroup], found.start(found.lastgroup)))
            at = found.end()

    def fail(self, reason: str, at: int | None = None) -> NoReturn:
        if at is None:
            at = self._tokens[self._next][2] if self._next < len(self._tokens) else len(self._query)
        line = self._query.count("\n", 0, at) + 1
        column = at - (self._query.rfind("\n", 0, at) + 1) + 1
        raise ParseError(f"{line}:{column}: parse error: {reason}")

    def peek(self, ahead: int = 0) -> str:
        at = self._next + ahead
        return self._tokens[at][1] if at < len(self._tokens) else ""

    def take(self, kind: str) -> str:
        if self._next >= len(self._tokens):
            self.fail("unexpected end of input")
        found, text, _ = self._tokens[self._next]
        if found != kind:
            self.fail(f'unexpected "{text}"')
        self._next += 1
        return text

    def expect(self, mark: str) -> None:
        if self.peek() != mark:
            unclosed = mark == ")" and self.peek() == ""
            self.fail(
                "unclosed left parenthesis" if unclosed else f'unexpected "{self.peek()}", expected "{mark}"'
            )
        self._next += 1

    def expression(self) -> Expression:
        tree = self._conjunction()
        while self.peek() == "or":
            self._next += 1
            tree = SetOperation(tree, "or", self._labels("ignoring"), self._conjunction())
        return tree

    def _conjunction(self) -> Expression:
        tree = self._comparison()
        while self.peek() == "and":
            self._next += 1
            tree = SetOperation(tree, "and", self._labels("ignoring"), self._comparison())
        return tree

    def _comparison(self) -> Expression:
        tree = self._product()
        if self.peek() == ">":
            self._next += 1
            return Comparison(tree, float(self.take("number")))
        return tree

    def _product(self) -> Expression:
        tree = self._term()
        while self.peek() in ("*", "/"):
            operator: Literal["*", "/"] = "*" if self.peek() == "*" else "/"
            self._next += 1
            tree = Scaling(tree, operator, float(self.take("number")))
        return tree

    def _term(self) -> Expression:
        if self.peek() == "(":
            self._next += 1
            inner = self.expression()
            self.expect(")")
            return inner
        if self._next < len(self._tokens) and self._tokens[self._next][0] == "number":
            return Number(float(self.take("number")))
        if self.peek() in AGGREGATIONS and self.peek(1) in ("by", "("):
            return self._aggregation()
        if self.peek() in FUNCTIONS and self.peek(1) == "(":
            return self._call()
        if self.peek(1) == "(":
            self.fail(f'unknown function with name "{self.peek()}"')
        return self._selector()

    def _aggregation(self) -> Aggregation:
        operator = self.take("name")
        by = self._labels("by")
        self.expect("(")
        inner = self.expression()
        self.expect(")")
        return Aggregation(operator, by or self._labels("by"), inner)

    def _call(self) -> Call:
        function = self.take("name")
        self.expect("(")
        selector = self._selector()
        self.expect("[")
        number = float(self.take("number"))
        unit = self.take("name")
        if unit not in UNITS_MS:
            self.fail(f'unknown unit "{unit}" in duration')
        self.expect("]")
        self.expect(")")
        return Call(function, selector, int(number * UNITS_MS[unit]))

    def _labels(self, keyword: str) -> tuple[str, ...]:
        if self.peek() != keyword:
            return ()
        self._next += 1
        self.expect("(")
        labels = []
        while self.peek() != ")":
            labels.append(self.take("name"))
            if self.peek() == ",":
                self._next += 1
        self.expect(")")
        return tuple(labels)

    def _selector(self) -> Selector:
        matchers = []
        start = self._tokens[self._next][2] if self._next < len(self._tokens) else None
        if self.peek() != "{":
            matchers.append(Matcher("__name__", "=", self.take("name")))
        if self.peek() == "{":
            self._next += 1
            while self.peek() != "}":
                matchers.append(self._matcher())
                if self.peek() not in (",", "}"):
                    self.fail(f'unexpected "{self.peek()}" in label matching, expected "," or "}}"')
                if self.peek() == ",":
                    self._next += 1
            self.expect("}")
        if all(matcher.fits({}) for matcher in matchers):
            self.fail("vector selector must contain at least one non-empty matcher", start)
        return Selector(tuple(matchers))

    def _matcher(self) -> Matcher:
        label = self.take("name")
        operator = self.take("mark")
        if operator not in ("=", "!=", "=~", "!~"):
            self.fail(f'unexpected "{operator}" in label matching, expected label matching operator')
        value = self._string()
        if "~" in operator:
            try:
                re.compile(value)
            except re.error as error:
                self.fail(f"error parsing regexp: {error}")
        return Matcher(label, operator, value)

    def _string(self) -> str:
        text = self.take("string")[1:-1]

        def plain(found: re.Match[str]) -> str:
            if found["bad"]:
                self.fail(f"unknown escape sequence U+{ord(found['bad']):04X} {found['bad']!r}", 0)
            if found["plain"]:
                return _PLAIN.get(found["plain"], found["plain"])
            return chr(int(found["x"] or found["u"], 16))

        return _ESCAPE.sub(plain, text)
