"""Change events: what was deployed or changed, without the key of the integration that sent it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from telemetry_mcp import Change, ChangeQuery, Reply, gather, now_ms
from telemetry_mcp_pagerduty import wire
from telemetry_mcp_pagerduty.page import Api, Listing
from telemetry_mcp_pagerduty.service import ONE_BY_ONE, Directory, Known

KEPT_MS = 90 * 86_400_000
KINDS = ("deployment", "change", "config", "flag", "rollback")
DEPLOYED = re.compile(r"\b(?:re)?deploy|\brelease[ds]?\b|\broll(?:ed|ing)?[ -]?(?:back|out)", re.IGNORECASE)
VERSION = ("version", "app_version", "release", "tag", "build", "build_number", "revision", "commit", "sha")
AUTHOR = ("author", "user", "deployed_by", "triggered_by", "actor", "merged_by", "committer", "username")
"""The members of somebody's own details that say what was deployed and by whom, the most telling first."""


@dataclass(frozen=True, slots=True)
class Event:
    """A change event, and the ids and names of the services that it concerns; a name may be missing."""

    change: Change
    services: tuple[tuple[str, str], ...]
    reason: str = ""


async def find(api: Api, directory: Directory, query: ChangeQuery) -> Reply[Change]:
    """Change events inside the window, newest first; one of several services is given for each of them."""
    known = await directory.named(query.services)
    if query.services and not known.items:
        return Reply([], known.queries, known.warnings, known.partial)
    found = await gather(questions(api, query, known.items))
    items = await each_service(found.items, directory, {item.id: item.name for item in known.items})
    reasons = [known.partial, found.partial]
    if query.window.start_ms < now_ms() - KEPT_MS:
        reasons.append("PagerDuty keeps change events for 90 days; earlier ones are missing")
    if len(items) > query.limit:
        reasons.append(f"only the newest {query.limit} are given")
    queries = list(dict.fromkeys([*known.queries, *found.queries]))
    words = "; ".join(filter(None, reasons)) or None
    return Reply(items[: query.limit], queries, [*known.warnings, *found.warnings], words)


def questions(
    api: Api, query: ChangeQuery, known: Sequence[Known]
) -> dict[str, Callable[[], Awaitable[Reply[Event]]]]:
    """One for each service that was asked for while they are few, else one for all."""
    window = query.window
    params = wire.between(window.start_ms, window.end_ms)

    async def ask(path: str) -> Reply[Event]:
        listing = Listing(
            path, "change_events", event, lambda item: window.start_ms <= item.change.at_ms < window.end_ms
        )
        return await api.listed(listing, params, enough=query.limit)

    if 0 < len(known) <= ONE_BY_ONE:
        return {f"changes of {item.name}": partial(ask, f"/services/{item.id}/change_events") for item in known}
    return {"changes": partial(ask, "/change_events")}


async def each_service(events: Sequence[Event], directory: Directory, only: Mapping[str, str]) -> list[Change]:
    """The changes of the services `only` (id -> name; all when it is empty), newest first, each one once."""
    nameless = {identity for item in events for identity, name in item.services if not name}
    names = only or await directory.names(nameless)
    rows: dict[tuple[str, str | None], Change] = {}
    for number, item in enumerate(events):
        for identity, name in item.services or (("", ""),):
            if only and identity not in only:
                continue
            service = names.get(identity) or name or None
            rows.setdefault((item.change.id or str(number), service), replace(item.change, service=service))
    return sorted(rows.values(), key=lambda change: -change.at_ms)


def event(entry: Mapping[str, Any]) -> Event | None:
    """One change event; None when nothing says when it was. Its routing key is never looked at."""
    at_ms = wire.epoch_ms(entry.get("timestamp")) or wire.epoch_ms(entry.get("created_at"))
    if at_ms is None:
        return None
    title = wire.text(entry.get("summary")) or "(without a summary)"
    details = {str(name).lower(): value for name, value in wire.mapping(entry.get("custom_details")).items()}
    version = first(details, VERSION)
    services = wire.mappings(entry.get("services"))
    links = wire.mappings(entry.get("links"))
    change = Change(
        id=wire.text(entry.get("id")),
        title=title,
        at_ms=at_ms,
        kind=kind(details, title, version),
        author=first(details, AUTHOR),
        url=wire.link(links[0], "href") if links else wire.link(entry),
        version=version,
    )
    reason = wire.text(wire.mapping(entry.get("correlation_reason")).get("reason")).replace("_", " ")
    return Event(change, tuple((wire.identity(item), wire.summary(item) or "") for item in services), reason)


def first(details: Mapping[str, Any], names: Sequence[str]) -> str | None:
    return next((said for name in names if (said := wire.text(details.get(name)))), None)


def kind(details: Mapping[str, Any], title: str, version: str | None) -> str:
    """PagerDuty has no kinds: what the sender said, or else what a version or the title tells."""
    said = (first(details, ("kind", "change_type")) or "").lower()
    if said in KINDS:
        return said
    return "deployment" if version or DEPLOYED.search(title) else "change"
