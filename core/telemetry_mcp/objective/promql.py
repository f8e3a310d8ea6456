"""PromQL of SLO files, made fit for being asked step by step: `$__interval` is the length of a step."""

from __future__ import annotations

import re

SELECTOR = r"[a-zA-Z_:][a-zA-Z0-9_:]*\s*(?:\{(?:[^{}\"']|\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*')*\})?"
SUM_OF_COUNTER = re.compile(rf"(?:sum\s*\(\s*)?(?P<selector>{SELECTOR})\s*\)?")
WINDOW = re.compile(r"\[window[^\]]*\]")
STEP = "[$__interval]"


def increase(selector: str) -> str:
    return f"sum(increase({selector.strip()}{STEP}))"


def per_step(query: str) -> str:
    """The query with slo-generator's `[window]` being one step; a selector without a range is given one."""
    query = query.strip()
    return WINDOW.sub(STEP, query) if WINDOW.search(query) else f"{query}{STEP}"


def counter(query: str) -> tuple[str, str]:
    """A query of running totals, and what its samples are then: "count" where each counter's own increase can be
    asked for, "counter" where only the total of all is there.

    The difference matters when one of several instances restarts: the sum drops by that instance's share alone.
    """
    plain = SUM_OF_COUNTER.fullmatch(query.strip())
    if plain and query.strip().startswith("sum") == query.strip().endswith(")"):
        return increase(plain["selector"]), "count"
    return query.strip(), "counter"
