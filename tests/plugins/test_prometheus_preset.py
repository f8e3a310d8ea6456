"""Every preset against a real Prometheus and a real VictoriaMetrics that hold what its exporter writes."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
import pytest

from telemetry_mcp import Context, Reply, Series, SeriesQuery, Window, http_for
from telemetry_mcp_prometheus import Prometheus
from tests.real.prometheus import fill

if TYPE_CHECKING:
    from tests.conftest import StartPrometheus
    from tests.real.victoria import VictoriaServer

pytestmark = pytest.mark.real

STEP_S = 15
POINTS = 480
Sample = tuple[str, Callable[[int], float]]
"""A series, and its value so many seconds after the data begin."""


def counter(series: str, per_s: float) -> Sample:
    return series, lambda second: 1_000_000 + per_s * second


def gauge(series: str, value: float) -> Sample:
    return series, lambda second: value


def buckets(name: str, labels: str, per_s: Mapping[str, float]) -> list[Sample]:
    return [counter(f'{name}_bucket{{{labels},le="{le}"}}', rate) for le, rate in per_s.items()]


OTEL = "http_server_request_duration_seconds"
SPRING = "http_server_requests_seconds"
ISTIO = 'reporter="destination",source_canonical_service="web",destination_canonical_service="cart"'
HASHED = "7d9f8b6c5d"

DATA: list[Sample] = [
    # OpenTelemetry
    counter(f'{OTEL}_count{{service_name="checkout",http_route="/pay",http_response_status_code="200"}}', 9),
    counter(f'{OTEL}_count{{service_name="checkout",http_route="/pay",http_response_status_code="500"}}', 1),
    counter(f'{OTEL}_count{{service_name="search",http_route="/",http_response_status_code="200"}}', 4),
    *buckets(OTEL, 'service_name="checkout",http_route="/pay"', {"0.1": 5, "0.5": 9, "1": 10, "+Inf": 10}),
    # Micrometer
    counter(f'{SPRING}_count{{application="orders",uri="/a",method="GET",status="200"}}', 3),
    counter(f'{SPRING}_count{{application="orders",uri="/b",method="GET",status="503"}}', 1),
    *buckets(SPRING, 'application="orders",uri="/a"', {"0.1": 5, "0.5": 9, "1": 10, "+Inf": 10}),
    gauge('process_cpu_usage{application="orders",instance="1"}', 0.2),
    gauge('process_cpu_usage{application="orders",instance="2"}', 0.4),
    gauge('jvm_memory_used_bytes{application="orders",area="heap",id="G1 Eden Space"}', 100),
    gauge('jvm_memory_used_bytes{application="orders",area="heap",id="G1 Old Gen"}', 300),
    gauge('jvm_memory_used_bytes{application="orders",area="nonheap",id="Metaspace"}', 900),
    gauge('jvm_memory_max_bytes{application="orders",area="heap",id="G1 Eden Space"}', -1),
    gauge('jvm_memory_max_bytes{application="orders",area="heap",id="G1 Old Gen"}', 1000),
    gauge('disk_free_bytes{application="orders",path="/"}', 25),
    gauge('disk_total_bytes{application="orders",path="/"}', 100),
    # Istio
    counter(f'istio_requests_total{{{ISTIO},response_code="200"}}', 8),
    counter(f'istio_requests_total{{{ISTIO},response_code="503"}}', 2),
    counter(f'istio_requests_total{{{ISTIO.replace("destination", "source", 1)},response_code="200"}}', 500),
    *buckets("istio_request_duration_milliseconds", ISTIO, {"10": 5, "100": 9, "1000": 10, "+Inf": 10}),
    # cAdvisor and kube-state-metrics
    counter(f'container_cpu_usage_seconds_total{{pod="api-{HASHED}-x2x4z",container="api"}}', 0.5),
    counter(f'container_cpu_usage_seconds_total{{pod="api-{HASHED}-q8w9r",container="api"}}', 0.25),
    counter(f'container_cpu_usage_seconds_total{{pod="api-{HASHED}-q8w9r",container="POD"}}', 7),
    counter(f'container_cpu_usage_seconds_total{{pod="api-{HASHED}-q8w9r"}}', 7),
    counter(f'container_cpu_usage_seconds_total{{pod="api-gateway-{HASHED}-x2x4z",container="x"}}', 0.1),
    counter('container_cpu_usage_seconds_total{pod="db-0",container="db"}', 0.9),
    gauge(f'container_memory_working_set_bytes{{pod="api-{HASHED}-x2x4z",container="api"}}', 300),
    gauge(f'container_memory_working_set_bytes{{pod="api-{HASHED}-q8w9r",container="api"}}', 100),
    *(
        gauge(f'kube_pod_container_resource_limits{{pod="{pod}",resource="{kind}",unit="{unit}"}}', value)
        for pod in (f"api-{HASHED}-x2x4z", f"api-{HASHED}-q8w9r", f"api-gateway-{HASHED}-x2x4z", "db-0")
        for kind, unit, value in (("cpu", "core", 1), ("memory", "byte", 1000))
    ),
    ('kube_pod_container_status_restarts_total{pod="db-0",container="db"}', lambda second: 3 + second // 6600),
    counter(f'container_network_receive_bytes_total{{pod="api-{HASHED}-x2x4z",interface="eth0"}}', 1000),
    counter(f'container_network_transmit_bytes_total{{pod="api-{HASHED}-x2x4z",interface="eth0"}}', 500),
    # the node exporter
    counter('node_cpu_seconds_total{instance="10.0.0.1:9100",cpu="0",mode="idle"}', 0.75),
    counter('node_cpu_seconds_total{instance="10.0.0.1:9100",cpu="1",mode="idle"}', 0.25),
    counter('node_cpu_seconds_total{instance="10.0.0.1:9100",cpu="1",mode="user"}', 0.75),
    gauge('node_memory_MemAvailable_bytes{instance="10.0.0.1:9100"}', 25),
    gauge('node_memory_MemTotal_bytes{instance="10.0.0.1:9100"}', 100),
    *(
        gauge(f'node_filesystem_{what}_bytes{{instance="10.0.0.1:9100",mountpoint="{at}",fstype="{kind}"}}', value)
        for at, kind, free in (("/", "ext4", 40), ("/data", "xfs", 10), ("/run", "tmpfs", 0))
        for what, value in (("avail", free), ("size", 100))
    ),
    counter('node_network_receive_bytes_total{instance="10.0.0.1:9100",device="eth0"}', 1000),
    counter('node_network_receive_bytes_total{instance="10.0.0.1:9100",device="lo"}', 9000),
    counter('node_network_transmit_bytes_total{instance="10.0.0.1:9100",device="eth0"}', 500),
    gauge('node_uname_info{instance="10.0.0.1:9100",nodename="worker-1",sysname="Linux"}', 1),
]

LATENCIES = {"latency_p50": 0.1, "latency_p95": 0.75, "latency_p99": 0.95}
HOST = {"cpu": 0.5, "memory": 0.75, "disk": 0.9, "network_receive": 1000, "network_transmit": 500}
EXPECTED: Mapping[str, tuple[str, Mapping[str, Mapping[str, float]]]] = {
    "otel-http": (
        "service_name",
        {
            "checkout": {"request_rate": 10, "error_rate": 0.1, "availability": 0.9, **LATENCIES},
            "search": {"request_rate": 4, "error_rate": 0, "availability": 1},
        },
    ),
    "micrometer": (
        "application",
        {
            "orders": {
                **{"request_rate": 4, "error_rate": 0.25, "availability": 0.75, **LATENCIES},
                **{"cpu": 0.3, "memory": 0.4, "disk": 0.75},
            }
        },
    ),
    "istio": (
        "service",
        {
            "cart": {
                **{"request_rate": 10, "error_rate": 0.2, "availability": 0.8},
                **{"latency_p50": 10, "latency_p95": 550, "latency_p99": 910},
            }
        },
    ),
    "kubernetes": (
        "service",
        {
            "api": {"cpu": 0.375, "memory": 0.2, "network_receive": 1000, "network_transmit": 500},
            "api-gateway": {"cpu": 0.1},
            "db": {"cpu": 0.9, "restarts": 1},
        },
    ),
    "node": ("instance", {"10.0.0.1:9100": HOST}),
    "node-name": ("service", {"worker-1": HOST}),
}
"""Preset -> the service label it is used with, and what every service's metrics must be."""


