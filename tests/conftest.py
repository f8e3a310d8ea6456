"""Real servers for tests, started here on a free loopback port. Where one is not installed: see `binary`."""

from __future__ import annotations

import math
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

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
        """Start, or start again at the same address with the same data; returns when it answers."""
        (self.data / "prometheus.yml").write_text("scrape_configs: []\n")
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
