"""New Relic's presets: the vendor's own definitions where it has any, and every one a query that can be sent."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from telemetry_mcp import MetricQuery, Window
from telemetry_mcp.catalog import BUILT_IN
from telemetry_mcp.config import FILE_NAME, read
from telemetry_mcp.registry import load
from telemetry_mcp.unit import factor
from telemetry_mcp_newrelic.preset import PRESETS
from telemetry_mcp_newrelic.query import Buckets, attribute_of, render

CASES = Path(__file__).parents[3] / "shared" / "wire" / "newrelic"
BUCKETS = Buckets(Window(1_700_000_040_000, 1_700_000_640_000), 60_000)
METRICS = [(preset, name, table) for preset, metrics in PRESETS.items() for name, table in metrics.items()]


def definitions(file: str) -> str:
    path = CASES / file
    if not path.is_file():
        pytest.skip("the vendor's definitions are not beside the repository")
    return path.read_text()


def defined(text: str, metric: str) -> dict[str, str]:
    """The first query of a golden metric: what is kept under `select:`, `from:`, `where:` and `eventName:`."""
    block = re.split(r"^(?=\w)", text, flags=re.MULTILINE)
    (found,) = [each for each in block if each.startswith(f"{metric}:")]
    pairs = re.findall(r"^\s*(select|from|where|eventName|unit): (.+?)\s*$", found, re.MULTILINE)
    return dict(reversed(pairs))


@pytest.mark.parametrize(
    ("file", "golden", "preset", "metric"),
    [
        ("apm-application_golden_metrics.yml", "throughput", "apm", "request_rate"),
        ("apm-application_golden_metrics.yml", "errorRate", "apm", "error_rate"),
        ("infra-host_golden_metrics.yml", "cpuUsage", "host", "cpu"),
        ("infra-host_golden_metrics.yml", "memoryUsage", "host", "memory"),
        ("infra-host_golden_metrics.yml", "storageUsage", "host", "disk"),
        ("infra-host_golden_metrics.yml", "networkTrafficTx", "infrastructure", "network_transmit"),
        ("infra-host_golden_metrics.yml", "networkTrafficRx", "infrastructure", "network_receive"),
    ],
)
def test_a_golden_metric_is_asked_as_the_vendor_defines_it(
    file: str, golden: str, preset: str, metric: str
) -> None:
    vendors, ours = defined(definitions(file), golden), PRESETS[preset][metric]
    # The vendor leaves out the events of an application's metrics: timeslices are in Metric.
    event = vendors.get("from", "Metric")
    assert ours["query"].startswith(f"SELECT {vendors['select']} FROM {event} WHERE ")
    assert ours["query"].endswith(f"{vendors['eventName']} IN ($service) FACET {vendors['eventName']}")
    units = {"REQUESTS_PER_MINUTE": "per_min", "PERCENTAGE": "percent", "BYTES_PER_SECOND": "bytes_per_s"}
    assert units[vendors["unit"]] == ours["unit"]


@pytest.mark.parametrize(("preset", "name", "table"), METRICS)
def test_every_metric_of_a_preset_is_in_the_catalog_and_can_be_sent(
    preset: str, name: str, table: dict[str, Any]
) -> None:
    assert factor(table["unit"], BUILT_IN[name].unit) is not None
    metric = MetricQuery.model_validate(table)
    attribute = attribute_of(metric, "")
    for services, condition in ((("a'b",), r"IN ('a\'b')"), ((), "IS NOT NULL")):
        text = render(metric, services, BUCKETS)
        assert f"{attribute} {condition} FACET {attribute} SINCE 1700000040000 UNTIL " in text
        assert text.endswith(" TIMESERIES 60 seconds LIMIT MAX")


FIVE_LINES = """
[sources.nr]
plugin = "newrelic"
api_key = "NRAK-1"
account_id = 7
"""


@pytest.mark.parametrize(
    ("more", "metrics"),
    [
        ("", set(PRESETS["apm"])),
        ('preset = ["host"]', set(PRESETS["host"])),
        ('preset = ["apm", "infrastructure"]', {*PRESETS["apm"], *PRESETS["host"]}),
        ('[sources.nr.metrics]\ncpu = "SELECT average(x) FROM Y FACET appName"', {"cpu"}),
    ],
)
async def test_five_lines_of_configuration_have_the_golden_signals(
    tmp_path: Path, more: str, metrics: set[str]
) -> None:
    path = tmp_path / FILE_NAME
    path.write_text(FIVE_LINES + more)
    registry = load(read(path, {}))
    (instance,) = registry.instances
    assert set(instance.source.metrics() or ()) == metrics
    await registry.close()
