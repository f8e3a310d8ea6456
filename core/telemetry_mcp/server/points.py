"""A time series as it travels in an answer: in columns, with no more points than its reader wants."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
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


@dataclass(frozen=True, eq=False)
class Line:
    """An evenly spaced series. Where its episodes have their peaks is worked out once, for answers of any size."""

    start_ms: int | None
    step_ms: int
    values: Floats

    @cached_property
    def peaks(self) -> list[int]:
        """The places of the peaks, those of the strongest episodes first."""
        start = self.start_ms or 0
        times = start + self.step_ms * np.arange(len(self.values), dtype=np.int64)
        return [(episode.peak_ms - start) // self.step_ms for episode in detect(times, self.values).episodes]

    def points(self, most: int) -> Points:
        """At most so many of its points; spikes and the peaks of episodes survive the thinning."""
        thinned = self.thinned(most)
        return Points(
            start=iso(self.start_ms),
            step_s=rounded(thinned.every * self.step_ms / 1000, 9) or 0,
            values=[rounded(float(value)) for value in thinned.values],
            method=method(thinned, most),
            source_points=len(self.values),
            returned_points=thinned.points,
            peaks=peaks((self.start_ms or 0) + self.step_ms * thinned.peaks, self.values[thinned.peaks]),
        )

    def thinned(self, most: int) -> Downsampled:
        if most == 0:
            return Downsampled(self.values[:0], 1)
        return min_max(self.values, most, self.peaks if len(self.values) > most else ())


def of_merged(merged: Merged | None, step_ms: int) -> Line:
    times, values = numbers(merged)
    return Line(int(times[0]) if len(times) else None, merged.step_ms if merged else step_ms, values)


def of_part(part: Part, window: Window, step_ms: int, aggregate: str) -> Line:
    """One source's own values in the metric's unit, in steps of `step_ms`, or its own where these are longer."""
    step = coarser(step_ms, part)
    return Line(window.start_ms // step * step, step, bucketed(part, window, step, aggregate))


def method(thinned: Downsampled, max_points: int) -> Method:
    if max_points == 0:
        return "none"
    return "all" if thinned.every == 1 else "min-max"


def peaks(times: Ints, values: Floats) -> Peaks | None:
    if not len(times):
        return None
    return Peaks(at=[iso(int(t)) or "" for t in times], values=[rounded(float(v)) for v in values])
