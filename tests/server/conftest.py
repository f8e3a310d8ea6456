"""A world at a fixed moment, and a desk where its tools are asked: every answer is held to what all promise."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from math import floor, log10
from typing import Any

import jsonschema
import numpy as np
import orjson
import pytest
from mcp import Client
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
OpenDesk = Callable[[Config], Awaitable[Desk]]


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


@pytest.fixture(scope="session", autouse=True)
def _quiet_logs() -> Iterator[None]:
    """As the command does it, before the SDK sets up a handler of its own."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    log.configure("CRITICAL")
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


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
    """Opens a desk over a configuration, at the world's own moment."""
    async with AsyncExitStack() as stack:

        async def enter(config: Config) -> Desk:
            return await stack.enter_async_context(serving(config, world.clock))

        yield enter


@pytest.fixture
async def desk(open_desk: OpenDesk, config: Config) -> Desk:
    return await open_desk(config)


@pytest.fixture
def ask(desk: Desk) -> Ask:
    return desk.ask
