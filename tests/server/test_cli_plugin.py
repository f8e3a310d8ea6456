"""The commands over plugins that misbehave, as processes: what is on stdout, and that they end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PLUGIN = """
import os, sys, threading, time
import anyio
from telemetry_mcp import Check, Reply, Service, Source, hookimpl

{top}

class Strange(Source):
    async def list_services(self, query):
        {asked}
        return Reply([Service("checkout")])

    async def check(self):
        {asked}
        return Reply([Check("reachable", True)])

    async def close(self):
        {closed}

@hookimpl
def telemetry_sources():
    return [Strange]
"""
IGNORE = """while True:
            try:
                await anyio.sleep(60)
            except BaseException:
                pass"""
BLOCK = "await self.context.threads.run(lambda: time.sleep(60))"
THREAD = "threading.Thread(target=time.sleep, args=[60]).start()"
CALL = ("call", "list_services", "--timeout", "1", "--json")
DOCTOR = ("doctor", "--json")
LIST = ("plugins", "list", "--json")
SOON_S = 15
"""Long enough for two slow cores to start Python, and far from the minute that the plugins take."""


def run(
    folder: Path, *words: str, top: str = "", asked: str = "pass", closed: str = "pass"
) -> subprocess.CompletedProcess[str]:
    (folder / "strange.py").write_text(PLUGIN.format(top=top, asked=asked, closed=closed))
    (folder / "plugins.toml").write_text('[sources.strange]\nplugin = "./strange.py"\ntimeout = 1\n')
    command = [sys.executable, "-m", "telemetry_mcp", *words, "--config", str(folder / "plugins.toml")]
    return subprocess.run(command, capture_output=True, text=True, timeout=SOON_S, check=False)


@pytest.mark.parametrize(("words", "asked"), [(CALL, IGNORE), (CALL, BLOCK), (DOCTOR, BLOCK)])
def test_a_source_that_never_answers_costs_its_deadline_only(
    tmp_path: Path, words: tuple[str, ...], asked: str
) -> None:
    ended = run(tmp_path, *words, asked=asked)
    assert ended.returncode == 1
    (strange,) = json.loads(ended.stdout)["sources"]
    assert strange["status"] in ("failed", "fault")
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("words", [CALL, DOCTOR, LIST], ids=["call", "doctor", "list"])
@pytest.mark.parametrize("closed", ["await anyio.sleep_forever()", THREAD], ids=["hangs", "leaves a thread"])
def test_a_source_that_does_not_close_changes_neither_answer_nor_code(
    tmp_path: Path, words: tuple[str, ...], closed: str
) -> None:
    ended = run(tmp_path, *words, closed=closed)
    assert ended.returncode == 0
    assert json.loads(ended.stdout)["sources"]


@pytest.mark.parametrize("words", [CALL, DOCTOR, LIST], ids=["call", "doctor", "list"])
def test_what_a_plugin_prints_is_not_on_stdout(tmp_path: Path, words: tuple[str, ...]) -> None:
    noise = 'print("by name"); print("true", file=sys.__stdout__); os.write(1, b"by descriptor\\n")'
    ended = run(tmp_path, *words, top=noise, asked=noise)
    assert ended.returncode == 0
    document: dict[str, Any] = json.loads(ended.stdout)
    assert document["sources"]
    assert "by name" in ended.stderr
    assert "by descriptor" in ended.stderr


def test_a_plugin_that_ends_the_program_is_listed_as_broken(tmp_path: Path) -> None:
    ended = run(tmp_path, *LIST, top='raise SystemExit("gone")')
    assert ended.returncode == 0
    (strange,) = json.loads(ended.stdout)["sources"]
    assert strange["status"] == "broken"
    assert "gone" in strange["reason"]


def test_a_reader_that_is_gone_leaves_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "plugins.toml").write_text("")
    command = [sys.executable, "-m", "telemetry_mcp", "doctor", "--config", str(tmp_path / "plugins.toml")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        process.stdout.close()
        assert process.stderr
        assert process.stderr.read() == ""
    assert process.returncode == 1


def test_the_list_says_what_each_plugin_hands_over_and_why_it_is_not_on(tmp_path: Path) -> None:
    detector = "\nfrom telemetry_mcp import Detector\n\nclass Jump(Detector): ...\n"
    hook = "\n@hookimpl\ndef telemetry_detectors():\n    return [Jump]\n"
    ended = run(tmp_path, *LIST, top=f"{detector}{hook}")
    document: dict[str, Any] = json.loads(ended.stdout)
    plugins = {plugin["name"]: plugin for plugin in document["plugins"]}
    assert plugins["./strange.py"] == {
        "name": "./strange.py",
        "package": None,
        "version": None,
        "status": "on",
        "offers": ["Strange: services, check", "Jump: Detector"],
        "reason": None,
    }
    prometheus = plugins["prometheus"]
    assert (prometheus["package"], prometheus["status"]) == ("telemetry-mcp", "off")
    assert prometheus["version"]
    assert prometheus["reason"] == "no table of plugins.toml names it"
    assert prometheus["offers"][0].startswith("Prometheus: series, services")
    (source,) = document["sources"]
    assert source["capabilities"] == ["services", "check"]


def test_a_broken_plugin_is_listed_with_the_reason(tmp_path: Path) -> None:
    plugins = json.loads(run(tmp_path, *LIST, top="import no_such_module").stdout)["plugins"]
    (strange,) = [plugin for plugin in plugins if plugin["name"] == "./strange.py"]
    assert strange["status"] == "broken"
    assert "No module named 'no_such_module'" in strange["reason"]
    assert strange["offers"] == []


def test_the_trace_says_every_hook_call_on_stderr(tmp_path: Path) -> None:
    ended = run(tmp_path, "--trace", *CALL)
    assert json.loads(ended.stdout)["services"]
    assert "the plugin ./strange.py is asked for its sources" in ended.stderr
    assert "finish telemetry_sources --> " in ended.stderr
    assert "finish telemetry_sources" not in run(tmp_path, *CALL).stderr
