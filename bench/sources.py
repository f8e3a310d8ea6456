"""A day of one metric from six sources at once: Prometheus, VictoriaMetrics, InfluxDB, PostgreSQL and two vendors'
emulators, all real servers in processes of their own, started as the tests start them.

On loopback a vendor answers in a few milliseconds of pure computing, which two cores can only do one after the
other. So it is measured twice: with the emulators answering after 100 ms, as a vendor does over the internet,
against the slowest source alone; and without, against the six asked one after the other.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter

import anyio
from figure import Figure

from telemetry_mcp.config import read
from telemetry_mcp.engine import Engine, opened
from telemetry_mcp.fanout import Deadline
from telemetry_mcp.question import SeriesQuery
from telemetry_mcp.server import history
from telemetry_mcp.server.argument import aligned, period, step_of
from telemetry_mcp.server.call import Call

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
# The servers of the tests are found from the root only.
from tests.real.influx import InfluxServer  # noqa: E402
from tests.real.postgres import PostgresServer  # noqa: E402
from tests.real.prometheus import PrometheusServer, fill  # noqa: E402
from tests.real.sample import DAY_S, SERVICES  # noqa: E402
from tests.real.victoria import VictoriaServer  # noqa: E402

SERVICE, METRIC = "payment-processor", "latency_p95"
ROUNDS = 15
VENDOR_S = 0.1
TABLES = """
[sources.prometheus]
plugin = "prometheus"
url = "{prometheus}"
[sources.prometheus.metrics]
latency_p95 = {{ query = 'avg by (service) (latency_ms{{service=~"$service"}})', unit = "ms" }}

[sources.victoria]
plugin = "prometheus"
flavor = "victoriametrics"
url = "{victoria}"
[sources.victoria.metrics]
latency_p95 = {{ query = 'avg by (service) (latency_ms{{service=~"$service"}})', unit = "ms" }}

[sources.influxdb]
plugin = "influxdb"
version = 1
url = "{influx}"
database = "telemetry"
[sources.influxdb.metrics]
latency_p95 = {{ query = '{influxql}', unit = "ms" }}

[sources.timescaledb]
plugin = "timescaledb"
host = "127.0.0.1"
port = {postgres}
database = "postgres"
username = "postgres"
sslmode = "disable"
[sources.timescaledb.metrics]
latency_p95 = {{ table = "latency", unit = "ms" }}

[sources.datadog]
plugin = "datadog"
url = "${{TELEMETRY_DEMO_DATADOG_URL}}"
api_key = "${{TELEMETRY_DEMO_DATADOG_API_KEY}}"
app_key = "${{TELEMETRY_DEMO_DATADOG_APP_KEY}}"
[sources.datadog.metrics]
latency_p95 = "avg:trace.http.request.duration.by.service.95p{{service:$service}} by {{service}}"

[sources.newrelic]
plugin = "newrelic"
url = "${{TELEMETRY_DEMO_NEWRELIC_URL}}"
api_key = "${{TELEMETRY_DEMO_NEWRELIC_API_KEY}}"
account_id = 1234567
[sources.newrelic.metrics]
latency_p95 = {{ query = "{nrql}", unit = "s" }}
"""
INFLUXQL = (
    "SELECT mean(value) FROM latency WHERE $timeFilter AND service =~ /^$service$/ "
    "GROUP BY time($__interval), service fill(null)"
)
NRQL = "SELECT percentile(duration, 95) FROM Transaction WHERE appName IN ($service) FACET appName"


def rows(now_s: int) -> Iterator[tuple[str, int, float]]:
    for nth, service in enumerate(SERVICES):
        yield from ((service, at, 100 + nth + at % 3600 / 60) for at in range(now_s - DAY_S, now_s, 60))


def prometheus(folder: Path, now_s: int) -> PrometheusServer:
    samples = "".join(f'latency_ms{{service="{name}"}} {value} {at}\n' for name, at, value in rows(now_s))
    fill(folder, f"# TYPE latency_ms gauge\n{samples}# EOF\n")
    server = PrometheusServer(folder, now_s * 1000)
    server.start()
    return server


def victoria(folder: Path, now_s: int) -> VictoriaServer:
    server = VictoriaServer(folder)
    server.start()
    server.take(
        "".join(f'latency_ms{{service="{name}"}} {value} {at * 1000}\n' for name, at, value in rows(now_s))
    )
    return server


def influx(folder: Path, now_s: int) -> InfluxServer:
    server = InfluxServer(folder)
    server.start()
    server.query("CREATE DATABASE telemetry")
    server.write(f"latency,service={name} value={value} {at}" for name, at, value in rows(now_s))
    return server


def postgres(folder: Path, now_s: int) -> PostgresServer:
    server = PostgresServer(folder)
    server.start()
    names = ", ".join(f"('{name}', {nth})" for nth, name in enumerate(SERVICES))
    server.sql(
        f"""CREATE TABLE latency (time timestamptz NOT NULL, service text, value float8);
