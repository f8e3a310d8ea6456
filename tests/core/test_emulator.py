"""The vendors' emulators: their wire formats as a plain HTTP client sees them, and every fault on the wire."""

import re
import tomllib
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from telemetry_mcp.demo import datadog, newrelic, pagerduty
from telemetry_mcp.demo.emulator import CONFIG, Emulators
from telemetry_mcp.demo.estate import Estate
from telemetry_mcp.demo.fault_plan import DAY_MS
from telemetry_mcp.demo.topology import MEMBERS

NOW_S = 20_500 * 86_400 + 15 * 3600
NOW_MS = NOW_S * 1000
APPS = {name for name, member in MEMBERS.items() if member.kind == "app"}
KEYS = {
    "prometheus": {},
    "datadog": {"DD-API-KEY": datadog.API_KEY, "DD-APPLICATION-KEY": datadog.APP_KEY},
    "newrelic": {"Api-Key": newrelic.API_KEY},
    "pagerduty": {"Authorization": f"Token token={pagerduty.API_KEY}"},
}
NRQL = "query($id: Int!, $q: Nrql!) { actor { account(id: $id) { nrql(query: $q, timeout: 30) { results } } } }"


@pytest.fixture(scope="module")
def running() -> Iterator[Emulators]:
    with Emulators(Estate.today(NOW_MS), clock=lambda: NOW_MS) as emulators:
        yield emulators


@pytest.fixture
def world(running: Emulators) -> Iterator[Emulators]:
    yield running
    for faults in running.faults.values():
        faults.clear()


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with httpx.Client(trust_env=False, timeout=5) as client:
        yield client


class Vendor:
    """One emulator through a client, with its credentials."""

    def __init__(self, name: str, world: Emulators, client: httpx.Client) -> None:
        self.url, self.keys, self.client = world.urls[name], KEYS[name], client

    def get(self, path: str, **params: Any) -> httpx.Response:
        renamed = {name.rstrip("_"): value for name, value in params.items()}
        return self.client.get(self.url + path, params=renamed, headers=self.keys)

    def nrql(self, query: str, account: int = newrelic.ACCOUNT_ID) -> Any:
        body = {"query": NRQL, "variables": {"id": account, "q": query}}
        return self.client.post(f"{self.url}/graphql", json=body, headers=self.keys).json()


@pytest.fixture
def prometheus(world: Emulators, client: httpx.Client) -> Vendor:
    return Vendor("prometheus", world, client)


@pytest.fixture
def dog(world: Emulators, client: httpx.Client) -> Vendor:
    return Vendor("datadog", world, client)


@pytest.fixture
def relic(world: Emulators, client: httpx.Client) -> Vendor:
    return Vendor("newrelic", world, client)


@pytest.fixture
def duty(world: Emulators, client: httpx.Client) -> Vendor:
    return Vendor("pagerduty", world, client)


# Prometheus


def test_prometheus_answers_a_range_as_a_matrix_of_texts(prometheus: Vendor) -> None:
    query = 'avg by (service) (service_latency_seconds{service=~"payment-.*",quantile="0.95"})'
    answer = prometheus.get("/api/v1/query_range", query=query, start=NOW_S - 60, end=NOW_S, step="15s").json()
    assert answer["status"] == "success"
    assert answer["data"]["resultType"] == "matrix"
    (series,) = answer["data"]["result"]
    assert series["metric"] == {"service": "payment-processor"}
    assert [stamp for stamp, _ in series["values"]] == list(range(NOW_S - 60, NOW_S + 1, 15))
    assert all(isinstance(text, str) and 0.1 < float(text) < 0.5 for _, text in series["values"])


def test_prometheus_takes_a_form_as_well_as_a_query_string(prometheus: Vendor) -> None:
    fields = {"query": 'service_error_ratio{service="cache-redis"}', "time": str(NOW_S)}
    form = prometheus.client.post(f"{prometheus.url}/api/v1/query", data=fields).json()
    assert form == prometheus.get("/api/v1/query", **fields).json()
    (series,) = form["data"]["result"]
    assert series["metric"]["__name__"] == "service_error_ratio"
    assert series["metric"]["team"] == "data-platform"
    assert 0 < float(series["value"][1]) < 0.001


