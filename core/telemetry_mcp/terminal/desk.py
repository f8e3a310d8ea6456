"""Where the demo's questions are put: an MCP client, which keeps what each call brought."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from mcp import Client, MCPError

from telemetry_mcp.terminal.call import said

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """One call: `fields` is what it brought, empty (and `error` says why) when it brought nothing."""

    call: str
    fields: Row
    error: str = ""

    def rows(self, name: str) -> list[Row]:
        return list(self.fields.get(name) or [])

    @property
    def ledger(self) -> list[Row]:
        return self.rows("sources")

    @property
    def gap(self) -> str:
        """What the answer does not stand on; empty when every source that was asked answered."""
        cover = self.fields.get("coverage") or {"complete": True, "note": ""}
        return "" if cover["complete"] else str(cover["note"])


@dataclass(frozen=True, slots=True)
class Desk:
    """`now_ms` is the moment that the conversation speaks of; `plain` asks for ASCII drawings."""

    client: Client
    now_ms: int
    plain: bool = False

    async def call(self, tool: str, **arguments: Any) -> Asked:
        """Call a tool. What it refuses is in what comes back, not raised."""
        result = await self.client.call_tool(tool, arguments)
        fields = result.structured_content or {}
        written = ", ".join(f"{name}={value}" for name, value in arguments.items())
        return Asked(f"{tool}({written})", fields, "" if fields else said(result))

    async def read(self, uri: str) -> Asked:
        """Read a resource. What it refuses is in what comes back, not raised."""
        try:
            result = await self.client.read_resource(uri)
        except MCPError as error:
            return Asked(uri, {}, str(error))
        return Asked(uri, orjson.loads(getattr(result.contents[0], "text", "{}")))