INSERT INTO latency SELECT to_timestamp(at), service, 100 + nth + at % 3600 / 60.0
FROM (VALUES {names}) AS named (service, nth), generate_series({now_s - DAY_S}, {now_s - 60}, 60) AS times (at);
CREATE INDEX ON latency (service, time); ANALYZE latency;"""
    )
    return server


@contextmanager
def emulators(delay_s: float) -> Iterator[Mapping[str, str]]:
    command = [sys.executable, str(Path(__file__).parent / "emulated.py"), str(delay_s)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdin
        yield json.loads(process.stdout.readline())
        process.stdin.close()


@contextmanager
def configured() -> Iterator[Path]:
    """plugins.toml over the six; everything is stopped at the end."""
    now_s = int(time.time()) // 60 * 60
    with ExitStack() as stack:
        folders = [Path(tempfile.mkdtemp(prefix="bench")) for _ in range(5)]
        for folder in folders:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        one, two = prometheus(folders[0], now_s), victoria(folders[1], now_s)
        three, four = influx(folders[2], now_s), postgres(folders[3], now_s)
        for kill in (one.kill, two.kill, three.kill, four.kill):
            stack.callback(kill)
        path = folders[4] / "plugins.toml"
        urls = {"prometheus": one.url, "victoria": two.url, "influx": three.url, "postgres": four.port}
        path.write_text(TABLES.format(**urls, influxql=INFLUXQL, nrql=NRQL))
        yield path


async def alone(engine: Engine, source: str) -> float:
    window = period(engine.clock_ms(), 90 * DAY_S, hours=24)
    step_ms = step_of(window)
    question = SeriesQuery((SERVICE,), (METRIC,), aligned(window, step_ms), step_ms)
    started = perf_counter()
    (outcome,) = await engine.fanout.ask(question, Deadline(10), only=[source], fresh=True)
    assert outcome.status == "ok", outcome
    return perf_counter() - started


async def merged(engine: Engine) -> float:
    started = perf_counter()
    answer = await history.answer(Call(engine, Deadline(10), fresh=True), SERVICE, METRIC, hours=24)
    assert answer.coverage is not None
    assert answer.coverage.complete, answer.coverage
    assert len(answer.sources) == 6
    return perf_counter() - started


async def rounds(path: Path, environ: Mapping[str, str]) -> tuple[float, dict[str, float]]:
    """Medians in seconds: the merged answer, and each source asked alone."""
    async with opened(read(path, environ)) as engine:
        names = [instance.name for instance in engine.registry.instances]
        await merged(engine)
        whole, single = [], dict[str, list[float]]()
        for _ in range(ROUNDS):
            for name in names:
                single.setdefault(name, []).append(await alone(engine, name))
            whole.append(await merged(engine))
        return median(whole), {name: median(times) for name, times in single.items()}


def measure() -> list[Figure]:
    with configured() as path:
        with emulators(VENDOR_S) as environ:
            remote, of_each = anyio.run(partial(rounds, path, environ))
        with emulators(0) as environ:
            local, singles = anyio.run(partial(rounds, path, environ))
    slowest = max(of_each, key=lambda name: of_each[name])
    one_by_one = 1000 * sum(singles.values())
    return [
        Figure(
            "a day from six real sources", remote * 1000, "ms", 1.1, 1000 * of_each[slowest], f"{slowest} alone"
        ),
        Figure("the same without any latency", local * 1000, "ms", 1.0, one_by_one, "one after the other"),
    ]
