"""A 5 MB Prometheus matrix to series, against orjson.loads of the same body; and how long the loop stood still."""

from __future__ import annotations

from statistics import median
from time import perf_counter

import anyio
import httpx
import numpy as np
import orjson
from figure import Figure

from telemetry_mcp import Context, Http, Reply, Series, SeriesQuery, Window
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


def measure() -> list[Figure]:
    body = matrix()
    plugin, bare, stall = anyio.run(rounds, body)
    size = f"{len(body) / 1e6:.1f} MB"
    return [
        Figure(f"{size} Prometheus matrix to series", plugin * 1000, "ms", 2.0, bare * 1000, "orjson.loads"),
        Figure("longest stall of the event loop meanwhile", stall * 1000, "ms", 50),
    ]
