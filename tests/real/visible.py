"""What of labelled incidents survives when a series is thinned to the points of an answer: the rules by which
downsampling is measured, for the bench and for the tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from telemetry_mcp.analysis.anomaly import detect
from telemetry_mcp.analysis.downsample import extremes, min_max
from tests.real.labelled import Labelled, cloud_monitoring, nab

VISIBLE = 0.1
"""An event is one for the eye when it stands out by this share of the series' whole range."""
AMPLITUDE = 0.9
"""Its peak is kept when a shown point inside it stands out by this share of it."""
MARGIN = 3
"""Its surroundings, which it stands out from, are this many times its length, or a hundred points."""
Places = NDArray[np.intp]
Thinner = Callable[[Labelled, int], Places]


@dataclass(frozen=True, slots=True)
class Event:
    """A labelled event that stands out: its first and last position, the level around it, its amplitude."""

    first: int
    last: int
    level: float
    amplitude: float


def events(series: Labelled) -> Iterator[Event]:
    values = series.values
    span = np.nanmax(values) - np.nanmin(values)
    for first, last in series.events:
        around = max(100, MARGIN * (last - first + 1))
        outside = np.concatenate((values[max(0, first - around) : first], values[last + 1 : last + 1 + around]))
        inside = values[first : last + 1]
        if not np.isfinite(outside).any() or not np.isfinite(inside).any():
            continue
        level = float(np.nanmedian(outside))
        amplitude = float(np.nanmax(np.abs(inside - level)))
        if amplitude >= VISIBLE * span > 0:
            yield Event(first, last, level, amplitude)


def ours(series: Labelled, most: int) -> Places:
    """The places of the points that an answer shows."""
    found = detect(series.timestamps_ms, series.values).episodes
    peaks = np.searchsorted(series.timestamps_ms, [episode.peak_ms for episode in found]).tolist()
    thinned = min_max(series.values, most, peaks)
    assert thinned.points <= most
    places = extremes(series.values, most if thinned.every == 1 else most - len(thinned.peaks))[0]
    kept = np.arange(len(series.values)) if thinned.every == 1 else places[places < len(series.values)]
    return np.union1d(kept, thinned.peaks)


def plain(series: Labelled, most: int) -> Places:
    places = extremes(series.values, most)[0]
    return places[places < len(series.values)]


def every(series: Labelled, most: int) -> Places:
    return np.arange(0, len(series.values), -(-len(series.values) // most))


def kept(thinner: Thinner, most: int) -> tuple[float, float]:
    """The share of events whose peak is kept, and of series whose extremes both are."""
    peaks, whole = [], []
    for series in (*nab(), *cloud_monitoring()):
        places = thinner(series, most)
        shown = series.values[places]
        whole.append(np.nanmin(shown) == np.nanmin(series.values) and np.nanmax(shown) == np.nanmax(series.values))
        for event in events(series):
            inside = shown[(places >= event.first) & (places <= event.last)]
            apart = np.abs(inside - event.level)
            peaks.append(bool(np.nanmax(apart, initial=0.0) >= AMPLITUDE * event.amplitude))
    return float(np.mean(peaks)), float(np.mean(whole))
