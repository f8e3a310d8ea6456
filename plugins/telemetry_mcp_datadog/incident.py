"""Incidents as Datadog's incident management has them."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from telemetry_mcp import Incident, IncidentQuery, ProtocolError, Reply, gather
from telemetry_mcp_datadog.monitor import firing
from telemetry_mcp_datadog.scope import INCIDENTS
from telemetry_mcp_datadog.session import Page, Session, page, walk
from telemetry_mcp_datadog.wire import Row, dig, epoch_ms, limited, listed, required, table, text

PAGE = 100
MOST_PAGES = 10
EARLIER_MS = 7 * 86_400_000
"""Resolved incidents are read newest first, until they were created so long before the window."""
STATUSES = {"active": "triggered", "stable": "acknowledged", "resolved": "resolved", "completed": "resolved"}
URGENT = ("SEV-0", "SEV-1", "SEV-2")


async def listed_incidents(session: Session, query: IncidentQuery) -> Reply[Incident]:
    """Incidents and firing monitors; either may lack its permission without harming the other."""
    calls = {"incidents": partial(declared, session, query, "state:(active OR stable)")}
    wanted = set(query.statuses) or set(STATUSES.values())
    if "resolved" in wanted:
        calls["resolved incidents"] = partial(declared, session, query, "state:resolved")
    if "triggered" in wanted:
        calls["monitors"] = partial(firing, session, query)
    found: Reply[Incident] = await gather(calls)
    items = {item.id: item for item in found.items if concerns(item, query)}
    newest = sorted(items.values(), key=lambda item: -item.opened_ms)
    return limited(replace(found, items=newest), query.limit, "older incidents")


def concerns(item: Incident, query: IncidentQuery) -> bool:
    """Whether it was open inside the window, and is of a status that was asked."""
    ended_ms = item.resolved_ms if item.resolved_ms is not None else item.opened_ms
    open_in = item.opened_ms < query.window.end_ms and (
        item.status != "resolved" or ended_ms >= query.window.start_ms
    )
    return open_in and (not query.statuses or item.status in query.statuses)


async def declared(session: Session, query: IncidentQuery, state: str) -> Reply[Incident]:
    """The search comes newest first and with facets that outweigh what is searched for; they are not read."""
    earliest_ms = query.window.start_ms - EARLIER_MS

    async def fetch(offset: int) -> Page[Incident, int]:
        def read(body: Any) -> Page[Incident, int]:
            rows = [dig(one, "data") for one in table(body, "data", "attributes", "incidents")]
            created = [epoch_ms(dig(row, "attributes", "created")) for row in rows]
            past = "resolved" in state and any(at_ms and at_ms < earliest_ms for at_ms in created)
            after = offset + PAGE if len(rows) >= PAGE and not past else None
            one = partial(incident, query=query, app_url=session.settings.app_url)
            return page(rows, one, "incidents", lambda row: row.get("id"), after)

        return await session.json(lambda client: client.incidents(state, offset, PAGE), read, INCIDENTS)

    found = await walk(fetch, 0, "incidents", MOST_PAGES)
    return Reply(found.items, [f"/api/v2/incidents/search?query={state}"], found.warnings, found.partial)


def incident(row: Row, query: IncidentQuery, app_url: str) -> Incident | None:
    """None for one of other services, or that was archived. It begins when it was detected."""
    about, fields = dig(row, "attributes"), dig(row, "attributes", "fields")
    services = [text(name) for name in listed(dig(fields, "services", "value"))]
    asked = {name.lower(): name for name in query.services}
    mine = next((asked[name.lower()] for name in services if name.lower() in asked), None)
    if dig(about, "archived") or (asked and mine is None):
        return None
    opened_ms = next(
        filter(None, (epoch_ms(dig(about, key)) for key in ("detected", "declared", "created"))), None
    )
    if opened_ms is None:
        raise ProtocolError("without a time")
    state = text(dig(about, "state")) or text(dig(fields, "state", "value"))
    severity = text(dig(about, "severity")) or text(dig(fields, "severity", "value"))
    known = severity not in ("", "UNKNOWN")
    number = text(dig(about, "public_id"))
    return Incident(
        id=required(row.get("id"), "an id"),
        title=required(dig(about, "title"), "a title"),
        status=STATUSES.get(state.lower(), "triggered"),
        opened_ms=opened_ms,
        service=mine or next(filter(None, services), None),
        urgency=("high" if severity in URGENT else "low") if known else None,
        severity=severity if known else None,
        resolved_ms=epoch_ms(dig(about, "resolved")),
        url=f"{app_url}/incidents/{number}" if number else None,
    )
