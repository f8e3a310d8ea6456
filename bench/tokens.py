"""What the tool list and an answer cost in the context window (o200k, as a proxy for any model's tokens)."""

from __future__ import annotations

import os

import anyio
import bpe_openai
import orjson
from figure import Figure
from mcp import Client
from mcp.types import TextContent

from telemetry_mcp.config import read
from telemetry_mcp.demo.emulator import CONFIG, Emulators
from telemetry_mcp.engine import opened
from telemetry_mcp.server.app import build


async def counted() -> tuple[int, int]:
    """Tokens of tools/list, and of 24 hours of one metric of the demo estate that three sources have."""
    encoding = bpe_openai.get_encoding("o200k_base")
    async with Emulators() as emulators:
        config = read(CONFIG, {**os.environ, **emulators.environ})
        async with Client(build(lambda: opened(config))) as client:
            tools = (await client.list_tools()).tools
            listed = [tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in tools]
            answer = await client.call_tool(
                "query_historical_metrics", {"service": "payment-processor", "metric_type": "latency_p95"}
            )
            block = answer.content[0]
            assert isinstance(block, TextContent)
            return len(encoding.encode(orjson.dumps(listed).decode())), len(encoding.encode(block.text))


def measure() -> list[Figure]:
    listed, answer = anyio.run(counted)
    return [
        Figure("tools/list", listed, "tokens", 4000),
        Figure("24 h of one metric that three sources have", answer, "tokens", 900),
    ]
