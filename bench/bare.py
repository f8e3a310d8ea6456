"""The reference: a server of the bare SDK with one tool that does nothing. Over HTTP with a port, else stdio."""

from __future__ import annotations

import logging
import sys

from mcp.server import MCPServer

logging.basicConfig(level="ERROR")
server: MCPServer[None] = MCPServer("bare", version="1")


@server.tool()
async def noop() -> str:
    """Nothing."""
    return "ok"


if __name__ == "__main__":
    if len(sys.argv) > 1:
        server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
    else:
        server.run("stdio")
