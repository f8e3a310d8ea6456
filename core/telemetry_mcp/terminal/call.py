"""`telemetry-mcp call`: one tool from the terminal, by the way that every MCP client takes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

import anyio
from mcp import Client
from mcp.types import CallToolResult, TextContent, Tool

from telemetry_mcp.catalog import suggest
from telemetry_mcp.config import Config
from telemetry_mcp.terminal.target import CommandError, server_over

Tell = Callable[[CallToolResult | CommandError], None]


def ask(config: Config, tool: str, pairs: Sequence[str], timeout_s: float | None, tell: Tell) -> None:
    """Hand `tell` the answer of `tool` to `pairs` of NAME=VALUE as soon as it is there, before anything is closed.

    It gets a CommandError for a tool that does not exist; other wrong arguments are answered by the server.
    Progress goes to stderr, if that is a terminal.
    """

    async def call() -> None:
        async with Client(server_over(config)) as client:
            tools = {known.name: known for known in (await client.list_tools()).tools}
            if tool not in tools:
                tell(CommandError(f"no tool is called {tool!r}{suggest(tool, tools)}", code=1))
                return
            values = arguments(tools[tool], pairs, timeout_s)
            progress = advance if sys.stderr.isatty() else None
            tell(await client.call_tool(tool, values, progress_callback=progress))

    anyio.run(call)


def split(pairs: Sequence[str]) -> None:
    """CommandError for the first of `pairs` that is not NAME=VALUE."""
    for pair in pairs:
        if not pair.partition("=")[1]:
            raise CommandError(f"{pair!r} is not NAME=VALUE, such as service=payment-processor")


def arguments(tool: Tool, pairs: Sequence[str], timeout_s: float | None = None) -> dict[str, Any]:
    """NAME=VALUE as the tool's schema wants it; `timeout_s` becomes deadline_s where the tool has one."""
    properties = tool.input_schema.get("properties", {})
    named = {name: text for name, _, text in (pair.partition("=") for pair in pairs)}
    values = {name: value(text, properties.get(name, {})) for name, text in named.items()}
    if timeout_s is not None and "deadline_s" in properties:
        values.setdefault("deadline_s", timeout_s)
    return values


def value(text: str, schema: dict[str, Any]) -> Any:
    """`text` as JSON where the schema wants something other than text; a list may be written with commas."""
    kind = schema.get("type", "string")
    if kind == "string":
        return text
    try:
        found = json.loads(text)
    except ValueError:
        found = text
    if kind == "array" and not isinstance(found, list):
        return [part.strip() for part in text.split(",")]
    return found


async def advance(progress: float, total: float | None, message: str | None) -> None:
    print(f"  {progress:g} of {total or 0:g}  {message}", file=sys.stderr)  # noqa: T201


def said(answer: CallToolResult) -> str:
    """The text of an answer that has no fields: why the question cannot be asked."""
    return "\n".join(block.text for block in answer.content if isinstance(block, TextContent))
