"""The Prometheus source against a real Prometheus with 30 days of history."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest
import trustme

from telemetry_mcp import (
    AuthError,
    BadQueryError,
    Context,
    NativeQuery,
    NotFoundError,
    SeriesQuery,
    ServiceQuery,
    UpstreamError,
    Window,
    http_for,
)
from telemetry_mcp_prometheus import Prometheus

if TYPE_CHECKING:
    from tests.conftest import StartPrometheus
    from tests.real.prometheus import PrometheusServer

pytestmark = pytest.mark.real

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
METRICS = {
    "cpu": 'avg by (service) (cpu_percent{service=~"$service"})',
    "error_rate": 'sum by (service) (rate(http_requests_total{service=~"$service",code="500"}[10m]))'
    ' / sum by (service) (rate(http_requests_total{service=~"$service"}[10m]))',
    "odd": 'odd_gauge{name=~"$service"}',
}
PASSWORD = "secret-of-test"
BCRYPT_OF_PASSWORD = "$2b$04$5sctBLHKfzo.Lqnxza3bzeZMBlraCgXpjqXoQGbZAJ2kvb.5wodmS"

Connect = Callable[..., Prometheus]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Makes sources with a real HTTP client, which are closed after the test."""
    opened = []

    def make(url: str, **settings: Any) -> Prometheus:
        table = {"plugin": "prometheus", "url": url, "metrics": METRICS, **settings}
        parsed = Prometheus.Settings.model_validate(table)
        opened.append(http_for(parsed, Prometheus.headers(parsed)))
        return Prometheus(parsed, Context("prometheus", http=opened[-1]))

    yield make
    for http in opened:
        await http.close()


def last(server: PrometheusServer, duration_ms: int) -> Window:
    return Window(server.now_ms - duration_ms, server.now_ms)


@pytest.mark.parametrize(
    ("metric", "days", "step_ms"), [("cpu", 1, 60_000), ("error_rate", 1, 60_000), ("cpu", 30, 300_000)]
)
async def test_numbers_are_those_of_promql_itself(
    prometheus: PrometheusServer, connect: Connect, metric: str, days: int, step_ms: int
) -> None:
    window = last(prometheus, days * DAY_MS)
    reply = await connect(prometheus.url).fetch_series(SeriesQuery((), (metric,), window, step_ms))

    form = {"start": window.start_ms / 1000, "end": window.end_ms / 1000, "step": step_ms / 1000}
    query = METRICS[metric].replace("$service", ".+")
    async with httpx.AsyncClient(trust_env=False) as client:
        response = await client.post(f"{prometheus.url}/api/v1/query_range", data={"query": query, **form})
    direct = response.json()
    expected = {one["metric"]["service"]: one["values"] for one in direct["data"]["result"]}

    assert {series.service for series in reply.items} == set(expected) == set(prometheus.services)
    for series in reply.items:
        points = [(at * 1000, float(value)) for at, value in expected[series.service] if at * 1000 < window.end_ms]
        times, values = np.array(points).T
        np.testing.assert_array_equal(series.timestamps_ms, times)
        np.testing.assert_allclose(series.values, values, rtol=1e-9)
    assert (reply.warnings, reply.partial) == ([], None)


async def test_the_last_day_is_whole_and_ends_before_the_windows_end(
    prometheus: PrometheusServer, connect: Connect
) -> None:
    window = last(prometheus, DAY_MS)
    query = SeriesQuery(("api-gateway",), ("cpu",), window, 60_000)
    (series,) = (await connect(prometheus.url).fetch_series(query)).items
    assert len(series) == 1440
    assert (series.timestamps_ms[0], series.timestamps_ms[-1]) == (window.start_ms, window.end_ms - 60_000)


