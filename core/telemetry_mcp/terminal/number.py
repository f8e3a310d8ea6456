"""Numbers of things, in words."""

from __future__ import annotations


def plural(what: str, count: int) -> str:
    return what if count == 1 else f"{what}s"


def number_of(count: int, what: str) -> str:
    """`1 source`, `2 sources`."""
    return f"{count} {plural(what, count)}"
