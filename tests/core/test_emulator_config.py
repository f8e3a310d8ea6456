"""The configuration of the demo estate, held against the emulators that it leads to."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING

import pytest

from telemetry_mcp.demo.emulator import CONFIG, Emulators
from telemetry_mcp.demo.fault_plan import DAY_MS
from telemetry_mcp.demo.topology import MEMBERS

if TYPE_CHECKING:
    from tests.core.conftest import Vendor

NOW_S = 20_500 * 86_400 + 15 * 3600
NOW_MS = NOW_S * 1000


def test_the_configuration_asks_only_for_variables_that_the_emulators_deliver(world: Emulators) -> None:
    assert set(re.findall(r"\$\{(\w+)\}", CONFIG.read_text())) == set(world.environ)


def test_every_metric_of_the_configuration_finds_its_services(
    prometheus: Vendor, dog: Vendor, relic: Vendor, apps: set[str]
) -> None:
    sources = tomllib.loads(CONFIG.read_text())["sources"]
    text = {
        name: {m: q if isinstance(q, str) else q["query"] for m, q in source.get("metrics", {}).items()}
        for name, source in sources.items()
    }
    for query in text["prometheus"].values():
        answer = prometheus.get(
            "/api/v1/query", query=query.replace("$service", ".+").replace("$__interval", "5m"), time=NOW_S
        ).json()
        assert {one["metric"]["service"] for one in answer["data"]["result"]} == set(MEMBERS)
    for query in text["datadog"].values():
        assert len(dog.series(query.replace("$service", "*"))) == len(MEMBERS)
    for query in text["newrelic"].values():
        asked = query.replace("IN ($service)", "IS NOT NULL")
        rows = relic.rows(f"{asked} SINCE {NOW_MS - DAY_MS} UNTIL {NOW_MS} LIMIT MAX")
        assert {row["facet"] for row in rows} == apps


def test_the_sources_agree_on_a_latency_once_its_unit_is_known(
    prometheus: Vendor, dog: Vendor, relic: Vendor
) -> None:
    query = 'avg by (service) (service_latency_seconds{service="user-service",quantile="0.95"})'
    asked = {"query": query, "start": NOW_S - 3600, "end": NOW_S, "step": 60}
    points = prometheus.get("/api/v1/query_range", **asked).json()["data"]["result"][0]["values"]
    first = sum(float(value) for _, value in points) / len(points)
    metric = "trace.http.request.duration.by.service.95p"
    (one,) = dog.series(f"avg:{metric}{{service:user-service}} by {{service}}")
    second = sum(value for _, value in one["pointlist"]) / one["length"]
    percentile = (
        "SELECT percentile(duration, 95) FROM Transaction WHERE appName = 'user-service'"
        f" SINCE {NOW_MS - 3_600_000} UNTIL {NOW_MS} LIMIT MAX"
    )
    (row,) = relic.rows(percentile)
    assert first == pytest.approx(second, rel=0.05)
    assert first == pytest.approx(row["percentile.duration"]["95"], rel=0.05)
    assert first != second
