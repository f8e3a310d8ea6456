"""The walk-through of docs/operations.md, with the page's own files and commands on other ports."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.nginx import Nginx
from tests.real.program import binary, free_port

pytestmark = pytest.mark.real

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
WALK = PAGE.partition("## Two instances")[2].partition("\n## ")[0]
STEPS = re.findall(r"^```(\w*)\n(.*?)^```$", WALK, re.DOTALL | re.MULTILINE)
REDIS_CONF, REDIS, SOURCE, CONFIG, INSTANCES, _, SEE, RESTART = (text for _, text in STEPS)
READY = "for port in 8001 8002; do until curl -sf -o /dev/null 127.0.0.1:$port/readyz; do sleep 0.1; done; done"
SIZE = "curl -s http://127.0.0.1:8002/metrics | grep '^telemetry_mcp_cache_bytes '"
END = "trap 'kill $(jobs -p); wait' EXIT"


@pytest.fixture
def ports() -> dict[str, int]:
    return {port: free_port() for port in ("6379", "8001", "8002")}


@pytest.fixture
def nginx(tmp_path: Path, ports: dict[str, int]) -> Iterator[Nginx]:
    server = Nginx(tmp_path, [ports["8001"], ports["8002"]])
    ports["8080"] = server.port
    server.start()
    yield server
    server.kill()


def walked(folder: Path, ports: dict[str, int], *blocks: str) -> subprocess.CompletedProcess[str]:
    """What a shell says that does all of it, and then ends what it has started."""

    def here(text: str) -> str:
        return re.sub(r"\b(6379|8001|8002|8080)\b", lambda port: str(ports[port[0]]), text)

    for name, text in (("redis.conf", REDIS_CONF), ("estate.py", SOURCE), ("plugins.toml", CONFIG)):
        (folder / name).write_text(here(text), encoding="utf-8")
    for name, package in (("redis-server", "redis-server"), ("redis-cli", "redis-tools"), ("curl", "curl")):
        binary(name, package)
    return subprocess.run(
        [binary("bash", "bash"), "-c", here("\n".join((END, *blocks)))],
        cwd=folder,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def counted(said: str, metric: str) -> list[float]:
    return [
        float(count) for count in re.findall(rf"^telemetry_mcp_{metric}_total\{{.*\}} (\S+)$", said, re.MULTILINE)
    ]


def test_a_stranger_sees_two_instances_share_an_answer_and_one_of_them_restarted(
    tmp_path: Path, ports: dict[str, int], nginx: Nginx
) -> None:
    done = walked(tmp_path, ports, REDIS, INSTANCES, READY, SEE, "echo AGAIN", RESTART, SEE, SIZE)
    first, _, again = done.stdout.partition("AGAIN")
    for said in (first, again):
        assert len(re.findall(r'"services":\[\{"name":"cart".*"name":"checkout"', said)) == 2
        assert len(re.findall(r"^telemetry-mcp:\w+:answer:", said, re.MULTILINE)) == 1
    assert re.findall(r'"cached_age_s":(null|\d)', first) == ["null", "0"]
    # Either may be the one that asked: the new instance has it from Redis in any case.
    assert len(re.findall(r'"cached_age_s":\d', again)) == 2
    assert counted(first, "source_requests") == [1.0]
    assert counted(first, "requests") == [1.0, 1.0]
    assert sorted(counted(again, "requests")) == [1.0, 2.0]
    listening = re.findall(r"listening on http://127.0.0.1:(\d+)/mcp", done.stderr)
    assert sorted(listening) == sorted(map(str, (ports["8001"], ports["8001"], ports["8002"])))
    (size,) = re.findall(r"^telemetry_mcp_cache_bytes (\S+)$", again, re.MULTILINE)
    assert float(size) > 0
    assert "Redis is lost" not in done.stderr
