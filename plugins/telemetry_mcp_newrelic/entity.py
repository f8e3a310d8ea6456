"""Entities: the services that report to New Relic, and which of them call which."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial, reduce
from typing import Any

from telemetry_mcp import Dependency, Reply, Service, gather
from telemetry_mcp_newrelic.account import within
from telemetry_mcp_newrelic.field import link, record, records, tag_pairs, text, unreadable
from telemetry_mcp_newrelic.graph import Found, Graph

REPORTING = "domain IN ('APM', 'EXT') AND type IN ('APPLICATION', 'SERVICE') AND reporting = 'true' AND "
SEARCH = """query($q: String!, $cursor: String) { actor { entitySearch(query: $q) { results(cursor: $cursor) {
nextCursor entities { guid name accountId domain type alertSeverity permalink tags { key values } } } } } }"""
GUIDS = """query($q: String!, $cursor: String) { actor { entitySearch(query: $q) { results(cursor: $cursor) {
nextCursor entities { guid } } } } }"""
CALLS = """query($guids: [EntityGuid]!) { actor { entities(guids: $guids) { name
relatedEntities(filter: {direction: OUTBOUND, relationshipTypes: {include: [CALLS]}}) {
nextCursor results { type target { entity { name } } } } } } }"""
BATCH = 25
"""Entities of one request for their relationships, for which there are no pages."""

LISTS = {"APM": "APM", "EXT": "OpenTelemetry"}
STATUSES = ("OK", "WARNING", "CRITICAL")
STATUS = {"NOT_ALERTING": "OK", "WARNING": "WARNING", "CRITICAL": "CRITICAL"}
TEAM = ("team", "owner", "owningTeam")
ENVIRONMENT = ("environment", "env", "deployment.environment", "deployment.environment.name")


async def list_services(graph: Graph, accounts: Sequence[int]) -> Reply[Service]:
    """APM applications and OpenTelemetry services that report; one in both lists is one service."""
    search = REPORTING + within(accounts)
    pages, reasons = await searched(graph, SEARCH, search, "services")
    entities, unread = entities_of(pages)
    items = [service(entity) for entity in entities if text(entity.get("name"))]
    return summed(united(items), pages, search, reasons, unread + len(entities) - len(items))


async def list_dependencies(graph: Graph, accounts: Sequence[int]) -> Reply[Dependency]:
    """Who calls whom, by the relationships that New Relic found: a search, then one request for 25 services."""
    search = REPORTING + within(accounts)
    pages, reasons = await searched(graph, GUIDS, search, "services")
    entities, unread = entities_of(pages)
    guids = [guid for entity in entities if (guid := text(entity.get("guid")))]
    lost = unreadable(unread + len(entities) - len(guids), "entities")
    batches = [guids[at : at + BATCH] for at in range(0, len(guids), BATCH)]
    calls = {f"services {n * BATCH + 1}..": partial(relations, graph, each) for n, each in enumerate(batches)}
    reply = await gather(calls)
    partials = "; ".join(filter(None, [*reasons, reply.partial])) or None
    return Reply(list(dict.fromkeys(reply.items)), [search], [*reply.warnings, *lost], partials)


async def relations(graph: Graph, guids: Sequence[str]) -> Reply[Dependency]:
    found = await graph.ask(CALLS, {"guids": guids}, "actor", needs="the right to see entities")
    entities, unread = found.listing("entities")
    items: list[Dependency] = []
    cut = False
    for entity in entities:
        related = record(entity.get("relatedEntities"))
        edges, odd = records(related.get("results"))
        ends = [text(record(record(edge.get("target")).get("entity")).get("name")) for edge in edges]
        caller = text(entity.get("name"))
        items += [Dependency(caller, callee) for callee in ends if caller and callee]
        unread, cut = unread + odd, cut or bool(related.get("nextCursor"))
    more = "some services call more than New Relic lists at once" if cut else None
    partials = "; ".join(filter(None, [found.partial, more])) or None
    return Reply(items, [], [*found.warnings, *unreadable(unread, "relationships")], partials)


async def searched(graph: Graph, query: str, search: str, what: str) -> tuple[list[Found], list[str]]:
    path = ("actor", "entitySearch", "results")
    return await graph.pages(query, {"q": search}, *path, what=what, needs="the right to see entities")


def entities_of(pages: Iterable[Found]) -> tuple[list[dict[str, Any]], int]:
    """The entities of all pages, each once, and how many could not be read."""
    found: dict[Any, dict[str, Any]] = {}
    unread = 0
    for page in pages:
        entities, odd = page.listing("entities")
        unread += odd
        found |= {text(entity.get("guid")) or id(entity): entity for entity in entities}
    return list(found.values()), unread


def summed(
    items: Sequence[Any], pages: Sequence[Found], query: str, reasons: Sequence[str], unread: int
) -> Reply[Any]:
    """The items of several pages as one reply, with what was said beside each page."""
    warnings = [warning for page in pages for warning in page.warnings] + unreadable(unread, "entities")
    partials = dict.fromkeys(filter(None, [*(page.partial for page in pages), *reasons]))
    return Reply(items, [query], list(dict.fromkeys(warnings)), "; ".join(partials) or None)


def service(entity: Mapping[str, Any]) -> Service:
    tags = dict(tag_pairs(entity.get("tags")))
    if account := text(entity.get("accountId")):
        tags.setdefault("accountId", account)
    domain = text(entity.get("domain"))
    return Service(
        text(entity.get("name")),
        team=first(tags, TEAM),
        environment=first(tags, ENVIRONMENT),
        tags=tags,
        status=STATUS.get(text(entity.get("alertSeverity"))),
        url=link(entity.get("permalink")),
        listed_by=(LISTS.get(domain, domain),) if domain else (),
    )


def first(tags: Mapping[str, str], keys: Sequence[str]) -> str | None:
    return next((tags[key] for key in keys if tags.get(key)), None)


def united(items: Iterable[Service]) -> list[Service]:
    """Services of one name as one: its lists together, of its standings the worst."""
    named: dict[str, list[Service]] = {}
    for item in items:
        named.setdefault(item.name, []).append(item)
    return [reduce(joined, group) for group in named.values()]


def joined(one: Service, other: Service) -> Service:
    known = [status for status in STATUSES if status in (one.status, other.status)]
    tags = {key: shared(one.tags.get(key), other.tags.get(key)) for key in {**one.tags, **other.tags}}
    return Service(
        one.name,
        team=one.team or other.team,
        environment=one.environment or other.environment,
        tags=tags,
        status=known[-1] if known else None,
        url=one.url or other.url,
        listed_by=tuple(dict.fromkeys((*one.listed_by, *other.listed_by))),
    )


def shared(one: str | None, other: str | None) -> str:
    return ",".join(dict.fromkeys(value for value in (one, other) if value))
