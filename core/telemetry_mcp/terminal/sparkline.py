"""A series, or a share of 100, as one line of text."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

BLOCKS = "▁▂▃▄▅▆▇█"
PLAIN = "_.-=+*#@"
Value = int | float | None


def sparkline(values: Sequence[Value], width: int = 60, *, plain: bool = False) -> str:
    """At most `width` characters, from the smallest value at the bottom to the largest at the top.

    Where several values fall on one character, it shows the one farthest from the median, so that no spike or dip
    is lost; a space is a stretch without a number. `plain` uses ASCII only.
    """
    numbers = [value for value in values if value is not None]
    if not numbers or width < 1:
        return ""
    middle, low, high = median(numbers), min(numbers), max(numbers)
    marks = PLAIN if plain else BLOCKS
    size = -(-len(values) // width)
    parts = [values[at : at + size] for at in range(0, len(values), size)]
    return "".join(mark(farthest(part, middle), low, high, marks) for part in parts)


def farthest(values: Sequence[Value], middle: float) -> Value:
    return max((value for value in values if value is not None), key=lambda v: abs(v - middle), default=None)


def mark(value: Value, low: float, high: float, marks: str) -> str:
    if value is None:
        return " "
    share = (value - low) / (high - low) if high > low else 0.0
    return marks[min(int(share * len(marks)), len(marks) - 1)]


def bar(percent: Value, width: int = 20, *, plain: bool = False) -> str:
    """`width` characters are 100 percent; nothing is drawn of what is not known."""
    return ("#" if plain else "█") * round((percent or 0) * width / 100)
