"""What the emulated Prometheus has scraped and what its rules have written: labels, and values at any time."""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from telemetry_mcp.demo import noise, prometheus_alert
from telemetry_mcp.demo.estate import Estate
from telemetry_mcp.demo.prometheus_counter import counters
from telemetry_mcp.demo.topology import ENVIRONMENT, Member

# What a metric of the estate is called here, what it is multiplied by, and the help text of its metadata.
METRICS = {
    "service_cpu_percent": ("cpu", 1.0, "Processor time in use, in percent."),
    "service_memory_percent": ("memory", 1.0, "Memory in use, in percent."),
    "service_error_ratio": ("error_rate", 0.01, "Failed requests as a share of all."),
    "service_requests_per_second": ("request_rate", 1.0, "Requests a second."),
    "service_latency_seconds": ("latency_p", 0.001, "Quantiles of the response time."),
    "service_availability_ratio": ("availability", 0.01, "Requests that succeeded, as a share of all."),
    "up": ("", 1.0, "Whether the last scrape succeeded."),
}
SERVICE_GRAPH = "traces_service_graph_request_total"
_QUANTILES = {"0.5": "50", "0.95": "95", "0.99": "99"}

Labels = dict[str, str]
Values = Callable[[NDArray[np.int64]], NDArray[np.float64]]
"""Values at the given epoch ms; NaN where there is no sample."""


def stored(estate: Estate, now_ms: int) -> Iterator[tuple[Labels, Values]]:
    """Every series that there is at `now_ms`."""
    for name in METRICS:
        for member in estate.members.values():
            for instance in member.instances:
                yield from _gauges(estate, name, member, instance)
    for member in estate.members.values():
        for callee in member.calls:
            labels = {"__name__": SERVICE_GRAPH, "client": member.name, "job": "tempo", "server": callee}
            yield labels, partial(_calls, estate, member)
    yield from counters(estate)
    yield from prometheus_alert.series(estate, now_ms)


def _gauges(estate: Estate, name: str, member: Member, instance: str) -> Iterator[tuple[Labels, Values]]:
    metric = METRICS[name][0]
    labels = {
        "__name__": name,
        "environment": ENVIRONMENT,
        "instance": instance,
        "job": "estate",
        "service": member.name,
        "team": member.team,
    }
    if metric != "latency_p":
        yield labels, partial(_sample, estate, labels, member, metric)
        return
    for quantile, percentile in _QUANTILES.items():
        with_quantile = {**labels, "quantile": quantile}
        yield with_quantile, partial(_sample, estate, with_quantile, member, metric + percentile)


def _sample(
    estate: Estate, labels: Labels, member: Member, metric: str, times: NDArray[np.int64]
) -> NDArray[np.float64]:
    """The share of one instance: the two of an application lean to either side of the service's value."""
    if not metric:
        return np.ones(len(times))
    values = estate.values(member.name, metric, times) * METRICS[labels["__name__"]][1]
    if len(member.instances) == 1 or metric == "availability":
        return values
    lean = 0.01 + noise.salt(estate.seed, member.name, metric) % 5 / 100
    share = 1 + lean if labels["instance"] == member.instances[0] else 1 - lean
    return values * (share / 2 if metric == "request_rate" else share)


def _calls(estate: Estate, member: Member, times: NDArray[np.int64]) -> NDArray[np.float64]:
    """A counter of calls: each callee gets an equal share of the caller's quiet traffic."""
    return np.floor((times - estate.start_ms) / 1000 * member.request_rate / len(member.calls))
