"""Calls a second over streamable HTTP: a cached get_current_metrics against a no-op tool of a bare SDK server."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import aiohttp
import anyio
from figure import Figure

HERE = Path(__file__).parent
VERSION = "2026-07-28"
META = {
    "io.modelcontextprotocol/protocolVersion": VERSION,
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
}
CALLERS = 8
SLICE_S = 1.0
ROUNDS = 7


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextmanager
def server(*command: str) -> Iterator[str]:
    """A server in a process of its own; `{port}` in its command is a free port."""
    port = free_port()
    process = subprocess.Popen(
        [word.format(port=port) for word in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        anyio.run(reachable, port)
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.terminate()
        process.wait(10)


async def reachable(port: int) -> None:
    with anyio.fail_after(30):
        while True:
            try:
                stream = await anyio.connect_tcp("127.0.0.1", port)
            except OSError:
                await anyio.sleep(0.05)
            else:
                await stream.aclose()
                return


async def call(session: aiohttp.ClientSession, url: str, tool: str, arguments: dict[str, Any]) -> None:
    body = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": tool, "arguments": arguments, "_meta": META},
    }
    headers = {
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": VERSION,
        "mcp-method": "tools/call",
        "mcp-name": tool,
    }
    async with session.post(url, json=body, headers=headers) as response:
        text = await response.text()
        assert response.status == 200, text
        assert '"isError":true' not in text, text[:500]


async def rate(session: aiohttp.ClientSession, url: str, tool: str, arguments: dict[str, Any]) -> float:
    """Calls a second with eight callers at once."""
    done = 0
    ends = perf_counter() + SLICE_S

    async def caller() -> None:
        nonlocal done
        while perf_counter() < ends:
            await call(session, url, tool, arguments)
            done += 1

    started = perf_counter()
    async with anyio.create_task_group() as callers:
        for _ in range(CALLERS):
            callers.start_soon(caller)
    return done / (perf_counter() - started)


async def rounds(ours: str, bare: str) -> tuple[float, float]:
    """Medians of slices that take turns, so that a busy machine is as busy for both."""
    asked = {"service": "payment-processor"}
    cached, noop = [], []
    async with aiohttp.ClientSession() as session:
        await call(session, ours, "get_current_metrics", asked)
        for _ in range(ROUNDS):
            noop.append(await rate(session, bare, "noop", {}))
            cached.append(await rate(session, ours, "get_current_metrics", asked))
    return median(cached), median(noop)


def measure() -> list[Figure]:
    serve = (sys.executable, "-m", "telemetry_mcp", "serve", "--transport", "http", "--port", "{port}")
    config = os.fspath(HERE / "cached.toml")
    bare_command = (sys.executable, os.fspath(HERE / "bare.py"), "{port}")
    with server(*serve, "--config", config) as ours, server(*bare_command) as bare:
        cached, noop = anyio.run(rounds, ours, bare)
    return [
        Figure("cached get_current_metrics over HTTP", cached, "calls/s", 0.6, noop, "no-op tool, bare SDK", ">=")
    ]
