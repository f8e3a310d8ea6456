"""A world at a fixed moment, and a desk where its tools are asked: every answer is held to what all promise."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import orjson
import pytest
from mcp import Client, StdioServerParameters
from mcp.types import CallToolResult, TextContent, Tool

from telemetry_mcp import log
from telemetry_mcp.config import Config, read
from telemetry_mcp.demo import datadog, newrelic, pagerduty
from telemetry_mcp.demo.emulator import CONFIG, Emulators
from telemetry_mcp.demo.estate import Estate
from telemetry_mcp.engine import Engine, opened
from telemetry_mcp.server.app import build

NOW_MS = (20_500 * 86_400 + 15 * 3600) * 1000
"""2026-02-16T15:00:00Z: the payment incident ended yesterday, notification-service has been failing for 40 min."""
SECRETS = (datadog.API_KEY, datadog.APP_KEY, newrelic.API_KEY, pagerduty.API_KEY)
COMMAND = (sys.executable, "-m", "telemetry_mcp", "serve")
REMEMBERED = ("prometheus", "datadog", "newrelic", "pagerduty", "stranger")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a tool answered: `fields` is empty where there was nothing but a sentence."""

    fields: dict[str, Any]
    text: str
    is_error: bool
    took_s: float

    def __getitem__(self, name: str) -> Any:
        return self.fields[name]

    @property
    def ledger(self) -> dict[str, dict[str, Any]]:
        return {line["name"]: line for line in self.fields["sources"]}

    @property
    def kinds(self) -> dict[str, str]:
        """The kind of failure of each source that failed."""
        return {n: line["error"]["kind"] for n, line in self.ledger.items() if line["status"] == "failed"}

    def row(self, rows: str, **wanted: Any) -> dict[str, Any]:
        """The one row of a list that has these values."""
        found = [r for r in self.fields[rows] if all(r[key] == value for key, value in wanted.items())]
        assert len(found) == 1, f"{wanted} is there {len(found)} times"
        return dict(found[0])


def held_to_promises(result: CallToolResult, tool: Tool | None) -> Answer:
    """The answer, when it keeps to its schema, is its own text in compact JSON, and holds no secret."""
    (block,) = result.content
    assert isinstance(block, TextContent)
    assert not [secret for secret in SECRETS if secret in block.text]
    assert "Traceback" not in block.text
    fields = result.structured_content
    if fields is None:
        assert result.is_error
    else:
        assert orjson.loads(block.text) == fields
        assert len(block.text.encode()) == len(orjson.dumps(fields))
        assert tool is not None
        assert tool.output_schema is not None
        jsonschema.validate(fields, tool.output_schema)
    return Answer(fields or {}, block.text, result.is_error, 0.0)


@dataclass(frozen=True, slots=True)
class Desk:
    """A client of an engine of its own. `ask` times what it is answered and holds it to the promises."""

    client: Client
    engine: Engine
    tools: dict[str, Tool]

    async def ask(self, tool: str, **arguments: Any) -> Answer:
        started = time.perf_counter()
        result = await self.client.call_tool(tool, arguments)
        took_s = time.perf_counter() - started
        told = held_to_promises(result, self.tools.get(tool))
        return Answer(told.fields, told.text, told.is_error, took_s)

    async def read(self, uri: str) -> dict[str, Any]:
        (content,) = (await self.client.read_resource(uri)).contents
        text = getattr(content, "text", "")
        assert not [secret for secret in SECRETS if secret in text]
        assert content.mime_type == "application/json"
        return dict(orjson.loads(text))


Ask = Callable[..., Awaitable[Answer]]
OpenDesk = Callable[..., Awaitable[Desk]]


@asynccontextmanager
async def serving(config: Config, clock_ms: Callable[[], int]) -> AsyncIterator[Desk]:
    engines: list[Engine] = []

    @asynccontextmanager
    async def remembered() -> AsyncIterator[Engine]:
        async with opened(config, clock_ms=clock_ms) as engine:
            engines.append(engine)
            yield engine

    async with Client(build(remembered)) as client:
        tools = (await client.list_tools()).tools
        yield Desk(client, engines[0], {tool.name: tool for tool in tools})


