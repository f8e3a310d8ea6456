"""Services: four lists of Datadog that do not agree, united; each item says which of them it stands in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Any

from telemetry_mcp import Reply, Service, ServiceQuery, gather
from telemetry_mcp_datadog.query import metrics_in
from telemetry_mcp_datadog.scope import APM, CATALOG, TAGS
from telemetry_mcp_datadog.session import Page, Session, page, walk
from telemetry_mcp_datadog.wire import Row, dig, each, listed, required, table, tags, text

PAGE = 100


async def listed_services(session: Session, query: ServiceQuery) -> Reply[Service]:
    """A list whose permission is missing leaves the others intact and the reply partial."""
    calls: dict[str, Callable[[], Awaitable[Reply[Service]]]] = {
        "software catalog": partial(catalog, session),
        "service definitions": partial(definitions, session),
    }
    if session.settings.env:
        calls["APM services"] = partial(apm, session, session.settings.env)
    if metric := next((name for one in session.settings.metrics.values() for name in metrics_in(one.query)), ""):
        calls["tags"] = partial(tagged, session, metric)
    found: Reply[Service] = await gather(calls)
    return Reply(united(found.items), found.queries, found.warnings, found.partial)


async def apm(session: Session, env: str) -> Reply[Service]:
    """The services of one environment that send traces now."""

    def read(body: Any) -> Reply[Service]:
        names = [{"name": name} for name in table(body, "data", "attributes", "services")]
        return each(names, lambda row: Service(required(row["name"], "a name"), environment=where), "services")

    where = None if env == "*" else env
    found = await session.json(lambda client: client.apm_services(env), read, APM)
    return labelled(found, "apm", f"/api/v2/apm/services?filter[env]={env}")


async def catalog(session: Session) -> Reply[Service]:
    """The software catalog: owners and tags, also of services that it discovered by itself."""

    async def fetch(offset: int) -> Page[Service, int]:
        def read(body: Any) -> Page[Service, int]:
            rows = table(body, "data")
            after = offset + PAGE if len(rows) >= PAGE else None
            return page(rows, entity, "services", lambda row: dig(row, "attributes", "name"), after)

        return await session.json(lambda client: client.catalog(offset, PAGE), read, CATALOG)

    return labelled(await walk(fetch, 0, "the software catalog"), "catalog", "/api/v2/catalog/entity")


async def definitions(session: Session) -> Reply[Service]:
    """The older service definitions, of whichever schema version."""

    async def fetch(number: int) -> Page[Service, int]:
        def read(body: Any) -> Page[Service, int]:
            rows = table(body, "data")
            after = number + 1 if len(rows) >= PAGE else None
            return page(rows, definition, "service definitions", lambda row: row.get("id"), after)

        return await session.json(lambda client: client.definitions(number, PAGE), read, CATALOG)

    found = await walk(fetch, 0, "service definitions")
    return labelled(found, "definitions", "/api/v2/services/definitions")


async def tagged(session: Session, metric: str) -> Reply[Service]:
    """The values that the service's tag has on one of the configured metrics: needs no APM and no catalog."""
    tag = session.settings.service_tag

    def read(body: Any) -> Reply[Service]:
        pairs = (text(one).partition(":") for one in table(body, "data", "attributes", "tags"))
        return Reply([Service(value) for key, _, value in pairs if key == tag and value])

    found = await session.json(lambda client: client.tags(metric, tag), read, TAGS)
    return labelled(found, "tags", f"/api/v2/metrics/{metric}/all-tags")


def entity(row: Row) -> Service | None:
    about = dig(row, "attributes")
    if (text(dig(about, "kind")) or "service") != "service":
        return None
    return described(required(dig(about, "name"), "a name"), dig(about, "owner"), dig(about, "tags"))


def definition(row: Row) -> Service:
    """Versions 2 and later name the service `dd-service`; version 1 in `info`, with its team in `org`."""
    schema = dig(row, "attributes", "schema")
    name = dig(schema, "dd-service") or dig(schema, "info", "dd-service")
    team = dig(schema, "team") or dig(schema, "dd-team") or dig(schema, "org", "team")
    return described(required(name, "a name"), team, dig(schema, "tags"))


def described(name: str, owner: Any, given: Any) -> Service:
    pairs = tags(listed(given))
    team = text(owner) or pairs.get("team") or None
    return Service(name, team, pairs.get("env"), pairs)


def labelled(found: Reply[Service], label: str, asked: str) -> Reply[Service]:
    items = [united_with(item, Service(item.name, listed_by=(label,))) for item in found.items]
    return Reply(items, [asked], found.warnings, found.partial)


def united(items: Iterable[Service]) -> list[Service]:
    """One Service a name: the first that knows a thing wins, and all lists are named."""
    byname: dict[str, Service] = {}
    for item in items:
        byname[item.name] = united_with(byname.get(item.name, item), item)
    return [byname[name] for name in sorted(byname)]


def united_with(one: Service, other: Service) -> Service:
    both: Mapping[str, str] = {**other.tags, **one.tags}
    listed_by = tuple(dict.fromkeys((*one.listed_by, *other.listed_by)))
    return Service(
        one.name, one.team or other.team, one.environment or other.environment, both, listed_by=listed_by
    )
