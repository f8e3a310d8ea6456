"""What merging finds out about two sources of the same real series, and how long it takes."""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
from figure import Figure

from telemetry_mcp import Reply, Series, Window
from telemetry_mcp.catalog import BUILT_IN, Catalog
from telemetry_mcp.merge import merge
from telemetry_mcp.model import Outcome

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.real.labelled import ABSENT
from tests.real.twin import real_series, shares

SEEDS = range(5)
LEAST = {
    "lag exact": 1.0,
    "unit found": 0.98,
    "no false bias": 1.0,
    "no false interval": 1.0,
    "12 % bias found": 1.0,
    "40 % drop found": 1.0,
}
"""METHODS 5, with noise of 0.3 of the usual change from step to step in every sample."""
ROUNDS = 9
PAIR_MS = 2.0
MANY_MS = 500.0


def accuracy() -> list[Figure]:
    series = real_series()
    found = shares(series, SEEDS)
    trials = f"{len(series)} real series, {len(SEEDS)} seeds"
    return [
        Figure(f"merging, {trials}: {what}", 100 * found[what], "%", 100 * least, relation=">=")
        for what, least in LEAST.items()
    ]


def sources(services: int, metrics: tuple[str, ...], points: int, step_ms: int) -> list[Outcome[Series]]:
    """Two sources of the same random walks, each with noise of its own."""
    rng = np.random.default_rng(1)
    start_ms = 1_795_000_000_000 // step_ms * step_ms
    times = start_ms + step_ms * np.arange(points, dtype=np.int64)
    keys = [(f"service-{n:02}", metric) for n in range(services) for metric in metrics]
    walks = {key: 50 + np.cumsum(rng.normal(0, 0.3, points)) for key in keys}
    return [
        Outcome(
            source,
            "bench",
            "ok",
            Reply([Series(*key, times, walk + rng.normal(0, 0.1, points)) for key, walk in walks.items()]),
        )
        for source in ("prometheus", "datadog")
    ]


def took_ms(services: int, metrics: tuple[str, ...], points: int, step_ms: int) -> float:
    outcomes = sources(services, metrics, points, step_ms)
    start_ms = int(outcomes[0].reply.items[0].timestamps_ms[0])
    window, catalog = Window(start_ms, start_ms + points * step_ms), Catalog(BUILT_IN)
    times = []
    for _ in range(ROUNDS):
        started = perf_counter()
        merged = merge(outcomes, catalog, window, step_ms)
        times.append(perf_counter() - started)
        assert len(merged) == services * len(metrics)
    return 1000 * median(times)


def measure() -> list[Figure]:
    """The accuracy figures need the data of ../shared; without it there is none at all."""
    if ABSENT:
        return []
    pair = took_ms(1, ("cpu",), 1440, 60_000)
    many = took_ms(50, ("cpu", "error_rate", "latency_p95"), 2016, 300_000)
    return [
        *accuracy(),
        Figure("two day-long series merged", pair, "ms", PAIR_MS),
        Figure("50 services x 3 metrics x 2,016 points of 2 sources merged", many, "ms", MANY_MS),
    ]


if __name__ == "__main__":
    for figure in measure():
        sys.stdout.write(f"{figure.what}: {figure.measured:.4g} {figure.unit}\n")
