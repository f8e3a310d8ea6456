"""What it costs to know who asks: cached calls over HTTP with authentication by key, roles, limits and an audit
log, against the same server without."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import aiohttp
import anyio
from figure import Figure
from http_calls import call, rate, server

HERE = Path(__file__).parent
ROUNDS = 7
ASKED = {"service": "payment-processor"}
ACCESS = """
[access]
secret = "a secret of the bench, which is long enough"
keys = "keys.json"

[access.roles.bench]
tools = ["get_*", "list_*"]
services = ["payment-*"]
sources = ["*"]
lookback = "7d"

[limits]
service_account = "100000000/minute"

[spool]
path = "spool"

[audit.log]
plugin = "file"
path = "audit.jsonl"
"""


@contextmanager
def guarded() -> Iterator[tuple[Path, str]]:
    """A configuration that asks who is calling, and a key for it."""
    with tempfile.TemporaryDirectory() as name:
        config = Path(name) / "plugins.toml"
        plain = (HERE / "cached.toml").read_text(encoding="utf-8").replace("./steady.py", str(HERE / "steady.py"))
        config.write_text(plain + ACCESS, encoding="utf-8")
        command = [sys.executable, "-m", "telemetry_mcp", "keys", "create", "bench", "--role", "bench"]
        made = subprocess.run([*command, "--config", str(config)], check=True, capture_output=True, text=True)
        yield config, made.stdout.strip()


async def rounds(plain: str, closed: str, key: str) -> tuple[float, float]:
    """Medians of slices that take turns, so that a busy machine is as busy for both."""
    with_access, without = [], []
    bearer = {"authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession() as anybody, aiohttp.ClientSession(headers=bearer) as known:
        await call(anybody, plain, "get_current_metrics", ASKED)
        await call(known, closed, "get_current_metrics", ASKED)
        for _ in range(ROUNDS):
            without.append(await rate(anybody, plain, "get_current_metrics", ASKED))
            with_access.append(await rate(known, closed, "get_current_metrics", ASKED))
    return median(with_access), median(without)


def measure() -> list[Figure]:
    serve = (sys.executable, "-m", "telemetry_mcp", "serve", "--transport", "http", "--port", "{port}")
    with guarded() as (config, key):
        open_one = server(*serve, "--config", os.fspath(HERE / "cached.toml"))
        with open_one as plain, server(*serve, "--config", str(config)) as closed:
            measured, reference = anyio.run(rounds, plain, closed, key)
    what = "cached calls with key, role, limits and audit"
    return [Figure(what, measured, "calls/s", 0.75, reference, "the same without", ">=")]
