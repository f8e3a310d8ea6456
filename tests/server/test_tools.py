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
    from telemetry_mcp.config import Config
    from telemetry_mcp.demo.emulator import Emulators
    from tests.server.conftest import Ask, Desk, OpenDesk

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
    "list_changes": ("service", "hours"),
    "investigate_incident": ("incident_id", "service", "start", "symptom", "lookback", "guard"),
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
    "list_changes": {},
    "investigate_incident": {"service": "notification-service", "start": "now-40m"},
    "query_source": {"source": "prometheus", "query": "up"},
}
OF_CHANGES = {"list_changes", "investigate_incident"}
"""PagerDuty keeps changes for 90 days, and the moment of these tests is longer ago."""
MUST_STAY = {
    "list_services": {"services"},
    "get_current_metrics": {"service", "timestamp", "metrics", "status", "readings"},
    "query_historical_metrics": {"statistics", "series", "per_source"},
    "check_sli_compliance": {"compliance_percentage", "status", "error_budget", "burn_rates", "violations"},
    "detect_anomalies": {"anomalies_detected", "anomalies", "baseline"},
    "list_incidents": {"incidents"},
    "list_changes": {"changes"},
    "investigate_incident": {"incident", "summary", "suspects", "timeline", "changes", "on_call", "not_examined"},
    "query_source": {"series"},
}
ENVELOPE = {"window", "sources", "coverage", "warnings"}
DEMO_SOURCES = ["prometheus", "datadog", "newrelic", "pagerduty"]
PAYMENT = "payment-processor"


def four(value: float) -> float:
    return float(f"{value:.4g}")


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
    statuses = {name: line["status"] for name, line in answer.ledger.items()}
    if tool in OF_CHANGES:
        assert statuses.pop("pagerduty") == "partial"
    assert set(statuses.values()) <= {"ok", "skipped"}
    assert answer["coverage"]["complete"] is (tool not in OF_CHANGES)


async def test_a_source_that_cannot_answer_is_in_the_ledger_as_skipped(ask: Ask) -> None:
    answer = await ask("get_current_metrics", service="payment-processor")
    assert answer.ledger["pagerduty"]["status"] == "skipped"
    assert answer.ledger["pagerduty"]["error"]["kind"] == "unsupported"
    assert answer.ledger["prometheus"]["status"] == "ok"


# list_services


@pytest.mark.parametrize("metric", ["cpu", "memory", "error_rate"])
async def test_services_show_the_readings_of_the_estate(ask: Ask, world: Emulators, metric: str) -> None:
    answer = await ask("list_services")
    shown = {row["name"]: row[metric] for row in answer["services"]}
    assert shown == {name: now(world, name, metric) for name in MEMBERS}


async def test_a_failing_service_is_listed_with_its_team_status_and_open_incident(ask: Ask) -> None:
    answer = await ask("list_services")
    failing = answer.row("services", name="notification-service")
    assert (failing["status"], failing["team"], failing["open_incidents"]) == ("CRITICAL", "messaging", 1)
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
    ("metric", "native", "factor", "unit"),
    [
        ("latency_p95", 'avg(service_latency_seconds{service="payment-processor",quantile="0.95"})', 1000, "ms"),
        ("error_rate", 'avg(service_error_ratio{service="payment-processor"})', 100, "percent"),
    ],
)
async def test_a_backends_own_unit_is_converted_to_the_catalogs(
    ask: Ask, metric: str, native: str, factor: float, unit: str
) -> None:
    ours = await ask(
        "query_historical_metrics", service=PAYMENT, metric_type=metric, hours=1, step="1m", max_points=10
    )
    theirs = await ask("query_source", source="prometheus", query=native, hours=1, step="1m")
    assert ours["unit"] == unit
    (series,) = theirs["series"]
    assert ours["statistics"]["last"] == pytest.approx(factor * series["last"], rel=1e-3)
    assert ours["statistics"]["max"] == pytest.approx(factor * max(series["points"]["values"]), rel=1e-3)


async def test_history_names_each_sources_share_and_how_far_they_are_apart(ask: Ask) -> None:
    answer = await ask("query_historical_metrics", service=PAYMENT, metric_type="cpu")
    owner, other = answer["per_source"]
    assert (owner["source"], owner["samples"], owner["step_s"]) == ("prometheus", 1440, 60)
    assert {"difference", "agreement", "points"}.isdisjoint(owner)
    assert (other["source"], other["step_s"], other["agreement"]) == ("datadog", 300, "agree")
    assert 0 < abs(other["difference"]) < 1
    assert any("datadog" in warning and "300 s" in warning for warning in answer["warnings"])


async def test_each_sources_points_come_on_request_on_its_own_grid(ask: Ask) -> None:
    answer = await ask("query_historical_metrics", service=PAYMENT, metric_type="cpu", per_source=True)
    owner, other = answer["per_source"]
    assert owner["points"] == answer["series"]
    assert other["points"]["step_s"] * other["points"]["returned_points"] == pytest.approx(86_400, rel=0.05)
    assert max(other["points"]["values"]) == pytest.approx(answer["statistics"]["max"], rel=0.1)


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
