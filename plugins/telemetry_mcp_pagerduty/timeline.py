"""What happened to one incident: alerts, log entries, notes and the changes related to it, on one clock."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from telemetry_mcp import Entry, Reply, TimelineQuery, gather
from telemetry_mcp_pagerduty import wire
from telemetry_mcp_pagerduty.change import event
from telemetry_mcp_pagerduty.incident import path_of
from telemetry_mcp_pagerduty.page import Api, Listing
from telemetry_mcp_pagerduty.related import if_in_plan

LONG = 600
CEF = ("description", "message", "event_class", "source_component", "source_origin", "service_group")


async def find(api: Api, query: TimelineQuery) -> Reply[Entry]:
    """Earliest first. NotFoundError when there is no such incident; partial when a part is not in the plan."""
    path = path_of(query.incident_id)
    few = query.limit
    alerts = Listing(f"{path}/alerts", "alerts", alert)
    log = Listing(f"{path}/log_entries", "log_entries", log_entry)
    notes = Listing(f"{path}/notes", "notes", note)
    changes = Listing(f"{path}/related_change_events", "change_events", related_change)
    channels = {"time_zone": "UTC", "include[]": ["channels"]}
    found = await gather(
        {
            "alerts": partial(api.listed, alerts, enough=few),
            "log entries": partial(api.listed, log, channels, enough=few),
            "notes": partial(api.whole, notes),
            "related change events": partial(if_in_plan, partial(api.whole, changes, {"limit": 100})),
        }
    )
    entries = sorted(found.items, key=lambda entry: entry.at_ms)
    reasons = [found.partial]
    if len(entries) > few:
        reasons.append(f"only the newest {few} of {len(entries)} entries are given")
    return Reply(entries[-few:], found.queries, found.warnings, "; ".join(filter(None, reasons)) or None)


def alert(entry: Mapping[str, Any]) -> Entry | None:
    """An alert, with its severity and what the sender told: a text, an object, in the body or in its CEF part."""
    at_ms = wire.epoch_ms(entry.get("created_at"))
    if at_ms is None:
        return None
    title = wire.text(entry.get("summary"), LONG) or "(without a summary)"
    severity = wire.text(entry.get("severity"))
    told = details(wire.mapping(entry.get("body")))
    marked = f"{title} [{severity}]" if severity else title
    return Entry(
        id=wire.text(entry.get("id")),
        at_ms=at_ms,
        kind="alert",
        title=wire.text(f"{marked}: {told}" if told and told != title else marked, LONG),
        service=wire.summary(entry.get("service")),
        url=wire.link(entry),
    )


def details(body: Mapping[str, Any]) -> str:
    cef = wire.mapping(body.get("cef_details"))
    common = {name: cef[name] for name in CEF if cef.get(name)}
    return wire.flat(body.get("details")) or wire.flat(cef.get("details")) or wire.flat(common)


def log_entry(entry: Mapping[str, Any]) -> Entry | None:
    """An entry of the log: triggered, notified, acknowledged, resolved. What its channel adds is kept."""
    at_ms = wire.epoch_ms(entry.get("created_at"))
    if at_ms is None:
        return None
    sort = wire.text(entry.get("type")).removesuffix("_reference").replace("_", " ")
    channel = wire.mapping(entry.get("channel"))
    added = wire.text(channel.get("summary"), LONG) or wire.text(channel.get("subject"), LONG)
    title = wire.text(entry.get("summary"), LONG) or sort or "(without a summary)"
    return Entry(
        id=wire.text(entry.get("id")),
        at_ms=at_ms,
        kind="log_entry",
        title=title if not added or added in title else wire.text(f"{title}: {added}", LONG),
        service=wire.summary(entry.get("service")),
        author=wire.summary(entry.get("agent")),
        url=wire.link(entry),
    )


def note(entry: Mapping[str, Any]) -> Entry | None:
    at_ms = wire.epoch_ms(entry.get("created_at"))
    if at_ms is None:
        return None
    title = wire.text(entry.get("content"), LONG) or "(an empty note)"
    return Entry(wire.text(entry.get("id")), at_ms, "note", title, author=wire.summary(entry.get("user")))


def related_change(entry: Mapping[str, Any]) -> Entry | None:
    """A change that PagerDuty relates to the incident, and why it does."""
    found = event(entry)
    if found is None:
        return None
    change, service = found.change, next((name for _, name in found.services if name), None)
    title = f"{change.title} ({found.reason})" if found.reason else change.title
    return Entry(change.id, change.at_ms, "change", title, service, change.author, change.url)
