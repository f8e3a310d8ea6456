"""A real InfluxDB."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import httpx

from tests.real.program import Program, binary
from tests.real.sample import ODD_NAMES, SERVICES

CONFIG = """reporting-disabled = true
bind-address = "127.0.0.1:0"
[meta]
dir = "{data}/meta"
[data]
dir = "{data}/data"
wal-dir = "{data}/wal"
index-version = "tsi1"
query-log-enabled = false
[monitor]
store-enabled = false
[http]
bind-address = "127.0.0.1:0"
log-enabled = false
"""


class InfluxServer(Program):
    """An InfluxDB 1.x. `now_ms` is when its data was made; the database `telemetry` ends there.

    `options` are its own, by their environment names: `HTTP_AUTH_ENABLED="true"`.
    """

    services = SERVICES
    odd_names = tuple(name for name in ODD_NAMES if "\n" not in name)  # line protocol cannot write a line break

    def __init__(self, data: Path, **options: str) -> None:
        self.data, self.options = data, options
        self.now_ms, self.url = 0, ""

    def start(self) -> None:
        """Start on a free port; returns when it answers."""
        config = self.data / "influxdb.conf"
        config.write_text(CONFIG.format(data=self.data))
        environ = {f"INFLUXDB_{name}": value for name, value in self.options.items()}
        command = (binary("influxd", "influxdb"), "-config", config)
        listening = self.launch(command, r"Listening on HTTP.* addr=(\S+)", environ)
        self.url = f"http://{listening[1]}"

    def query(self, text: str, auth: tuple[str, str] | None = None, **parameters: str) -> Any:
        """What InfluxDB itself answers, without our plugin."""
        form = {"q": text, "epoch": "ms", **parameters}
        return httpx.post(f"{self.url}/query", data=form, auth=auth, trust_env=False).raise_for_status().json()

    def write(self, lines: Iterable[str], auth: tuple[str, str] | None = None) -> None:
        """Lines with times in seconds, into the database `telemetry`."""
        parameters = {"db": "telemetry", "precision": "s"}
        content = "\n".join(lines).encode()
        answer = httpx.post(f"{self.url}/write", params=parameters, content=content, auth=auth, trust_env=False)
        answer.raise_for_status()
