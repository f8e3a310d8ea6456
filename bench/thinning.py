"""What of real incidents survives when a series is thinned to the points of an answer: peaks of labelled events,
and the extremes. Beside it what every k-th point, and the buckets' extremes alone, would have kept.
"""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
from figure import Figure
from numpy.typing import NDArray

from telemetry_mcp.analysis.downsample import min_max

sys.path.append(str(Path(__file__).resolve().parents[1]))

from tests.real.labelled import ABSENT
from tests.real.visible import every, kept, ours, plain

LIMITS = {60: 0.81, 120: 0.88}
ROUNDS = 9


def seconds(values: NDArray[np.float64], most: int) -> float:
    taken = []
    for _ in range(ROUNDS):
        started = perf_counter()
        min_max(values, most)
        taken.append(perf_counter() - started)
    return median(taken)


def measure() -> list[Figure]:
    values = np.random.default_rng(1).standard_normal(50_000)
    speed = Figure("50,000 points thinned to 120", seconds(values, 120) * 1000, "ms", 1.0)
    if ABSENT:
        return [speed]
    return [speed, *(figure for most, limit in LIMITS.items() for figure in survival(most, limit))]


def survival(most: int, limit: float) -> list[Figure]:
    (peaks, whole), sparse, buckets = (kept(thinner, most) for thinner in (ours, every, plain))
    what = f"event peaks kept in {most} points (MinMax without them: {buckets[0]:.2f})"
    return [
        Figure(what, peaks, "", limit, relation=">="),
        Figure(f"more than of every k-th point ({sparse[0]:.2f})", peaks - sparse[0], "", 0.5, relation=">="),
        Figure(f"series whose extremes are kept in {most} points", whole, "", 1.0, relation=">="),
    ]
