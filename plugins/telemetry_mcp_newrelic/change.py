"""Deployments and everything else that change tracking knows, by NRQL over both of its event types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from telemetry_mcp import Change, ChangeQuery, Reply
from telemetry_mcp_newrelic.field import link, moment, record, text, texts, unreadable
from telemetry_mcp_newrelic.graph import Graph
from telemetry_mcp_newrelic.query import condition, timed, usable
from telemetry_mcp_newrelic.series import rows_of

COLUMNS = (
    "timestamp, eventType() AS 'eventType', deploymentId, changeTrackingId, entity.name, category, type, version, "
    "user, shortDescription, description, changelog, commit, deepLink"
)
KINDS = {"deployment": "deployment", "feature flag": "flag"}
"""Category of a change event -> kind; the legacy event type `Deployment` is what it says."""


async def list_changes(graph: Graph, account: int, query: ChangeQuery) -> Reply[Change]:
    """What changed inside the window, each change of a service once."""
    names, refused = usable(query.services)
    if refused and not names:
        return Reply(warnings=[f"no service can be called {name!r} at New Relic" for name in refused])
    where = f" WHERE entity.name {condition(names)}" if names else ""
    asked = timed(f"SELECT {COLUMNS} FROM ChangeTrackingEvent, Deployment{where}", query.window, "MAX")
    found = await graph.nrql(account, asked)
    rows, unread = rows_of(found)
    read = [item for row in rows if (item := change(row))]
    once = {(item.id, item.service): item for item in read if not names or item.service in names}
    messages = texts(record(found.node.get("metadata")).get("messages"))
    lost = unreadable(unread + len(rows) - len(read), "changes")
    return Reply(list(once.values()), [asked], [*found.warnings, *messages, *lost], found.partial)


def change(row: Mapping[str, Any]) -> Change | None:
    """One event; None without a time. One without an id is known by what it says."""
    at_ms = moment(row.get("timestamp"))
    if at_ms is None:
        return None
    service, version = text(row.get("entity.name")) or None, text(row.get("version")) or None
    told = (text(row.get(key)) for key in ("shortDescription", "description", "changelog"))
    named = " ".join(filter(None, [text(row.get("type")) or "Change", service, version]))
    title = next(filter(None, told), named)
    legacy = text(row.get("eventType")) == "Deployment" or bool(row.get("deploymentId"))
    category = "deployment" if legacy else text(row.get("category")).lower()
    number = text(row.get("deploymentId")) or text(row.get("changeTrackingId"))
    return Change(
        number or f"{at_ms}:{title}",
        title,
        at_ms,
        kind=KINDS.get(category, "change"),
        service=service,
        author=text(row.get("user")) or None,
        url=link(row.get("deepLink")),
        version=version,
    )
