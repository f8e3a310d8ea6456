"""As much of GraphQL as NerdGraph's callers use: one query with variables, aliases, arguments and fragments.

A resolver is a mapping of fields; a field's value may be a function of the arguments. Only what was asked for is
answered; a field that is not there spoils the whole request, one that raises GraphError is null beside its error.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_TOKEN = re.compile(
    r'\s*(?:#[^\n]*\s*)*(\.\.\.|[{}()\[\]:!$=,@]|"(?:[^"\\\n]|\\.)*"|-?\d+(?:\.\d+)?|[A-Za-z_]\w*)'
)

Document = dict[str, Any]


class GraphError(Exception):
    """An error as NerdGraph tells it; without a class it spoils the whole request."""

    def __init__(self, message: str, error_class: str = "", **extensions: str) -> None:
        super().__init__(message)
        self.error_class = error_class
        self.extensions = extensions

    def told(self, path: list[str]) -> Document:
        """One entry of `errors`."""
        place = {"message": str(self), "locations": [{"line": 1, "column": 2}]}
        if not self.error_class:
            return place
        return {**place, "path": path, "extensions": {"errorClass": self.error_class, **self.extensions}}


@dataclass(slots=True)
class Field:
    """One field of a selection: `key` is what it is called in the answer."""

    name: str
    key: str
    arguments: Document = field(default_factory=dict)
    fields: list["Field"] = field(default_factory=list)


def answer(text: str, variables: Mapping[str, Any], root: Mapping[str, Any]) -> Document:
    """The whole answer to a request, errors and all."""
    errors: list[Document] = []
    try:
        data = _project(root, _Parser(text, variables).operation(), [], errors)
    except GraphError as error:
        return {"errors": [error.told([])]}
    return {"data": data, "errors": errors} if errors else {"data": data}


def _project(node: Any, fields: list[Field], path: list[str], errors: list[Document]) -> Any:
    if isinstance(node, list):
        return [_project(each, fields, path, errors) for each in node]
    if not isinstance(node, Mapping):
        return node
    if not fields:  # such as a row of NRQL, which is a scalar to GraphQL
        if any(callable(value) for value in node.values()):
            raise GraphError("A field of an object must have a selection of subfields")
        return node
    found = {}
    for asked in fields:
        if asked.name not in node:
            raise GraphError(f'Cannot query field "{asked.name}" here')
        here = [*path, asked.key]
        try:
            value = node[asked.name]
            value = value(asked.arguments) if callable(value) else value
        except GraphError as error:
            errors.append(error.told(here))
            value = None
        found[asked.key] = _project(value, asked.fields, here, errors)
    return found


class _Parser:
    def __init__(self, text: str, variables: Mapping[str, Any]) -> None:
        self._tokens = _tokens(text)
        self._variables = variables
        self._declared: set[str] = set()

    def operation(self) -> list[Field]:
        if self._peek() == "query":
            self._take()
            if self._peek() not in ("(", "{"):
                self._take()
            if self._peek() == "(":
                self._declarations()
        found = self._selection()
        if self._peek():
            raise GraphError(f"syntax error before: '{self._peek()}'")
        return found

    def _declarations(self) -> None:
        while (token := self._take()) != ")":
            if token == "$":
                self._declared.add(self._take())

    def _selection(self) -> list[Field]:
        self._expect("{")
        found: list[Field] = []
        while self._peek() != "}":
            if self._peek() == "...":
                for _ in range(3):
                    self._take()
                found += self._selection()
            else:
                found.append(self._field())
        self._take()
        return found

    def _field(self) -> Field:
        name = key = self._take()
        if self._peek() == ":":
            self._take()
            name = self._take()
        arguments = self._members("(", ")") if self._peek() == "(" else {}
        return Field(name, key, arguments, self._selection() if self._peek() == "{" else [])

    def _members(self, start: str, end: str) -> Document:
        self._expect(start)
        found = {}
        while self._peek() != end:
            name = self._take()
            self._expect(":")
            found[name] = self._value()
        self._take()
        return found

    def _value(self) -> Any:
        if self._peek() == "{":
            return self._members("{", "}")
        token = self._take()
        if token == "[":
            found = []
            while self._peek() != "]":
                found.append(self._value())
            self._take()
            return found
        if token == "$":
            name = self._take()
            if name not in self._declared:
                raise GraphError(f'Variable "${name}" is not defined')
            return self._variables.get(name)
        if token.startswith('"'):
            return re.sub(r"\\(.)", r"\1", token[1:-1])
        return int(token) if token.lstrip("-").isdigit() else {"true": True, "false": False}.get(token, token)

    def _peek(self) -> str:
        return self._tokens[0] if self._tokens else ""

    def _take(self) -> str:
        if not self._tokens:
            raise GraphError("syntax error before: ''")
        return self._tokens.pop(0)

    def _expect(self, token: str) -> None:
        if (found := self._take()) != token:
            raise GraphError(f"syntax error before: '{found}'")


def _tokens(text: str) -> list[str]:
    found, at, end = [], 0, len(text.rstrip())
    while at < end:
        token = _TOKEN.match(text, at)
        if token is None:
            raise GraphError(f"syntax error before: '{text[at:].strip()[:10]}'")
        if token[1] != ",":
            found.append(token[1])
        at = token.end()
    return found
