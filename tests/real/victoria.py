"""A real VictoriaMetrics."""

from __future__ import annotations

from pathlib import Path

import httpx

from tests.real.program import Program, binary, free_port


class VictoriaServer(Program):
    """A VictoriaMetrics, empty at first."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.address = f"127.0.0.1:{free_port()}"
        self.url = f"http://{self.address}"

    def start(self) -> None:
        """Returns when it listens."""
        command = [
            binary("victoria-metrics", "victoria-metrics"),
            f"-httpListenAddr={self.address}",
            f"-storageDataPath={self.data}",
            "-retentionPeriod=100y",
            "-search.latencyOffset=0s",  # else it hides the newest 30 s, which a test would have to wait for
        ]
        self.launch(command, "started VictoriaMetrics")

    def take(self, exposition: str) -> None:
        """Store samples in the text format (times in ms); they are found at once."""
        with httpx.Client(base_url=self.url, trust_env=False) as client:
            client.post("/api/v1/import/prometheus", content=exposition).raise_for_status()
            client.get("/internal/force_flush").raise_for_status()
