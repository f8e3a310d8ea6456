"""What kind a metric is of."""

from __future__ import annotations

import pytest

from telemetry_mcp.analysis.signal import Kind, kind_of


@pytest.mark.parametrize(
    ("metric", "unit", "kind"),
    [
        ("availability", "percent", "availability"),
        ("PodSuccessRate(%)", "", "availability"),
        ("error_rate", "percent", "error"),
        ("http_5xx_ratio", "", "error"),
        ("memory_persist_error_ratio", "", "error"),
        ("panic_count", "", "error"),
        ("dynamodb_write_throttle_ratio", "", "error"),
        ("latency_p95", "ms", "latency"),
        ("http_server_duration_p99_ms", "", "latency"),
        ("PodServerLatencyP99(s)", "", "latency"),
        ("db_query_latency_p99_ms", "", "latency"),
        ("queue_oldest_message_age_seconds", "", "latency"),
        ("request_rate", "per_s", "traffic"),
        ("requests Sum", "", "traffic"),
        ("records_enriched_per_min", "", "traffic"),
        ("PodWorkload(Ops)", "", "traffic"),
        ("cpu", "percent", "resource"),
        ("db_cpu_pct", "", "resource"),
        ("container_cpu_cfs_throttled_seconds", "", "resource"),
        ("request_queue_depth", "", "resource"),
        ("memory", "bytes", "resource"),
        ("checkout", "ms", "latency"),
        ("checkout", "per_min", "traffic"),
        ("checkout", "cores", "resource"),
        ("checkout", "", "resource"),
    ],
)
def test_the_kind_is_told_by_the_name_or_else_by_the_unit(metric: str, unit: str, kind: Kind) -> None:
    assert kind_of(metric, unit) == kind
