"""Queries for what common exporters write, chosen by `preset = [...]`. README.md tells what each needs.

Every result bears `$service_label` and nothing else. Where a label of the exporter's own names the service,
`named` moves its value there; where the user's label is on the exporter's series, the queries group by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Preset = dict[str, Any]

MINE = '$service_label=~"$service"'

RANDOM = "[bcdfghjklmnpqrstvwxz2456789]"
"""What the random parts of a Kubernetes name are made of: no vowels, so that they seldom look like a word."""
SUFFIX = f"(?:(?:-(?:{RANDOM}{{6,10}}|[0-9]{{8,10}}))?-{RANDOM}{{5}}|-[0-9]+)?"
"""What stands after a workload's name in a pod's: hash and random part of a Deployment, minute and random part
of a CronJob, random part of a DaemonSet, number of a StatefulSet."""


def ratio(query: str) -> Preset:
    return {"query": query, "unit": "ratio"}


def matching(*matchers: str) -> str:
    return f"{{{','.join(filter(None, matchers))}}}"


def rate(counter: str) -> str:
    return f"rate({counter}[$__rate_interval])"


def named(query: str, label: str, regex: str = "(.+)", operator: str = "max") -> str:
    """`query` by the service that the value of `label` names; its first group, to be exact."""
    if label == "$service_label":
        return query
    return f'{operator} by ($service_label) (label_replace({query}, "$service_label", "$1", "{label}", "{regex}"))'


def latencies(buckets: str, unit: str, label: str = "$service_label") -> Preset:
    """The three quantiles of a classic histogram."""
    summed = f"sum by ({label}, le) ({rate(buckets)})"
    quantiles = {"latency_p50": "0.5", "latency_p95": "0.95", "latency_p99": "0.99"}
    return {
        name: {"query": named(f"histogram_quantile({quantile}, {summed})", label), "unit": unit}
        for name, quantile in quantiles.items()
    }


def requests(counter: str, mine: str, failed: str, label: str = "$service_label") -> Preset:
    """Rate, share of failures and share of successes.

    A service none of whose requests has ever failed has no series of failures: that is 0, not unknown. Without
    requests there is no share of them.
    """
    every = f"sum by ({label}) ({rate(counter + matching(mine))})"
    bad = f"(sum by ({label}) ({rate(counter + matching(mine, failed))}) or {every} * 0)"
    return {
        "request_rate": {"query": named(every, label), "unit": "per_s"},
        "error_rate": ratio(named(f"{bad} / {every}", label)),
        "availability": ratio(named(f"1 - {bad} / {every}", label)),
    }


def otel_http() -> Preset:
    """OpenTelemetry's semantic conventions for HTTP servers (stable since 1.23)."""
    histogram = "http_server_request_duration_seconds"
    return {
        **requests(f"{histogram}_count", MINE, 'http_response_status_code=~"5.."'),
        **latencies(f"{histogram}_bucket{matching(MINE)}", "s"),
    }


def micrometer() -> Preset:
    """Spring Boot's Micrometer registry for Prometheus."""
    heap, by = matching('area="heap"', MINE), "by ($service_label)"
    free, total = f"disk_free_bytes{matching(MINE)}", f"disk_total_bytes{matching(MINE)}"
    return {
        **requests("http_server_requests_seconds_count", MINE, 'status=~"5.."'),
        **latencies(f"http_server_requests_seconds_bucket{matching(MINE)}", "s"),
        "cpu": ratio(f"avg {by} (process_cpu_usage{matching(MINE)})"),
        # A region without a limit has -1 for its maximum.
        "memory": ratio(f"sum {by} (jvm_memory_used_bytes{heap}) / sum {by} (jvm_memory_max_bytes{heap} > 0)"),
        "disk": ratio(f"max {by} (1 - {free} / ({total} > 0))"),
    }


def istio() -> Preset:
    """Istio's standard metrics as the proxy of the called service, or its waypoint, reports them."""
    label = "destination_canonical_service"
    mine = f'reporter!="source",{label}=~"$service"'
    return {
        **requests("istio_requests_total", mine, 'response_code=~"5.."', label),
        **latencies(f"istio_request_duration_milliseconds_bucket{matching(mine)}", "ms", label),
    }


def node(label: str, mine: str = "", join: str = "") -> Preset:
    """The node exporter. `mine` selects its series, `join` puts `label` on what is grouped by instance."""

    def host(query: str) -> str:
        return named(f"({query}){join}", label)

    def traffic(counter: str) -> Preset:
        device = 'device!~"lo|veth.*|docker.*|br-.*|cni.*|flannel.*|cali.*|lxc.*|tap.*"'
        query = f"sum by (instance) ({rate(counter + matching(device, mine))})"
        return {"query": host(query), "unit": "bytes_per_s"}

    files = matching('fstype!~"tmpfs|ramfs|overlay|squashfs|iso9660|fuse.*"', mine)
    idle = rate("node_cpu_seconds_total" + matching('mode="idle"', mine))
    free, total = (f"max by (instance) (node_memory_{each}_bytes{matching(mine)})" for each in MEMORY)
    used = f"1 - node_filesystem_avail_bytes{files} / (node_filesystem_size_bytes{files} > 0)"
    return {
        "cpu": ratio(host(f"1 - avg by (instance) ({idle})")),
        "memory": ratio(host(f"1 - {free} / {total}")),
        "disk": ratio(host(f"max by (instance) ({used})")),
        "network_receive": traffic("node_network_receive_bytes_total"),
        "network_transmit": traffic("node_network_transmit_bytes_total"),
    }


def kubernetes() -> Preset:
    """cAdvisor and kube-state-metrics. A service is a workload: a pod's name without what Kubernetes appends."""
    pods = f'pod=~"$service{SUFFIX}"'
    real = matching('container!=""', 'container!="POD"', pods)

    def workload(query: str) -> str:
        return named(f"sum by (pod) ({query})", "pod", f"(.+?){SUFFIX}", "sum")

    def limit(resource: str) -> str:
        return workload("kube_pod_container_resource_limits" + matching(f'resource="{resource}"', pods))

    def traffic(direction: str) -> Preset:
        query = workload(rate(f"container_network_{direction}_bytes_total{matching(pods)}"))
        return {"query": query, "unit": "bytes_per_s"}

    cpu = workload(rate(f"container_cpu_usage_seconds_total{real}"))
    memory = workload(f"container_memory_working_set_bytes{real}")
    restarts = workload(f"increase(kube_pod_container_status_restarts_total{matching(pods)}[1h])")
    return {
        "cpu": ratio(f"{cpu} / {limit('cpu')}"),
        "memory": ratio(f"{memory} / {limit('memory')}"),
        "restarts": {"query": restarts, "unit": "count"},
        "network_receive": traffic("receive"),
        "network_transmit": traffic("transmit"),
    }


MEMORY = ("MemAvailable", "MemTotal")
NAMES = 'max by (instance, nodename) (node_uname_info{nodename=~"$service"})'

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "otel-http": otel_http(),
    "micrometer": micrometer(),
    "istio": istio(),
    "kubernetes": kubernetes(),
    "node": node("instance", mine='instance=~"$service"'),
    "node-name": node("nodename", join=f" * on (instance) group_left (nodename) {NAMES}"),
}
