"""The product itself, several times behind a real nginx: clients of both eras, deaths and restarts under load."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest
from anyio import create_task_group
from mcp import Client, MCPError

from tests.real.moment import until
from tests.real.nginx import Nginx
from tests.real.program import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.real.redis import RedisServer

pytestmark = pytest.mark.real

COMMAND = (sys.executable, "-m", "telemetry_mcp", "serve", "--transport", "http")
SLOW_S = 0.3

SOURCE = """\
import os
from pathlib import Path
import anyio
from telemetry_mcp import Reply, Service, Source, hookimpl

class Counted(Source):
    async def list_services(self, query):
        with Path(__file__).with_name("asked").open("a") as log:
            log.write(f"{os.getpid()}\\n")
        await anyio.sleep(SLOW)
        return Reply([Service("checkout"), Service("cart")])

@hookimpl
def telemetry_sources():
    return [Counted]
"""
CONFIG = """\
[redis]
url = "{url}"

[access]
secret = "0123456789012345678901234567890123456789"

[sources.counted]
plugin = "./counted.py"
"""


@dataclass(slots=True)
class House:
    """Instances over one configuration, and the balancer before them."""

    folder: Path
    ports: list[int]
    nginx: Nginx
    processes: list[subprocess.Popen[str] | None] = field(default_factory=list)

    def start(self, nth: int) -> None:
        """Start an instance; returns when it takes calls."""
        command = [*COMMAND, "--port", str(self.ports[nth]), "--config", str(self.folder / "plugins.toml")]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self.processes[nth : nth + 1] = [process]
        assert process.stderr
        said = process.stderr.readline()
        assert "listening on " in said, said + process.stderr.read()

    def end(self, nth: int, how: signal.Signals = signal.SIGTERM) -> int:
        process = self.processes[nth]
        assert process
        process.send_signal(how)
        process.communicate(timeout=20)
        self.processes[nth] = None
        return process.returncode

    @property
    def asked(self) -> Counter[int]:
        """How often the source was asked, by the process that did."""
        path = self.folder / "asked"
        return Counter(map(int, path.read_text().split())) if path.exists() else Counter()

    def served(self) -> list[float]:
        """Tool calls that were answered, by instance."""
        return [count(f"http://127.0.0.1:{port}/metrics") for port in self.ports]


def count(url: str) -> float:
    lines = httpx.get(url, trust_env=False).text.splitlines()
    return sum(
        float(line.rpartition(" ")[2]) for line in lines if line.startswith("telemetry_mcp_tool_calls_total")
    )


StartHouse = Callable[..., House]


@pytest.fixture
def start_house(redis: RedisServer, tmp_path: Path) -> Iterator[StartHouse]:
    """Starts `size` instances over sources that take `slow_s` and `and_slow_s`; all are killed at the end."""
    houses: list[House] = []

    def start(size: int = 2, slow_s: float = 0.0, and_slow_s: float | None = None, **options: Any) -> House:
        (tmp_path / "counted.py").write_text(SOURCE.replace("SLOW", str(slow_s)))
        config = CONFIG.format(url=redis.url)
        if and_slow_s is not None:
            (tmp_path / "other.py").write_text(SOURCE.replace("SLOW", str(and_slow_s)))
            config += '[sources.other]\nplugin = "./other.py"\ntimeout = "30s"\n'
        (tmp_path / "plugins.toml").write_text(config)
        ports = [free_port() for _ in range(size)]
        house = House(tmp_path, ports, Nginx(tmp_path, ports, **options))
        houses.append(house)
        for nth in range(size):
            house.start(nth)
        house.nginx.start()
        return house

    yield start
    for house in houses:
        house.nginx.kill()
        for nth, process in enumerate(house.processes):
            if process:
                house.end(nth, signal.SIGKILL)


@pytest.mark.parametrize("size", [2, 4])
async def test_clients_of_both_eras_are_served_by_every_instance(start_house: StartHouse, size: int) -> None:
    house = start_house(size)
    for mode, version in (("auto", "2026-07-28"), ("legacy", "2025-11-25")):
        before = house.served()
        async with Client(house.nginx.url, mode=mode) as client:
            assert client.protocol_version == version
            for _ in range(2 * size):
                result = await client.call_tool("list_services", {})
                assert result.structured_content
                assert [row["name"] for row in result.structured_content["services"]] == ["cart", "checkout"]
        served = [after - earlier for after, earlier in zip(house.served(), before, strict=True)]
        assert sum(served) == 2 * size
        assert all(served), mode
    assert house.asked.total() == 1


async def test_a_question_that_comes_to_several_instances_at_once_is_asked_once(start_house: StartHouse) -> None:
    house = start_house(2, slow_s=SLOW_S)
    async with calling(house) as call, create_task_group() as calls:
        for _ in range(10):
            calls.start_soon(call)
    assert house.asked.total() == 1
    assert all(house.served())


@asynccontextmanager
async def calling(house: House, **arguments: Any) -> AsyncIterator[Callable[[], Any]]:
    """One call of the modern era without a client's own retries: (HTTP status, the answer's text)."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
    }
    params = {"name": "list_services", "arguments": arguments, "_meta": meta}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    headers = {
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": "2026-07-28",
        "mcp-method": "tools/call",
        "mcp-name": "list_services",
    }
    async with httpx.AsyncClient(trust_env=False, timeout=15) as client:

        async def call() -> tuple[int, str]:
            response = await client.post(house.nginx.url, json=body, headers=headers)
            if response.status_code == 200:
                assert json.loads(response.text)["result"]["structuredContent"]["services"]
            return response.status_code, response.text

        yield call