@pytest.mark.parametrize("operator", ["sum", "avg", "min", "max"])
def test_prometheus_aggregates_the_instances_of_a_service(prometheus: Vendor, operator: str) -> None:
    plain = 'service_cpu_percent{service="user-service"}'
    single = prometheus.get("/api/v1/query", query=plain, time=NOW_S).json()["data"]["result"]
    values = [float(series["value"][1]) for series in single]
    grouped = prometheus.get("/api/v1/query", query=f"{operator} by (service) ({plain}) * 2", time=NOW_S)
    (series,) = grouped.json()["data"]["result"]
    wanted = {"sum": sum(values), "avg": sum(values) / 2, "min": min(values), "max": max(values)}[operator]
    assert len(set(values)) == 2
    assert float(series["value"][1]) == pytest.approx(2 * wanted)


def test_prometheus_knows_nothing_of_the_future_or_of_milliseconds(prometheus: Vendor) -> None:
    last = prometheus.get("/api/v1/query_range", query="up", start=NOW_S, end=NOW_S + 3600, step=60).json()
    assert last["data"]["result"][0]["values"][-1][0] == NOW_S + 300
    assert prometheus.get("/api/v1/query", query="up", time=NOW_MS).json()["data"]["result"] == []


@pytest.mark.parametrize(
    ("path", "params", "message"),
    [
        ("query", {"query": "sum(up"}, "parse error: unclosed left parenthesis"),
        ("query", {}, "parse error: no expression found in input"),
        ("query", {"query": "rate(up[5m])"}, 'unknown function with name "rate"'),
        ("query", {"query": '{__name__=~".*"}'}, "must contain at least one non-empty matcher"),
        ("query", {"query": r'up{service="5\d"}'}, "unknown escape sequence"),
        ("query", {"query": "up", "time": "yesterday"}, 'cannot parse "yesterday" to a valid timestamp'),
        ("query_range", {"query": "up", "start": 9, "end": 1, "step": 1}, "end timestamp must not be before"),
        ("query_range", {"query": "up", "start": 1, "end": 9, "step": 0}, "zero or negative query resolution"),
        ("query_range", {"query": "up", "start": 1, "end": 9}, 'cannot parse "" to a valid duration'),
        ("query_range", {"query": "up", "start": 0, "end": 11_001, "step": 1}, "exceeded maximum resolution"),
    ],
)
def test_prometheus_refuses_what_it_cannot_read(
    prometheus: Vendor, path: str, params: dict[str, Any], message: str
) -> None:
    answer = prometheus.get(f"/api/v1/{path}", **params)
    assert answer.status_code == 400
    assert answer.json()["errorType"] == "bad_data"
    assert message in answer.json()["error"]


def test_prometheus_lists_labels_series_metadata_and_its_build(prometheus: Vendor) -> None:
    def data(path: str, **params: str) -> Any:
        return prometheus.get(f"/api/v1/{path}", **params).json()["data"]

    assert data("label/service/values") == sorted(MEMBERS)
    assert {"__name__", "service", "team", "environment", "instance", "quantile"} <= set(data("labels"))
    series = data("series", **{"match[]": 'up{service="api-gateway"}'})
    assert [labels["instance"] for labels in series] == ["api-gateway-0:8080", "api-gateway-1:8080"]
    assert data("metadata", metric="up")["up"][0]["type"] == "gauge"
    assert data("status/buildinfo")["version"]
    assert prometheus.get("/-/healthy").text == "Prometheus Server is Healthy.\n"
    assert prometheus.get("/-/ready").status_code == 200
    assert prometheus.get("/api/v1/nope").text == "404 page not found\n"


# Datadog


def series(dog: Vendor, query: str, span_s: int = 3600) -> Any:
    return dog.get("/api/v1/query", from_=NOW_S - span_s, to=NOW_S, query=query).json()["series"]


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
    found = series(dog, f"avg:system.cpu.total{{{scope}}} by {{service}}")
    assert {one["scope"].removeprefix("service:") for one in found} == services


@pytest.mark.parametrize(("days", "interval"), [(1, 300), (2, 600), (7, 3600), (30, 14_400)])
def test_datadog_rolls_up_further_the_longer_the_window_is(dog: Vendor, days: int, interval: int) -> None:
    (one,) = series(dog, "avg:system.mem.pct_used{*}", days * 86_400)
    assert one["interval"] == interval
    assert one["length"] == pytest.approx(days * 86_400 / interval, abs=1)


