"""How services are ranked: several metrics that are unusual together, never the strongest of many."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.real.labelled import ABSENT, DATA, Labelled, event_f1, runs

from telemetry_mcp.analysis.anomaly import TAU, Detection, Episode, detect, episodes
from telemetry_mcp.analysis.rank import concurrence, strongest

STEP_MS = 300_000
Numbers = NDArray[np.float64]


def at_once(*strengths: float) -> float:
    """The concurrence of metrics of these strengths at one instant."""
    return float(concurrence(np.array(strengths, np.float64)[:, None])[0])


def test_three_that_agree_count_by_their_geometric_mean() -> None:
    assert at_once(8, 27, 64) == pytest.approx(24)
    assert at_once(8, 27, 64, 7, 0) == pytest.approx(24)


def test_one_metric_however_far_out_is_no_agreement() -> None:
    assert at_once(99) == at_once(99, *[0] * 40) == pytest.approx(99 ** (1 / 3))
    assert at_once(99) < TAU < at_once(20, 20) < at_once(20, 20, 20)


def test_what_is_not_known_or_ordinary_counts_as_an_ordinary_deviation() -> None:
    assert at_once(np.nan) == at_once(0) == at_once(0.5, np.nan, 0) == 1


def test_every_instant_is_scored_by_itself() -> None:
    strengths = np.array([[8.0, 0.0], [0.0, 8.0], [0.0, 8.0], [0.0, 8.0]])
    np.testing.assert_allclose(concurrence(strengths), [2, 8])


def found(*stretches: tuple[int, int, int, float]) -> tuple[float, int, tuple[int, ...]]:
    """Metric, start, end and strength of each stretch -> what `strongest` makes of them."""
    metric, start, end, strength = (np.array(column) for column in zip(*stretches, strict=True))
    most = strongest(metric, start, end, strength.astype(np.float64))
    return most.score, most.at_ms, most.stretches


def test_the_moment_counts_at_which_most_metrics_are_unusual() -> None:
    score, at_ms, stretches = found((0, 0, 10, 99.0), (0, 50, 90, 8.0), (1, 60, 100, 64.0), (2, 40, 70, 27.0))
    assert score == pytest.approx(24)
    assert (at_ms, stretches) == (60, (2, 3, 1))


def test_stretches_that_touch_do_not_overlap() -> None:
    score, at_ms, stretches = found((0, 0, 10, 27.0), (1, 10, 20, 27.0))
    assert score == pytest.approx(3)
    assert (at_ms, stretches) == (0, (0,))


def test_several_stretches_of_one_metric_are_one_witness() -> None:
    score, _, stretches = found((0, 0, 10, 27.0), (0, 5, 20, 64.0), (0, 6, 9, 9.0))
    assert score == pytest.approx(4)
    assert set(stretches) <= {0, 1, 2}


def test_without_a_stretch_nothing_can_be_said() -> None:
    nothing = np.empty(0, np.int64)
    with pytest.raises(ValueError, match="without a stretch"):
        strongest(nothing, nothing, nothing, np.empty(0))


# ---- services with labelled incidents: 19 metrics of each, every five minutes


def services() -> list[tuple[str, Numbers, tuple[tuple[int, int], ...]]]:
    paths = sorted((DATA / "jumpstarter").glob("*/service?.csv.gz"))
    return [(str(path), read(path), runs(read(path.with_name(label(path))) > 0)) for path in paths]


def label(path: Path) -> str:
    return path.name.replace(".csv", ".label.csv")


def read(path: Path) -> Numbers:
    with gzip.open(path) as file:
        return np.loadtxt(file, delimiter=",")


def strengths(detections: Sequence[Detection], points: int) -> Numbers:
    """Metrics by instants: the deviation of the episode that covers each, 0 where there is none."""
    made = np.zeros((len(detections), points))
    for row, detection in zip(made, detections, strict=True):
        for episode in reversed(detection.episodes):
            row[episode.start_ms // STEP_MS : episode.end_ms // STEP_MS + 1] = episode.deviation
    return made


def incidents(scores: Numbers) -> tuple[Episode, ...]:
    times = STEP_MS * np.arange(len(scores), dtype=np.int64)
    return episodes(times, scores, scores, threshold=TAU, expected=np.zeros(len(scores)))


@pytest.mark.skipif(bool(ABSENT), reason=ABSENT)
def test_agreement_finds_the_incidents_of_services_better_than_the_strongest_metric_does() -> None:
    labelled, agreeing, loudest = [], [], []
    for name, values, events in services():
        times = STEP_MS * np.arange(len(values), dtype=np.int64)
        strength = strengths([detect(times, metric) for metric in values.T], len(values))
        labelled.append(Labelled(name, times, values[:, 0], events))
        agreeing.append(incidents(concurrence(strength)))
        loudest.append(incidents(strength.max(axis=0)))
    assert sum(len(one.events) for one in labelled) == 22
    assert event_f1(labelled, agreeing) >= 0.40
    assert event_f1(labelled, agreeing) > event_f1(labelled, loudest)
    assert sum(map(len, agreeing)) < sum(map(len, loudest)) / 4
