"""What the members of the Prometheus family do differently, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Flavor:
    """One kind of backend.

    `path` stands before /api/v1 where the url names none, `tenant_path` where an org_id is set (instead of
    `tenant_header`). `max_points` is the most that (end - start) / step may be in a range query. `params` go with
    every request; the user's own win. `rules` says where alert rules are evaluated, for who must mend it;
    without `evaluates` it is told that by its configuration, and has no rules where it was not.
    """

    title: str
    path: str = ""
    tenant_path: str = ""
    tenant_header: str = "x-scope-orgid"
    params: Mapping[str, str] = field(default_factory=dict)
    max_points: int = 11_000
    lookback: str = "lookback_delta"
    rules: str = "let GET /api/v1/rules and /api/v1/alerts through to Prometheus"
    evaluates: bool = True


FLAVORS: Mapping[str, Flavor] = {
    "prometheus": Flavor("Prometheus"),
    "mimir": Flavor(
        "Mimir",
        path="/prometheus",
        rules="start Mimir's ruler with -ruler.enable-api, and give the token the rules:read scope",
    ),
    "thanos": Flavor(
        "Thanos",
        tenant_header="thanos-tenant",
        params={"dedup": "true", "partial_response": "true", "max_source_resolution": "auto"},
        rules="give Thanos Query an --endpoint of a sidecar or ruler, which serve rules",
    ),
    "victoriametrics": Flavor(
        "VictoriaMetrics",
        tenant_path="/select/{org_id}/prometheus",
        tenant_header="",
        params={"nocache": "1"},  # else it moves the window to multiples of the step
        max_points=29_999,  # -search.maxPointsPerTimeseries=30000 counts both ends
        lookback="max_lookback",
        rules="start VictoriaMetrics (or vmselect) with -vmalert.proxyURL set to vmalert",
        evaluates=False,
    ),
}
