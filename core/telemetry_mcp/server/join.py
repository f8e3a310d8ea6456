"""Several systems tell of one and the same incident: which rows are one, and which of them speaks for all."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

from telemetry_mcp.model import Incident, Outcome

NEAR_MS = 300_000
"""Systems that watch the same service notice the same fault within this time of each other."""
LINKED_MS = 86_400_000
"""Systems that tell of the same link mean the same incident within this time: many links lead to a runbook."""


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

    @property
    def also(self) -> list[str]:
        """Who else tells of it, and by which id."""
        return [f"{told.source}: {told.incident.id}" for told in self.others]


def joined(outcomes: Iterable[Outcome[Incident]], paging: Collection[str] = ()) -> list[Joined]:
    """Every incident once, the newest first.

    Two are the same when both have the same link within a day, or when they were opened for the same service
    within five minutes of each other; but never two of one kind that one source tells apart, such as the alerts
    that one monitor fires for several services. Of the sources, those that page people (`paging`) speak first,
    then those that tell of incidents and not of alerts, then who told first.
    """
    told = [Told(outcome.source, incident) for outcome in outcomes for incident in outcome.reply.items]
    told.sort(key=lambda each: each.incident.opened_ms)
    groups: list[list[Told]] = []
    recent: dict[Hashable, deque[int]] = {}
    for each in told:
        shelves = [(shelf, recent.setdefault(shelf, deque())) for shelf in shelves_of(each.incident)]
        for _, places in shelves:
            while places and each.incident.opened_ms - groups[places[0]][-1].incident.opened_ms > LINKED_MS:
                places.popleft()
        near = sorted({place for _, places in shelves for place in places}, reverse=True)
        home = next((place for place in near if belongs(each, groups[place])), None)
        if home is None:
            home = len(groups)
            groups.append([])
        groups[home].append(each)
        for _, places in shelves:
            if home not in places:
                places.append(home)
    made = [one(group, paging) for group in groups]
    return sorted(made, key=lambda each: -each.incident.opened_ms)


def shelves_of(incident: Incident) -> list[Hashable]:
    """Where those are found that may be the same as this one: with its service, with its link."""
    return [key for key in (incident.service, incident.url and link(incident.url)) if key]


def belongs(each: Told, group: Sequence[Told]) -> bool:
    if any(each.source == other.source and each.incident.kind == other.incident.kind for other in group):
        return False
    return any(same_link(each.incident, other.incident) or near(each.incident, other.incident) for other in group)


def near(one: Incident, other: Incident) -> bool:
    return (
        one.service is not None
        and one.service == other.service
        and abs(one.opened_ms - other.opened_ms) <= NEAR_MS
    )


def same_link(one: Incident, other: Incident) -> bool:
    alike = bool(one.url and other.url) and link(one.url or "") == link(other.url or "")
    return alike and abs(one.opened_ms - other.opened_ms) <= LINKED_MS


@lru_cache(maxsize=1024)
def link(url: str) -> tuple[str, str, str]:
    """What an address is about: scheme and what comes after `#` are not part of it. One that cannot be read is
    about itself."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "", url, ""
    return parts.netloc.lower(), parts.path.rstrip("/"), parts.query


def one(group: Sequence[Told], paging: Collection[str]) -> Joined:
    def order(each: Told) -> tuple[bool, bool]:
        return each.source not in paging, each.incident.kind != "incident"

    first, *others = sorted(group, key=order)
    return Joined(first, tuple(others))
