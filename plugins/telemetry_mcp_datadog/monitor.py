"""Alerts: the groups of monitors that are firing now."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from telemetry_mcp import Incident, IncidentQuery, ProtocolError, Reply
from telemetry_mcp_datadog.scope import MONITORS
from telemetry_mcp_datadog.session import Page, Session, page, walk
from telemetry_mcp_datadog.wire import Row, epoch_ms, listed, number, required, table, tags, text

PAGE = 100
MOST_PAGES = 10
FIRING = "group_status:alert"
WHOLE = ("", "*", "total", "@SYNTHETICS_OVERALL@")
"""What the group of a whole monitor is called: it says nothing that the monitor's own groups do not."""
URGENT = 2


@dataclass(frozen=True, slots=True)
class Alert:
    """A firing group of a monitor."""

    monitor: str
    group: str
    muted: bool
    incident: Incident

    @property
    def whole(self) -> bool:
        return self.group in WHOLE


async def firing(session: Session, query: IncidentQuery) -> Reply[Incident]:
    """Datadog tells only what fires now: of a window in the past, what has not ceased since."""
    settings = session.settings
    read_group = partial(alert, tag=settings.service_tag, app_url=settings.app_url)

    async def fetch(place: int) -> Page[Alert, int]:
        def read(body: Any) -> Page[Alert, int]:
            rows = table(body, "groups")
            after = place + 1 if len(rows) >= PAGE else None
            return page(rows, read_group, "monitor groups", group_key, after)

        return await session.json(lambda client: client.monitor_groups(FIRING, place, PAGE), read, MONITORS)

    found = await walk(fetch, 0, "monitor groups", MOST_PAGES)
    loud = [one for one in found.items if not one.muted]
    quiet = len(found.items) - len(loud)
    warnings = [*found.warnings, *[f"{quiet} muted alerts were left out"] * bool(quiet)]
    items = [one.incident for one in distinct(loud)]
    asked = {name.lower(): name for name in query.services}
    if asked:
        items = [one for one in items if (one.service or "").lower() in asked]
    return Reply(items, [f"/api/v1/monitor/groups/search?query={FIRING}"], warnings, found.partial)


def group_key(row: Row) -> object:
    return (str(row.get("monitor_id")), str(row.get("group")))


def distinct(alerts: Iterable[Alert]) -> list[Alert]:
    """Without the whole of a monitor some of whose groups stand there themselves."""
    alerts = list(alerts)
    grouped = {one.monitor for one in alerts if not one.whole}
    wholes: dict[str, Alert] = {one.monitor: one for one in alerts if one.whole and one.monitor not in grouped}
    return [one for one in alerts if not one.whole] + list(wholes.values())


def alert(row: Row, tag: str, app_url: str) -> Alert | None:
    """None for a group that does not fire."""
    if text(row.get("status")).lower() != "alert":
        return None
    opened_ms = epoch_ms(row.get("last_triggered_ts"))
    if opened_ms is None:
        raise ProtocolError("without the time at which it fired")
    monitor, group = required(row.get("monitor_id"), "a monitor"), text(row.get("group"))
    named = tags([*listed(row.get("group_tags")), *group.split(","), *listed(row.get("all_tags"))])
    title, priority = required(row.get("monitor_name"), "a name"), number(row.get("priority"))
    incident = Incident(
        id=f"{monitor}:{group}" if group else monitor,
        title=title if group in WHOLE else f"{title} ({group})",
        status="triggered",
        opened_ms=opened_ms,
        service=named.get(tag) or None,
        urgency=None if priority is None else "high" if priority <= URGENT else "low",
        severity=None if priority is None else f"P{priority:g}",
        url=f"{app_url}/monitors/{monitor}",
        kind="alert",
    )
    return Alert(monitor, group, row.get("muted") is True, incident)
