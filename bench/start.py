"""From the start of the process to the answer of tools/list over stdio, against a bare server of the same SDK.

With five tools it was at most 1.4 times as long; ten tools' schemas, objectives and the analysis take their share.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from time import perf_counter

import orjson
from figure import Figure

HERE = Path(__file__).parent
ROUNDS = 9

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "bench", "version": "1"},
    },
}
INITIALIZED = {"jsonrpc": "2.0", "method": "notifications/initialized"}
LIST = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}


def first_list_s(command: list[str]) -> float:
    """Seconds until the process has answered tools/list."""
    started = perf_counter()
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(orjson.dumps(INITIALIZE) + b"\n")
        answer(process.stdout, 1)
        process.stdin.write(orjson.dumps(INITIALIZED) + b"\n" + orjson.dumps(LIST) + b"\n")
        answer(process.stdout, 2)
        return perf_counter() - started
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()


def answer(stdout: object, number: int) -> None:
    for line in stdout:  # type: ignore[attr-defined]
        message = orjson.loads(line)
        if message.get("id") == number:
            assert "result" in message, message
            return
    raise AssertionError("the server ended without an answer")


def measure() -> list[Figure]:
    bare = [sys.executable, os.fspath(HERE / "bare.py")]
    config = os.fspath(HERE / "prometheus.toml")
    ours = [sys.executable, "-m", "telemetry_mcp", "serve", "--config", config]
    times: dict[str, list[float]] = {"bare": [], "ours": []}
    for _ in range(ROUNDS):
        times["bare"].append(first_list_s(bare))
        times["ours"].append(first_list_s(ours))
    measured, reference = median(times["ours"]), median(times["bare"])
    return [Figure("serve over stdio to the first tools/list", measured, "s", 1.5, reference, "bare SDK server")]