def test_datadog_refuses_a_query_it_cannot_read_and_finds_nothing_in_a_strange_metric(dog: Vendor) -> None:
    bad = dog.get("/api/v1/query", from_=NOW_S - 60, to=NOW_S, query="avg:system.cpu.total{x} by {host} extra")
    assert bad.status_code == 400
    assert bad.json()["status"] == "error"
    assert "unable to parse" in bad.json()["error"]
    assert series(dog, "avg:no.such.metric{*}") == []


def test_datadog_lists_services_owners_and_calls(dog: Vendor) -> None:
    live = dog.get("/api/v2/apm/services", **{"filter[env]": "production"}).json()["data"]
    assert live["type"] == "services_list"
    assert set(live["attributes"]["services"]) == APPS
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


# New Relic


def select(columns: str, rest: str = "FACET appName", hours: int = 1) -> str:
    return f"SELECT {columns} FROM Transaction {rest} SINCE {NOW_MS - hours * 3_600_000} UNTIL {NOW_MS} LIMIT MAX"


def results(document: Any) -> Any:
    return document["data"]["actor"]["account"]["nrql"]["results"]


def test_newrelic_gives_facets_over_time_as_flat_rows_in_seconds(relic: Vendor) -> None:
    where = "WHERE appName IN ('payment-processor', 'user-service') FACET appName TIMESERIES 5 minutes"
    document = relic.nrql(select("percentage(count(*), WHERE error IS true)", where))
    rows = results(document)
    assert len(rows) == 24
    assert rows[0].keys() == {"facet", "appName", "beginTimeSeconds", "endTimeSeconds", "percentage"}
    assert rows[0]["facet"] == rows[0]["appName"] == "user-service"
    assert rows[0]["beginTimeSeconds"] == NOW_S - 3600
    assert rows[1]["beginTimeSeconds"] == rows[0]["endTimeSeconds"] == NOW_S - 3300
    assert document["data"]["actor"]["account"]["nrql"]["otherResult"] == []


@pytest.mark.parametrize(
    ("columns", "key", "low", "high"),
    [
        ("count(*)", "count", 1e5, 4e5),
        ("rate(count(*), 1 minute)", "rate.count", 2000, 6000),
        ("rate(count(apm.service.transaction.duration), 1 minute)", "rate.count", 2000, 6000),
        ("percentage(count(*), WHERE error IS false)", "percentage", 99.9, 100),
        ("average(duration)", "average.duration", 0.05, 0.2),
        ("filter(count(*), WHERE error IS false) / count(*) * 100 AS 'Good part'", "Good part", 99.9, 100),
    ],
)
def test_newrelic_computes_the_columns_of_the_golden_signals(
    relic: Vendor, columns: str, key: str, low: float, high: float
) -> None:
    (row,) = results(relic.nrql(select(columns, "WHERE appName = 'payment-processor'")))
    assert row.keys() == {key}
    assert low < row[key] < high


def test_newrelic_gives_percentiles_as_an_object_in_seconds(relic: Vendor) -> None:
    (row,) = results(relic.nrql(select("percentile(duration, 50, 95)", "WHERE appName = 'api-gateway'")))
    assert 0.03 < row["percentile.duration"]["50"] < row["percentile.duration"]["95"] < 0.3


def test_newrelic_knows_every_app_and_nothing_that_keeps_state(relic: Vendor) -> None:
    rows = results(relic.nrql(select("count(*)", "WHERE appName IS NOT NULL FACET appName")))
    assert {row["facet"] for row in rows} == APPS
    assert results(relic.nrql(select("count(*)", "WHERE appName IN ('cache-redis') FACET appName"))) == []


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("SELECT count(*) FRM Transaction", "NRDB:1101002"),
        (select("count(* FROM"), "NRDB:1101002"),
        (select("count(*)", "WHERE host = 'x'"), "NRDB:1101002"),
        (select("count(*)", "TIMESERIES 1 second"), "NRDB:1103019"),
    ],
)
def test_newrelic_answers_200_with_an_nrdb_error(relic: Vendor, query: str, code: str) -> None:
    document = relic.nrql(query)
    assert document["data"]["actor"]["account"]["nrql"] is None
    assert document["errors"][0]["extensions"]["errorCode"] == code


