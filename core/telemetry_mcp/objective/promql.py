"""PromQL of SLO files, made fit for being asked step by step.

Counters are asked for their rate over `$__rate_interval`, which holds several samples however short a step is, and
not for their increase over the step itself: of a minute with one sample a minute Prometheus would say nothing.
"""

from __future__ import annotations

import re

SELECTOR = r"[a-zA-Z_:][a-zA-Z0-9_:]*\s*(?:\{(?:[^{}\"']|\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*')*\})?"
SUM_OF_COUNTER = re.compile(rf"(?:sum\s*\(\s*)?(?P<selector>{SELECTOR})\s*\)?")
SUM_OF_CHANGE = re.compile(
    r"(?P<sum>(?:sum\s*(?:by\s*\([^()]*\)\s*)?\(\s*)?)(?P<change>rate|irate|increase)"
    rf"(?P<rest>\s*\(\s*{SELECTOR}\s*\[[^\]]*\]\s*\)\s*\)?)"
)
WINDOW = re.compile(r"\[window[^\]]*\]")
RANGE = "[$__rate_interval]"


def rate(selector: str) -> str:
    """Events per second of a counter, all its series together."""
    return f"sum(rate({ranged(selector)}))"


def ranged(query: str) -> str:
    """The query with slo-generator's `[window]` made the range of a step; one without a range is given it."""
    query = query.strip()
    return WINDOW.sub(RANGE, query) if WINDOW.search(query) else f"{query}{RANGE}"


def counter(query: str) -> tuple[str, str]:
    """A query of running totals, and what its samples are then: "rate" where each counter can be asked for its
    own, "counter" where only the total of all is there.

    The difference matters when one of several instances restarts: the sum drops by that instance's share alone.
    """
    query = query.strip()
    plain = SUM_OF_COUNTER.fullmatch(query)
    if plain and query.startswith("sum") == query.endswith(")"):
        return rate(plain["selector"]), "rate"
    return query, "counter"


def change(query: str) -> tuple[str, str]:
    """A query of events, and what its samples are: "rate" of a plain sum of rates or increases, else "count".

    The increase over five minutes, asked for every minute, would count each event five times.
    """
    query = query.strip()
    plain = SUM_OF_CHANGE.fullmatch(query)
    if plain and query.startswith("sum") == query.endswith("))"):
        kind = "rate" if plain["change"] == "increase" else plain["change"]
        return f"{plain['sum']}{kind}{plain['rest']}", "rate"
    return query, "count"
