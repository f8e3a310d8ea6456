"""Datadog's emulator: its wire format as a plain HTTP client sees it."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest
from datadog_api_client import ApiClient, Configuration

from telemetry_mcp.demo import datadog
from telemetry_mcp.demo.emulator import Emulators
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
    asked = {"filter[type]": "RelationTypeDependsOn"}
    relations = [one["attributes"] for one in dog.get("/api/v2/catalog/relation", **asked).json()["data"]]
    calls = {(one["from"]["name"], one["to"]["name"]) for one in relations}
    assert calls == {(member.name, callee) for member in MEMBERS.values() for callee in member.calls}
    tags = dog.get("/api/v2/metrics/system.cpu.idle/all-tags", **{"filter[match]": "service"}).json()["data"]
    assert tags["attributes"]["tags"] == [f"service:{name}" for name in MEMBERS]


@pytest.mark.parametrize(
    ("query", "low", "high"),
    [
        ("100 - avg:system.cpu.idle{service:api-gateway}", 20, 60),
        ("100 * sum:container.cpu.usage{*} by {service} / sum:container.cpu.limit{*} by {service}", 5, 70),
        ("sum:trace.http.request.hits{service:api-gateway}.as_count() / 60", 100, 900),
        ("100 * default_zero(sum:trace.http.request.errors{*}) / sum:trace.http.request.hits{*}", 0.001, 5),
        ("p99:trace.http.request{service:api-gateway} - p50:trace.http.request{service:api-gateway}", 0.05, 1),
        ("-(1 - 1 * max:system.cpu.total{*}) + min:system.cpu.total{*} * 0", 10, 99),
    ],
)
def test_datadog_reckons_with_queries(dog: Vendor, query: str, low: float, high: float) -> None:
    found = dog.series(query)
    assert found
    for one in found:
        assert all(low < value < high for _, value in one["pointlist"])


@pytest.mark.parametrize(
    "query", ["avg:a{*} +", "abs(avg:system.cpu.total{*})", "1 + 1", "avg:a{*}.fill(1)", "a.b"]
)
def test_datadog_refuses_arithmetic_that_it_does_not_know(dog: Vendor, query: str) -> None:
    bad = dog.get("/api/v1/query", from_=NOW_S - 60, to=NOW_S, query=query)
    assert (bad.status_code, bad.json()["status"]) == (400, "error")


def test_datadog_tells_its_time_and_never_uses_its_own_limit_up(dog: Vendor) -> None:
    left = [dog.get("/api/v1/slo").headers for _ in range(305)]
    assert min(int(headers["x-ratelimit-remaining"]) for headers in left) == 1
    assert left[0]["date"] == "Mon, 16 Feb 2026 15:00:00 GMT"


# ---- through the vendor's own client, whose models are strict


@pytest.fixture
def official(world: Emulators) -> Iterator[ApiClient]:
    keys = {"apiKeyAuth": datadog.API_KEY, "appKeyAuth": datadog.APP_KEY}
    configuration = Configuration(  # type: ignore[no-untyped-call]
        host=world.urls["datadog"], api_key=keys, check_input_type=False
    )
    del configuration.unstable_operations.values["v2.search_incidents"]
    with ApiClient(configuration) as client:
        yield client


def well_read(answer: Any) -> Any:
    """The answer as plain data, which the vendor's models must have understood to the last field."""
    assert not answer._unparsed
    return answer.to_dict()


def api(official: ApiClient, version: str, module: str, name: str) -> Any:
    return getattr(import_module(f"datadog_api_client.{version}.api.{module}_api"), name)(official)


def test_the_official_client_reads_metrics_of_both_apis(official: ApiClient) -> None:
    query = "avg:system.cpu.total{service:api-gateway} by {service}"
    metrics = api(official, "v1", "metrics", "MetricsApi")
    first = well_read(metrics.query_metrics(_from=NOW_S - 3600, to=NOW_S, query=query))
    attributes = {
        "from": (NOW_S - 3600) * 1000,
        "to": NOW_S * 1000,
        "interval": 60_000,
        "formulas": [{"formula": "a"}],
        "queries": [{"data_source": "metrics", "name": "a", "query": query}],
    }
    body = {"data": {"type": "timeseries_request", "attributes": attributes}}
    second = well_read(api(official, "v2", "metrics", "MetricsApi").query_timeseries_data(body=body))
    found = second["data"]["attributes"]
    assert found["series"][0]["group_tags"] == ["service:api-gateway"]
    assert found["values"][0] == [value for _, value in first["series"][0]["pointlist"]]
    assert found["times"] == [at for at, _ in first["series"][0]["pointlist"]]


