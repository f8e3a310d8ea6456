"""Which changes an incident may come from."""

from __future__ import annotations

import numpy as np
import pytest

from telemetry_mcp.analysis.correlation import Ranking, rank, suspects_of_changes
from telemetry_mcp.analysis.signal import Change, Signal

MINUTE = 60_000
PAGE = 1_795_000_020_000
ONSET = PAGE - 5 * MINUTE


def latency(service: str, by: float) -> Signal:
    times = np.arange(PAGE - 150 * MINUTE, PAGE + 5 * MINUTE, MINUTE, dtype=np.int64)
    values = 80 + 2 * np.random.default_rng(list(service.encode())).normal(size=times.size)
    return Signal(service, "latency", "latency", times, values + by * (times >= ONSET))


@pytest.fixture
def ranking() -> Ranking:
    return rank(PAGE, [latency("pay", 60), latency("cart", 25), latency("mail", 0)])


def test_the_change_right_before_the_onset_of_the_worst_service_is_first(ranking: Ranking) -> None:
    changes = [
        Change("pay", ONSET - 100 * MINUTE, "old"),
        Change("mail", PAGE - MINUTE, "decoy"),
        Change("pay", ONSET - 2 * MINUTE, "culprit"),
        Change("cart", ONSET - 2 * MINUTE, "other"),
    ]
    found = suspects_of_changes(ranking, changes, PAGE)
    assert [one.change.id for one in found] == ["culprit", "other", "old", "decoy"]
    assert found[0].offset_ms == 2 * MINUTE
    assert found[0].fit == pytest.approx(np.exp(-2 / 60))


def test_a_change_after_the_onset_is_no_candidate(ranking: Ranking) -> None:
    late = Change("pay", ONSET + 2 * MINUTE, "late")
    assert suspects_of_changes(ranking, [late], PAGE) == ()


def test_a_service_without_an_onset_is_measured_by_the_page(ranking: Ranking) -> None:
    (candidate,) = suspects_of_changes(ranking, [("mail", PAGE - 3 * MINUTE), ("mail", PAGE + 1)], PAGE)
    assert candidate.offset_ms == 3 * MINUTE


def test_a_change_of_a_service_without_metrics_is_no_candidate(ranking: Ranking) -> None:
    assert suspects_of_changes(ranking, [Change("db", ONSET)], PAGE) == ()


def test_without_a_ranking_there_is_no_candidate() -> None:
    assert suspects_of_changes(rank(PAGE, []), [Change("db", ONSET)], PAGE) == ()