class Callers:
    """Clients of both eras that call until they are told to stop; how each call ended."""

    def __init__(self, house: House, **arguments: Any) -> None:
        self.house, self.arguments = house, arguments
        self.ended: Counter[str] = Counter()
        self.stopping = False

    async def modern(self) -> None:
        async with calling(self.house, **self.arguments) as call:
            while not self.stopping:
                status, _ = await call()
                self.ended[str(status)] += 1

    async def legacy(self) -> None:
        async with Client(self.house.nginx.url, mode="legacy") as client:
            await client.list_tools()
            while not self.stopping:
                try:
                    result = await client.call_tool("list_services", self.arguments)
                except MCPError as error:
                    self.ended[f"error {error.error.code}"] += 1
                else:
                    self.ended["200" if not result.is_error else "tool error"] += 1

    async def more(self, calls: int) -> None:
        enough = self.ended.total() + calls
        await until(lambda: self.ended.total() >= enough)


async def test_calls_that_a_killed_instance_held_are_answered_by_another(start_house: StartHouse) -> None:
    house = start_house(2, slow_s=0.05)
    callers = Callers(house, fresh=True)
    async with create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(callers.modern)
            tasks.start_soon(callers.legacy)
        await callers.more(40)
        await asyncio.to_thread(house.end, 0, signal.SIGKILL)
        await callers.more(60)
        house.start(0)
        await callers.more(40)
        callers.stopping = True
    assert set(callers.ended) == {"200"}


async def test_without_retries_no_more_is_lost_than_what_the_killed_instance_held(start_house: StartHouse) -> None:
    house = start_house(2, slow_s=0.2, retries=False)
    async with calling(house, fresh=True) as call:
        statuses = Counter[int]()

        async def one() -> None:
            statuses[(await call())[0]] += 1

        async with create_task_group() as calls:
            for _ in range(10):
                calls.start_soon(one)
            await until(lambda: len(house.asked) == 2)
            await asyncio.to_thread(house.end, 0, signal.SIGKILL)
    assert 0 < statuses[502] <= 5
    assert statuses[200] + statuses[502] == 10


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_call_that_had_told_of_its_progress_ends_with_an_error_when_its_instance_dies(
    start_house: StartHouse, mode: str
) -> None:
    house = start_house(2, slow_s=0.0, and_slow_s=20.0)
    told = anyio.Event()

    async def tell(progress: float, total: float | None, message: str | None) -> None:
        told.set()

    async def ask() -> None:
        async with Client(house.nginx.url, mode=mode) as client:
            await client.list_tools()
            with pytest.raises(MCPError, match="ended without a response"):
                await client.call_tool("list_services", {"deadline_s": 15}, progress_callback=tell)

    with anyio.fail_after(10):
        async with create_task_group() as tasks:
            tasks.start_soon(ask)
            await told.wait()
            for nth in range(2):
                await asyncio.to_thread(house.end, nth, signal.SIGKILL)


async def test_a_rolling_restart_under_load_loses_nothing(start_house: StartHouse) -> None:
    house = start_house(2, slow_s=0.05)
    callers = Callers(house, fresh=True)
    async with create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(callers.modern)
            tasks.start_soon(callers.legacy)
        await callers.more(40)
        for nth in range(2):
            await asyncio.to_thread(house.end, nth)
            await callers.more(20)
            await asyncio.to_thread(house.start, nth)
            await callers.more(20)
        callers.stopping = True
    assert set(callers.ended) == {"200"}
    assert all(house.served())
