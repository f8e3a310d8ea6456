"""Real telemetry with labelled events, and the rules by which a detector is measured on it.

The data and the scorers lie beside the repository, in ../shared; `ABSENT` says so where they do not.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from telemetry_mcp.analysis.anomaly import Episode, episodes

SHARED = Path(__file__).resolve().parents[3] / "shared"
DATA = SHARED / "data"
SCORING = SHARED / "analysis" / "scoring.py"
ABSENT = "" if DATA.is_dir() and SCORING.is_file() else "the labelled data of ../shared are not here"

PROFILES = ("standard", "low_FP", "low_FN")
WIDENED = 2
Times = NDArray[np.int64]
Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """A series and its events, each by the positions of its first and last point."""

    name: str
    timestamps_ms: Times
    values: Numbers
    events: tuple[tuple[int, int], ...]


@cache
def nab() -> tuple[Labelled, ...]:
    """The Numenta Anomaly Benchmark: events are its labelled windows."""
    windows = json.loads((DATA / "nab" / "windows.json").read_text(encoding="utf-8"))
    return tuple(_nab_series(name, spans) for name, spans in sorted(windows.items()))


def _nab_series(name: str, windows: Iterable[tuple[str, str]]) -> Labelled:
    times, values, _ = _columns(DATA / "nab" / f"{name}.gz")
    edges = [np.array(window, dtype="datetime64[ms]").astype(np.int64) for window in windows]
    events = [
        (int(np.searchsorted(times, start)), int(np.searchsorted(times, end, side="right")) - 1)
        for start, end in edges
    ]
    return Labelled(name, times, values, tuple(sorted(events)))


@cache
def cloud_monitoring() -> tuple[Labelled, ...]:
    """Microsoft's production series: events are runs of labelled points."""
    folder = DATA / "cloud-monitoring"
    return tuple(
        Labelled(str(path.relative_to(folder)), times, values, runs(labels > 0))
        for path in sorted(folder.glob("*/*.csv.gz"))
        for times, values, labels in [_columns(path)]
    )


def _columns(path: Path) -> tuple[Times, Numbers, Numbers]:
    """Times, values and, where there is a third column, labels."""
    rows = list(csv.reader(io.StringIO(gzip.decompress(path.read_bytes()).decode())))[1:]
    times = np.array([row[0].removesuffix("Z") for row in rows], dtype="datetime64[ms]").astype(np.int64)
    values = np.array([float(row[1] or "nan") for row in rows])
    return times, values, np.array([float(row[2]) if len(row) > 2 else 0.0 for row in rows])


def runs(flags: NDArray[np.bool_]) -> tuple[tuple[int, int], ...]:
    """The first and last position of every unbroken run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], flags, [False])).astype(np.int8)))
    return tuple((int(start), int(stop) - 1) for start, stop in zip(edges[::2], edges[1::2], strict=True))


def event_f1(series: Sequence[Labelled], found: Sequence[Iterable[Episode]]) -> float:
    """F1 over all events of a set, by the strict rule.

    An episode is right when at least half of its span lies inside one event widened by two points; an event is
    found only by a right episode.
    """
    right = reported = hit = events = 0
    for one, its in zip(series, found, strict=True):
        spans = [_positions(one, episode) for episode in its]
        fits = np.array([[_fits(span, event) for event in one.events] for span in spans], dtype=bool)
        fits = fits.reshape(len(spans), len(one.events))
        right += int(fits.any(axis=1).sum())
        hit += int(fits.any(axis=0).sum())
        reported += len(spans)
        events += len(one.events)
    precision, recall = right / max(reported, 1), hit / max(events, 1)
    return 2 * precision * recall / (precision + recall) if right else 0.0


def _positions(series: Labelled, episode: Episode) -> tuple[int, int]:
    first = int(np.searchsorted(series.timestamps_ms, episode.start_ms))
    return first, int(np.searchsorted(series.timestamps_ms, episode.end_ms, side="right")) - 1


def _fits(span: tuple[int, int], event: tuple[int, int]) -> bool:
    inside = min(span[1], event[1] + WIDENED) - max(span[0], event[0] - WIDENED) + 1
    return inside >= (span[1] - span[0] + 1) / 2


def onsets(series: Labelled, found: Iterable[Episode]) -> Numbers:
    """The peak score of every episode at its first point, 0 everywhere else: what NAB is to count once."""
    emitted = np.zeros(len(series.values))
    for episode in found:
        emitted[np.searchsorted(series.timestamps_ms, episode.start_ms)] = episode.deviation
    return emitted


def nab_score(series: Sequence[Labelled], emitted: Sequence[Numbers], threshold: float) -> dict[str, float]:
    """NAB's score by profile at one threshold, normalised by the windows of the series at hand.

    As in NAB, 0 is what a detector gets that never fires and 100 one that finds every window at its first point;
    what is emitted in the probation, the first 15 % of a series, does not count.
    """
    rules = _scoring()
    rules.NLAB = sum(len(one.events) for one in series)
    prepared = rules.nab_prepare({one.name: {"v": one.values, "ev": one.events} for one in series})
    scored = rules.nab_score(prepared, {one.name: e for one, e in zip(series, emitted, strict=True)}, threshold)
    return {profile: float(scored[profile]["at"]) for profile in PROFILES}


@cache
def _scoring() -> Any:
    spec = spec_from_file_location("scoring", SCORING)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def alarms(scores: Numbers, threshold: float, refractory: int = 100) -> Numbers:
    """What one emits who knows only the past: a score that reaches the threshold, then nothing for a while."""
    emitted = np.zeros(len(scores))
    quiet_until = 0
    for place in np.flatnonzero(np.nan_to_num(scores) >= threshold).tolist():
        if place >= quiet_until:
            emitted[place] = scores[place]
            quiet_until = place + refractory
    return emitted


PLAIN_THRESHOLD = 3.25
"""The best single threshold of the plain z-score over all sets."""


def plain_z(timestamps_ms: Times, values: Numbers) -> Numbers:
    """The z-score of the proof of concept: the distance from the mean in standard deviations."""
    spread = float(np.nanstd(values))
    return np.abs(values - np.nanmean(values)) / spread if spread else np.zeros(len(values))


def plain_episodes(series: Labelled) -> tuple[Episode, ...]:
    scores = plain_z(series.timestamps_ms, series.values)
    return episodes(series.timestamps_ms, series.values, scores, threshold=PLAIN_THRESHOLD)


def clean_of_nab(series: Labelled) -> bool:
    """Whether the series was made without an anomaly; of a real one without a window that is not known."""
    return series.name.startswith("artificialNoAnomaly/")
