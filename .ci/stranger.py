"""A stranger's plugins, installed as wheels beside ours: a good one answers, a broken one and one that claims the
name of ours are reported.

Runs in the environment that they were installed into: python .ci/stranger.py
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from telemetry_mcp.demo.emulator import CONFIG, Emulators

TABLES = """
[sources.acme]
plugin = "acme-zabbix"
url = "{url}"
token = "t0ken"
[sources.acme.metrics]
cpu = {{ query = "system.cpu", unit = "percent" }}

[sources.broken]
plugin = "acme-broken"
"""


class Backend(BaseHTTPRequestHandler):
    """The small API that `plugins new` writes a source for."""

    def answer(self, document: object) -> None:
        body = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.answer({"services": [{"name": "payment-processor", "team": "payments"}]})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        points = [[at, 41.0] for at in range(asked["from_ms"], asked["to_ms"], asked["step_ms"])]
        self.answer({"series": [{"service": name, "points": points} for name in asked["services"]]})

    def log_message(self, format: str, *words: Any) -> None:
        pass


def told(*words: str, config: Path, environ: dict[str, str]) -> dict[str, Any]:
    command = [sys.executable, "-m", "telemetry_mcp", *words, "--json", "--config", str(config)]
    ran = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environ}, check=False)
    document: dict[str, Any] = json.loads(ran.stdout)
    return document


def main() -> None:
    backend = ThreadingHTTPServer(("127.0.0.1", 0), Backend)
    threading.Thread(target=backend.serve_forever, daemon=True).start()
    with Emulators() as estate, tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "plugins.toml"
        tables = TABLES.format(url=f"http://127.0.0.1:{backend.server_address[1]}")
        config.write_text(CONFIG.read_text(encoding="utf-8") + tables, encoding="utf-8")
        environ = dict(estate.environ)
        question = ("call", "get_current_metrics", "service=payment-processor", "metrics=cpu")
        answer = told(*question, config=config, environ=environ)
        listed = told("plugins", "list", config=config, environ=environ)
    ledger = {line["name"]: line["status"] for line in answer["sources"]}
    assert {name: ledger[name] for name in ("prometheus", "datadog", "acme")} == dict.fromkeys(
        ("prometheus", "datadog", "acme"), "ok"
    ), ledger
    assert ledger["broken"] == "failed", ledger
    (reading,) = answer["readings"]
    assert "acme" in [other["source"] for other in reading["others"]], reading
    plugins = {plugin["name"]: plugin for plugin in reversed(listed["plugins"])}
    (taken,) = [plugin for plugin in listed["plugins"] if plugin["package"] == "acme-duplicate"]
    assert (taken["name"], taken["status"]) == ("datadog", "broken"), taken
    assert plugins["datadog"]["package"] == "telemetry-mcp", plugins["datadog"]
    assert (plugins["acme-zabbix"]["package"], plugins["acme-zabbix"]["status"]) == ("acme-zabbix", "on")
    assert plugins["acme-broken"]["status"] == "broken", plugins["acme-broken"]
    print("a stranger's wheel answered beside the others:", ledger)
    print("the broken one:", plugins["acme-broken"]["reason"])


if __name__ == "__main__":
    main()
