"""A thousand clients for a minute, each with a connection of its own, on an estate of which one source hangs and
one comes and goes: whether calls keep to their deadlines, what fails, and whether the memory stays."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import aiohttp
import anyio
import orjson
from figure import Figure
from http_calls import META, VERSION, free_port, reachable

from telemetry_mcp.demo.emulator import CONFIG

HERE = Path(__file__).parent
CLIENTS = int(os.environ.get("CROWD_CLIENTS", "1000"))
LASTS_S = float(os.environ.get("CROWD_SECONDS", "60"))
WARM_S = LASTS_S / 3
PAUSE_S = (2.0, 8.0)
DEADLINE_S = 4.0
LATE_S = 0.5
GROWTH = 1.1
SERVICES = ("payment-processor", "api-gateway", "auth-service", "user-service", "notification-service")


@dataclass
class Tally:
    calls: Counter[str] = field(default_factory=Counter)
    took_s: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def question(chance: random.Random) -> tuple[str, dict[str, Any]]:
    service = chance.choice(SERVICES)
    asked: tuple[tuple[str, dict[str, Any]], ...] = (
        ("list_services", {}),
        ("get_current_metrics", {"service": service}),
        ("get_current_metrics", {"service": service, "fresh": True}),
        (
            "query_historical_metrics",
            {"service": service, "metric_type": "cpu", "hours": chance.choice([1, 6, 24])},
        ),
        ("query_historical_metrics", {"service": service, "metric_type": "latency_p95"}),
        ("check_sli_compliance", {"service": service, "metric": "cpu"}),
        ("detect_anomalies", {"service": service}),
        ("list_incidents", {}),
        ("list_changes", {}),
        ("list_sources", {}),
    )
    name, arguments = chance.choice(asked)
    return name, arguments if name == "list_sources" else {**arguments, "deadline_s": DEADLINE_S}


async def client(url: str, nth: int, ends: float, tally: Tally) -> None:
    chance = random.Random(nth)
    connector = aiohttp.TCPConnector(limit=1)
    async with aiohttp.ClientSession(connector=connector) as session:
        await anyio.sleep(chance.uniform(0, PAUSE_S[1]))
        while perf_counter() < ends:
            name, arguments = question(chance)
            started = perf_counter()
            wrong = await ask(session, url, name, arguments)
            tally.took_s.append(perf_counter() - started)
            tally.calls[name] += 1
            if wrong:
                tally.failures.append(f"{name}: {wrong}")
            await anyio.sleep(chance.uniform(*PAUSE_S))


async def ask(session: aiohttp.ClientSession, url: str, name: str, arguments: dict[str, Any]) -> str | None:
    """What is wrong with the answer, apart from what its ledger tells."""
    params = {"name": name, "arguments": arguments, "_meta": META}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    headers = {
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": VERSION,
        "mcp-method": "tools/call",
        "mcp-name": name,
    }
    try:
        async with session.post(url, json=body, headers=headers) as response:
            text = await response.read()
            if response.status != 200:
                return f"HTTP {response.status}"
    except aiohttp.ClientError as error:
        return type(error).__name__
    message = orjson.loads(text.rpartition(b"data: ")[2] or text)
    result = message.get("result")
    if result is None:
        return str(message.get("error"))[:200]
    fields = result.get("structuredContent")
    return None if fields and "sources" in fields else str(result)[:200]


def resident_kb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))


async def crowd(url: str, pid: int) -> tuple[Tally, float]:
    """What the clients met, and by which factor the server's memory grew after the first third."""
    tally, ends = Tally(), perf_counter() + LASTS_S
    warm: list[int] = []
    last: list[int] = []
    async with anyio.create_task_group() as clients:
        for nth in range(CLIENTS):
            clients.start_soon(client, url, nth, ends, tally)
        while (left_s := ends - perf_counter()) > 0:
            (warm if WARM_S - 5 < LASTS_S - left_s < WARM_S else last).append(resident_kb(pid))
            await anyio.sleep(min(1.0, left_s))
    return tally, max(last[-5:]) / max(warm)


@contextmanager
def unruly() -> Iterator[dict[str, str]]:
    """The variables of an estate whose sources misbehave."""
    command = [sys.executable, os.fspath(HERE / "unruly.py")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as estate:
        assert estate.stdout
        yield dict(json.loads(estate.stdout.readline()))
        estate.communicate("")


def measure() -> list[Figure]:
    with unruly() as variables:
        port = free_port()
        command = [sys.executable, "-m", "telemetry_mcp", "serve", "--transport", "http", "--port", str(port)]
        server = subprocess.Popen(
            [*command, "--config", os.fspath(CONFIG)], env={**os.environ, **variables}, stderr=subprocess.DEVNULL
        )
        try:
            anyio.run(reachable, port)
            tally, growth = anyio.run(crowd, f"http://127.0.0.1:{port}/mcp", server.pid)
        finally:
            server.terminate()
            server.wait(20)
    calls = sum(tally.calls.values())
    for failure, times in Counter(tally.failures).most_common(5):
        sys.stderr.write(f"crowd: {times} times {failure}\n")
    what = f"{CLIENTS} clients for {LASTS_S:g} s"
    return [
        Figure(
            f"{what}: {calls} calls, {calls / LASTS_S:.0f}/s, slowest", max(tally.took_s), "s", DEADLINE_S + LATE_S
        ),
        Figure(f"{what}: errors that no ledger tells of", len(tally.failures), "", 0),
        Figure(f"{what}: memory at the end, of that after the first third", growth, "x", GROWTH),
    ]
