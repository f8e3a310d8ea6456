"""Compliance, anomalies, incidents, the sources' standing and native queries, over the demo estate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from telemetry_mcp.config import Config
    from telemetry_mcp.demo.emulator import Emulators
    from tests.server.conftest import Ask, OpenDesk

DEMO_SOURCES = ["prometheus", "datadog", "newrelic", "pagerduty"]
PAYMENT = "payment-processor"
DAY_MS = 86_400_000


def digits(value: float, count: int) -> float:
    return float(f"{value:.{count}g}")


def last_day(world: Emulators, service: str, metric: str) -> NDArray[np.float64]:
    """What the estate says every 15 s."""
    times = np.arange(world.clock() - DAY_MS, world.clock(), 15_000, dtype=np.int64)
    return world.estate.values(service, metric, times)


# check_sli_compliance


async def test_compliance_is_the_share_of_the_time_within_the_threshold(ask: Ask, world: Emulators) -> None:
    answer = await ask("check_sli_compliance", service=PAYMENT, metric="latency_p95", threshold=500, objective=99)
    values = last_day(world, PAYMENT, "latency_p95")
    kept = float((values <= 500).mean())
    assert answer["compliance_percentage"] == digits(100 * kept, 6)
    assert answer["status"] == "BREACHED"
    assert answer["error_budget"]["consumed"] == pytest.approx((1 - kept) / 0.01, rel=1e-3)
    (breach,) = answer["violations"]
    assert breach["minutes"] == pytest.approx((1 - kept) * 24 * 60, rel=1e-3)
    assert breach["worst"] == digits(values.max(), 4)


async def test_a_service_that_keeps_its_threshold_is_compliant(ask: Ask) -> None:
    answer = await ask("check_sli_compliance", service="cache-redis", metric="error_rate", threshold=1)
    assert (answer["compliance_percentage"], answer["status"]) == (100, "COMPLIANT")
    assert (answer["violations"], answer["violations_total"]) == ([], 0)
    assert answer["burn_rates"] == {"1h": 0, "6h": 0, "24h": 0}


async def test_a_metric_that_is_bad_below_is_compared_from_above(ask: Ask, world: Emulators) -> None:
    answer = await ask("check_sli_compliance", service="notification-service", metric="availability")
    values = last_day(world, "notification-service", "availability")
    assert (answer["comparison"], answer["threshold"]) == (">=", 99.9)
    assert answer["compliance_percentage"] == digits(100 * float((values >= 99.9).mean()), 6)


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
    paged = [row["title"] for row in answer["incidents"] if row["source"] == "pagerduty"]
    assert paged == [incident.title for incident in reversed(opened)]
    assert len(opened) >= 3
    also = {told.partition(": ")[0] for row in answer["incidents"] for told in row["also"]}
    assert also >= {"prometheus", "newrelic", "datadog"}
    assert answer["total"] == len(answer["incidents"])


async def test_only_open_incidents_are_shown_unless_more_are_asked_for(ask: Ask) -> None:
    answer = await ask("list_incidents")
    assert {row["service"] for row in answer["incidents"]} == {"notification-service"}
    assert {row["resolved"] for row in answer["incidents"]} == {None}
    row = answer.row("incidents", source="pagerduty")
    assert row["status"] == "acknowledged"
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
    assert series["last"] == digits(last_day(world, "cache-redis", "cpu")[-4], 4)


async def test_a_native_query_that_the_backend_refuses_is_told_in_its_own_words(ask: Ask) -> None:
    answer = await ask("query_source", source="prometheus", query="sum(")
    assert answer.is_error
    assert answer.kinds == {"prometheus": "bad_query"}
    assert "parse" in answer["coverage"]["note"]
