"""The stdout sink: whole lines for a collector, and never among the lines of the protocol or of a command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.plugins.audit_record import number_of

WRITE = """
import anyio, os, sys
from telemetry_mcp import PluginSettings
from telemetry_mcp_audit.stdout import Stdout
from tests.plugins.audit_record import records

async def main():
    os.set_blocking(1, sys.argv[1] == "blocking")
    sink = Stdout(PluginSettings(plugin="stdout"))
    for start in (0, 3000):
        await sink.write_batch(records(3000, first=start))

anyio.run(main)
"""
TABLE = '[audit.console]\nplugin = "stdout"\n'


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "plugins.toml"
    path.write_text(TABLE)
    return path


def ran(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "telemetry_mcp", *words]
    return subprocess.run(command, input="", capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize("pipe", ["blocking", "not blocking"])
def test_a_line_is_a_record_however_slowly_it_is_read(pipe: str) -> None:
    process = subprocess.Popen([sys.executable, "-c", WRITE, pipe], stdout=subprocess.PIPE)
    assert process.stdout
    read = b""
    while piece := os.read(process.stdout.fileno(), 10_000):
        read += piece
    process.stdout.close()
    assert process.wait(10) == 0
    assert [number_of(line) for line in read.splitlines()] == list(range(6000))


def test_it_is_refused_under_stdio_where_stdout_is_the_protocols(config: Path) -> None:
    done = ran("serve", "--config", str(config))
    assert (done.returncode, done.stdout) == (2, "")
    assert "[audit.console] plugin: writes to stdout" in done.stderr
    assert 'use plugin = "file", or serve with --transport http' in done.stderr


def test_a_commands_answer_stays_by_itself_on_stdout(config: Path) -> None:
    done = ran("call", "list_sources", "--json", "--config", str(config))
    assert json.loads(done.stdout)["sources"] == []
    listed = ran("plugins", "list", "--json", "--config", str(config))
    (console,) = json.loads(listed.stdout)["sources"]
    assert (console["source"], console["kind"], console["status"]) == ("console", "audit", "on")