def exposition(start_s: int, per_s: int) -> Iterator[str]:
    for series, value in DATA:
        for second in range(0, POINTS * STEP_S, STEP_S):
            yield f"{series} {value(second)} {(start_s + second) * per_s}\n"


class Backends:
    def __init__(self, prometheus: str, victoria: str, end_ms: int) -> None:
        self.urls = {"prometheus": prometheus, "victoriametrics": victoria}
        self.window = Window(end_ms - 1_800_000, end_ms)


@pytest.fixture(scope="module")
def backends(
    start_prometheus: StartPrometheus, victoria: VictoriaServer, tmp_path_factory: pytest.TempPathFactory
) -> Backends:
    """Both hold the same two hours."""
    data = tmp_path_factory.mktemp("presets")
    start_s = (int(time.time()) // 60 - 120) * 60
    fill(data, "".join(exposition(start_s, 1)) + "# EOF\n")
    server = start_prometheus(data)
    victoria.take("".join(exposition(start_s, 1000)))
    return Backends(server.url, victoria.url, (start_s + (POINTS - 1) * STEP_S) * 1000)


@pytest.fixture
async def connect(backends: Backends) -> AsyncIterator[Callable[[str, str, str], Prometheus]]:
    """Makes the source of a preset over one of the backends."""
    opened = []

    def make(flavor: str, preset: str, label: str) -> Prometheus:
        table = {"plugin": "prometheus", "url": backends.urls[flavor], "flavor": flavor, "service_label": label}
        settings = Prometheus.Settings.model_validate({**table, "metrics": Prometheus.presets[preset]})
        opened.append(http_for(settings))
        return Prometheus(settings, Context(flavor, http=opened[-1]))

    yield make
    for http in opened:
        await http.close()


Connect = Callable[[str, str, str], Prometheus]


def values(reply: Reply[Series]) -> dict[str, dict[str, float]]:
    """Service -> metric -> newest value; a metric that came twice for a service is an error."""
    found: dict[str, dict[str, float]] = {}
    for series in reply.items:
        metrics = found.setdefault(series.service, {})
        assert series.metric not in metrics
        assert series.labels == {}
        metrics[series.metric] = float(series.values[-1])
    return found


@pytest.mark.parametrize("flavor", ["prometheus", "victoriametrics"])
@pytest.mark.parametrize("preset", list(EXPECTED))
async def test_a_preset_gives_the_numbers_that_its_exporter_wrote(
    backends: Backends, connect: Connect, flavor: str, preset: str
) -> None:
    label, expected = EXPECTED[preset]
    source = connect(flavor, preset, label)
    metrics = tuple(source.metrics())

    reply = await source.fetch_series(SeriesQuery((), metrics, backends.window, 60_000))

    found = values(reply)
    assert {service: set(them) for service, them in found.items()} == {
        service: set(them) for service, them in expected.items()
    }
    for service, them in expected.items():
        assert found[service] == pytest.approx(them, rel=0.02), service
    assert (reply.partial, reply.warnings) == (None, [])


@pytest.mark.parametrize("flavor", ["prometheus", "victoriametrics"])
@pytest.mark.parametrize("preset", list(EXPECTED))
async def test_a_preset_asks_only_for_the_services_that_are_wanted(
    backends: Backends, connect: Connect, flavor: str, preset: str
) -> None:
    label, expected = EXPECTED[preset]
    source = connect(flavor, preset, label)
    metrics = tuple(source.metrics())

    for service in expected:
        query = SeriesQuery((service,), metrics, backends.window, 60_000, latest=True)
        assert set(values(await source.fetch_series(query))) == {service}
    nobody = SeriesQuery(('no"body.*|x', ".+"), metrics, backends.window, 60_000)
    reply = await source.fetch_series(nobody)
    assert (list(reply.items), reply.partial) == ([], None)


@pytest.mark.parametrize("preset", list(EXPECTED))
async def test_prometheus_and_victoriametrics_give_the_same_series(
    backends: Backends, connect: Connect, preset: str
) -> None:
    label = EXPECTED[preset][0]
    replies = {}
    for flavor in backends.urls:
        source = connect(flavor, preset, label)
        query = SeriesQuery((), tuple(source.metrics()), backends.window, 60_000)
        reply = await source.fetch_series(query)
        replies[flavor] = {(series.service, series.metric): series for series in reply.items}

    ours, theirs = replies.values()
    assert ours.keys() == theirs.keys() != set()
    for key, series in ours.items():
        np.testing.assert_array_equal(series.timestamps_ms, theirs[key].timestamps_ms, str(key))
        np.testing.assert_allclose(series.values, theirs[key].values, rtol=0.02, err_msg=str(key))
