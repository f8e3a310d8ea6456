"""Queries for common metrics. `$service_tag` is the tag that the settings name, `$service` who is asked.

A query that is an arithmetic of several metrics has no unit at Datadog, so that it stands here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ASKED = "{$service_tag:$service} by {$service_tag}"

Metrics = Mapping[str, Any]


def traces(operation: str) -> Metrics:
    """What APM counts for the spans of one operation: `http.request` -> `trace.http.request.hits` and so on."""
    name = f"trace.{operation}"
    failed = f"default_zero(sum:{name}.errors{ASKED}.as_count()) / sum:{name}.hits{ASKED}.as_count()"
    return {
        "request_rate": {"query": f"sum:{name}.hits{ASKED}.as_rate()", "unit": "per_s"},
        "error_rate": {"query": f"100 * {failed}", "unit": "percent"},
        "availability": {"query": f"100 - 100 * {failed}", "unit": "percent"},
        "latency_p50": f"p50:{name}{ASKED}",
        "latency_p95": f"p95:{name}{ASKED}",
        "latency_p99": f"p99:{name}{ASKED}",
        "apdex": {"query": f"avg:{name}.apdex{ASKED}", "unit": "ratio"},
    }


def percent(query: str) -> Metrics:
    return {"query": query, "unit": "percent"}


PRESETS: Mapping[str, Metrics] = {
    "apm": traces("http.request"),
    "apm-otel": traces("http.server.request"),
    "system": {
        "cpu": percent(f"100 - avg:system.cpu.idle{ASKED}"),
        "memory": percent(f"100 - 100 * avg:system.mem.pct_usable{ASKED}"),
        "disk": percent(f"100 * max:system.disk.in_use{ASKED}"),
        "network_receive": {"query": f"sum:system.net.bytes_rcvd{ASKED}", "unit": "bytes_per_s"},
        "network_transmit": {"query": f"sum:system.net.bytes_sent{ASKED}", "unit": "bytes_per_s"},
    },
    "container": {
        "cpu": percent(f"100 * sum:container.cpu.usage{ASKED} / sum:container.cpu.limit{ASKED}"),
        "memory": percent(f"100 * sum:container.memory.usage{ASKED} / sum:container.memory.limit{ASKED}"),
        "network_receive": {"query": f"sum:container.net.rcvd{ASKED}", "unit": "bytes_per_s"},
        "network_transmit": {"query": f"sum:container.net.sent{ASKED}", "unit": "bytes_per_s"},
    },
    "kubernetes": {
        # Usage is counted in billionths of a core, the limit in cores.
        "cpu": percent(
            f"100 * sum:kubernetes.cpu.usage.total{ASKED} / 1000000000 / sum:kubernetes.cpu.limits{ASKED}"
        ),
        "memory": percent(f"100 * sum:kubernetes.memory.usage{ASKED} / sum:kubernetes.memory.limits{ASKED}"),
        "network_receive": {"query": f"sum:kubernetes.network.rx_bytes{ASKED}", "unit": "bytes_per_s"},
        "network_transmit": {"query": f"sum:kubernetes.network.tx_bytes{ASKED}", "unit": "bytes_per_s"},
        "restarts": {"query": f"sum:kubernetes.containers.restarts{ASKED}", "unit": "count"},
    },
    "docker": {
        "cpu": percent(f"avg:docker.cpu.usage{ASKED}"),
        "memory": percent(f"100 * avg:docker.mem.in_use{ASKED}"),
        "network_receive": {"query": f"sum:docker.net.bytes_rcvd{ASKED}", "unit": "bytes_per_s"},
        "network_transmit": {"query": f"sum:docker.net.bytes_sent{ASKED}", "unit": "bytes_per_s"},
    },
}
