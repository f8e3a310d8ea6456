"""A time series as it travels in an answer: in columns, with no more points than its reader wants."""

from __future__ import annotations

from typing import Literal

import numpy as np

from telemetry_mcp.analysis.anomaly import detect
from telemetry_mcp.analysis.downsample import Downsampled, min_max
from telemetry_mcp.merge import Merged, numbers
from telemetry_mcp.part import Floats, Ints, Part, bucketed, coarser
from telemetry_mcp.question import Window
from telemetry_mcp.server.envelope import Lean, Number, Shape, iso, rounded

Method = Literal["all", "min-max", "none"]


class Peaks(Shape):
    at: list[str]
    values: list[Number | None]


class Points(Lean):
    """A time series in columns: `values[k]` is at start + k x step_s; null is "no data". By min-max it holds two
    values a bucket, its smallest and largest in the order of time. `peaks` are those of unusual stretches that a
    larger value in the same bucket would hide. "none": no points were wanted, or there was no room for any."""

    start: str | None
    step_s: Number
    values: list[Number | None]
    method: Method
    source_points: int
    returned_points: int
    peaks: Peaks | None = None


def of_merged(merged: Merged | None, max_points: int, step_ms: int) -> Points:
    times, values = numbers(merged)
    step = merged.step_ms if merged else step_ms
    return columns(int(times[0]) if len(times) else None, step, values, max_points)


def of_part(part: Part, merged: Merged, window: Window, aggregate: str, max_points: int) -> Points:
    """One source's own values in the metric's unit, on the merged grid, or a coarser one where it is coarser."""
    step_ms = coarser(merged.step_ms, part)
    values = bucketed(part, window, step_ms, aggregate)
    return columns(window.start_ms // step_ms * step_ms, step_ms, values, max_points)


def columns(start_ms: int | None, step_ms: int, values: Floats, max_points: int) -> Points:
    """An evenly spaced series with at most `max_points`; spikes and the peaks of episodes survive the thinning."""
    thinned = thin(start_ms or 0, step_ms, values, max_points)
    return Points(
        start=iso(start_ms),
        step_s=rounded(thinned.every * step_ms / 1000, 9) or 0,
        values=[rounded(float(value)) for value in thinned.values],
        method=method(thinned, max_points),
        source_points=len(values),
        returned_points=thinned.points,
        peaks=peaks((start_ms or 0) + step_ms * thinned.peaks, values[thinned.peaks]),
    )


def thin(start_ms: int, step_ms: int, values: Floats, max_points: int) -> Downsampled:
    if max_points == 0:
        return Downsampled(values[:0], 1)
    if len(values) <= max_points:
        return min_max(values, max_points)
    times = start_ms + step_ms * np.arange(len(values), dtype=np.int64)
    found = detect(times, values).episodes
    return min_max(values, max_points, [(episode.peak_ms - start_ms) // step_ms for episode in found])


def method(thinned: Downsampled, max_points: int) -> Method:
    if max_points == 0:
        return "none"
    return "all" if thinned.every == 1 else "min-max"


def peaks(times: Ints, values: Floats) -> Peaks | None:
    if not len(times):
        return None
    return Peaks(at=[iso(int(t)) or "" for t in times], values=[rounded(float(v)) for v in values])
