"""The program as clients start it: what reaches stdout, and how it ends."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

Process = subprocess.Popen[str]
Start = Callable[..., Process]

INITIALIZE = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "test", "version": "1"},
}
CALL = {"name": "list_services", "arguments": {}}
SOON_S = 3
SIGNALS = pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])


@pytest.fixture
def heard_interrupts() -> Iterator[None]:
    """Whoever is run in the background of a shell ignores SIGINT, and so would every process that it starts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def start(heard_interrupts: None) -> Iterator[Start]:
    """Starts telemetry-mcp with pipes; what still runs at the end of the test is killed."""
    started: list[Process] = []

    def begin(*words: str) -> Process:
        command = [sys.executable, "-m", "telemetry_mcp", *words]
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def send(process: Process, method: str, params: Any, number: int | None = None) -> None:
    message = {"jsonrpc": "2.0", "method": method, "params": params} | ({"id": number} if number else {})
    assert process.stdin
    process.stdin.write(json.dumps(message) + "\n")
    process.stdin.flush()


def answer(process: Process) -> dict[str, Any]:
    """The next line of stdout, which must be JSON-RPC."""
    assert process.stdout
    message: dict[str, Any] = json.loads(process.stdout.readline())
    assert message["jsonrpc"] == "2.0"
    return message


def ended(process: Process, end: signal.Signals) -> tuple[int, str, str]:
    """Exit code and what was still said, after `end` was sent."""
    began = time.monotonic()
    process.send_signal(end)
    out, err = process.communicate(timeout=30)
    assert time.monotonic() - began < SOON_S
    return process.returncode, out, err


def listening(process: Process) -> str:
    assert process.stderr
    line = process.stderr.readline()
    assert line.startswith("listening on http://127.0.0.1:"), line + process.stderr.read()
    return line.removeprefix("listening on ").strip()


def test_nothing_but_the_protocol_reaches_stdout(start: Start) -> None:
    process = start("serve", "--demo", "--log-level", "debug")
    send(process, "initialize", INITIALIZE, 1)
    assert answer(process)["id"] == 1
    send(process, "notifications/initialized", {})
    send(process, "tools/list", {}, 2)
    assert len(answer(process)["result"]["tools"]) >= 8
    send(process, "tools/call", CALL, 3)
    reply = answer(process)
    assert (reply["id"], reply["result"]["structuredContent"]["total"]) == (3, 8)
    assert process.stdin
    process.stdin.close()
    process.stdin = None
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, "")
    assert err, "the log at debug level says nothing, so that this test shows nothing"


@SIGNALS
def test_a_signal_ends_stdio_cleanly(start: Start, end: signal.Signals) -> None:
    process = start("serve", "--demo")
    send(process, "initialize", INITIALIZE, 1)
    answer(process)
    assert ended(process, end) == (0, "", "")


@SIGNALS
def test_a_signal_ends_http_cleanly(start: Start, end: signal.Signals) -> None:
    process = start("serve", "--demo", "--transport", "http", "--port", "0")
    url = listening(process)
    with urlopen(url.replace("/mcp", "/readyz"), timeout=10) as reply:
        assert json.load(reply) == {"ready": True}
    assert ended(process, end) == (0, "", "")


def test_the_demo_goes_on_serving_its_estate(start: Start) -> None:
    process = start("demo", "--serve", "--port", "0", "--no-color")
    url = listening(process)
    with urlopen(url.replace("/mcp", "/healthz"), timeout=10) as reply:
        assert reply.read() == b"ok"
    code, out, _ = ended(process, signal.SIGINT)
    assert code == 0
    assert "5. Who uses the most resources?" in out


def test_interrupting_a_command_leaves_no_traceback(start: Start) -> None:
    process = start("demo", "--fault", "datadog=hang")
    assert process.stdout
    assert process.stdout.readline() == "1. How are my services?\n"
    assert ended(process, signal.SIGINT) == (130, "", "")


def test_a_port_that_is_taken_is_one_sentence(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = start("serve", "--demo", "--transport", "http", "--port", str(port))
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (1, "")
    assert err == f"port {port} of 127.0.0.1 is in use; name another with --port\n"


def test_the_version_is_told(start: Start) -> None:
    out, _ = start("--version").communicate(timeout=30)
    assert out.startswith("telemetry-mcp 0.")


def test_stdio_starts_without_what_only_other_commands_need() -> None:
    look = (
        "import sys, telemetry_mcp.cli, telemetry_mcp.terminal.serve, telemetry_mcp.server.stdio;"
        "print([name for name in sys.modules if name.startswith("
        "('telemetry_mcp.demo', 'prometheus_client', 'rich.table', 'telemetry_mcp.terminal.table',"
        " 'telemetry_mcp.server.web', 'telemetry_mcp_', 'aiohttp'))])"
    )
    found = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


STUBBORN = """
import anyio
from telemetry_mcp import Source, hookimpl

class Stubborn(Source):
    async def list_services(self, query):
        while True:
            try:
                await anyio.sleep(60)
            except BaseException:
                pass

@hookimpl
def telemetry_sources():
    return [Stubborn]
"""


def test_a_source_that_ignores_cancellation_does_not_keep_the_program_alive(start: Start, tmp_path: Path) -> None:
    (tmp_path / "stubborn.py").write_text(STUBBORN)
    (tmp_path / "plugins.toml").write_text('[sources.stubborn]\nplugin = "./stubborn.py"\n')
    server = start("serve", "--config", str(tmp_path / "plugins.toml"))
    send(server, "initialize", INITIALIZE, 1)
    answer(server)
    send(server, "notifications/initialized", {})
    send(server, "tools/call", {"name": "list_services", "arguments": {"deadline_s": 0.2}}, 2)
    assert answer(server)["result"]["isError"]
    server.send_signal(signal.SIGTERM)
    assert server.wait(10) == 1
