"""Which changes an incident may come from: candidates with their offsets, never a verdict."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from telemetry_mcp.analysis.signal import Change

FADES_MS = 3_600_000
LATE_MS = 60_000
"""So much later than the onset may a change be stamped that caused it: the first point that shows it covers more
than its own instant."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A change before an onset.

    `offset_ms` is how long before: of the onset of its service, or of the page where there is none. It is negative
    for a change of the first minute after the onset. `fit`, 0 to 1, tells candidates apart; it is no probability.
    """

    change: Change
    offset_ms: int
    fit: float


def preceding(changes: Iterable[Change], onset_ms: int | None, page_ms: int) -> tuple[Candidate, ...]:
    """The candidates among the changes of one service, the nearest first: `fit = exp(-offset / 1 h)`."""
    moment, late = (page_ms, 0) if onset_ms is None else (onset_ms, LATE_MS)
    found = (
        Candidate(one, moment - one.at_ms, math.exp(-max(moment - one.at_ms, 0) / FADES_MS))
        for one in changes
        if one.at_ms <= moment + late
    )
    return tuple(sorted(found, key=lambda one: abs(one.offset_ms)))
