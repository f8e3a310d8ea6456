"""A real Prometheus."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.real.program import Program, binary, free_port
from tests.real.sample import ODD_NAMES, SERVICES

CONFIG = "global: {evaluation_interval: 1s}\nrule_files: [rules*.yml]\nscrape_configs: []\n"


class PrometheusServer(Program):
    """A Prometheus that scrapes nothing. `now_ms` is when its data was made; they go on for an hour after it."""

    services = SERVICES
    odd_names = ODD_NAMES

    def __init__(self, data: Path, now_ms: int = 0, web_config: Path | None = None) -> None:
        self.data, self.now_ms, self.web_config = data, now_ms, web_config
        self.address = f"127.0.0.1:{free_port()}"
        self.url = f"http://{self.address}"

    def start(self) -> None:
        """Start, or start again at the same address with the same data; returns when it answers.

        The rules in the data directory's `rules.yml`, if there are any, are evaluated every second.
        """
        config = self.data / "prometheus.yml"
        config.write_text(CONFIG)
        command = [
            binary("prometheus", "prometheus"),
            f"--config.file={config}",
            f"--storage.tsdb.path={self.data / 'tsdb'}",
            "--storage.tsdb.retention.time=400d",  # the default would delete most of the history at the start
            f"--web.listen-address={self.address}",
            *([f"--web.config.file={self.web_config}"] if self.web_config else []),
        ]
        self.launch(command, "Server is ready to receive web requests")


def fill(data: Path, openmetrics: str) -> None:
    """Put a history as OpenMetrics (times in seconds) into the directory of a server that is yet to be started."""
    (data / "in.txt").write_text(openmetrics)
    promtool = [binary("promtool", "prometheus"), "tsdb", "create-blocks-from", "--max-block-duration=744h"]
    subprocess.run([*promtool, "openmetrics", data / "in.txt", data / "tsdb"], check=True, capture_output=True)