def test_newrelic_allows_366_buckets(relic: Vendor) -> None:
    query = select("count(*)", "WHERE appName = 'api-gateway' TIMESERIES 1 hour", hours=366)
    assert len(results(relic.nrql(query))) == 366


def test_newrelic_hides_accounts_of_others(relic: Vendor) -> None:
    document = relic.nrql(select("count(*)"), account=1)
    assert document["data"]["actor"]["account"] is None
    assert document["errors"][0]["extensions"]["errorClass"] == "ACCESS_DENIED"


def test_newrelic_lists_entities_issues_and_the_user(relic: Vendor) -> None:
    query = (
        "query($id: Int!) { actor { user { name email } entitySearch(query: \"domain = 'APM'\") { count } "
        "account(id: $id) { aiIssues { issues { issues { issueId } nextCursor } } } } }"
    )
    body = {"query": query, "variables": {"id": newrelic.ACCOUNT_ID}}
    actor = relic.client.post(f"{relic.url}/graphql", json=body, headers=relic.keys).json()["data"]["actor"]
    assert "@" in actor["user"]["email"]
    entities = {entity["name"]: entity for entity in actor["entitySearch"]["results"]["entities"]}
    assert entities.keys() == APPS
    assert entities["notification-service"]["alertSeverity"] == "WARNING"
    assert {"key": "team", "values": ["edge"]} in entities["api-gateway"]["tags"]
    issues = actor["account"]["aiIssues"]["issues"]["issues"]
    assert issues[0]["state"] == "ACTIVATED"
    assert issues[0]["entityNames"] == ["notification-service"]
    assert {issue["state"] for issue in issues[1:]} == {"CLOSED"}


def test_newrelic_refuses_a_wrong_key(relic: Vendor) -> None:
    answer = relic.client.post(f"{relic.url}/graphql", json={"query": "{ actor { user { name } } }"})
    assert answer.status_code == 401
    assert answer.json()["errors"][0]["extensions"]["error_code"] == "BAD_API_KEY"


# PagerDuty


def test_pagerduty_gives_whole_incidents(duty: Vendor) -> None:
    since, until = "2026-01-01T00:00:00Z", "2026-04-01T00:00:00Z"
    page = duty.get("/incidents", **{"since": since, "until": until, "limit": 100}).json()
    assert page.keys() == {"incidents", "limit", "offset", "total", "more"}
    newest = page["incidents"][-1]
    assert newest["service"]["summary"] == "notification-service"
    assert newest["service"]["type"] == "service_reference"
    assert newest["status"] == "acknowledged"
    assert newest["resolved_at"] is None
    assert newest["acknowledgements"][0]["acknowledger"]["summary"] == "Jonas Lindqvist"
    assert newest["assignments"][0]["assignee"]["type"] == "user_reference"
    assert newest["priority"]["name"] == "P3"
    assert newest["urgency"] == "low"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", newest["created_at"])
    assert newest["html_url"].endswith(newest["id"])
    assert page["incidents"][0]["resolved_at"] > page["incidents"][0]["created_at"]


def test_pagerduty_filters_and_pages(duty: Vendor) -> None:
    whole = duty.get("/incidents", limit=100, total="true").json()
    assert whole["total"] == len(whole["incidents"]) > 5
    first = duty.get("/incidents", limit=2).json()
    second = duty.get("/incidents", limit=2, offset=2).json()
    assert first["more"] is True
    assert first["incidents"] + second["incidents"] == whole["incidents"][:4]
    open_now = duty.get("/incidents", **{"statuses[]": ["triggered", "acknowledged"]}).json()["incidents"]
    assert [incident["service"]["summary"] for incident in open_now] == ["notification-service"]
    one = open_now[0]["service"]["id"]
    mine = duty.get("/incidents", **{"service_ids[]": one, "urgencies[]": "low"}).json()["incidents"]
    assert {incident["service"]["id"] for incident in mine} == {one}


