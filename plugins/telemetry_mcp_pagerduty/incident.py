"""Incidents: which are asked for so that none that was open in the window is missed, and how one is read."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

from telemetry_mcp import BadQueryError, Incident, IncidentQuery, NotFoundError, Reply, gather
from telemetry_mcp_pagerduty import wire
from telemetry_mcp_pagerduty.page import Api, Listing
from telemetry_mcp_pagerduty.service import Directory
from telemetry_mcp_pagerduty.setting import LONGEST_S

STATUSES = ("triggered", "acknowledged", "resolved")
LONGEST_MS = LONGEST_S * 1000
IDENTITY = re.compile(r"[A-Z0-9]{1,40}")
NEWEST_FIRST = {"sort_by": "created_at:desc"}
RESOLVED_LAST = {"sort_by": "resolved_at:desc"}

Names = Mapping[str, str]
"""Id of a service -> its name."""


async def find(api: Api, directory: Directory, query: IncidentQuery) -> Reply[Incident]:
    """Incidents open at some time in the window and begun at most `lookback` before it, newest first."""
    if unknown := set(query.statuses) - set(STATUSES):
        raise BadQueryError(f"no such status: {', '.join(sorted(unknown))}. Valid: {', '.join(STATUSES)}")
    known = await directory.named(query.services)
    if query.services and not known.items:
        return Reply([], known.queries, known.warnings, known.partial)
    found = await gather(questions(api, query, {item.id: item.name for item in known.items}))
    once = {incident.id or str(index): incident for index, incident in enumerate(found.items)}
    items = sorted(once.values(), key=lambda incident: -incident.opened_ms)
    reasons = [known.partial, found.partial]
    if len(items) > query.limit:
        reasons.append(f"only the newest {query.limit} are given")
    if query.window.duration_ms > LONGEST_MS:
        reasons.append("PagerDuty looks at most six months back; resolved incidents before that are missing")
    return Reply(
        items[: query.limit],
        list(dict.fromkeys([*known.queries, *found.queries])),
        [*known.warnings, *found.warnings],
        "; ".join(filter(None, reasons)) or None,
    )


def questions(api: Api, query: IncidentQuery, names: Names) -> dict[str, Callable[[], Awaitable[Reply[Incident]]]]:
    """PagerDuty selects by the time of opening. So what was opened before the window is asked for by how it
    stands: what is open still, and what was resolved, the last one first, as far back as the window's start."""
    window, statuses = query.window, query.statuses or STATUSES
    since_ms = max(window.start_ms, window.end_ms - LONGEST_MS)
    earlier = wire.between(since_ms - int(api.settings.lookback * 1000), since_ms - 999)
    ask = partial(one_question, api, query, names)
    calls: dict[str, Callable[[], Awaitable[Reply[Incident]]]] = {
        "incidents": partial(ask, statuses, {**wire.between(since_ms, window.end_ms), **NEWEST_FIRST})
    }
    if still_open := tuple(status for status in statuses if status != "resolved"):
        calls["earlier incidents"] = partial(ask, still_open, {**earlier, **NEWEST_FIRST})
    if "resolved" in statuses:
        calls["earlier resolved incidents"] = partial(ask, ("resolved",), {**earlier, **RESOLVED_LAST})
    return calls


async def one_question(
    api: Api, query: IncidentQuery, names: Names, statuses: Sequence[str], params: Mapping[str, str]
) -> Reply[Incident]:
    filters = {
        "statuses[]": list(statuses),
        "urgencies[]": list(api.settings.urgencies),
        "service_ids[]": sorted(names),
        "time_zone": "UTC",
    }
    listing = Listing(
        "/incidents", "incidents", partial(incident, names=names), partial(concerns, query, names, statuses)
    )

    def resolved_before(last: Mapping[str, Any]) -> bool:
        return params["sort_by"] == "resolved_at:desc" and (resolved_ms(last) or 0) <= query.window.start_ms

    asked = {name: value for name, value in filters.items() if value}
    return await api.listed(listing, {**params, **asked}, enough=query.limit, over=resolved_before)


def concerns(query: IncidentQuery, names: Names, statuses: Sequence[str], found: Incident) -> bool:
    """Whether an incident was open inside the window, and is of a service and a status that were asked."""
    window = query.window
    over = found.resolved_ms is not None and found.resolved_ms <= window.start_ms
    named = not names or found.service in names.values()
    return named and not over and found.opened_ms < window.end_ms and found.status in statuses


def incident(entry: Mapping[str, Any], names: Names | None = None) -> Incident | None:
    """One incident; None when nothing says when it was opened."""
    opened_ms = wire.epoch_ms(entry.get("created_at"))
    if opened_ms is None:
        return None
    of = entry.get("service")
    taken = [wire.epoch_ms(item.get("at")) for item in wire.mappings(entry.get("acknowledgements"))]
    return Incident(
        id=wire.text(entry.get("id")) or wire.text(entry.get("incident_number")),
        title=wire.text(entry.get("title")) or wire.text(entry.get("summary")) or "(without a title)",
        status=wire.text(entry.get("status")) or "triggered",
        opened_ms=opened_ms,
        service=(names or {}).get(wire.identity(of)) or wire.summary(of),
        urgency=wire.text(entry.get("urgency")) or None,
        severity=wire.summary(entry.get("priority")),
        acknowledged_ms=min((at for at in taken if at is not None), default=None),
        resolved_ms=resolved_ms(entry),
        url=wire.link(entry),
    )


def resolved_ms(entry: Mapping[str, Any]) -> int | None:
    if entry.get("status") != "resolved":
        return None
    return wire.epoch_ms(entry.get("resolved_at")) or wire.epoch_ms(entry.get("last_status_change_at"))


def path_of(incident_id: str) -> str:
    """Where an incident is, by id or number. NotFoundError for what can be neither, so that no path is made up."""
    if not IDENTITY.fullmatch(incident_id):
        raise NotFoundError(
            "PagerDuty has no incident of such an id", hint="use an id that list_incidents gave for this source"
        )
    return f"/incidents/{incident_id}"
