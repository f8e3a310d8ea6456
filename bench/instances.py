"""Calls a second of two instances behind nginx against one behind it: cached get_current_metrics, Redis shared.

The load generator, nginx and Redis run on the same cores. So the limit is 1.5, or what these cores can give at
all: all of their time over what a call costs everybody together, against what one instance alone brought about.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from urllib.parse import urlsplit

import orjson
from figure import Figure
from http_calls import META, VERSION, server

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
# The servers of the tests are found from the root only.
from tests.real.nginx import Nginx  # noqa: E402
from tests.real.redis import RedisServer  # noqa: E402

CALLERS = 16
SLICE_S = 1.0
ROUNDS = 3
WANTED = 1.5
OF_BOUND = 0.8
"""Not all of the bound: cores are not shared out evenly, and the machine has other things to do."""


TICKS = os.sysconf("SC_CLK_TCK")
CORES = os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class Slice:
    """What one slice of time brought: calls a second, and the shares of all cores that were spent by the load
    generator, by it and everything that it started, and by anybody on this machine."""

    rate: float
    generator: float
    ours: float
    busy: float


def request(host: str) -> bytes:
    params = {"name": "get_current_metrics", "arguments": {"service": "payment-processor"}, "_meta": META}
    body = orjson.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
    head = (
        f"POST /mcp HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
        "accept: application/json, text/event-stream\r\n"
        f"mcp-protocol-version: {VERSION}\r\nmcp-method: tools/call\r\nmcp-name: get_current_metrics\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Caller:
    """One connection over which the same call is made again and again: as little work as can be."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
        self.reader, self.writer, self.request = reader, writer, request

    async def call(self) -> None:
        self.writer.write(self.request)
        head = await self.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        body = await self.reader.readexactly(int(length))
        assert b'"isError":true' not in body, body[:500]


async def callers(url: str) -> list[Caller]:
    address = urlsplit(url)
    assert address.hostname
    found = []
    for _ in range(CALLERS):
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        found.append(Caller(reader, writer, request(address.netloc)))
        await found[-1].call()
    return found


async def measured(callers: list[Caller]) -> Slice:
    done, ends = 0, perf_counter() + SLICE_S

    async def until_the_end(caller: Caller) -> None:
        nonlocal done
        while perf_counter() < ends:
            await caller.call()
            done += 1

    started, before = perf_counter(), spent_s()
    await asyncio.gather(*map(until_the_end, callers))
    took_s = perf_counter() - started
    shares = [(after - earlier) / (took_s * CORES) for after, earlier in zip(spent_s(), before, strict=True)]
    return Slice(done / took_s, *shares)


def spent_s() -> tuple[float, float, float]:
    """CPU time of this process, of it with all that descends from it, and of everything on this machine."""
    times: dict[int, tuple[int, float]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text(encoding="utf-8").rpartition(") ")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        times[int(stat.parent.name)] = int(fields[1]), (int(fields[11]) + int(fields[12])) / TICKS
    family = {os.getpid()}
    while more := {pid for pid, (parent, _) in times.items() if parent in family} - family:
        family |= more
    user, nice, system, _, _, irq, softirq, *_ = map(
        int, Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    )
    everybody = (user + nice + system + irq + softirq) / TICKS
    return sum(os.times()[:2]), sum(times[pid][1] for pid in family), everybody


async def rounds(one: str, two: str) -> tuple[list[Slice], list[Slice]]:
    """Slices that take turns, so that a busy machine is as busy for both."""
    alone, both = await callers(one), await callers(two)
    slices = [(await measured(alone), await measured(both)) for _ in range(ROUNDS)]
    for caller in alone + both:
        caller.writer.close()
    return [pair[0] for pair in slices], [pair[1] for pair in slices]


@contextmanager
def running() -> Iterator[tuple[str, str]]:
    """The addresses of one instance behind nginx, and of two."""
    command = (sys.executable, "-m", "telemetry_mcp", "serve", "--transport", "http", "--port", "{port}")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        redis = RedisServer(folder)
        stack.callback(redis.kill)
        redis.start()
        os.environ["BENCH_REDIS_URL"] = redis.url
        config = ("--config", os.fspath(HERE / "instances.toml"))
        ports = [urlsplit(stack.enter_context(server(*command, *config))).port or 0 for _ in range(2)]
        urls = []
        for name, behind in (("one", ports[:1]), ("two", ports)):
            (folder / name).mkdir()
            nginx = Nginx(folder / name, behind)
            stack.callback(nginx.kill)
            nginx.start()
            urls.append(nginx.url)
        yield urls[0], urls[1]


def measure() -> list[Figure]:
    with running() as (one, two):
        alone, both = asyncio.run(rounds(one, two))
    single, double = median(s.rate for s in alone), median(s.rate for s in both)
    busy, ours, generator = (median(getattr(s, name) for s in both) for name in ("busy", "ours", "generator"))
    # At best all the time that is not others' goes into calls, of which each costs what it does now.
    others = max(0.0, busy - ours)
    bound = double * (1 - others) / ours / single
    what = (
        f"two instances behind nginx, cached calls ({CORES} cores: load generator {generator:.0%}, instances, "
        f"nginx and Redis {ours - generator:.0%}, others {others:.0%}, idle {1 - busy:.0%}: {bound:.2f} x at best)"
    )
    return [Figure(what, double, "calls/s", min(WANTED, OF_BOUND * bound), single, "one behind nginx", ">=")]
