"""Real servers for tests, started here on a free loopback port. Where one is not installed: see `binary`."""

from __future__ import annotations

import math
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme

SERVICES = (
    *("api-gateway", "auth-service", "user-service", "payment-processor"),
    *("notification-service", "database-primary", "database-replica", "cache-redis"),
)
ODD_NAMES = (
    'we"ird\\svc{1}.x|y',
    "it's",
    "line\nbreak",
    "サービス",
    "a.b",
    "a-b",
    "x",
    "y",
    "`tick`",
    "$1^(+*?)[a]",
)
DAY_S = 86_400


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--replay-table", action="store_true", help="print how every recorded payload ended")


def binary(name: str, package: str) -> str:
    """Where a program is. A developer's machine may lack it, the build machine may not."""
    found = shutil.which(name)
    if not found:
        say = pytest.fail if os.environ.get("CI") else pytest.skip
        say(f"{name} is not installed: apt-get install {package}")
    return str(found)


class PrometheusServer:
    """A Prometheus that scrapes nothing. `now_ms` is when its data was made; they go on for an hour after it."""

    services = SERVICES
    odd_names = ODD_NAMES

    def __init__(self, data: Path, now_ms: int = 0, web_config: Path | None = None) -> None:
        self.data, self.now_ms, self.web_config = data, now_ms, web_config
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        self.url = f"http://{self.address}"
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start, or start again at the same address with the same data; returns when it answers.

        The rules in the data directory's `rules.yml`, if there are any, are evaluated every second.
        """
        config = "global: {evaluation_interval: 1s}\nrule_files: [rules*.yml]\nscrape_configs: []\n"
        (self.data / "prometheus.yml").write_text(config)
        command = [
            binary("prometheus", "prometheus"),
            f"--config.file={self.data / 'prometheus.yml'}",
            f"--storage.tsdb.path={self.data / 'tsdb'}",
            "--storage.tsdb.retention.time=400d",  # the default would delete most of the history at the start
            f"--web.listen-address={self.address}",
            *([f"--web.config.file={self.web_config}"] if self.web_config else []),
        ]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr
        said = []
        for line in self.process.stderr:
            said.append(line)
            if "Server is ready to receive web requests" in line:
                return
        self.kill()
        pytest.fail("Prometheus did not start:\n" + "".join(said[-5:]))

    def kill(self) -> None:
        if self.process:
            self.process.kill()
            self.process.communicate()
            self.process = None


StartPrometheus = Callable[..., PrometheusServer]


class VictoriaServer:
    """A VictoriaMetrics, empty at first."""

    def __init__(self, data: Path) -> None:
        self.data = data
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        self.url = f"http://{self.address}"
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Returns when it listens."""
        command = [
            binary("victoria-metrics", "victoria-metrics"),
            f"-httpListenAddr={self.address}",
            f"-storageDataPath={self.data}",
            "-retentionPeriod=100y",
            "-search.latencyOffset=0s",  # else it hides the newest 30 s, which a test would have to wait for
        ]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr
        said = []
        for line in self.process.stderr:
            said.append(line)
            if "started VictoriaMetrics" in line:
                return
        self.kill()
        pytest.fail("VictoriaMetrics did not start:\n" + "".join(said[-5:]))

    def take(self, exposition: str) -> None:
        """Store samples in the text format (times in ms); they are found at once."""
        with httpx.Client(base_url=self.url, trust_env=False) as client:
            client.post("/api/v1/import/prometheus", content=exposition).raise_for_status()
            client.get("/internal/force_flush").raise_for_status()

    def kill(self) -> None:
        if self.process:
            self.process.kill()
            self.process.communicate()
            self.process = None


@pytest.fixture(scope="session")
def start_prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartPrometheus]:
    """Starts a Prometheus over a data directory (default: an empty one); all are killed at the session's end."""
    started = []

    def start(data: Path | None = None, now_ms: int = 0, web_config: Path | None = None) -> PrometheusServer:
        server = PrometheusServer(data or tmp_path_factory.mktemp("prometheus"), now_ms, web_config)
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
    now_s = int(time.time())
    times = [*range(now_s - 30 * DAY_S, now_s - DAY_S, 300), *range(now_s - DAY_S, now_s + 3600, 60)]
    (data / "in.txt").write_text("".join(openmetrics(times)))
    promtool = [binary("promtool", "prometheus"), "tsdb", "create-blocks-from", "--max-block-duration=744h"]
    subprocess.run([*promtool, "openmetrics", data / "in.txt", data / "tsdb"], check=True, capture_output=True)
    return start_prometheus(data, now_s * 1000)


class InfluxServer:
    """An InfluxDB 1.x. `now_ms` is when its data was made; the database `telemetry` ends there.

    `options` are its own, by their environment names: `HTTP_AUTH_ENABLED="true"`.
    """

    services = SERVICES
    odd_names = tuple(name for name in ODD_NAMES if "\n" not in name)  # line protocol cannot write a line break

    def __init__(self, data: Path, **options: str) -> None:
        self.data, self.options = data, options
        self.now_ms, self.url = 0, ""
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start on a free port; returns when it answers."""
        config = self.data / "influxdb.conf"
        config.write_text(
            f"""reporting-disabled = true
