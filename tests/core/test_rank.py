"""How services are ranked: several metrics that are unusual together, never the strongest of many."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from telemetry_mcp.analysis.anomaly import TAU, Detection, Episode, detect, episodes
from telemetry_mcp.analysis.rank import concurrence, strongest
from tests.real.labelled import ABSENT, DATA, Labelled, event_f1, runs

STEP_MS = 300_000
DAY = 288
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


def a_day_each(scores: Numbers) -> Numbers:
    """The largest score of each day."""
    return np.asarray(scores[: len(scores) // DAY * DAY].reshape(-1, DAY).max(axis=1))


def average_precision(scores: Numbers, labels: Numbers) -> float:
    """How much of what is ranked first is right, over all that should be found: 1 at best."""
    hits = labels[np.argsort(-scores, kind="stable")] > 0
    return float((np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits].mean())


def incidents(scores: Numbers) -> tuple[Episode, ...]:
    times = STEP_MS * np.arange(len(scores), dtype=np.int64)
    return episodes(times, scores, scores, threshold=TAU, expected=np.zeros(len(scores)))


@dataclass(frozen=True, slots=True, eq=False)
class Service:
    """The strengths of its metrics, and the truth."""

    labelled: Labelled
    strength: Numbers


@pytest.fixture(scope="module")
def judged() -> list[Service]:
    if ABSENT:
        pytest.skip(ABSENT)
    made = []
    for name, values, events in services():
        times = STEP_MS * np.arange(len(values), dtype=np.int64)
        strength = strengths([detect(times, metric) for metric in values.T], len(values))
        made.append(Service(Labelled(name, times, values[:, 0], events), strength))
    assert sum(len(service.labelled.events) for service in made) == 22
    return made


def third(strength: Numbers) -> Numbers:
    return np.asarray(np.sort(strength, axis=0)[-3])


def loudest(strength: Numbers) -> Numbers:
    return np.asarray(strength.max(axis=0))


def test_the_days_of_incidents_are_ranked_first(judged: list[Service]) -> None:
    truth = []
    for service in judged:
        struck = np.zeros(len(service.labelled.values))
        for first, last in service.labelled.events:
            struck[first : last + 1] = 1
        truth.append(a_day_each(struck))
    labels = np.concatenate(truth)
    assert (labels.sum(), labels.size) == (33, 150)

    def precision(of: Callable[[Numbers], Numbers]) -> float:
        return average_precision(np.concatenate([a_day_each(of(service.strength)) for service in judged]), labels)

    assert precision(concurrence) >= 0.55
    assert precision(concurrence) >= precision(third) + 0.1
    assert precision(concurrence) >= precision(loudest) - 0.05


def test_what_concurs_finds_incidents_without_the_flood_of_what_is_loudest(judged: list[Service]) -> None:
    labelled = [service.labelled for service in judged]
    concurring = [incidents(concurrence(service.strength)) for service in judged]
    loud = [incidents(loudest(service.strength)) for service in judged]
    assert event_f1(labelled, concurring) >= 0.38
    assert sum(map(len, concurring)) < sum(map(len, loud)) / 4