async def test_the_latest_value_of_every_service_comes_in_one_reply(
    prometheus: PrometheusServer, connect: Connect
) -> None:
    window = last(prometheus, HOUR_MS)
    query = SeriesQuery(prometheus.services, ("cpu", "error_rate"), window, 60_000, latest=True)
    reply = await connect(prometheus.url).fetch_series(query)

    assert len(reply.items) == 2 * len(prometheus.services)
    assert all(series.timestamps_ms.tolist() == [window.end_ms - 1] for series in reply.items)
    rates = [series.values[0] for series in reply.items if series.metric == "error_rate"]
    np.testing.assert_allclose(rates, 0.02, rtol=1e-9)


async def test_thirty_days_at_a_small_step_are_widened_until_prometheus_accepts_them(
    prometheus: PrometheusServer, connect: Connect
) -> None:
    query = SeriesQuery(("api-gateway",), ("cpu",), last(prometheus, 30 * DAY_MS), 15_000)
    reply = await connect(prometheus.url).fetch_series(query)
    assert reply.warnings == ["step widened from 15 s to 240 s: 11,000 points at most"]
    assert len(reply.items[0]) == 30 * DAY_MS // 240_000


async def test_the_widest_window_that_needs_no_widening_is_accepted(
    prometheus: PrometheusServer, connect: Connect
) -> None:
    query = SeriesQuery(("api-gateway",), ("cpu",), last(prometheus, 11_000 * 60_000), 60_000)
    reply = await connect(prometheus.url).fetch_series(query)
    assert (len(reply.items[0]), reply.warnings) == (11_000, [])


