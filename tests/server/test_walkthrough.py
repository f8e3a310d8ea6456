"""The walk-through of docs/security.md, step by step, on loopback in place of the network."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.real.oidc import provider
from tests.real.program import Program, binary, free_port

pytestmark = pytest.mark.real

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "security.md").read_text(encoding="utf-8")
STEPS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE.partition("## Walk-through")[2], re.DOTALL | re.MULTILINE)
SOURCE, AUTHORIZATION, CONFIG, _, ASK, LOOK = (text for _, text in STEPS)


class Walk(Program):
    """One of the programs that the walk-through starts."""

    def __init__(self, folder: Path, command: list[str], ready: str, environ: dict[str, str]) -> None:
        self.folder, self.command, self.ready, self.environ = folder, command, ready, environ

    def start(self) -> None:
        self.launch(self.command, self.ready, self.environ)


class Stranger:
    """Somebody who does what the page says in a folder of their own; `run` gives what a shell prints."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {"192.0.2.10:8000": f"127.0.0.1:{free_port()}", "9000": str(free_port())}
        self.environ = {"TELEMETRY_MCP_SECRET": "a secret that a test has made up for itself"}

    def here(self, text: str) -> str:
        for there, near in self.ports.items():
            text = text.replace(there, near)
        return text

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(self.here(text), encoding="utf-8")
        return path

    def run(self, script: str) -> list[str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environ = {**os.environ, **self.environ, "PATH": path}
        done = subprocess.run(
            [binary("bash", "bash"), "-c", self.here(script)],
            cwd=self.folder,
            env=environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.stdout.splitlines()


@pytest.fixture
def stranger(tmp_path: Path) -> Iterator[Stranger]:
    module = Path(provider().removeprefix("file://"))
    (tmp_path / "node_modules").symlink_to(module.parents[2])
    one = Stranger(tmp_path)
    one.write("estate.py", SOURCE)
    config = one.write("plugins.toml", CONFIG)
    script = one.write("authorization.mjs", AUTHORIZATION)
    port = one.ports["192.0.2.10:8000"].partition(":")[2]
    serve = [sys.executable, "-m", "telemetry_mcp", "serve", "--transport", "http", "--port", port]
    started = [
        Walk(
            tmp_path,
            [binary("node", "nodejs"), str(script)],
            "the authorization server is ready",
            {"PORT": one.ports["9000"]},
        ),
        Walk(tmp_path, [*serve, "--config", str(config)], "listening on", one.environ),
    ]
    for program in started:
        program.start()
    yield one
    for program in started:
        program.kill()


def fields(line: str) -> dict[str, Any]:
    return dict(json.loads(line)["result"].get("structuredContent") or {})


def test_a_stranger_sees_a_viewer_refused_a_responder_served_and_both_in_the_log(stranger: Stranger) -> None:
    code, services, masked, refused, named, served = stranger.run(ASK)
    assert code == "401"
    assert [row["name"] for row in fields(services)["services"]] == ["payment-api"]
    assert "ledger-core" not in services + masked + refused
    assert "Ann Roe" not in masked
    assert fields(masked)["changes"][0]["author"].startswith("h~")
    assert "Unknown tool: investigate_incident" in refused
    assert fields(named)["changes"][0]["author"] == "Ann Roe"
    assert fields(served)["incident"]["service"] == "payment-api"
    *counts, verdict = stranger.run(f'until grep -q \'"id":"bot"\' audit.jsonl; do :; done\n{LOOK}')
    assert any("denied" in line for line in counts)
    assert any("answered" in line for line in counts)
    records = [json.loads(line) for line in (stranger.folder / "audit.jsonl").read_text().splitlines()]
    told = {(each["user"]["id"], each["telemetry_mcp"]["outcome"]) for each in records}
    assert {("dashboard", "denied"), ("dashboard", "answered"), ("bot", "answered")} <= told
    assert "ok" in " ".join([*counts, verdict])
