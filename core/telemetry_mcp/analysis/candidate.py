"""Which changes an incident may come from: candidates with their offsets, never a verdict."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from telemetry_mcp.analysis.correlation import CHANGE_LATE_MS, Ranking, time_fit
from telemetry_mcp.analysis.signal import Change, changes_of


@dataclass(frozen=True, slots=True)
class Candidate:
    """A change, how long before the onset of its service it was made (without an onset: before the page), and how
    well it fits, 0 to 1."""

    change: Change
    offset_ms: int
    fit: float


def suspects_of_changes(
    ranking: Ranking, changes: Iterable[Change | Sequence[Any]], page_ms: int
) -> tuple[Candidate, ...]:
    """The changes in the order of their fit: how bad their service stands (its score beside the best one) times how
    close before its onset they were made. A change after the onset, or of a service that is not in the ranking, is
    no candidate."""
    best = max((one.score for one in ranking.services), default=0.0)
    standing = {one.service: one for one in ranking.services}
    found = []
    for change in changes_of(changes):
        suspect = standing.get(change.service)
        if suspect is None:
            continue
        onset = page_ms if suspect.onset_ms is None else suspect.onset_ms
        offset = onset - change.at_ms
        if offset >= (0 if suspect.onset_ms is None else -CHANGE_LATE_MS):
            found.append(Candidate(change, offset, math.exp(suspect.score - best) * time_fit(offset)))
    return tuple(sorted(found, key=lambda one: (-one.fit, one.offset_ms)))
