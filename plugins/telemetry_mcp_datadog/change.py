"""Changes: events that tell of one, and the deployments that DORA metrics know."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Any

from telemetry_mcp import Change, ChangeQuery, ProtocolError, Reply, Window, gather
from telemetry_mcp_datadog.scope import DORA, EVENTS
from telemetry_mcp_datadog.session import Page, Session, page, walk
from telemetry_mcp_datadog.setting import Settings
from telemetry_mcp_datadog.wire import (
    Row,
    dig,
    each,
    epoch_ms,
    limited,
    listed,
    required,
    rfc3339,
    table,
    tags,
    text,
)

PAGE = 1000
MOST_PAGES = 10
SAME_MS = 10 * 60_000
"""Two deployments of one version of one service so near to each other are one, told by two lists."""
KINDS = {"feature_flag": "flag", "configuration": "config"}


async def listed_changes(session: Session, query: ChangeQuery) -> Reply[Change]:
    """Either list may lack its permission without harming the other."""
    calls = {
        "events": partial(events, session, query.window),
        "DORA deployments": partial(deployments, session, query.window),
    }
    found: Reply[Change] = await gather(calls)
    asked = {name.lower(): name for name in query.services}
    wanted = [one for one in found.items if not asked or (one.service or "").lower() in asked]
    inside = [one for one in wanted if query.window.start_ms <= one.at_ms < query.window.end_ms]
    newest = sorted(distinct(inside), key=lambda one: -one.at_ms)
    return limited(replace(found, items=newest), query.limit, "older changes")


async def events(session: Session, window: Window) -> Reply[Change]:
    """The cursor leads from page to page; the link beside it names Datadog's own host and is not followed."""
    settings = session.settings

    async def fetch(cursor: str) -> Page[Change, str]:
        body = events_request(settings.change_query, window, cursor=cursor)

        def read(answer: Any) -> Page[Change, str]:
            rows = table(answer, "data")
            after = text_cursor(dig(answer, "meta", "page", "after")) if len(rows) >= PAGE else None
            return page(rows, partial(event, settings=settings), "events", lambda row: row.get("id"), after)

        return await session.json(lambda client: client.events(body), read, EVENTS)

    found = await walk(fetch, "", "events", MOST_PAGES)
    return Reply(found.items, [settings.change_query], found.warnings, found.partial)


def events_request(query: str, window: Window, *, cursor: str = "", limit: int = PAGE) -> dict[str, Any]:
    return {
        "filter": {"query": query, "from": rfc3339(window.start_ms), "to": rfc3339(window.end_ms)},
        "page": {"limit": limit, "cursor": cursor} if cursor else {"limit": limit},
        "sort": "-timestamp",
    }


def text_cursor(value: Any) -> str | None:
    """A cursor as it stands: it is long, and cut short it leads nowhere."""
    return value if isinstance(value, str) and value else None


async def deployments(session: Session, window: Window) -> Reply[Change]:
    body = deployments_request(window)

    def read(answer: Any) -> Reply[Change]:
        rows = table(answer, "data")
        full = f"DORA tells of {PAGE} deployments at most" if len(rows) >= PAGE else None
        found = each(rows, deployment, "deployments")
        return Reply(found.items, ["/api/v2/dora/deployments"], found.warnings, full)

    return await session.json(lambda client: client.deployments(body), read, DORA)


def deployments_request(window: Window, *, limit: int = PAGE) -> dict[str, Any]:
    span = {"from": rfc3339(window.start_ms), "to": rfc3339(window.end_ms)}
    attributes = {**span, "limit": limit, "sort": "-started_at"}
    return {"data": {"type": "dora_deployments_list_request", "attributes": attributes}}


def event(row: Row, settings: Settings) -> Change:
    """What an event says of a change lies in its innermost attributes, or in its tags."""
    outer, inner = dig(row, "attributes"), dig(row, "attributes", "attributes")
    named = tags(listed(dig(outer, "tags")))
    at_ms = epoch_ms(dig(outer, "timestamp")) or epoch_ms(dig(inner, "timestamp"))
    if at_ms is None:
        raise ProtocolError("without a time")
    title = text(dig(inner, "title")) or text(dig(outer, "message"))
    evt = dig(inner, "evt")
    uid, number = text(dig(evt, "uid")), text(dig(evt, "id"))
    where = f"uid={uid}" if uid else f"id={number}" if number else ""
    return Change(
        id=required(row.get("id"), "an id"),
        title=required(title, "a title"),
        at_ms=at_ms,
        kind=kind_of(inner, title, named),
        service=service_of(inner, named, settings.service_tag),
        author=text(dig(inner, "author", "name")) or named.get("author") or None,
        url=f"{settings.app_url}/event/event?{where}" if where else None,
        version=text(dig(inner, "version")) or named.get("version") or None,
    )


def kind_of(inner: Any, title: str, named: dict[str, str]) -> str:
    kind = KINDS.get(text(dig(inner, "changed_resource", "type")))
    told = f"{title} {' '.join(named)} {' '.join(named.values())}".lower()
    return kind or ("deployment" if "deploy" in told or "version" in named else "change")


def service_of(inner: Any, named: dict[str, str], tag: str) -> str | None:
    """Its own service, that of its tags, or the first that it says it has an impact on."""
    impacted = [one for one in listed(dig(inner, "impacted_resources")) if dig(one, "type") == "service"]
    own = text(dig(inner, "service"))
    told = ("" if own == "undefined" else own, named.get(tag), *(text(dig(one, "name")) for one in impacted))
    return next(filter(None, told), None)


def deployment(row: Row) -> Change:
    about = dig(row, "attributes")
    at_ms = epoch_ms(dig(about, "started_at")) or epoch_ms(dig(about, "finished_at"))
    if at_ms is None:
        raise ProtocolError("without a time")
    service = text(dig(about, "service"))
    version = text(dig(about, "version")) or text(dig(about, "git", "commit_sha"))[:12]
    return Change(
        id=required(row.get("id"), "an id"),
        title=" ".join(filter(None, ("Deploy", service, version))),
        at_ms=at_ms,
        kind="deployment",
        service=service or None,
        version=version or None,
    )


def distinct(changes: Iterable[Change]) -> list[Change]:
    """Each once. Of a deployment that both lists tell of, the earlier stays, with what only the later knows."""
    kept: dict[object, Change] = {}
    for change in sorted(changes, key=lambda one: one.at_ms):
        known = change.kind == "deployment" and change.service and change.version
        key: object = (change.service, change.version) if known else change.id
        earlier = kept.get(key)
        if earlier is None:
            kept[key] = change
        elif change.at_ms - earlier.at_ms <= SAME_MS:
            kept[key] = replace(earlier, author=earlier.author or change.author, url=earlier.url or change.url)
        else:
            kept[change.id] = change
    return list(kept.values())
