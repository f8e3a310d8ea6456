"""A 5 MB body of Prometheus and one of Datadog to series, against orjson.loads of the same body; and how long the
loop stood still meanwhile."""

from __future__ import annotations

from statistics import median
from time import perf_counter

import anyio
import httpx
import numpy as np
import orjson
from figure import Figure

from telemetry_mcp import Context, Http, HttpReply, Reply, Series, SeriesQuery, Window
from telemetry_mcp_datadog.series import Asked, read_v1
from telemetry_mcp_prometheus import Prometheus

SERIES, POINTS, STEP_MS = 100, 1440, 60_000
START_MS = 1_795_000_000_000 // STEP_MS * STEP_MS
ROUNDS = 9


def matrix() -> bytes:
    values = np.random.default_rng(1).random((SERIES, POINTS)) * 100
    result = [
        {
            "metric": {"service": f"service-{row:03}", "instance": f"10.0.0.{row}:9100"},
            "values": [[START_MS // 1000 + 60 * i, repr(float(values[row, i]))] for i in range(POINTS)],
        }
        for row in range(SERIES)
    ]
    return orjson.dumps({"status": "success", "data": {"resultType": "matrix", "result": result}})


async def longest_stall(stop: anyio.Event, stalls: list[float]) -> None:
    while not stop.is_set():
        started = perf_counter()
        await anyio.sleep(0.001)
        stalls.append(perf_counter() - started - 0.001)


async def rounds(body: bytes) -> tuple[float, float, float]:
    """Medians in seconds of the plugin and of orjson, and the median of the rounds' longest stalls."""

    def reply(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=body, headers={"content-type": "application/json"})

    http = Http(lambda: httpx.AsyncClient(transport=httpx.MockTransport(reply), base_url="http://bench"))
    settings = Prometheus.Settings.model_validate(
        {"plugin": "prometheus", "url": "http://bench", "metrics": {"cpu": "cpu"}}
    )
    source = Prometheus(settings, Context("bench", http=http))
    window = Window(START_MS, START_MS + POINTS * STEP_MS)
    question = SeriesQuery((), ("cpu",), window, STEP_MS)
    plugin, bare, stalls = [], [], []
    for _ in range(ROUNDS):
        started = perf_counter()
        orjson.loads(body)
        bare.append(perf_counter() - started)
        stop, waits = anyio.Event(), [0.0]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(longest_stall, stop, waits)
            await anyio.sleep(0.005)
            started = perf_counter()
            got: Reply[Series] = await source.fetch_series(question)
            plugin.append(perf_counter() - started)
            stop.set()
        stalls.append(max(waits))
        assert sum(len(series) for series in got.items) == SERIES * POINTS
    await http.close()
    return median(plugin), median(bare), median(stalls)


def pointlists() -> bytes:
    """What Datadog's v1 query answers for 100 services and a day of minutes."""
    values = np.random.default_rng(1).random((SERIES, POINTS)) * 100
    rows = [
        {
            "metric": "system.cpu.user",
            "expression": f"avg:system.cpu.user{{service:service-{row:03}}}",
            "scope": f"service:service-{row:03}",
            "tag_set": [f"service:service-{row:03}"],
            "unit": [{"family": "percentage", "name": "percent", "scale_factor": 1.0}, None],
            "interval": 60,
            "length": POINTS,
            "pointlist": [[float(START_MS + STEP_MS * i), float(values[row, i])] for i in range(POINTS)],
        }
        for row in range(SERIES)
    ]
    return orjson.dumps({"status": "ok", "series": rows, "query": "avg:system.cpu.user{*} by {service}"})


def datadog() -> Figure:
    body = pointlists()
    window = Window(START_MS, START_MS + POINTS * STEP_MS)
    asked = Asked("avg:system.cpu.user{*} by {service}", window, STEP_MS, "cpu")
    plugin, bare = [], []
    for _ in range(ROUNDS):
        started = perf_counter()
        orjson.loads(body)
        bare.append(perf_counter() - started)
        started = perf_counter()
        got = read_v1(HttpReply(200, {}, body), asked)
        plugin.append(perf_counter() - started)
        assert sum(len(series) for series in got.items) == SERIES * POINTS
    what = f"{len(body) / 1e6:.1f} MB Datadog answer to series"
    return Figure(what, median(plugin) * 1000, "ms", 3.0, median(bare) * 1000, "orjson.loads")


def measure() -> list[Figure]:
    body = matrix()
    plugin, bare, stall = anyio.run(rounds, body)
    size = f"{len(body) / 1e6:.1f} MB"
    return [
        Figure(f"{size} Prometheus matrix to series", plugin * 1000, "ms", 2.0, bare * 1000, "orjson.loads"),
        Figure("longest stall of the event loop meanwhile", stall * 1000, "ms", 50),
        datadog(),
    ]
