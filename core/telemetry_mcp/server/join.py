"""Several systems tell of one and the same incident: which rows are one, and which of them speaks for all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from telemetry_mcp.model import Incident, Outcome

NEAR_MS = 300_000
"""Systems that watch the same service notice the same fault within this time of each other."""


@dataclass(frozen=True, slots=True)
class Told:
    """One incident as one source tells it."""

    source: str
    incident: Incident


@dataclass(frozen=True, slots=True)
class Joined:
    """One incident; `first` speaks for it, `others` tell of the same."""

    first: Told
    others: tuple[Told, ...] = ()

    @property
    def incident(self) -> Incident:
        return self.first.incident


def joined(outcomes: Iterable[Outcome[Incident]]) -> list[Joined]:
    """Every incident once, the newest first.

    Two are the same when both have the same link, or when different sources opened them for the same service
    within five minutes of each other. What people are paged by (it has an urgency) speaks for the alerts of the monitoring
    systems; of equals the one that was opened first.
    """
    told = [Told(outcome.source, incident) for outcome in outcomes for incident in outcome.reply.items]
    told.sort(key=lambda each: each.incident.opened_ms)
    groups: list[list[Told]] = []
    for each in told:
        home = next((group for group in reversed(groups) if belongs(each, group)), None)
        if home is None:
            groups.append([each])
        else:
            home.append(each)
    made = [one(group) for group in groups]
    return sorted(made, key=lambda each: -each.incident.opened_ms)


def belongs(each: Told, group: Sequence[Told]) -> bool:
    if any(same_link(each.incident, other.incident) for other in group):
        return True
    if any(each.source == other.source for other in group):
        return False
    return any(near(each.incident, other.incident) for other in group)


def near(one: Incident, other: Incident) -> bool:
    return (
        one.service is not None
        and one.service == other.service
        and abs(one.opened_ms - other.opened_ms) <= NEAR_MS
    )


def same_link(one: Incident, other: Incident) -> bool:
    return bool(one.url and other.url) and link(one.url or "") == link(other.url or "")


def link(url: str) -> tuple[str, str, str]:
    """What an address is about: scheme and what comes after `#` are not part of it."""
    parts = urlsplit(url)
    return parts.netloc.lower(), parts.path.rstrip("/"), parts.query


def one(group: Sequence[Told]) -> Joined:
    ordered = sorted(
        group, key=lambda each: (each.incident.kind != "incident", each.incident.acknowledged_ms is None)
    )
    return Joined(ordered[0], tuple(ordered[1:]))
