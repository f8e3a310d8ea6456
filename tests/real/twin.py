"""Two sources of one series, of which one is late, in another unit, off or partly wrong: what merging finds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from telemetry_mcp.catalog import Catalog, Metric
from telemetry_mcp.merge import merge
from telemetry_mcp.model import Outcome, Reply, Series
from telemetry_mcp.part import Part
from telemetry_mcp.question import Window
from tests.real.labelled import nab

Floats = NDArray[np.float64]

MINUTE_MS = 60_000
EACH = 5
STEP_MS = EACH * MINUTE_MS
START_MS = 1_700_000_100_000 // STEP_MS * STEP_MS
CATALOG = Catalog({"load": Metric()})
NOISE = 0.3
"""Of the median change from step to step, in every sample of both sources."""
LAGS = range(-3, 4)
FACTOR = 100.0
BIAS = 1.12
LEFT = 0.6
"""What a drop by 40 % leaves."""
DROPPED = 12
DAYS = 14 * 24 * 12
"""Steps of a series that are looked at, at most."""


def real_series() -> dict[str, Floats]:
    """The real series of the Numenta Anomaly Benchmark that are measured every five minutes, on that grid."""
    found = {}
    for one in nab():
        if one.name.startswith("real") and np.median(np.diff(one.timestamps_ms)) == STEP_MS:
            place = (one.timestamps_ms - one.timestamps_ms[0]) // STEP_MS
            grid = np.full(int(place[-1]) + 1, np.nan)
            grid[place] = one.values
            found[one.name] = grid[-DAYS:]
    return found


def made_series(seed: int) -> dict[str, Floats]:
    """A daily wave, a random walk, and calls that come in bursts: three days each."""
    rng = np.random.default_rng(seed)
    day, size = 288, 3 * 288
    wave = 50 + 20 * np.sin(2 * np.pi * np.arange(size) / day) + rng.normal(0, 2, size)
    walk = 200 + np.cumsum(rng.normal(0, 1, size))
    bursts = rng.gamma(2.0, 30.0, size) + 20
    return {"wave": wave, "walk": walk, "bursts": bursts}


@dataclass(frozen=True, slots=True, eq=False)
class Twins:
    """Two sources that take a sample a minute of the same series, each with noise of its own."""

    values: Floats
    noise: float
    rng: np.random.Generator

    def samples(self, values: Floats) -> Floats:
        sigma = self.noise * float(np.nanmedian(np.abs(np.diff(self.values))))
        minutes = np.repeat(values, EACH)
        return minutes + self.rng.normal(0, sigma, len(minutes))

    def merged(
        self, other: Floats | None = None, *, lag: int = 0, times: float = 1.0, unit: str = "count"
    ) -> Part:
        """The second source as merging sees it; its series is `other` (default: the same), `lag` steps late."""
        own = self.values if other is None else other
        size = len(self.values)
        at = START_MS + MINUTE_MS * np.arange(size * EACH)
        first = Series("s", "load", at, self.samples(self.values), "count")
        second = Series("s", "load", at + lag * STEP_MS, self.samples(own) * times, unit)
        outcomes = [Outcome("first", "p", "ok", Reply([first])), Outcome("second", "p", "ok", Reply([second]))]
        (one,) = merge(outcomes, CATALOG, Window(START_MS, START_MS + size * STEP_MS), STEP_MS)
        return next(part for part in one.parts if part.source == "second")

    def dropped(self) -> tuple[Floats, int]:
        """The series without 40 % of twelve buckets, somewhere where there is something to lose: no bucket is 0,
        and their mean is not below the usual; and where that begins."""
        windows = sliding_window_view(self.values, DROPPED)
        there = (windows.min(axis=1) > 0) & (windows.mean(axis=1) >= np.nanmedian(self.values))
        first = int(self.rng.choice(np.flatnonzero(there)))
        values = self.values.copy()
        values[first : first + DROPPED] *= LEFT
        return values, START_MS + first * STEP_MS


def trials(twins: Twins) -> Iterator[tuple[str, bool]]:
    """What is asked of merging, and whether it was right; a lag and a unit once for each lag."""
    for lag in LAGS:
        part = twins.merged(lag=lag, times=FACTOR, unit="")
        assert part.difference is not None
        yield "lag exact", part.difference.lag_ms == lag * STEP_MS
        yield "unit found", part.inferred and part.factor == 1 / FACTOR
    same = twins.merged().difference
    assert same is not None
    yield "no false bias", not same.significant
    yield "no false interval", not same.intervals
    yield "agree", same.verdict == "agree"
    off = twins.merged(BIAS * twins.values).difference
    assert off is not None
    yield "12 % bias found", off.significant
    yield "12 % bias is an offset", off.verdict == "offset"
    values, start_ms = twins.dropped()
    part = twins.merged(values)
    assert part.difference is not None
    end_ms = start_ms + DROPPED * STEP_MS
    yield "40 % drop found", any(a < end_ms and b > start_ms for a, b in part.difference.intervals)


def shares(series: Mapping[str, Floats], seeds: range, noise: float = NOISE) -> dict[str, float]:
    """The share of trials in which merging was right, over all series and seeds."""
    right: dict[str, list[bool]] = {}
    for seed in seeds:
        for number, name in enumerate(sorted(series)):
            twins = Twins(series[name], noise, np.random.default_rng([seed, number]))
            for what, ok in trials(twins):
                right.setdefault(what, []).append(ok)
    return {what: sum(oks) / len(oks) for what, oks in right.items()}
