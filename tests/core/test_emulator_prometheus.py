"""Prometheus' emulator: its wire format as a plain HTTP client sees it."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import pytest

from telemetry_mcp.demo.topology import MEMBERS

if TYPE_CHECKING:
    from telemetry_mcp.demo.emulator import Emulators
    from tests.core.conftest import Vendor

NOW_S = 20_500 * 86_400 + 15 * 3600
NOW_MS = NOW_S * 1000


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


def test_prometheus_takes_the_labels_of_a_group_before_or_behind_it(prometheus: Vendor) -> None:
    before = prometheus.get("/api/v1/query", query="sum by (team) (up)", time=NOW_S).json()
    assert before == prometheus.get("/api/v1/query", query="sum(up) by (team)", time=NOW_S).json()
    assert len(before["data"]["result"]) == len({member.team for member in MEMBERS.values()})


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


def test_prometheus_tells_what_fires_and_what_has_fired(prometheus: Vendor, world: Emulators) -> None:
    firing = prometheus.get("/api/v1/alerts").json()["data"]["alerts"]
    open_now = [one for one in world.estate.incidents(0, NOW_MS + 1) if one.status(NOW_MS) != "resolved"]
    assert [alert["annotations"]["summary"] for alert in firing] == [one.title for one in open_now] != []
    (group,) = prometheus.get("/api/v1/rules", type="alert").json()["data"]["groups"]
    assert [alert for rule in group["rules"] for alert in rule["alerts"]] == firing
    assert prometheus.get("/api/v1/rules", type="record").json()["data"]["groups"] == []

    day = {"start": NOW_S - 2 * 86_400, "end": NOW_S, "step": 60}
    query = (
        "last_over_time(ALERTS_FOR_STATE[60s]) and ignoring (alertstate)"
        ' count_over_time(ALERTS{alertstate="firing"}[60s])'
        ' or ignoring (alertstate) count_over_time(ALERTS{alertstate="firing"}[60s])'
    )
    result = prometheus.get("/api/v1/query_range", query=query, **day).json()["data"]["result"]
    told = {(one["metric"]["service"], int(float(one["values"][0][1]))) for one in result}
    fired = world.estate.incidents(NOW_MS - 2 * 86_400_000, NOW_MS + 1)
    assert told == {(one.service, one.created_ms // 1000) for one in fired}


def test_prometheus_counts_the_calls_between_services(prometheus: Vendor) -> None:
    query = "sum by (client, server) (increase(traces_service_graph_request_total[1h])) > 0"
    result = prometheus.get("/api/v1/query", query=query, time=NOW_S).json()["data"]["result"]
    pairs = {(one["metric"]["client"], one["metric"]["server"]) for one in result}
    assert pairs == {(member.name, callee) for member in MEMBERS.values() for callee in member.calls}
    nothing = prometheus.get("/api/v1/query", query=query.replace("> 0", "> 1e15"), time=NOW_S)
    assert nothing.json()["data"]["result"] == []


def test_prometheus_sends_the_date_of_its_own_clock(prometheus: Vendor) -> None:
    sent = parsedate_to_datetime(prometheus.get("/api/v1/alerts").headers["date"])
    assert sent.timestamp() == NOW_S
