"""Dependencies: the software catalog's relations between services, declared or discovered.

The official client has no endpoint of the APM service map; its undocumented one is not asked.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from telemetry_mcp import Dependency, DependencyQuery, Reply, gather
from telemetry_mcp_datadog.scope import CATALOG
from telemetry_mcp_datadog.session import Page, Session, page, walk
from telemetry_mcp_datadog.wire import Row, dig, required, table

PAGE = 100
DEPENDS_ON, DEPENDENCY_OF = "RelationTypeDependsOn", "RelationTypeDependencyOf"


async def listed_dependencies(session: Session, query: DependencyQuery) -> Reply[Dependency]:
    """Both directions of the relation are asked, since the catalog may hold one without the other."""
    kinds = (DEPENDS_ON, DEPENDENCY_OF)
    found: Reply[Dependency] = await gather({kind: partial(related, session, kind) for kind in kinds})
    return Reply(list(dict.fromkeys(found.items)), found.queries, found.warnings, found.partial)


async def related(session: Session, kind: str) -> Reply[Dependency]:
    async def fetch(offset: int) -> Page[Dependency, int]:
        def read(body: Any) -> Page[Dependency, int]:
            rows = table(body, "data")
            after = offset + PAGE if len(rows) >= PAGE else None
            return page(rows, dependency, "relations", lambda row: row.get("id"), after)

        return await session.json(lambda client: client.relations(kind, offset, PAGE), read, CATALOG)

    found = await walk(fetch, 0, "relations")
    return Reply(found.items, [f"/api/v2/catalog/relation?filter[type]={kind}"], found.warnings, found.partial)


def dependency(row: Row) -> Dependency | None:
    """Only what relates a service to a service is one: the catalog knows teams, APIs and systems too."""
    about = dig(row, "attributes")
    kind, ends = dig(about, "type"), [dig(about, "from"), dig(about, "to")]
    if kind not in (DEPENDS_ON, DEPENDENCY_OF) or any(dig(end, "kind") != "service" for end in ends):
        return None
    first, second = (required(dig(end, "name"), "a name") for end in ends)
    return Dependency(first, second) if kind == DEPENDS_ON else Dependency(second, first)
