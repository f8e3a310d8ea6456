"""Documents of SLO files: where things stand in them, and what is said when they do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Table = dict[str, Any]
"""An objective as it would stand in plugins.toml."""


class DocumentError(Exception):
    """Something in a document cannot be used: `key` is where, `found` what stands there, `valid` what could."""

    def __init__(self, key: str, found: str, valid: str) -> None:
        super().__init__(f"{key}: {found}. {valid}")
        self.key, self.found, self.valid = key, found, valid


@dataclass(frozen=True, slots=True)
class Node:
    """A part of a document, and the path to it. `written` is the part as the file has it, where a secret is still
    the name of its variable: what is wrong is quoted from there."""

    value: Any
    path: str = ""
    written: Any = None

    def at(self, *keys: str) -> Node:
        """What stands below; a Node of None where nothing does."""
        node = self
        for key in keys:
            node = Node(below(node.value, key), f"{node.path}.{key}".lstrip("."), below(node.written, key))
        return node

    def items(self) -> list[Node]:
        """The members of a list; none where there is no list."""
        if self.value is None:
            return []
        if not isinstance(self.value, Sequence) or isinstance(self.value, str):
            raise self.wrong("It must be a list")
        written = self.written if isinstance(self.written, list) else [None] * len(self.value)
        both = enumerate(zip(self.value, written, strict=True))
        return [Node(item, f"{self.path}[{place}]", own) for place, (item, own) in both]

    def text(self) -> str:
        if self.value is None:
            raise DocumentError(self.path, "is missing", "")
        if isinstance(self.value, Mapping | list):
            raise self.wrong("It must be a text")
        return str(self.value).strip()

    def one_of(self, *valid: str) -> str:
        if self.value not in valid:
            raise self.wrong(f"Valid: {', '.join(valid)}")
        return str(self.value)

    def wrong(self, valid: str) -> DocumentError:
        found = "is missing" if self.value is None else f"found {str(self.written)[:80]!r}"
        return DocumentError(self.path, found, valid)

    def __bool__(self) -> bool:
        return self.value is not None


def below(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, Mapping) else None


@dataclass(frozen=True, slots=True)
class Backend:
    """What a document says about where its numbers are: a name of its own, and the kind of system."""

    name: str
    type: str