@pytest.mark.parametrize("quote", ['"', "'", "`"])
async def test_every_odd_name_is_found_and_no_other(
    prometheus: PrometheusServer, connect: Connect, quote: str
) -> None:
    template = METRICS["odd"].replace('"', quote)
    source = connect(prometheus.url, service_label="name", metrics={"odd": template})
    window = last(prometheus, HOUR_MS // 2)
    names = [name for name in prometheus.odd_names if quote != "`" or "`" not in name]
    for name in names:
        reply = await source.fetch_series(SeriesQuery((name,), ("odd",), window, 60_000))
        assert [(series.service, series.values[0]) for series in reply.items] == [
            (name, prometheus.odd_names.index(name))
        ]
    together = await source.fetch_series(SeriesQuery(tuple(names), ("odd",), window, 60_000))
    assert {series.service for series in together.items} == set(names)


async def test_an_injected_expression_is_only_a_name_that_nobody_has(
    prometheus: PrometheusServer, connect: Connect
) -> None:
    window = last(prometheus, HOUR_MS)
    for name in ('x"} or vector(1) or {a="', "x|.+", ".*", 'a"', "a\\", "$service", "|"):
        reply = await connect(prometheus.url).fetch_series(SeriesQuery((name,), ("cpu",), window, 60_000))
        assert (list(reply.items), reply.partial) == ([], None)


async def test_services_come_with_team_and_environment(prometheus: PrometheusServer, connect: Connect) -> None:
    query = ServiceQuery(last(prometheus, HOUR_MS))
    plain = await connect(prometheus.url).list_services(query)
    restricted = await connect(prometheus.url, service_metric="up").list_services(query)
    labelled = await connect(
        prometheus.url, service_metric="up", team_label="team", environment_label="env"
    ).list_services(query)

    names = sorted(prometheus.services)
    assert [one.name for one in plain.items] == names
    assert [one.name for one in restricted.items] == names
    assert [one.name for one in labelled.items] == names
    assert {one.environment for one in labelled.items} == {"prod"}
    assert {one.team for one in labelled.items} == {"team-0", "team-1", "team-2"}


async def test_a_native_query_runs_as_it_is_written(prometheus: PrometheusServer, connect: Connect) -> None:
    text = 'http_requests_total{service="api-gateway"}'
    query = NativeQuery(text, last(prometheus, HOUR_MS), 60_000)
    reply = await connect(prometheus.url).run_native(query)
    assert [(s.metric, s.service, s.labels["code"]) for s in reply.items] == [
        ("http_requests_total", "api-gateway", "200"),
        ("http_requests_total", "api-gateway", "500"),
    ]


async def test_a_query_that_does_not_parse_is_told_in_prometheus_words(
    prometheus: PrometheusServer, connect: Connect
) -> None:
    with pytest.raises(BadQueryError, match="unclosed left parenthesis"):
        await connect(prometheus.url).run_native(NativeQuery("sum(up", last(prometheus, HOUR_MS), 60_000))


async def test_a_sound_source_passes_its_check(prometheus: PrometheusServer, connect: Connect) -> None:
    reply = await connect(prometheus.url).check()
    found = {check.name: check for check in reply.items}
    assert list(found) == ["query", "clock", "services", "alerts", "rules", "build"]
    assert {name for name, check in found.items() if not check.ok and not check.optional} == set()
    assert found["services"].detail == "8 services seen in the last hour by the label service"
    assert found["rules"].detail == "no alert rules: no alert can fire"


async def test_a_wrong_path_in_the_url_is_not_found(prometheus: PrometheusServer, connect: Connect) -> None:
    with pytest.raises(NotFoundError, match="404 page not found"):
        await connect(f"{prometheus.url}/prometheus").run_native(
            NativeQuery("up", last(prometheus, HOUR_MS), 60_000)
        )


async def test_a_prometheus_that_is_gone_is_an_upstream_error_until_it_is_back(
    start_prometheus: StartPrometheus, connect: Connect
) -> None:
    server = start_prometheus()
    source = connect(server.url)
    assert (await source.check()).items[0].ok
    server.kill()
    with pytest.raises(UpstreamError, match="could not be reached"):
        await source.run_native(NativeQuery("up", Window(0, HOUR_MS), 60_000))
    server.start()
    assert (await source.check()).items[0].ok


async def test_basic_authentication_lets_in_and_keeps_out(
    start_prometheus: StartPrometheus, connect: Connect, tmp_path: Path
) -> None:
    web = tmp_path / "web.yml"
    web.write_text(f"basic_auth_users:\n  reader: {BCRYPT_OF_PASSWORD}\n")
    server = start_prometheus(web_config=web)

    async def ask(**credentials: str) -> None:
        await connect(server.url, **credentials).run_native(NativeQuery("vector(1)", Window(0, HOUR_MS), 60_000))

    await ask(username="reader", password=PASSWORD)
    with pytest.raises(AuthError, match="Unauthorized"):
        await ask(username="reader", password="wrong")
    with pytest.raises(AuthError, match="Unauthorized"):
        await ask()


async def test_a_private_authority_and_a_client_certificate_are_needed_and_enough(
    start_prometheus: StartPrometheus, connect: Connect, tmp_path: Path
) -> None:
    authority, stranger = trustme.CA(), trustme.CA()
    files = {"ca": tmp_path / "ca.pem", "cert": tmp_path / "cert.pem", "key": tmp_path / "key.pem"}
    authority.cert_pem.write_to_path(files["ca"])
    server_cert = authority.issue_cert("127.0.0.1")
    server_cert.private_key_pem.write_to_path(tmp_path / "server.key")
    server_cert.cert_chain_pems[0].write_to_path(tmp_path / "server.pem")
    client_cert = authority.issue_cert("client@example.test")
    client_cert.private_key_pem.write_to_path(files["key"])
    client_cert.cert_chain_pems[0].write_to_path(files["cert"])
    stranger.cert_pem.write_to_path(tmp_path / "stranger.pem")
    web = tmp_path / "web.yml"
    web.write_text(
        "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n"
        "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n"
    )
    url = start_prometheus(web_config=web).url.replace("http", "https")

    async def ask(**tls: Path) -> Any:
        return await connect(url, **tls).run_native(NativeQuery("vector(1)", Window(0, HOUR_MS), 60_000))

    own = {"cert_file": files["cert"], "key_file": files["key"]}
    assert len((await ask(ca_file=files["ca"], **own)).items[0]) == 60
    for wrong in ({"ca_file": files["ca"]}, {"ca_file": tmp_path / "stranger.pem", **own}, own):
        with pytest.raises(UpstreamError):
            await ask(**wrong)
