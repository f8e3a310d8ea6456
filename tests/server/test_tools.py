"""Every tool over the demo estate: names, shapes, and numbers that are those of the estate.

That an answer keeps to its schema, is its own text and holds no secret, the desk makes sure of at every call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

from telemetry_mcp.demo.topology import MEMBERS

if TYPE_CHECKING:
    from tests.server.conftest import Ask, Desk, OpenDesk

    from telemetry_mcp.config import Config
    from telemetry_mcp.demo.emulator import Emulators

FIRST_PARAMETERS = {
    "list_services": ("query", "environment", "team"),
    "get_current_metrics": ("service", "metrics"),
    "query_historical_metrics": (
        *("service", "metric_type", "hours", "start", "end", "step"),
        *("max_points", "compare_to"),
    ),
    "check_sli_compliance": (
        *("service", "metric", "threshold", "time_window_hours"),
        *("objective", "comparison", "slo"),
    ),
    "detect_anomalies": ("service", "metric", "sensitivity", "hours"),
    "list_incidents": ("service", "status", "since"),
    "list_sources": (),
    "query_source": ("source", "query", "hours", "start", "end", "step"),
}
EXAMPLES: dict[str, dict[str, Any]] = {
    "list_services": {},
    "get_current_metrics": {"service": "payment-processor"},
    "query_historical_metrics": {"service": "payment-processor", "metric_type": "cpu"},
    "check_sli_compliance": {"service": "payment-processor", "metric": "latency_p95", "threshold": 500},
    "detect_anomalies": {"service": "payment-processor"},
    "list_incidents": {},
    "query_source": {"source": "prometheus", "query": "up"},
}
MUST_STAY = {
    "list_services": {"services"},
    "get_current_metrics": {"service", "timestamp", "metrics", "status", "readings"},
    "query_historical_metrics": {"statistics", "series", "per_source"},
    "check_sli_compliance": {"compliance_percentage", "status", "error_budget", "burn_rates", "violations"},
    "detect_anomalies": {"anomalies_detected", "anomalies", "baseline"},
    "list_incidents": {"incidents"},
    "query_source": {"series"},
}
ENVELOPE = {"window", "sources", "coverage", "warnings"}
DEMO_SOURCES = ["prometheus", "datadog", "newrelic", "pagerduty"]
PAYMENT = "payment-processor"
DAY_MS = 86_400_000


def four(value: float, digits: int = 4) -> float:
    return float(f"{value:.{digits}g}")


def truth(world: Emulators, service: str, metric: str, start_ms: int, end_ms: int, step_s: int) -> Any:
    times: NDArray[np.int64] = np.arange(start_ms, end_ms, step_s * 1000, dtype=np.int64)
    return world.estate.values(service, metric, times)


def now(world: Emulators, service: str, metric: str) -> float:
    return four(truth(world, service, metric, world.clock() - 1, world.clock(), 1)[0])


# What clients rely on


async def test_tools_have_the_names_and_parameters_of_the_contract(desk: Desk) -> None:
    properties = {name: tuple(tool.input_schema.get("properties", {})) for name, tool in desk.tools.items()}
    leading = {name: properties[name][: len(first)] for name, first in FIRST_PARAMETERS.items()}
    assert leading == FIRST_PARAMETERS
    assert list(properties) == list(FIRST_PARAMETERS)


async def test_tools_are_read_only_and_described(desk: Desk) -> None:
    assert all(tool.annotations and tool.annotations.read_only_hint for tool in desk.tools.values())
    assert all(tool.description and tool.title and tool.output_schema for tool in desk.tools.values())


@pytest.mark.parametrize("tool", EXAMPLES)
async def test_an_answer_has_its_fields_and_all_sources_in_its_ledger(ask: Ask, tool: str) -> None:
    answer = await ask(tool, **EXAMPLES[tool])
    assert not answer.is_error
    assert answer.fields.keys() >= MUST_STAY[tool] | ENVELOPE
    asked = ["prometheus"] if tool == "query_source" else DEMO_SOURCES
    assert list(answer.ledger) == asked
    assert {line["status"] for line in answer.ledger.values()} <= {"ok", "skipped"}
    assert answer["coverage"]["complete"] is True
    assert answer["coverage"]["asked"] == sum(line["status"] == "ok" for line in answer.ledger.values())


async def test_a_source_that_cannot_answer_is_in_the_ledger_as_skipped(ask: Ask) -> None:
    answer = await ask("list_incidents")
    assert answer.ledger["prometheus"]["status"] == "skipped"
    assert answer.ledger["prometheus"]["error"]["kind"] == "unsupported"
    assert answer.ledger["pagerduty"]["status"] == "ok"


# list_services


@pytest.mark.parametrize("metric", ["cpu", "memory", "error_rate"])
async def test_services_show_the_readings_of_the_estate(ask: Ask, world: Emulators, metric: str) -> None:
    answer = await ask("list_services")
    shown = {row["name"]: row[metric] for row in answer["services"]}
    assert shown == {name: now(world, name, metric) for name in MEMBERS}


async def test_a_failing_service_is_listed_with_its_team_status_and_open_incident(ask: Ask) -> None:
    answer = await ask("list_services")
    failing = answer.row("services", name="notification-service")
    assert (failing["status"], failing["team"], failing["open_incidents"]) == ("WARNING", "messaging", 1)
    assert failing["environment"] == "production"
    assert failing["sources"] == DEMO_SOURCES
    assert {row["status"] for row in answer["services"] if row is not failing} >= {"OK"}
    assert sum(row["open_incidents"] for row in answer["services"]) == 1


async def test_services_narrow_by_name_team_and_environment(ask: Ask) -> None:
    by_name = await ask("list_services", query="DATABASE")
    by_team = await ask("list_services", team="identity")
    both = await ask("list_services", team="identity", environment="production", query="user")
    assert [row["name"] for row in by_name["services"]] == ["database-primary", "database-replica"]
    assert [row["name"] for row in by_team["services"]] == ["auth-service", "user-service"]
    assert [row["name"] for row in both["services"]] == ["user-service"]
    assert both["total"] == 1


# get_current_metrics


async def test_current_metrics_are_those_of_the_estate_in_the_units_of_the_catalog(
    ask: Ask, world: Emulators
) -> None:
    answer = await ask("get_current_metrics", service=PAYMENT)
    wanted = {
        "cpu_percent": "cpu",
        "memory_percent": "memory",
        "error_rate": "error_rate",
        "request_rate": "request_rate",
        "latency_p50_ms": "latency_p50",
        "latency_p95_ms": "latency_p95",
        "latency_p99_ms": "latency_p99",
        "availability_percent": "availability",
    }
    assert answer["metrics"] == {key: now(world, PAYMENT, metric) for key, metric in wanted.items()}
    assert answer["service"] == PAYMENT
    assert answer["timestamp"] == "2026-02-16T14:59:59.999Z"
    assert answer["missing"] == []


async def test_cpu_is_shown_from_prometheus_with_datadog_and_the_difference_beside_it(ask: Ask) -> None:
    answer = await ask("get_current_metrics", service=PAYMENT, metrics=["cpu"])
    reading = answer.row("readings", metric="cpu")
    (beside,) = reading["others"]
    assert reading["source"] == "prometheus"
    assert beside["source"] == "datadog"
    assert beside["value"] != reading["value"]
    assert beside["difference"] == pytest.approx(beside["value"] - reading["value"], abs=0.01)
    assert beside["agreement"] == "agree"
    assert "service_cpu_percent" in answer.ledger["prometheus"]["query"]
    assert "system.cpu.total" in answer.ledger["datadog"]["query"]


@pytest.mark.parametrize(
    ("metric", "value", "limits", "status"),
    [("error_rate", 3.64, (1, 5), "WARNING"), ("cpu", 26.6, (75, 90), "OK")],
)
async def test_status_follows_the_limits_of_the_catalog(
    ask: Ask, metric: str, value: float, limits: tuple[float, float], status: str
) -> None:
    answer = await ask("get_current_metrics", service="notification-service", metrics=[metric])
    reading = answer.row("readings", metric=metric)
    assert reading["value"] == pytest.approx(value, rel=0.01)
    assert (reading["value"] >= limits[0], reading["value"] >= limits[1]) == (status == "WARNING", False)
    assert answer["status"] == reading["status"] == status


async def test_a_metric_without_data_is_null_and_named_as_missing(open_desk: OpenDesk, config: Config) -> None:
    config.sources = [source for source in config.sources if source.name != "prometheus"]
    desk = await open_desk(config)
    answer = await desk.ask("get_current_metrics", service="cache-redis", metrics=["error_rate", "cpu"])
    assert answer["metrics"]["error_rate"] is None
    assert answer["metrics"]["cpu_percent"] > 0
    assert answer["missing"] == ["error_rate"]
    assert answer.ledger["newrelic"]["status"] == "no_data"
    assert not answer.is_error


# query_historical_metrics


@pytest.mark.parametrize("metric", ["cpu", "error_rate", "latency_p95", "availability"])
async def test_history_is_the_estates_own_for_the_window_that_was_asked(
    ask: Ask, world: Emulators, metric: str
) -> None:
    start, end = world.clock() - 26 * 3_600_000, world.clock() - 23 * 3_600_000
    answer = await ask(
        "query_historical_metrics",
        service=PAYMENT,
        metric_type=metric,
        start="2026-02-15T13:00:00Z",
        end="2026-02-15T16:00:00Z",
        step="1m",
        max_points=2000,
    )
    values = truth(world, PAYMENT, metric, start, end, 60)
    assert answer["window"] == {"start": "2026-02-15T13:00:00Z", "end": "2026-02-15T16:00:00Z", "step_s": 60}
    assert (answer["series"]["start"], answer["series"]["step_s"]) == ("2026-02-15T13:00:00Z", 60)
    assert answer["series"]["values"] == [four(value) for value in values]
    said = answer["statistics"]
    assert (said["count"], said["missing"]) == (180, 0)
    assert (said["min"], said["max"], said["mean"], said["last"]) == tuple(
        four(value) for value in (values.min(), values.max(), values.mean(), values[-1])
    )
    assert [said[name] for name in ("p50", "p95", "p99")] == pytest.approx(
        list(np.percentile(values, [50, 95, 99])), rel=0.01
    )


@pytest.mark.parametrize(
    ("metric", "native", "factor"),
    [
        ("latency_p95", 'avg(service_latency_seconds{service="payment-processor",quantile="0.95"})', 1000),
        ("error_rate", 'avg(service_error_ratio{service="payment-processor"})', 100),
    ],
)
async def test_a_backends_own_unit_is_converted_to_the_catalogs(
    ask: Ask, metric: str, native: str, factor: float
) -> None:
    ours = await ask(
        "query_historical_metrics", service=PAYMENT, metric_type=metric, hours=1, step="1m", max_points=10
    )
    theirs = await ask("query_source", source="prometheus", query=native, hours=1, step="1m")
    assert ours["unit"] == {1000: "ms", 100: "percent"}[factor]
    (series,) = theirs["series"]
    assert ours["statistics"]["last"] == pytest.approx(factor * series["last"], rel=1e-3)
    assert ours["statistics"]["max"] == pytest.approx(factor * max(series["points"]["values"]), rel=1e-3)


async def test_history_names_each_sources_share_and_how_far_they_are_apart(ask: Ask) -> None:
    answer = await ask("query_historical_metrics", service=PAYMENT, metric_type="cpu")
    owner, other = answer["per_source"]
    assert (owner["source"], owner["samples"], owner["step_s"]) == ("prometheus", 1440, 60)
    assert (owner["difference"], owner["agreement"]) == (None, None)
    assert (other["source"], other["step_s"], other["agreement"]) == ("datadog", 300, "agree")
    assert 0 < abs(other["difference"]) < 1
    assert any("datadog" in warning and "300 s" in warning for warning in answer["warnings"])


async def test_a_spike_survives_the_thinning(ask: Ask, world: Emulators) -> None:
    window = {"start": "2026-02-09T00:00:00Z", "end": "2026-02-16T00:00:00Z"}
    answer = await ask(
        "query_historical_metrics", service=PAYMENT, metric_type="error_rate", max_points=12, **window
    )
    series, said = answer["series"], answer["statistics"]
    assert len(series["values"]) == series["returned_points"] <= 12 < series["source_points"]
    assert series["method"] == "min-max"
    assert max(series["values"]) == said["max"] > 30
    assert min(series["values"]) == said["min"]


@pytest.mark.parametrize("points", [10, 60, 500])
async def test_no_more_points_come_back_than_were_asked_for(ask: Ask, points: int) -> None:
    answer = await ask("query_historical_metrics", service=PAYMENT, metric_type="cpu", max_points=points)
    assert points / 2 < len(answer["series"]["values"]) <= points


@pytest.mark.parametrize(("compare_to", "back_h"), [("previous", 6), ("1d", 24), ("7d", 168)])
async def test_a_comparison_is_the_same_window_so_long_before(
    ask: Ask, world: Emulators, compare_to: str, back_h: int
) -> None:
    answer = await ask(
        "query_historical_metrics", service=PAYMENT, metric_type="cpu", hours=6, compare_to=compare_to
    )
    step_s = round(answer["window"]["step_s"])
    start, end = world.clock() - 6 * 3_600_000, world.clock()
    shift = back_h * 3_600_000
    recent = truth(world, PAYMENT, "cpu", start, end, step_s)
    before = truth(world, PAYMENT, "cpu", start - shift, end - shift, step_s)
    assert answer["comparison"]["mean"] == four(before.mean())
    assert answer["comparison"]["mean_change"] == pytest.approx(recent.mean() / before.mean() - 1, rel=1e-3)
    assert answer["statistics"]["mean"] == four(recent.mean())


# check_sli_compliance


async def test_compliance_is_the_share_of_the_time_within_the_threshold(ask: Ask, world: Emulators) -> None:
    answer = await ask("check_sli_compliance", service=PAYMENT, metric="latency_p95", threshold=500)
    values = truth(world, PAYMENT, "latency_p95", world.clock() - DAY_MS, world.clock(), 15)
    kept = float((values <= 500).mean())
    assert answer["compliance_percentage"] == four(100 * kept, 6)
    assert answer["status"] == "BREACHED"
    assert answer["error_budget"]["consumed"] == pytest.approx((1 - kept) / 0.01, rel=1e-3)
    (breach,) = answer["violations"]
    assert breach["minutes"] == pytest.approx((1 - kept) * 24 * 60, rel=1e-3)
    assert breach["worst"] == four(values.max())


async def test_a_service_that_keeps_its_threshold_is_compliant(ask: Ask) -> None:
    answer = await ask("check_sli_compliance", service="cache-redis", metric="error_rate", threshold=1)
    assert (answer["compliance_percentage"], answer["status"]) == (100, "COMPLIANT")
    assert (answer["violations"], answer["violations_total"]) == ([], 0)
    assert answer["burn_rates"] == {"1h": 0, "6h": 0, "24h": 0}


async def test_a_metric_that_is_bad_below_is_compared_from_above(ask: Ask, world: Emulators) -> None:
    answer = await ask("check_sli_compliance", service="notification-service", metric="availability")
    values = truth(world, "notification-service", "availability", world.clock() - DAY_MS, world.clock(), 15)
    assert (answer["comparison"], answer["threshold"]) == (">=", 99.9)
    assert answer["compliance_percentage"] == four(100 * float((values >= 99.9).mean()), 6)


async def test_compliance_without_data_is_unknown_and_not_a_percentage(
    open_desk: OpenDesk, config: Config
) -> None:
    config.sources = [source for source in config.sources if source.name != "prometheus"]
    desk = await open_desk(config)
    answer = await desk.ask("check_sli_compliance", service="cache-redis", metric="error_rate")
    assert (answer["compliance_percentage"], answer["status"]) == (None, "UNKNOWN")
    assert answer["data_coverage"] == 0


# detect_anomalies


async def test_the_incident_of_yesterday_is_found_by_both_sources_that_saw_it(ask: Ask) -> None:
    answer = await ask("detect_anomalies", service=PAYMENT, metric="error_rate", hours=48)
    strongest = answer["anomalies"][0]
    assert answer["anomalies_detected"] == len(answer["anomalies"]) >= 1
    assert "2026-02-15T14:05:00Z" <= strongest["start"] <= "2026-02-15T14:25:00Z"
    assert "2026-02-15T15:15:00Z" <= strongest["end"] <= "2026-02-15T15:30:00Z"
    assert (strongest["direction"], strongest["severity"], strongest["ongoing"]) == ("up", "high", False)
    assert strongest["sources"] == ["prometheus", "newrelic"]
    assert strongest["value"] > 30 > 1 > strongest["expected"]


async def test_what_goes_on_is_found_among_all_services_and_metrics(ask: Ask) -> None:
    answer = await ask("detect_anomalies")
    ongoing = [found for found in answer["anomalies"] if found["ongoing"]]
    assert {found["service"] for found in ongoing} == {"notification-service"}
    assert {found["metric"] for found in ongoing} >= {"error_rate", "availability"}


async def test_a_quiet_metric_has_no_anomalies(ask: Ask) -> None:
    answer = await ask("detect_anomalies", service="database-replica", metric="cpu", hours=24)
    assert (answer["anomalies_detected"], answer["anomalies"]) == (0, [])
    assert answer["baseline"]["series_judged"] == 1


# list_incidents


async def test_incidents_are_those_of_the_estate(ask: Ask, world: Emulators) -> None:
    answer = await ask("list_incidents", status="all", since="7d")
    opened = world.estate.incidents(world.clock() - 7 * DAY_MS, world.clock())
    assert [row["title"] for row in answer["incidents"]] == [incident.title for incident in reversed(opened)]
    assert {row["source"] for row in answer["incidents"]} == {"pagerduty"}
    assert answer["total"] == len(opened) >= 3


async def test_only_open_incidents_are_shown_unless_more_are_asked_for(ask: Ask) -> None:
    (row,) = (await ask("list_incidents"))["incidents"]
    assert (row["service"], row["status"], row["resolved"]) == ("notification-service", "acknowledged", None)
    assert row["opened"] == "2026-02-16T14:25:00Z"
    assert (await ask("list_incidents", service=PAYMENT))["incidents"] == []
    resolved = (await ask("list_incidents", service=PAYMENT, status="resolved"))["incidents"]
    assert {row["service"] for row in resolved} == {PAYMENT}


# list_sources, query_source


async def test_sources_say_what_they_can_do(ask: Ask) -> None:
    answer = await ask("list_sources")
    assert [row["name"] for row in answer["sources"]] == DEMO_SOURCES
    assert (answer["ready"], answer["total"]) == (4, 4)
    assert answer.row("sources", name="prometheus")["native"] == "PromQL"
    assert answer.row("sources", name="datadog")["native"] is None
    assert "incidents" in answer.row("sources", name="pagerduty")["capabilities"]
    assert answer.row("sources", name="newrelic")["breaker"]["state"] == "closed"


async def test_a_native_query_runs_where_it_is_allowed(ask: Ask, world: Emulators) -> None:
    query = 'avg by (service) (service_cpu_percent{service="cache-redis"})'
    answer = await ask("query_source", source="prometheus", query=query, hours=1, step="1m")
    (series,) = answer["series"]
    assert series["labels"] == {"service": "cache-redis"}
    assert series["last"] == four(truth(world, "cache-redis", "cpu", world.clock() - 60_000, world.clock(), 60)[0])


async def test_a_native_query_that_the_backend_refuses_is_told_in_its_own_words(ask: Ask) -> None:
    answer = await ask("query_source", source="prometheus", query="sum(")
    assert answer.is_error
    assert answer.kinds == {"prometheus": "bad_query"}
    assert "parse" in answer["coverage"]["note"]
