"""stdio as a client starts it: both eras, a stdout that is the protocol's alone, and an end that is clean."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

import anyio
import pytest
from mcp import Client

if TYPE_CHECKING:
    from pathlib import Path

    from tests.server.conftest import Gate, OverStdio

CHATTERBOX = """
import sys
from telemetry_mcp import Reply, Service, Source, hookimpl

class Chatterbox(Source):
    async def list_services(self, query):
        print("asked")
        sys.stdout.flush()
        return Reply([Service("checkout")])

@hookimpl
def telemetry_sources():
    return [Chatterbox]
"""


FAREWELL = """
import sys
import anyio
from telemetry_mcp import Source, hookimpl

class Farewell(Source):
    async def list_services(self, query):
        print("asked", file=sys.stderr, flush=True)
        await anyio.sleep_forever()

    async def close(self):
        print("closed", file=sys.stderr, flush=True)

@hookimpl
def telemetry_sources():
    return [Farewell]
"""
LIST_SERVICES = """\
{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},\
"clientInfo":{"name":"test","version":"1"}}}
{"jsonrpc":"2.0","method":"notifications/initialized"}
{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list_services"}}
"""


class Spoken:
    """The server as a process, spoken to line by line."""

    def __init__(self, over_stdio: OverStdio, *arguments: str) -> None:
        command = over_stdio(*arguments)
        self.process = subprocess.Popen(
            [command.command, *command.args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def tell(self, line: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def ask(self, id: int, method: str, **params: Any) -> Any:
        self.tell(json.dumps({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))
        return self.heard()

    def heard(self) -> Any:
        assert self.process.stdout
        return json.loads(self.process.stdout.readline())

    def shake_hands(self, version: str) -> str:
        who = {"name": "test", "version": "1"}
        answer = self.ask(0, "initialize", protocolVersion=version, capabilities={}, clientInfo=who)
        self.tell('{"jsonrpc":"2.0","method":"notifications/initialized"}')
        return str(answer["result"]["protocolVersion"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *reason: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def end(self) -> tuple[int, str, str]:
        """Close its stdin: the exit code, and what else was on stdout and stderr."""
        out, err = self.process.communicate(timeout=20)
        return self.process.returncode, out, err


@pytest.mark.parametrize(("mode", "version"), [("auto", "2026-07-28"), ("legacy", "2025-11-25")])
async def test_the_sdks_client_asks_over_stdio_in_either_era(
    over_stdio: OverStdio, mode: str, version: str
) -> None:
    async with Client(over_stdio("--demo"), mode=mode) as client:
        assert client.protocol_version == version
        tools = await client.list_tools()
        result = await client.call_tool("list_services", {})
    assert len(tools.tools) == 10
    assert result.structured_content
    assert len(result.structured_content["services"]) == 8


def test_stdout_is_the_protocols_alone_whatever_a_plugin_prints(over_stdio: OverStdio, tmp_path: Path) -> None:
    (tmp_path / "chatterbox.py").write_text(CHATTERBOX)
    (tmp_path / "plugins.toml").write_text('[sources.chatterbox]\nplugin = "./chatterbox.py"\n')
    with Spoken(over_stdio, "--config", str(tmp_path / "plugins.toml")) as server:
        assert server.shake_hands("2025-06-18") == "2025-06-18"
        answer = server.ask(1, "tools/call", name="list_services", arguments={})
        assert '"name":"checkout"' in answer["result"]["content"][0]["text"]
        code, out, err = server.end()
    assert (code, out) == (0, "")
    assert "asked" in err


def test_stdout_is_the_protocols_alone_while_plugins_are_imported(over_stdio: OverStdio, tmp_path: Path) -> None:
    (tmp_path / "chatterbox.py").write_text(f'print("imported")\n{CHATTERBOX}')
    (tmp_path / "plugins.toml").write_text('[sources.chatterbox]\nplugin = "./chatterbox.py"\n')
    with Spoken(over_stdio, "--config", str(tmp_path / "plugins.toml")) as server:
        assert server.shake_hands("2025-11-25") == "2025-11-25"


def test_print_and_descriptor_are_aside_while_plugins_are_imported(over_stdio: OverStdio, tmp_path: Path) -> None:
    (tmp_path / "chatterbox.py").write_text(f'import os\nos.write(1, b"imported\\n")\n{CHATTERBOX}')
    (tmp_path / "plugins.toml").write_text('[sources.chatterbox]\nplugin = "./chatterbox.py"\n')
    with Spoken(over_stdio, "--config", str(tmp_path / "plugins.toml")) as server:
        assert server.shake_hands("2025-11-25") == "2025-11-25"


@pytest.mark.parametrize(
    ("line", "id", "code"),
    [
        (b"this is not JSON", None, -32700),
        (b'{"jsonrpc":"2.0","id":7,"method":"ping","params":{"x":"\xff"}}', 7, -32700),
        (b'{"jsonrpc":"2.0","id":"a","method":"ping","params":{"x":"\\ud800"}}', "a", -32700),
        (b'{"jsonrpc":"2.0","id":true,"method":3}', None, -32600),
        (b"[" * 100_000, None, -32700),
    ],
    ids=["no JSON", "no UTF-8", "lone surrogate", "no message", "deep"],
)
def test_a_line_that_cannot_be_read_is_answered_and_the_session_goes_on(
    over_stdio: OverStdio, line: bytes, id: str | int | None, code: int
) -> None:
    with Spoken(over_stdio, "--demo") as server:
        server.shake_hands("2025-11-25")
        server.tell("")
        assert server.process.stdin
        os.write(server.process.stdin.fileno(), line + b"\n")
        answer = server.ask(2, "tools/list")
        assert (answer["id"], answer.get("error", {}).get("code")) == (id, code)
        assert len(server.heard()["result"]["tools"]) == 10
        assert server.end()[0] == 0


def test_a_line_that_is_too_long_ends_the_session_with_a_word(over_stdio: OverStdio) -> None:
    with Spoken(over_stdio, "--demo") as server:
        server.shake_hands("2025-11-25")
        with suppress(BrokenPipeError):
            server.tell("x" * 20 * 2**20)
        code, out, err = server.end()
    assert (code, out) == (0, "")
    assert "a line of more than 8388608 bytes" in err
    assert "Traceback" not in err


def test_a_client_that_closes_our_stdout_ends_the_session(over_stdio: OverStdio) -> None:
    with Spoken(over_stdio, "--demo") as server:
        server.shake_hands("2025-11-25")
        assert server.process.stdout
        server.process.stdout.close()
        server.tell('{"jsonrpc":"2.0","id":1,"method":"tools/list"}')
        assert server.process.wait(15) == 0
        assert server.process.stderr
        assert server.process.stderr.read() == ""


def test_a_signal_ends_it_cleanly_when_stdout_is_a_file(over_stdio: OverStdio, tmp_path: Path) -> None:
    (tmp_path / "farewell.py").write_text(FAREWELL)
    (tmp_path / "plugins.toml").write_text('[sources.farewell]\nplugin = "./farewell.py"\n')
    command = over_stdio("--config", str(tmp_path / "plugins.toml"))
    words, pipe = [command.command, *command.args], subprocess.PIPE
    with (
        (tmp_path / "out").open("w") as out,
        subprocess.Popen(words, stdin=pipe, stdout=out, stderr=pipe, text=True) as process,
    ):
        assert process.stdin
        assert process.stderr
        process.stdin.write(LIST_SERVICES)
        process.stdin.flush()
        assert process.stderr.readline() == "asked\n"
        process.send_signal(signal.SIGTERM)
        assert process.stderr.read() == "closed\n"
    assert process.returncode == 0


def test_questions_from_a_file_are_read(over_stdio: OverStdio, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("what?\n")
    command = over_stdio("--demo")
    with (tmp_path / "in").open() as questions:
        ended = subprocess.run(
            [command.command, *command.args], stdin=questions, capture_output=True, timeout=20, check=True
        )
    assert json.loads(ended.stdout)["error"]["code"] == -32700


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, None])
async def test_it_ends_cleanly_and_drops_what_is_under_way(
    over_stdio: OverStdio, gate: Gate, how: signal.Signals | None
) -> None:
    with Spoken(over_stdio, "--config", str(gate.config)) as server, anyio.fail_after(15):
        await asyncio.to_thread(server.shake_hands, "2025-11-25")
        server.tell('{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list_services"}}')
        await gate.asked.wait()
        if how:
            server.process.send_signal(how)
            await asyncio.to_thread(server.process.wait)
        code, out, err = await asyncio.to_thread(server.end)
        await gate.left.wait()
    assert code == 0
    assert "Traceback" not in err
    assert all(json.loads(line)["jsonrpc"] == "2.0" for line in out.splitlines())