@contextmanager
def passing_log() -> Iterator[None]:
    """The log that is set up in the block ends with it."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(autouse=True)
def _quiet_logs() -> Iterator[None]:
    """As the command does it, before the SDK sets up a handler of its own."""
    with passing_log():
        log.configure("CRITICAL")
        yield


@pytest.fixture
def own_log() -> Iterator[None]:
    """For a test that runs a command in this process: the log that it sets up ends with the test."""
    with passing_log():
        yield


@pytest.fixture(scope="session")
def emulators() -> Iterator[Emulators]:
    with Emulators(Estate.today(NOW_MS), clock=lambda: NOW_MS) as emulators:
        yield emulators


@pytest.fixture
def world(emulators: Emulators) -> Iterator[Emulators]:
    """The four vendors, well and asked nothing so far."""
    for name in REMEMBERED:
        emulators.requests[name].clear()
    yield emulators
    for faults in emulators.faults.values():
        faults.clear()


@pytest.fixture
def config(world: Emulators) -> Config:
    return read(CONFIG, world.environ)


@pytest.fixture
async def open_desk(world: Emulators) -> AsyncIterator[OpenDesk]:
    """Opens a desk over a configuration, at the world's own moment unless another is given."""
    async with AsyncExitStack() as stack:

        async def enter(config: Config, clock_ms: Callable[[], int] = world.clock) -> Desk:
            return await stack.enter_async_context(serving(config, clock_ms))

        yield enter


@pytest.fixture
async def desk(open_desk: OpenDesk, config: Config) -> Desk:
    return await open_desk(config)


@pytest.fixture
def ask(desk: Desk) -> Ask:
    return desk.ask


class Gate:
    """A backend of raw sockets that answers when it is let, so that a call under way can be waited for.

    `asked` is set when a request has come, `left` when its sender hung up before the answer. `config` is a
    plugins.toml whose only source is this one.
    """

    def __init__(self, config: Path) -> None:
        self.config = config
        self.asked, self.left, self.may_answer = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.serving: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self.serving.add(task)
        try:
            # Who hangs up before a whole request has come has asked nothing.
            with suppress(asyncio.IncompleteReadError):
                await self.answer(reader, writer)
        finally:
            writer.close()

    async def close(self) -> None:
        for task in self.serving:
            task.cancel()
        await asyncio.gather(*self.serving, return_exceptions=True)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.asked.set()
        hung_up = asyncio.ensure_future(reader.read())
        allowed = asyncio.ensure_future(self.may_answer.wait())
        await asyncio.wait([hung_up, allowed], return_when=asyncio.FIRST_COMPLETED)
        if hung_up.done():
            self.left.set()
        else:
            body = b'{"status":"success","data":["checkout"]}'
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            writer.write(head.encode() + body)
        hung_up.cancel()
        allowed.cancel()


@pytest.fixture(scope="module")
def gate_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[socket.socket, Path]]:
    """A listening socket, and the plugins.toml that leads to it: one server process serves for all tests."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        path = tmp_path_factory.mktemp("gate") / "plugins.toml"
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        path.write_text(f'[sources.gate]\nplugin = "prometheus"\nurl = "{url}"\n')
        yield listening, path


@pytest.fixture
async def gate(gate_address: tuple[socket.socket, Path]) -> AsyncIterator[Gate]:
    listening, config = gate_address
    gate = Gate(config)
    async with await asyncio.start_server(gate.serve, sock=listening.dup()):
        yield gate
        await gate.close()


@dataclass(frozen=True, slots=True)
class Served:
    """`telemetry-mcp serve --transport http` in a process of its own."""

    url: str
    process: subprocess.Popen[str]

    @property
    def root(self) -> str:
        return self.url.removesuffix("/mcp")

    def end(self) -> int:
        """Tell it to end, if it has not been told, and wait; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=20)
        return self.process.returncode


Serve = Callable[..., Served]


@pytest.fixture(scope="module")
def serve() -> Iterator[Serve]:
    """Starts servers, with the command's arguments and with variables. All are ended with the module."""
    started: list[Served] = []

    def start(*arguments: str, **environ: str) -> Served:
        command = [*COMMAND, "--transport", "http", "--port", "0", *arguments]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, **environ})
        assert process.stderr
        said = process.stderr.readline()
        assert "listening on " in said, said + process.stderr.read()
        started.append(Served(said.split("listening on ")[1].strip(), process))
        return started[-1]

    yield start
    for served in started:
        served.end()


OverStdio = Callable[..., StdioServerParameters]


@pytest.fixture(scope="session")
def over_stdio() -> OverStdio:
    """How a client starts the server; the arguments are those of the command."""

    def command(*arguments: str) -> StdioServerParameters:
        return StdioServerParameters(command=COMMAND[0], args=[*COMMAND[1:], *arguments])

    return command
