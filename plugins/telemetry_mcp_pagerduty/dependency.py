"""Who needs whom, as people have drawn it in PagerDuty's service graph: one request for each service."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from telemetry_mcp import Dependency, Reply, gather
from telemetry_mcp_pagerduty import wire
from telemetry_mcp_pagerduty.page import Api, Listing
from telemetry_mcp_pagerduty.service import Directory

MOST = 40
"""The services whose dependencies are asked for: a question may take tens of requests, not hundreds."""

Edge = tuple[str, str]


async def find(api: Api, directory: Directory) -> Reply[Dependency]:
    """The edges between technical services. Business services stand for customers' views and are left out."""
    listed = await directory.all()
    names = {item.id: item.name for item in listed.items}
    asked = [identity for identity in names if identity.isalnum()][:MOST]
    if not asked:
        return Reply([], listed.queries, listed.warnings, listed.partial)

    def edges_of(identity: str) -> partial[Any]:
        path = f"/service_dependencies/technical_services/{identity}"
        return partial(api.whole, Listing(path, "relationships", edge))

    found = await gather({f"dependencies of {names[identity]}": edges_of(identity) for identity in asked})
    edges = dict.fromkeys(found.items)
    items = [Dependency(names[one], names[other]) for one, other in edges if one in names and other in names]
    reasons = [listed.partial, found.partial]
    if len(names) > len(asked):
        reasons.append(f"only the dependencies of the first {len(asked)} of {len(names)} services were asked for")
    queries = [*listed.queries, "/service_dependencies/technical_services/{id}"]
    return Reply(items, queries, [*listed.warnings, *found.warnings], "; ".join(filter(None, reasons)) or None)


def edge(entry: Mapping[str, Any]) -> Edge | None:
    """The ids of who needs and of who is needed."""
    caller, callee = (wire.identity(entry.get(name)) for name in ("dependent_service", "supporting_service"))
    return (caller, callee) if caller and callee else None
