"""Logs: to stderr, one line an event."""

from __future__ import annotations

import logging
import sys
import time

# At INFO these write a line a request, with its URL.
CHATTY = ("httpx", "httpx2", "httpcore", "urllib3", "aiohttp", "uvicorn.access", "mcp", "pdpyras")


TRACED = "telemetry_mcp.trace"


def trace() -> None:
    """Let every hook call of a plugin be said, whatever the level of the rest is."""
    logging.getLogger(TRACED).setLevel(logging.DEBUG)


def configure(level: str = "WARNING") -> None:
    """Send every log record of this process to stderr. Called before the MCP SDK sets up its own handler."""
    handler = logging.StreamHandler(sys.stderr)
    formatter = logging.Formatter("%(asctime)sZ %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in CHATTY:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelName(level)))