def test_pagerduty_tells_the_story_of_an_incident(duty: Vendor) -> None:
    yesterday = [i for i in duty.get("/incidents", limit=100).json()["incidents"] if "1 s" in i["title"]][-1]
    path = f"/incidents/{yesterday['id']}"
    assert duty.get(path).json()["incident"] == yesterday
    (alert,) = duty.get(f"{path}/alerts").json()["alerts"]
    assert alert["severity"] == "critical"
    assert alert["body"]["details"]["fault"] == "payment-slow"
    entries = duty.get(f"{path}/log_entries").json()["log_entries"]
    assert [entry["type"] for entry in entries] == [
        "resolve_log_entry",
        "acknowledge_log_entry",
        "trigger_log_entry",
    ]
    assert duty.get("/incidents/Q0").json()["error"]["code"] == 2100


def test_pagerduty_lists_services_people_on_call_and_changes(duty: Vendor) -> None:
    services = duty.get("/services", limit=100).json()["services"]
    assert [service["name"] for service in services] == list(MEMBERS)
    assert {s["name"] for s in services if s["status"] == "warning"} == {"notification-service"}
    oncalls = duty.get("/oncalls").json()["oncalls"]
    assert {entry["escalation_policy"]["id"] for entry in oncalls} == {
        service["escalation_policy"]["id"] for service in services
    }
    changes = duty.get("/change_events", limit=100).json()["change_events"]
    deployed = [c for c in changes if c["custom_details"].get("version") == "v2.14.0"]
    assert [change["services"][0]["summary"] for change in deployed] == ["payment-processor"]
    assert deployed[0]["timestamp"].endswith("T14:02:00Z")
    assert deployed[0]["routing_key"]
    assert "teams" in duty.get("/abilities").json()["abilities"]
    assert "@" in duty.get("/users/me").json()["user"]["email"]


def test_pagerduty_refuses_what_the_vendor_refuses(duty: Vendor) -> None:
    assert duty.get("/incidents", since="last week").json()["error"]["code"] == 2004
    assert duty.get("/incidents", offset=9950, limit=100).status_code == 400
    duty.keys = {"Authorization": "Token token=wrong"}
    denied = duty.get("/incidents")
    assert denied.status_code == 401
    assert denied.json()["error"]["code"] == 2006


# The configuration of the estate


def test_the_configuration_asks_only_for_variables_that_the_emulators_deliver(world: Emulators) -> None:
    assert set(re.findall(r"\$\{(\w+)\}", CONFIG.read_text())) == set(world.environ)


def test_every_metric_of_the_configuration_finds_its_services(
    prometheus: Vendor, dog: Vendor, relic: Vendor
) -> None:
    sources = tomllib.loads(CONFIG.read_text())["sources"]
    text = {
        name: {m: q if isinstance(q, str) else q["query"] for m, q in source.get("metrics", {}).items()}
        for name, source in sources.items()
    }
    for query in text["prometheus"].values():
        answer = prometheus.get("/api/v1/query", query=query.replace("$service", ".+"), time=NOW_S).json()
        assert {one["metric"]["service"] for one in answer["data"]["result"]} == set(MEMBERS)
    for query in text["datadog"].values():
        assert len(series(dog, query.replace("$service", "*"))) == len(MEMBERS)
    for query in text["newrelic"].values():
        asked = query.replace("IN ($service)", "IS NOT NULL")
        rows = results(relic.nrql(f"{asked} SINCE {NOW_MS - DAY_MS} UNTIL {NOW_MS} LIMIT MAX"))
        assert {row["facet"] for row in rows} == APPS


def test_the_sources_agree_on_a_latency_once_its_unit_is_known(
    prometheus: Vendor, dog: Vendor, relic: Vendor
) -> None:
    query = 'avg by (service) (service_latency_seconds{service="user-service",quantile="0.95"})'
    asked = {"query": query, "start": NOW_S - 3600, "end": NOW_S, "step": 60}
    points = prometheus.get("/api/v1/query_range", **asked).json()["data"]["result"][0]["values"]
    first = sum(float(value) for _, value in points) / len(points)
    metric = "trace.http.request.duration.by.service.95p"
    (one,) = series(dog, f"avg:{metric}{{service:user-service}} by {{service}}")
    second = sum(value for _, value in one["pointlist"]) / one["length"]
    (row,) = results(relic.nrql(select("percentile(duration, 95)", "WHERE appName = 'user-service'")))
    assert first == pytest.approx(second, rel=0.05)
    assert first == pytest.approx(row["percentile.duration"]["95"], rel=0.05)
    assert first != second
