"""Queries for the common metrics. Those that the vendor calls golden are its own definitions (entity-definitions).

A golden response time is an average, `latency_avg`; the percentiles are of the raw events.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Metrics = Mapping[str, Any]


def asked(select: str, event: str, attribute: str, where: str = "", unit: str = "percent") -> dict[str, str]:
    """One metric by the attribute that names its service."""
    also = f"({where}) AND " if where else ""
    query = f"SELECT {select} FROM {event} WHERE {also}{attribute} IN ($service) FACET {attribute}"
    return {"query": query, "unit": unit}


def latencies(column: str, event: str, attribute: str, where: str = "", unit: str = "s") -> Metrics:
    return {
        f"latency_p{part}": asked(f"percentile({column}, {part})", event, attribute, where, unit)
        for part in (50, 95, 99)
    }


APM: Metrics = {
    "request_rate": asked(
        "rate(count(apm.service.transaction.duration), 1 minute) AS 'Throughput'",
        "Metric",
        "appName",
        "",
        "per_min",
    ),
    "error_rate": asked(
        "(count(apm.service.error.count) / count(apm.service.transaction.duration)) * 100 AS 'Error %'",
        "Metric",
        "appName",
    ),
    "latency_avg": asked(
        "average(apm.service.transaction.duration) * 1000 AS 'Response time (ms)'", "Metric", "appName", "", "ms"
    ),
    "availability": asked("percentage(count(*), WHERE error IS false)", "Transaction", "appName"),
    "apdex": asked("apdex(apm.service.apdex)", "Metric", "appName", "", "ratio"),
    **latencies("duration", "Transaction", "appName"),
}

SERVED = "http.server.duration IS NOT NULL OR http.server.request.duration IS NOT NULL"
FAILED = "numeric(http.status_code) >= 500 OR numeric(http.response.status_code) >= 500"
OTEL: Metrics = {
    "request_rate": asked(
        "rate(count(%.server%duration), 1 minute)",
        "Metric",
        "entity.name",
        f"{SERVED} OR rpc.server.duration IS NOT NULL",
        "per_min",
    ),
    "error_rate": asked(
        f"filter(count(%.server%duration), WHERE {FAILED}) * 100 / count(%.server%duration)",
        "Metric",
        "entity.name",
        SERVED,
    ),
    "availability": asked(
        "percentage(count(*), WHERE otel.status_code != 'ERROR' OR otel.status_code IS NULL)",
        "Span",
        "entity.name",
        "span.kind = 'server'",
    ),
    "latency_avg": asked("average(duration.ms)", "Span", "entity.name", "span.kind = 'server'", "ms"),
    **latencies("duration.ms", "Span", "entity.name", "span.kind = 'server'", "ms"),
}

HOST: Metrics = {
    "cpu": asked("average(cpuPercent)", "SystemSample", "entityName"),
    "memory": asked("average(memoryUsedPercent)", "SystemSample", "entityName"),
    "disk": asked("average(diskUsedPercent)", "StorageSample", "entityName"),
    "network_receive": asked("average(receiveBytesPerSecond)", "NetworkSample", "entityName", "", "bytes_per_s"),
    "network_transmit": asked("average(transmitBytesPerSecond)", "NetworkSample", "entityName", "", "bytes_per_s"),
}

PRESETS: Mapping[str, Metrics] = {"apm": APM, "otel": OTEL, "host": HOST, "infrastructure": HOST}
"""Name -> its metrics. `infrastructure` is another name of `host`: there a service is a host."""
