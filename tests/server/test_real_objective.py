"""Objectives over a real Prometheus: counted as PromQL does, found in an OpenSLO file, unknown when it is dead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from telemetry_mcp.config import Config, read

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import StartPrometheus
    from tests.real.prometheus import PrometheusServer
    from tests.server.conftest import Answer, Desk, OpenDesk

pytestmark = pytest.mark.real

SERVICE = "payment-processor"
DAY_MS = 86_400_000
GOOD = f'sum(rate(http_requests_total{{service="{SERVICE}",code="200"}}[$__rate_interval]))'
TOTAL = f'sum(rate(http_requests_total{{service="{SERVICE}"}}[$__rate_interval]))'
FAILED = f'http_requests_total{{service="{SERVICE}",code="500"}}'
ALL = f'http_requests_total{{service="{SERVICE}"}}'
TOML = f"""
[sources.real]
plugin = "prometheus"
url = "URL"
scrape_interval = "5m"
[sources.real.metrics]
cpu = 'avg by (service) (cpu_percent{{service=~"$service"}})'

[slos.native]
service = "{SERVICE}"
good = '{GOOD}'
total = '{TOTAL}'
sources = "real"
amounts = "rate"
objective = 97.5
window = "7d"

[slos.idle]
service = "{SERVICE}"
bad = 'sum(up{{service="{SERVICE}"}}) * 0'
total = 'sum(up{{service="{SERVICE}"}}) * 0'
sources = "real"
window = "7d"

[slos.strange]
service = "{SERVICE}"
bad = 'sum(increase(nobody_counts_this[$__interval]))'
total = 'sum(increase(nobody_counts_that[$__interval]))'
sources = "real"
window = "7d"

[slos.long]
service = "{SERVICE}"
metric = "cpu"
threshold = 99
window = "80d"

[slo_files.shared]
path = "slo.yaml"
"""
OPENSLO = f"""
apiVersion: openslo/v1
kind: SLO
metadata: {{name: counters}}
spec:
  service: {SERVICE}
  indicator:
    metadata: {{name: requests}}
    spec:
      ratioMetric:
        counter: true
        bad: {{metricSource: {{type: Prometheus, spec: {{query: '{FAILED}'}}}}}}
        total: {{metricSource: {{type: Prometheus, spec: {{query: 'sum({ALL})'}}}}}}
  timeWindow: [{{duration: 7d, isRolling: true}}]
  budgetingMethod: Occurrences
  objectives: [{{target: 0.99}}]
"""


def written(url: str, folder: Path) -> Config:
    (folder / "slo.yaml").write_text(OPENSLO)
    path = folder / "plugins.toml"
    path.write_text(TOML.replace("URL", url))
    config = read(path, {})
    assert [str(problem) for problem in config.problems] == []
    return config


@pytest.fixture
async def desk(prometheus: PrometheusServer, tmp_path: Path, open_desk: OpenDesk) -> Desk:
    return await open_desk(written(prometheus.url, tmp_path), lambda: prometheus.now_ms)


async def standing(desk: Desk, name: str) -> Answer:
    return await desk.ask("check_sli_compliance", slo=name)


async def test_events_are_counted_as_promql_counts_them(desk: Desk, prometheus: PrometheusServer) -> None:
    answer = await standing(desk, "native")
    query = {"query": f"sum(increase({ALL}[7d]))", "time": str(prometheus.now_ms / 1000)}
    async with httpx.AsyncClient(base_url=prometheus.url, trust_env=False) as client:
        found: Any = (await client.get("/api/v1/query", params=query)).json()
    counted = float(found["data"]["result"][0]["value"][1])
    assert answer["valid"] == pytest.approx(counted, rel=0.02)
    assert answer["compliance_percentage"] == pytest.approx(98, abs=0.01)
    assert answer["error_budget"]["consumed"] == pytest.approx(0.8, rel=0.01)
    assert (answer["status"], answer["state"]) == ("AT_RISK", "healthy")
    assert answer["burn_rates"]["1h"] == pytest.approx(0.8, rel=0.02)
    assert answer["data_coverage"] > 0.99


async def test_an_openslo_file_of_counters_says_the_same(desk: Desk) -> None:
    answer, native = await standing(desk, "counters"), await standing(desk, "native")
    assert answer["compliance_percentage"] == pytest.approx(native["compliance_percentage"], abs=0.01)
    assert (answer["status"], answer["state"]) == ("BREACHED", "warning")
    assert answer["burn_alerts"][-1]["long_burn"] == pytest.approx(2, rel=0.02)


async def test_what_cannot_be_known_is_unknown_in_its_own_way(desk: Desk) -> None:
    idle, strange, long = [await standing(desk, name) for name in ("idle", "strange", "long")]
    assert (idle["state"], strange["state"], long["state"]) == ("no_traffic", "no_data", "unknown")
    assert {each["status"] for each in (idle, strange, long)} == {"UNKNOWN"}
    assert (idle["compliance_percentage"], strange["compliance_percentage"]) == (None, None)
    assert "were measured" not in long["summary"]
    assert "50 % are needed to judge" in long["summary"]


async def test_the_report_holds_them_all_with_the_period_before(desk: Desk) -> None:
    report = await desk.read("telemetry://sli-report")
    rows = {row["slo"]: row for row in report["objectives"]}
    assert set(rows) == {"native", "idle", "strange", "long", "counters"}
    assert rows["native"]["trend"] == pytest.approx(0, abs=0.01)
    assert rows["native"]["previous_percentage"] == pytest.approx(98, abs=0.01)
    assert (report["unknown"], report["breached"], report["at_risk"]) == (3, 1, 1)


async def test_a_dead_prometheus_leaves_every_objective_unknown(
    start_prometheus: StartPrometheus, tmp_path: Path, open_desk: OpenDesk
) -> None:
    server = start_prometheus()
    config = written(server.url, tmp_path)
    server.kill()
    desk = await open_desk(config)
    report = await desk.read("telemetry://sli-report")
    assert {(row["status"], row["state"]) for row in report["objectives"]} == {("UNKNOWN", "unknown")}
    assert all("real failed" in row["summary"] for row in report["objectives"])
    assert report["coverage"]["answered"] == 0


async def test_anomalies_of_a_real_prometheus_say_by_which_band(desk: Desk) -> None:
    quiet = await desk.ask("detect_anomalies", service=SERVICE, metric="cpu")
    assert quiet["anomalies_detected"] == 0
    assert quiet["baseline"]["periods"] == {"1w": 1} or quiet["baseline"]["periods"] == {"7d": 1}
    tight = await desk.ask("detect_anomalies", service=SERVICE, metric="cpu", sensitivity=0.4, period="none")
    assert tight["anomalies_detected"] >= 1
    assert all(found["lower"] < found["expected"] < found["upper"] for found in tight["anomalies"])
