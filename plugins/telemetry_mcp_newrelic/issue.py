"""New Relic's issues: what its alerts grouped together and paged somebody for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from telemetry_mcp import Incident, IncidentQuery, Reply, Window, gather
from telemetry_mcp_newrelic.field import moment, text, texts, unreadable
from telemetry_mcp_newrelic.graph import Graph

ISSUES = """query($id: Int!, $cursor: String, $filter: AiIssuesFilterIssues, $time: TimeWindowInput) {
actor { account(id: $id) { aiIssues { issues(cursor: $cursor, filter: $filter, timeWindow: $time) { nextCursor
issues { issueId title description conditionName priority state entityNames
createdAt activatedAt acknowledgedAt closedAt updatedAt } } } } } }"""
OPT_IN = {"nerd-graph-unsafe-experimental-opt-in": "AiIssues"}
"""The field of issues was experimental, and asks for this where it still is."""
OPEN, ENDED = ("CREATED", "ACTIVATED"), ("CLOSED", "DEACTIVATED")
EARLIER_MS = 86_400_000
"""How much earlier issues that have ended are looked for: they count by when they began."""
URGENT = ("CRITICAL", "HIGH")


async def list_issues(graph: Graph, account: int, query: IncidentQuery) -> Reply[Incident]:
    """The issues that were open inside the window. Open ones are found however old they are.

    New Relic's own filter is a hint only: everything is filtered again here.
    """
    window = query.window
    earlier = {"startTime": max(0, window.start_ms - EARLIER_MS), "endTime": window.end_ms}
    wanted = set(query.statuses) or {"triggered", "acknowledged", "resolved"}
    calls: dict[str, Callable[[], Awaitable[Reply[Incident]]]] = {}
    if wanted & {"triggered", "acknowledged"}:
        calls["open issues"] = partial(listed, graph, account, query, {"filter": {"states": OPEN}})
    if "resolved" in wanted:
        asked = {"filter": {"states": ENDED}, "time": earlier}
        calls["issues that have ended"] = partial(listed, graph, account, query, asked)
    found = await gather(calls)
    named = {item.id: item for item in found.items if item.status in wanted and was_open(item, window)}
    return replace(found, items=list(named.values()))


async def listed(
    graph: Graph, account: int, query: IncidentQuery, variables: Mapping[str, Any]
) -> Reply[Incident]:
    """The issues of one filter about the services that were asked for."""
    path = ("actor", "account", "aiIssues", "issues")
    needs = f"the right to see the alerts of account {account}"
    asked = {"id": account, **variables}
    pages, reasons = await graph.pages(ISSUES, asked, *path, what="issues", needs=needs, headers=OPT_IN)
    items, unread = [], 0
    for page in pages:
        issues, odd = page.listing("issues")
        told = [issue for issue in issues if concerns(issue, query.services)]
        read = [item for issue in told if (item := incident(issue, query.services))]
        items += read
        unread += odd + len(told) - len(read)
    warnings = [warning for page in pages for warning in page.warnings] + unreadable(unread, "issues")
    partials = dict.fromkeys(filter(None, [*(page.partial for page in pages), *reasons]))
    text_of_query = f"aiIssues {variables['filter']['states']} of account {account}"
    return Reply(items, [text_of_query], warnings, "; ".join(partials) or None)


def concerns(issue: Mapping[str, Any], services: Sequence[str]) -> bool:
    return not services or not set(services).isdisjoint(texts(issue.get("entityNames")))


def incident(issue: Mapping[str, Any], services: Sequence[str]) -> Incident | None:
    """An issue as an incident; None without an id or a time. Its service is the first that was asked for."""
    opened_ms = moment(issue.get("createdAt")) or moment(issue.get("activatedAt"))
    number, names = text(issue.get("issueId")), texts(issue.get("entityNames"))
    if not number or opened_ms is None:
        return None
    titles = [found for key in ("title", "conditionName", "description") for found in texts(issue.get(key))]
    more = len(texts(issue.get("title"))) - 1
    closed_ms, acknowledged_ms = moment(issue.get("closedAt")), moment(issue.get("acknowledgedAt"))
    ended = text(issue.get("state")) in ENDED or closed_ms is not None
    priority = text(issue.get("priority")) or None
    return Incident(
        number,
        f"{titles[0]} (and {more} more)" if titles and more > 0 else next(iter(titles), number),
        "resolved" if ended else "acknowledged" if acknowledged_ms else "triggered",
        opened_ms,
        service=next((name for name in names if name in services), next(iter(names), None)),
        urgency=None if priority is None else "high" if priority in URGENT else "low",
        severity=priority,
        acknowledged_ms=acknowledged_ms,
        resolved_ms=(closed_ms or moment(issue.get("updatedAt"))) if ended else None,
    )


def was_open(item: Incident, window: Window) -> bool:
    ended = item.resolved_ms is not None and item.resolved_ms < window.start_ms
    return item.opened_ms < window.end_ms and not ended
