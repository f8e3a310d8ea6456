"""Datadog's emulator: its wire format as a plain HTTP client sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from telemetry_mcp.demo import datadog
from telemetry_mcp.demo.topology import MEMBERS

if TYPE_CHECKING:
    from tests.core.conftest import Vendor

NOW_S = 20_500 * 86_400 + 15 * 3600
NOW_MS = NOW_S * 1000


def test_datadog_answers_seconds_with_milliseconds_and_names_the_unit(dog: Vendor) -> None:
    query = "avg:trace.http.request.duration.by.service.95p{service:payment-processor} by {service}"
    answer = dog.get("/api/v1/query", from_=NOW_S - 3600, to=NOW_S, query=query)
    document = answer.json()
    (one,) = document["series"]
    assert document["status"] == "ok"
    assert document["from_date"] == (NOW_S - 3600) * 1000
    assert one["tag_set"] == ["service:payment-processor"]
    assert one["unit"][0]["name"] == "second"
    assert one["unit"][0]["scale_factor"] == 1.0
    assert one["interval"] == 60
    assert one["length"] == len(one["pointlist"]) == 60
    stamp, value = one["pointlist"][0]
    assert NOW_MS - 3_600_000 <= stamp < NOW_MS - 3_540_000
    assert stamp % 60_000 == 7000
    assert 0.1 < value < 0.5
    assert int(answer.headers["x-ratelimit-remaining"]) < 300


@pytest.mark.parametrize(
    ("scope", "services"),
    [
        ("service:payment-processor", {"payment-processor"}),
        ("service IN (api-gateway, cache-redis)", {"api-gateway", "cache-redis"}),
        ("service:*", set(MEMBERS)),
        ("*", set(MEMBERS)),
        ("team:identity,env:production", {"auth-service", "user-service"}),
        ("service:nobody", set()),
    ],
)
def test_datadog_lets_through_what_the_scope_names(dog: Vendor, scope: str, services: set[str]) -> None:
    found = dog.series(f"avg:system.cpu.total{{{scope}}} by {{service}}")
    assert {one["scope"].removeprefix("service:") for one in found} == services


@pytest.mark.parametrize(("days", "interval"), [(1, 300), (2, 600), (7, 3600), (30, 14_400)])
def test_datadog_rolls_up_further_the_longer_the_window_is(dog: Vendor, days: int, interval: int) -> None:
    (one,) = dog.series("avg:system.mem.pct_used{*}", days * 86_400)
    assert one["interval"] == interval
    assert one["length"] == pytest.approx(days * 86_400 / interval, abs=1)


def test_datadog_refuses_a_query_it_cannot_read_and_finds_nothing_in_a_strange_metric(dog: Vendor) -> None:
    bad = dog.get("/api/v1/query", from_=NOW_S - 60, to=NOW_S, query="avg:system.cpu.total{x} by {host} extra")
    assert bad.status_code == 400
    assert bad.json()["status"] == "error"
    assert "unable to parse" in bad.json()["error"]
    assert dog.series("avg:no.such.metric{*}") == []


def test_datadog_lists_services_owners_and_calls(dog: Vendor, apps: set[str]) -> None:
    live = dog.get("/api/v2/apm/services", **{"filter[env]": "production"}).json()["data"]
    assert live["type"] == "services_list"
    assert set(live["attributes"]["services"]) == apps
    assert dog.get("/api/v2/apm/services").status_code == 400
    names = []
    for offset in (0, 3, 6):
        page = dog.get("/api/v2/catalog/entity", **{"page[limit]": 3, "page[offset]": offset}).json()
        names += [entity["attributes"]["name"] for entity in page["data"]]
        assert ("next" in page["links"]) == (offset < 6)
    assert names == list(MEMBERS)
    assert page["data"][0]["attributes"]["owner"] == "data-platform"
    definitions = dog.get("/api/v2/services/definitions").json()["data"]
    assert definitions[0]["attributes"]["schema"]["dd-service"] == "api-gateway"
    calls = dog.get("/api/v1/service_dependencies", env="production").json()
    assert calls["user-service"]["calls"] == ["cache-redis", "database-replica"]


def test_datadog_wants_both_keys(dog: Vendor) -> None:
    assert dog.get("/api/v1/validate").json() == {"valid": True}
    dog.keys = {}
    assert dog.get("/api/v1/validate").json() == {"errors": ["API key required"]}
    assert dog.get("/api/v1/query").status_code == 401
    dog.keys = {"DD-API-KEY": datadog.API_KEY}
    assert dog.get("/api/v1/query").status_code == 403
