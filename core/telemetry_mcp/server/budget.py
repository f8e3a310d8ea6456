"""How long an answer is in its reader's context window, and how it is made to fit there.

It shrinks in a fixed order: first the points of its time series, then the series themselves, the least relevant
first. The ledger, the statistics and the anomalies are never cut.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import orjson
from pydantic import BaseModel

from telemetry_mcp.access.caller import LOCAL
from telemetry_mcp.access.visit import VISIT, Visit

if TYPE_CHECKING:
    from telemetry_mcp.config import Config

A = TypeVar("A", bound=BaseModel)

LEAST_POINTS = 10
TOKEN = re.compile(
    rb"(?=[b-df-hj-np-tv-xzB-DF-HJ-NP-TV-XZ]{4})[a-zA-Z]{2}"
    rb"|[A-Z]?[a-z]{1,6}|[A-Z]{1,6}|[0-9]{1,3}|[\x80-\xff]{1,3}|[^\w\s\x80-\xff]{1,4}|_"
)
"""What a tokenizer makes one token of, roughly, in UTF-8: on the tools' answers it counts 0 to 9 % more than
o200k_base. Four consonants in a row are no word but an identifier, of which two letters make a token; of other
scripts than Latin it counts up to twice as many."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much an answer may hold: `points` of each time series, and so many `series` with their points.

    `note` is what it has to say of what was left out: no sentence, or one.
    """

    points: int
    series: int
    note: tuple[str, ...] = ()


def tokens(answer: BaseModel) -> int:
    """How many tokens the answer costs, about and never much less."""
    return len(TOKEN.findall(orjson.dumps(answer.model_dump(mode="json"))))


@dataclass(frozen=True, slots=True)
class Budget:
    """How many tokens an answer may have; `more` is what its reader can do where that is too few."""

    max_tokens: int | None
    more: str


def budget(asked: int | None, config: Config, less: str, more: str) -> Budget:
    """What the caller asked for, else the default; never more than [limits] grants a caller. `less` says how to
    ask for less at once, `more` that or with a larger max_tokens."""
    wished, most = asked or config.defaults.max_tokens, config.limits.max_tokens
    if most is None or VISIT.get(Visit(LOCAL)).caller.kind == "local":
        return Budget(wished, more)
    if wished is not None and wished < most:
        return Budget(wished, f"{more}, {most} at most")
    return Budget(most, f"{less}; one caller gets no more")


def fitted(make: Callable[[Size], A], wished: Size, max_tokens: int | None, more: str) -> A:
    """The largest answer that `make` gives within `max_tokens`, saying what was left out; `more` is how to get it.

    Where even the smallest is too long it is given all the same: a reader who must not overlook a failed source
    is better served by a long answer than by a cut one.
    """
    answer = make(wished)
    if max_tokens is None or tokens(answer) <= max_tokens:
        return answer
    sizes = [replace(size, note=(said(size, wished, max_tokens, more),)) for size in smaller(wished)]
    fits = bisect_left(sizes, True, key=lambda size: tokens(make(size)) <= max_tokens)
    if fits < len(sizes):
        return make(sizes[fits])
    size, length = sizes[-1], tokens(make(sizes[-1]))
    least = f"max_tokens={max_tokens} is too few: without any points this takes about {length}"
    return make(replace(size, note=(f"{size.note[0]}. {least}",)))


def smaller(wished: Size) -> Iterator[Size]:
    """Ever smaller sizes: a quarter of the points less each time, then half of the series less."""
    points, series = wished.points, wished.series
    while points > LEAST_POINTS:
        points = max(LEAST_POINTS, points * 3 // 4)
        yield Size(points, series)
    while series > 0:
        series //= 2
        yield Size(LEAST_POINTS, series)
    yield Size(0, 0)


def said(size: Size, wished: Size, max_tokens: int, more: str) -> str:
    left = f"{size.points} of {wished.points} points"
    if size.series < wished.series:
        left += f" and {size.series} of {wished.series} series"
    return f"cut to {left} a series to stay within max_tokens={max_tokens}; for the rest {more}"