def test_the_official_client_reads_services_and_relations(official: ApiClient, apps: set[str]) -> None:
    catalog = api(official, "v2", "software_catalog", "SoftwareCatalogApi")
    entities = well_read(catalog.list_catalog_entity(filter_kind="service", include_discovered=True))
    assert [one["attributes"]["name"] for one in entities["data"]] == list(MEMBERS)
    assert len(well_read(catalog.list_catalog_relation())["data"]) == 11
    definitions = api(official, "v2", "service_definition", "ServiceDefinitionApi")
    assert len(well_read(definitions.list_service_definitions(page_size=5, page_number=1))["data"]) == 3
    live = well_read(api(official, "v2", "apm", "APMApi").get_service_list(filter_env="production"))
    assert set(live["data"]["attributes"]["services"]) == apps
    tags = api(official, "v2", "metrics", "MetricsApi").list_tags_by_metric_name("system.cpu.total")
    assert "service:api-gateway" in well_read(tags)["data"]["attributes"]["tags"]


def test_the_official_client_reads_incidents_and_firing_monitors(official: ApiClient) -> None:
    incidents = api(official, "v2", "incidents", "IncidentsApi")
    resolved = well_read(incidents.search_incidents("state:resolved", page_size=3))["data"]["attributes"]
    assert len(resolved["incidents"]) == 3 < resolved["total"]
    created = [one["data"]["attributes"]["created"] for one in resolved["incidents"]]
    assert created == sorted(created, reverse=True)
    monitors = api(official, "v1", "monitors", "MonitorsApi")
    firing = well_read(monitors.search_monitor_groups(query="group_status:alert"))["groups"]
    assert [one["group"] for one in firing] == ["service:notification-service"]
    assert len(well_read(monitors.search_monitor_groups())["groups"]) == len(MEMBERS)


def test_the_official_client_reads_events_and_deployments(official: ApiClient) -> None:
    day = {"from": "2026-02-14T15:00:00Z", "to": "2026-02-16T15:00:00Z"}
    events = api(official, "v2", "events", "EventsApi")
    found: list[Any] = []
    cursor: dict[str, str] = {}
    while True:
        answer = well_read(events.search_events(body={"filter": day, "page": {"limit": 1, **cursor}}))
        if not answer["data"]:
            break
        found += answer["data"]
        cursor = {"cursor": answer["meta"]["page"]["after"]}
    assert len({one["id"] for one in found}) == len(found) >= 3
    body = {"data": {"type": "dora_deployments_list_request", "attributes": day}}
    deployed = well_read(api(official, "v2", "dora_metrics", "DORAMetricsApi").list_dora_deployments(body=body))
    assert {one["attributes"]["version"] for one in deployed["data"]} >= {"v2.14.0", "v2.13.4"}


def test_the_official_client_reads_slos_and_their_history(official: ApiClient) -> None:
    slos = api(official, "v1", "service_level_objectives", "ServiceLevelObjectivesApi")
    listed = well_read(slos.list_slos(limit=4, offset=4))["data"]
    assert [one["name"].partition(":")[0] for one in listed] == ["notification-service", "cache-redis"]
    known, idle = (well_read(slos.get_slo_history(one["id"], NOW_S - 86_400, NOW_S))["data"] for one in listed)
    assert 99 < known["overall"]["sli_value"] < 100
    assert idle["overall"]["sli_value"] is None
    assert idle["overall"]["errors"][0]["error_type"] == "ZERO_VALUED_DENOMINATOR"


def test_the_official_client_is_told_that_its_keys_are_good(official: ApiClient) -> None:
    assert well_read(api(official, "v2", "key_management", "KeyManagementApi").validate_api_key()) == {
        "status": "ok"
    }


def test_datadog_wants_both_keys(dog: Vendor) -> None:
    assert dog.get("/api/v1/validate").json() == {"valid": True}
    dog.keys = {}
    assert dog.get("/api/v1/validate").json() == {"errors": ["API key required"]}
    assert dog.get("/api/v1/query").status_code == 401
    dog.keys = {"DD-API-KEY": datadog.API_KEY}
    assert dog.get("/api/v1/query").status_code == 403
