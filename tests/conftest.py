"""Real servers for tests, started here on a free loopback port. Where one is not installed: see `binary`."""

from __future__ import annotations

import math
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.real.influx import InfluxServer
from tests.real.postgres import PostgresServer
from tests.real.prometheus import PrometheusServer, fill
from tests.real.sample import DAY_S, ODD_NAMES, SERVICES
from tests.real.victoria import VictoriaServer

StartPrometheus = Callable[..., PrometheusServer]
StartInflux = Callable[..., InfluxServer]
StartPostgres = Callable[..., PostgresServer]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--replay-table", action="store_true", help="print how every recorded payload ended")


@pytest.fixture(scope="session", autouse=True)
def _state_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What servers keep between their runs, such as audit records, is not the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session")
def start_prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartPrometheus]:
    """Starts a Prometheus over a data directory (default: an empty one); all are killed at the session's end."""
    started = []

    def start(
        data: Path | None = None, now_ms: int = 0, web_config: Path | None = None, targets: Sequence[str] = ()
    ) -> PrometheusServer:
        server = PrometheusServer(data or tmp_path_factory.mktemp("prometheus"), now_ms, web_config, targets)
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        server.kill()


@pytest.fixture(scope="session")
def prometheus(start_prometheus: StartPrometheus, tmp_path_factory: pytest.TempPathFactory) -> PrometheusServer:
    """A Prometheus with 30 days of eight services: every five minutes, in the last day every minute."""
    data = tmp_path_factory.mktemp("prometheus")
    # On the grid of the scrapes: off it, yesterday's samples are minutes older than today's where they are read.
    now_s = int(time.time()) // 300 * 300
    times = [*range(now_s - 30 * DAY_S, now_s - DAY_S, 300), *range(now_s - DAY_S, now_s + 3600, 60)]
    fill(data, "".join(openmetrics(times)))
    return start_prometheus(data, now_s * 1000)


@pytest.fixture(scope="session")
def start_influx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartInflux]:
    """Starts an empty InfluxDB; all are killed at the session's end."""
    started = []

    def start(**options: str) -> InfluxServer:
        server = InfluxServer(tmp_path_factory.mktemp("influx"), **options)
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        server.kill()


@pytest.fixture(scope="session")
def influx(start_influx: StartInflux) -> InfluxServer:
    """An InfluxDB with a day of eight services, a sample a minute, and two hours of the odd names."""
    server = start_influx()
    server.now_ms = int(time.time()) // 60 * 60_000
    times = range(server.now_ms // 1000 - DAY_S, server.now_ms // 1000, 60)
    server.query("CREATE DATABASE telemetry")
    for nth, service in enumerate(SERVICES):
        server.write(
            f"cpu,service={service},host=h{nth % 2} usage={20 + nth + at % 600 / 60} {at}" for at in times
        )
    for nth, name in enumerate(server.odd_names):
        escaped = re.sub(r"([,= ])", r"\\\1", name)
        server.write(f"odd,name={escaped} value={nth} {at}" for at in times[-120:])
    return server


@pytest.fixture(scope="session")
def victoria(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VictoriaServer]:
    """A VictoriaMetrics for tests to put samples of their own into."""
    server = VictoriaServer(tmp_path_factory.mktemp("victoria"))
    server.start()
    yield server
    server.kill()


def openmetrics(times: list[int]) -> Iterator[str]:
    """The history as text: a daily wave, a little higher for each next service; 2% of the requests fail."""
    wave = [1 + math.sin(at % DAY_S / DAY_S * 2 * math.pi) for at in times]
    gauges = {"cpu_percent": (20, 20), "memory_percent": (60, 5), "latency_seconds": (0.1, 0.05), "up": (1, 0)}
    for name, (least, swing) in gauges.items():
        yield f"# TYPE {name} gauge\n"
        for nth, service in enumerate(SERVICES):
            labels = f'service="{service}",team="team-{nth % 3}",env="prod"'
            values = (least + swing * (1 + nth / 100) * height for height in wave)
            yield lines(name, labels, times, values)
    yield "# TYPE http_requests counter\n"
    for nth, service in enumerate(SERVICES):
        for code, rate in (("200", 9.8), ("500", 0.2)):
            values = ((nth + 1) * rate * (at - times[0]) for at in times)
            yield lines("http_requests_total", f'service="{service}",code="{code}"', times, values)
    yield "# TYPE odd_gauge gauge\n"
    for nth, name in enumerate(ODD_NAMES):
        escaped = name.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
        yield lines("odd_gauge", f'name="{escaped}"', times[-120:], [nth] * 120)
    yield "# EOF\n"


def lines(name: str, labels: str, times: Iterable[int], values: Iterable[float]) -> str:
    return "".join(f"{name}{{{labels}}} {value} {at}\n" for at, value in zip(times, values, strict=True))


@pytest.fixture(scope="session")
def start_postgres() -> Iterator[StartPostgres]:
    """Starts an empty PostgreSQL; all are killed at the session's end."""
    started: list[PostgresServer] = []

    def start(now_ms: int = 0) -> PostgresServer:
        # Not under pytest's own folder, which only the user who runs pytest may enter.
        server = PostgresServer(Path(tempfile.mkdtemp(prefix="pg")), now_ms)
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        server.kill()
        shutil.rmtree(server.folder)


@pytest.fixture(scope="session")
def postgres(start_postgres: StartPostgres) -> PostgresServer:
    """A PostgreSQL with a day of eight services on two hosts each, and a role that may only read."""
    server = start_postgres(int(time.time()) // 3600 * 3_600_000)
    names = ", ".join(f"('{name}', {nth})" for nth, name in enumerate(SERVICES))
    odd = ", ".join("('" + name.replace("'", "''") + f"', {nth})" for nth, name in enumerate(ODD_NAMES))
    server.sql(
        f"""CREATE ROLE {server.reader} LOGIN PASSWORD '{server.password}';
CREATE SCHEMA metrics;
CREATE TABLE metrics.samples (ts timestamptz NOT NULL, service text, host text, metric text, value float8);
INSERT INTO metrics.samples
SELECT at, service, host, 'cpu', nth + 10 * extract(hour FROM at AT TIME ZONE 'UTC') / 24 + (host = 'b')::int
FROM (VALUES {names}) AS named (service, nth), (VALUES ('a'), ('b')) AS hosts (host),
  generate_series(to_timestamp({server.now_ms // 1000}) - interval '1 day',
                  to_timestamp({server.now_ms // 1000}) - interval '1 second', '1 minute') AS times (at);
CREATE TABLE metrics.odd (time timestamptz NOT NULL, service text, value float8);
INSERT INTO metrics.odd SELECT to_timestamp({server.now_ms // 1000}) - interval '5 minutes', service, nth
FROM (VALUES {odd}) AS named (service, nth);
CREATE INDEX ON metrics.samples (metric, ts);
GRANT USAGE ON SCHEMA metrics TO {server.reader};
GRANT SELECT ON ALL TABLES IN SCHEMA metrics TO {server.reader};
ANALYZE;"""
    )
    return server
