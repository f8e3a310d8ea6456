"""A real Prometheus."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import urlopen

from tests.real.program import Program, binary, free_port
from tests.real.sample import ODD_NAMES, SERVICES

CONFIG = "global: {{evaluation_interval: 1s}}\nrule_files: [rules*.yml]\nscrape_configs: {jobs}\n"


class PrometheusServer(Program):
    """A Prometheus that scrapes nothing, or `targets` (host:port) every half second. `now_ms` is when its data was
    made; they go on for an hour after it."""

    services = SERVICES
    odd_names = ODD_NAMES

    def __init__(
        self, data: Path, now_ms: int = 0, web_config: Path | None = None, targets: Sequence[str] = ()
    ) -> None:
        self.data, self.now_ms, self.web_config, self.targets = data, now_ms, web_config, targets
        self.address = f"127.0.0.1:{free_port()}"
        self.url = f"http://{self.address}"

    def start(self) -> None:
        """Start, or start again at the same address with the same data; returns when it answers.

        The rules in the data directory's `rules.yml`, if there are any, are evaluated every second.
        """
        config = self.data / "prometheus.yml"
        job = {
            "job_name": "scraped",
            "scrape_interval": "500ms",
            "scrape_timeout": "500ms",
            "static_configs": [{"targets": list(self.targets)}],
        }
        # JSON is YAML.
        config.write_text(CONFIG.format(jobs=json.dumps([job] if self.targets else [])))
        command = [
            binary("prometheus", "prometheus"),
            f"--config.file={config}",
            f"--storage.tsdb.path={self.data / 'tsdb'}",
            "--storage.tsdb.retention.time=400d",  # the default would delete most of the history at the start
            f"--web.listen-address={self.address}",
            *([f"--web.config.file={self.web_config}"] if self.web_config else []),
        ]
        self.launch(command, "Server is ready to receive web requests")

    def ask(self, query: str) -> dict[str, float]:
        """An instant query: the values, by the labels without those that the scrape adds."""
        asked = f"{self.url}/api/v1/query?{urlencode({'query': query})}"
        with urlopen(asked, timeout=5) as answer:
            rows = json.load(answer)["data"]["result"]
        own = ("__name__", "instance", "job")
        return {
            ",".join(f"{n}={v}" for n, v in sorted(row["metric"].items()) if n not in own): float(row["value"][1])
            for row in rows
        }


def fill(data: Path, openmetrics: str) -> None:
    """Put a history as OpenMetrics (times in seconds) into the directory of a server that is yet to be started."""
    (data / "in.txt").write_text(openmetrics)
    promtool = [binary("promtool", "prometheus"), "tsdb", "create-blocks-from", "--max-block-duration=744h"]
    subprocess.run([*promtool, "openmetrics", data / "in.txt", data / "tsdb"], check=True, capture_output=True)
