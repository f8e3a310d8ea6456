"""The resources, what a bad name gets, and the completion of their arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from mcp import MCPError
from mcp.types import PromptReference, ResourceTemplateReference

from telemetry_mcp.demo.fault import Fault
from telemetry_mcp.demo.topology import MEMBERS
from telemetry_mcp.objective.setting import Objective

if TYPE_CHECKING:
    from telemetry_mcp.config import Config
    from telemetry_mcp.demo.emulator import Emulators
    from tests.server.conftest import Desk, OpenDesk

TEMPLATE = "telemetry://services/{service}/metrics/{metric}{?hours}"
OF_METRIC = ResourceTemplateReference(type="ref/resource", uri=TEMPLATE)


async def test_the_resources_of_the_contract_are_listed(desk: Desk) -> None:
    listed = (await desk.client.list_resources()).resources
    templates = (await desk.client.list_resource_templates()).resource_templates
    assert {str(resource.uri) for resource in listed} == {
        *("telemetry://sli-report", "telemetry://sources", "telemetry://catalog"),
    }
    assert [template.uri_template for template in templates] == [TEMPLATE]
    assert all(resource.description and resource.mime_type == "application/json" for resource in listed)


async def test_a_metric_of_a_service_reads_like_its_history(desk: Desk) -> None:
    read = await desk.read("telemetry://services/payment-processor/metrics/cpu?hours=6")
    told = await desk.ask("query_historical_metrics", service="payment-processor", metric_type="cpu", hours=6)
    assert (read["statistics"], read["series"]) == (told["statistics"], told["series"])
    an_hour = await desk.read("telemetry://services/payment-processor/metrics/latency")
    assert an_hour["metric"] == "latency_p95"
    assert an_hour["window"]["start"] == "2026-02-16T14:00:00Z"


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("services/payment-procesor/metrics/cpu", "did you mean 'payment-processor'? Valid: api-gateway"),
        ("services/payment-processor/metrics/cpuu", "did you mean 'cpu'? Valid: apdex, availability"),
        ("services/payment-processor/metrics/cpu?hours=many", "hours='many' is not a number"),
        ("services/payment-processor/metrics/cpu?hours=0", "hours=0 must be a number greater than 0"),
        ("services/payment-processor/metrics/cpu?hours=nan", "hours=nan must be"),
        ("services/payment-processor/metrics/cpu?hours=1e308", "look-back of 90 days"),
        ("services/payment-processor/metrics/cpu?hours=1e-9", "the window is shorter than a second"),
        (f"services/payment-processor/metrics/cpu?hours={'9' * 400}", "hours=inf must be"),
        (f"services/payment-processor/metrics/cpu?hours={'x' * 400}", f"hours='{'x' * 79}…' is not a number"),
        (f"services/payment-processor/metrics/{'x' * 400}", f"no metric is called '{'x' * 79}…'"),
        (f"services/{'x' * 301}/metrics/cpu", "name is longer than 300 characters"),
        ("services/a%2Fb/metrics/cpu", "no service is called 'a/b'"),
        ("services/..%2F..%2Fetc/metrics/cpu", ""),
        ("nothing", ""),
    ],
)
async def test_a_bad_address_is_refused_in_a_sentence(desk: Desk, uri: str, says: str) -> None:
    with pytest.raises(MCPError) as refused:
        await desk.client.read_resource(f"telemetry://{uri}")
    assert says in refused.value.message
    assert "Traceback" not in refused.value.message


async def test_sources_and_catalog_say_what_there_is(desk: Desk) -> None:
    catalog = await desk.read("telemetry://catalog")
    sources = await desk.read("telemetry://sources")
    cpu = next(metric for metric in catalog["metrics"] if metric["name"] == "cpu")
    assert sources == (await desk.ask("list_sources")).fields
    assert catalog["services"] == sorted(MEMBERS)
    assert (cpu["key"], cpu["unit"], cpu["sources"]) == ("cpu_percent", "percent", ["prometheus", "datadog"])
    assert catalog["coverage"]["complete"] is True


async def test_without_objectives_the_report_judges_every_service_by_the_catalogs_limits(
    open_desk: OpenDesk, config: Config
) -> None:
    config.objectives.clear()
    report = await (await open_desk(config)).read("telemetry://sli-report")
    judged = {(row["service"], row["metric"]) for row in report["objectives"]}
    metrics = ("availability", "error_rate", "latency_p95")
    assert judged == {(service, metric) for service in MEMBERS for metric in metrics}
    counts = [report[name] for name in ("compliant", "at_risk", "breached", "unknown")]
    assert sum(counts) == len(report["objectives"])
    order = [row["status"] for row in report["objectives"]]
    assert order == sorted(order, key=["BREACHED", "AT_RISK", "UNKNOWN", "COMPLIANT"].index)


async def test_a_configured_objective_is_reported_as_the_tool_judges_it(
    open_desk: OpenDesk, config: Config
) -> None:
    slo = Objective(service="payment-processor", metric="latency_p95", threshold=500, objective=99, window=86_400)
    config.objectives = {"checkout": slo}
    desk = await open_desk(config)
    (row,) = (await desk.read("telemetry://sli-report"))["objectives"]
    told = await desk.ask("check_sli_compliance", slo="checkout")
    assert (row["slo"], row["window_hours"], row["status"]) == ("checkout", 24, "BREACHED")
    assert row["compliance_percentage"] == told["compliance_percentage"] < 99
    assert row["trend"] == pytest.approx(row["compliance_percentage"] - row["previous_percentage"], abs=1e-3)


async def test_the_report_says_what_it_does_not_know(
    open_desk: OpenDesk, config: Config, world: Emulators
) -> None:
    config.objectives.clear()
    desk = await open_desk(config)
    for vendor in ("prometheus", "datadog"):
        world.faults[vendor].set("/", Fault("status", code=503))
    report = await desk.read("telemetry://sli-report")
    unknown = {row["service"] for row in report["objectives"] if row["status"] == "UNKNOWN"}
    assert unknown >= {"cache-redis", "database-primary", "database-replica"}
    assert "prometheus" in report["coverage"]["note"]


@pytest.mark.parametrize(
    ("argument", "typed", "values"),
    [
        ("service", "database", ["database-primary", "database-replica"]),
        ("service", "CACHE", ["cache-redis"]),
        # Names that begin with what was typed, then names that contain it
        ("service", "p", ["payment-processor", "api-gateway", "database-primary", "database-replica"]),
        ("metric", "lat", ["latency_p50", "latency_p95", "latency_p99"]),
        ("metric", "r", ["request_rate", "error_rate", "memory"]),
        ("source", "d", ["datadog", "pagerduty"]),
        ("service", "nothing-like-it", []),
        ("hours", "1", []),
    ],
)
async def test_arguments_are_completed(desk: Desk, argument: str, typed: str, values: list[str]) -> None:
    found = await desk.client.complete(OF_METRIC, {"name": argument, "value": typed})
    assert found.completion.values == values


async def test_nothing_is_completed_for_what_does_not_exist(desk: Desk) -> None:
    reference = PromptReference(type="ref/prompt", name="none")
    found = await desk.client.complete(reference, {"name": "anything", "value": ""})
    assert found.completion.values == []