bind-address = "127.0.0.1:0"
[meta]
dir = "{self.data / "meta"}"
[data]
dir = "{self.data / "data"}"
wal-dir = "{self.data / "wal"}"
index-version = "tsi1"
query-log-enabled = false
[monitor]
store-enabled = false
[http]
bind-address = "127.0.0.1:0"
log-enabled = false
"""
        )
        self.process = subprocess.Popen(
            [binary("influxd", "influxdb"), "-config", str(config)],
            env={**os.environ, **{f"INFLUXDB_{name}": value for name, value in self.options.items()}},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr
        said = []
        for line in self.process.stderr:
            said.append(line)
            if found := re.search(r"Listening on HTTP.* addr=(\S+)", line):
                self.url = f"http://{found[1]}"
                return
        self.kill()
        pytest.fail("InfluxDB did not start:\n" + "".join(said[-5:]))

    def query(self, text: str, auth: tuple[str, str] | None = None, **parameters: str) -> Any:
        """What InfluxDB itself answers, without our plugin."""
        form = {"q": text, "epoch": "ms", **parameters}
        return httpx.post(f"{self.url}/query", data=form, auth=auth, trust_env=False).raise_for_status().json()

    def write(self, lines: Iterable[str], auth: tuple[str, str] | None = None) -> None:
        """Lines with times in seconds, into the database `telemetry`."""
        parameters = {"db": "telemetry", "precision": "s"}
        content = "\n".join(lines).encode()
        httpx.post(
            f"{self.url}/write", params=parameters, content=content, auth=auth, trust_env=False
        ).raise_for_status()

    def kill(self) -> None:
        if self.process:
            self.process.kill()
            self.process.communicate()
            self.process = None


StartInflux = Callable[..., InfluxServer]


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


PG_ACCESS = """local all all trust
host all turned_away 127.0.0.1/32 reject
host all postgres 127.0.0.1/32 trust
host all all 127.0.0.1/32 scram-sha-256
"""


class PostgresServer:
    """A PostgreSQL with TLS. Its `postgres` needs no password, `turned_away` is refused, others need theirs.

    `now_ms` is the end of its data: a day of `metrics.samples` (ts, service, host, metric, value), every minute.
    """

    services = SERVICES
    odd_names = ODD_NAMES
    reader = "telemetry_reader"
    password = "pg-secret-of-test"

    def __init__(self, folder: Path, now_ms: int = 0) -> None:
        self.folder, self.now_ms = folder, now_ms
        self.data, self.sockets = folder / "data", folder
        self.owner = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        authority = trustme.CA()
        authority.cert_pem.write_to_path(folder / "ca.pem")
        certificate = authority.issue_cert("127.0.0.1")
        certificate.private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
        self.ca_file = folder / "ca.pem"
        if self.owner:
            shutil.chown(folder, self.owner)
            shutil.chown(folder / "server.pem", self.owner)
        (folder / "server.pem").chmod(0o600)
        self.run(
            "initdb", "-D", self.data, "-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-locale", "--no-sync"
        )
        (self.data / "pg_hba.conf").write_text(PG_ACCESS)
        settings = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.sockets),
            "fsync": "off",
            "ssl": "on",
            "ssl_cert_file": str(folder / "server.pem"),
            "ssl_key_file": str(folder / "server.pem"),
            "timezone": "America/New_York",
        }
        with (self.data / "postgresql.conf").open("a") as config:
            config.writelines(f"{name} = '{value}'\n" for name, value in settings.items())

    def run(self, program: str, *arguments: object, text: str | None = None) -> str:
        """Run one of PostgreSQL's programs as its owner; what it printed."""
        found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}")) if not shutil.which(program) else []
        command = [str(found[-1]) if found else binary(program, "postgresql"), *map(str, arguments)]
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, user=self.owner, cwd=self.folder, check=False
        )
        assert done.returncode == 0, f"{program}: {done.stderr or done.stdout}"
        return done.stdout

    def start(self) -> None:
        """Start, or start again at the same port with the same data; returns when it answers."""
        self.run("pg_ctl", "-D", self.data, "-l", self.folder / "log", "-w", "-s", "start")

    def sql(self, text: str) -> str:
        """Let psql run statements as the superuser; rows as lines, columns apart by |."""
        where = ("-h", self.sockets, "-p", self.port, "-U", "postgres", "-d", "postgres")
        return self.run("psql", *where, "-XqAt", "-v", "ON_ERROR_STOP=1", "-f", "-", text=text).strip()

    def kill(self) -> None:
        """Stop without a goodbye to anybody."""
        if (self.data / "postmaster.pid").exists():
            self.run("pg_ctl", "-D", self.data, "-m", "immediate", "-w", "-s", "stop")


StartPostgres = Callable[..., PostgresServer]


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
