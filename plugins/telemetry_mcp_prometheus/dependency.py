"""Who calls whom, from the counters of calls that Tempo's service graphs and Istio write."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from telemetry_mcp import Dependency, DependencyQuery, Reply, gather
from telemetry_mcp_prometheus.query import seconds

if TYPE_CHECKING:
    from telemetry_mcp_prometheus.api import Api

SERVICE_GRAPHS: Mapping[str, tuple[str, str]] = {
    "traces_service_graph_request_total": ("client", "server"),
    "istio_requests_total": ("source_canonical_service", "destination_canonical_service"),
}
"""Counter of calls -> its labels of caller and callee."""

NOBODY = ("", "unknown")
"""What Istio calls a caller outside the mesh."""


async def dependencies(api: Api, query: DependencyQuery) -> Reply[Dependency]:
    """Pairs with at least one call in the window, in order of names; one request a counter."""
    found = await gather(
        {metric: partial(pairs, api, query, metric, ends) for metric, ends in api.settings.dependencies.items()}
    )
    items = sorted(set(found.items), key=lambda pair: (pair.caller, pair.callee))
    return Reply(items, found.queries, found.warnings, found.partial)


async def pairs(api: Api, query: DependencyQuery, metric: str, ends: tuple[str, str]) -> Reply[Dependency]:
    caller, callee = ends
    promql = api.render(f"sum by ({caller}, {callee}) (increase({metric}[$__range])) > 0", query.window)
    answer = await api.query("query", {"query": promql, "time": seconds(query.window.end_ms - 1)})
    named = [(row.labels.get(caller, ""), row.labels.get(callee, "")) for row in answer.rows]
    items = [Dependency(*pair) for pair in named if not set(pair) & set(NOBODY)]
    return Reply(items, [promql], answer.infos, "; ".join(answer.warnings) or None)
