"""The detector and the episodes made of its scores."""

import numpy as np
import pytest
from numpy.typing import NDArray

from telemetry_mcp.analysis.anomaly import Sought, detect, episodes, score

MINUTE = 60_000
START = 1_700_000_000_000

Numbers = NDArray[np.float64]
Times = NDArray[np.int64]


def times(count: int, step_ms: int = MINUTE) -> Times:
    return START + np.arange(count, dtype=np.int64) * step_ms


def noise(count: int, seed: int = 1) -> Numbers:
    return 100 + np.random.default_rng(seed).normal(size=count)


def scored(*strengths: float) -> tuple[Times, Numbers, Numbers]:
    """A series at ten-minute steps in which every score is also the value."""
    values = np.array(strengths, dtype=np.float64)
    return times(values.size, 10 * MINUTE), values, values.copy()


def test_one_spike_in_noise_is_the_only_episode() -> None:
    values = noise(500)
    values[200] = 130
    detection = detect(times(500), values)
    (episode,) = detection.episodes
    assert episode.start_ms == episode.peak_ms == episode.end_ms == START + 200 * MINUTE
    assert (episode.value, episode.direction, episode.severity, episode.points) == (130, "up", "high", 1)
    assert not episode.ongoing
    assert episode.expected == pytest.approx(100, abs=0.2)
    assert episode.deviation == pytest.approx((130 - episode.expected) / (detection.scale or 0))
    assert (detection.confidence, detection.reason, detection.method) == ("normal", "", "robust seasonal band")


@pytest.mark.parametrize("seed", range(5))
def test_a_noisy_daily_sine_has_no_episode(seed: int) -> None:
    at = times(3 * 288, 5 * MINUTE)
    daily = 100 + 40 * np.sin(2 * np.pi * np.arange(at.size) / 288)
    assert detect(at, daily + 4 * np.random.default_rng(seed).normal(size=at.size)).episodes == ()


def test_the_band_is_where_the_threshold_is_reached() -> None:
    detection = detect(times(300), noise(300))
    assert detection.threshold == 6.5
    assert detection.scale is not None
    np.testing.assert_allclose(detection.upper - detection.expected, 6.5 * detection.scale)
    np.testing.assert_allclose(detection.expected - detection.lower, 6.5 * detection.scale)


def test_heavy_tails_widen_the_band_beyond_the_mad() -> None:
    values = noise(400)
    values[::10] += 20
    detection = detect(times(400), values)
    mad = 1.4826 * np.median(np.abs(values - np.median(values)))
    assert (detection.scale or 0) > 5 * mad
    assert detection.episodes == ()


def test_a_smaller_sensitivity_finds_more() -> None:
    values = noise(500)
    values[200] = 104.5
    assert detect(times(500), values).episodes == ()
    assert detect(times(500), values, sensitivity=1.8).episodes[0].value == 104.5


@pytest.mark.parametrize("sensitivity", [0.0, -1.0, float("nan"), float("inf")])
def test_a_sensitivity_that_is_not_positive_is_refused(sensitivity: float) -> None:
    with pytest.raises(ValueError, match="sensitivity"):
        detect(times(40), noise(40), sensitivity=sensitivity)


@pytest.mark.parametrize(("direction", "found"), [("up", {"up"}), ("down", {"down"}), ("both", {"up", "down"})])
def test_only_the_wanted_direction_is_reported(direction: Sought, found: set[str]) -> None:
    values = noise(500)
    values[100], values[400] = 140, 60
    assert {episode.direction for episode in detect(times(500), values, direction=direction).episodes} == found


def test_a_relative_floor_hides_what_is_too_small_to_matter() -> None:
    values = noise(500)
    values[100], values[400] = 115, 160
    assert len(detect(times(500), values).episodes) == 2
    (episode,) = detect(times(500), values, min_relative=0.5).episodes
    assert episode.value == 160
    with pytest.raises(ValueError, match="min_relative"):
        detect(times(500), values, min_relative=-0.1)


def test_episodes_come_strongest_first() -> None:
    values = noise(500)
    values[100], values[300] = 112, 120
    assert [episode.value for episode in detect(times(500), values).episodes] == [120, 112]


def test_a_constant_series_has_no_anomaly() -> None:
    detection = detect(times(100), np.full(100, 0.1 + 0.2))
    assert (detection.episodes, detection.scale, detection.confidence) == ((), 0.0, "normal")


@pytest.mark.parametrize("left", [1, 10, 30])
def test_leaving_a_constant_value_is_one_ongoing_episode_at_the_cap(left: int) -> None:
    values = np.zeros(100)
    values[-left:] = 5
    (episode,) = detect(times(100), values).episodes
    assert (episode.deviation, episode.severity, episode.ongoing, episode.points) == (99, "high", True, left)
    assert episode.start_ms == START + (100 - left) * MINUTE


def test_a_counter_that_bursts_all_the_time_is_habit() -> None:
    values = np.zeros(300)
    values[np.arange(300) % 40 < 5] = 3
    assert detect(times(300), values).episodes == ()


def test_few_points_lower_the_confidence_and_raise_the_threshold() -> None:
    values = noise(12)
    values[6] = 150
    detection = detect(times(12), values)
    assert (detection.confidence, detection.reason) == ("low", "12 points: fewer than 30")
    assert detection.threshold == 8
    assert [episode.value for episode in detection.episodes] == [150]


def test_missing_numbers_are_counted_and_lower_the_confidence() -> None:
    values = noise(100)
    values[:38] = np.nan
    detection = detect(times(100), values)
    assert (detection.confidence, detection.reason) == ("low", "38 % of the points are not numbers")
    assert (detection.points, detection.missing) == (62, 38)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([], "no numbers in the series"),
        ([np.nan], "no numbers in the series"),
        ([1, 1, 9], "3 points: too few to tell"),
    ],
)
def test_too_short_a_series_has_no_band_and_no_finding(values: list[float], reason: str) -> None:
    detection = detect(times(len(values)), np.array(values, dtype=np.float64))
    assert (detection.confidence, detection.reason, detection.scale) == ("none", reason, None)
    assert detection.episodes == ()
    assert np.isnan(detection.expected).all()
    assert detection.expected.shape == detection.lower.shape == detection.upper.shape == (len(values),)


def test_order_duplicates_and_gaps_do_not_change_the_findings() -> None:
    at, values = times(300), noise(300)
    values[50] = 140
    (plain,) = detect(at, values).episodes
    order = np.random.default_rng(7).permutation(300)
    messy_at = np.concatenate((at[[50]], at[order], [at[-1] + MINUTE]))
    messy = np.concatenate(([-500.0], values[order], [np.inf]))
    detection = detect(messy_at, messy)
    assert detection.episodes == (plain,)
    assert (detection.points, detection.missing) == (300, 1)


def test_scores_stand_where_the_points_stood() -> None:
    values = noise(100)
    values[10], values[20] = np.nan, 150
    backwards = score(times(100)[::-1], values)
    assert np.flatnonzero(np.isnan(backwards)).tolist() == [10]
    assert np.nanargmax(backwards) == 20
    assert score(times(0), np.array([])).size == 0


def test_a_causal_score_never_changes_when_data_arrive() -> None:
    at, values = times(900), noise(900)
    values[300], values[700] = 130, 1e6
    whole = score(at, values, causal=True)
    for known in (31, 301, 640):
        np.testing.assert_array_equal(score(at[:known], values[:known], causal=True), whole[:known])
    assert not whole[:30].any()
    assert whole[300] > 15
    assert score(at[:10], values[:10], causal=True).tolist() == [0] * 10


def test_an_episode_lasts_over_half_of_the_threshold_and_is_trimmed_to_it() -> None:
    (episode,) = episodes(*scored(0, 4, 9, 4, 4, 4, 4, 4, 8, 4, 0), threshold=6)
    assert ((episode.start_ms - START) // MINUTE, (episode.end_ms - START) // MINUTE) == (20, 80)
    assert (episode.deviation, episode.points, episode.severity) == (9, 7, "medium")
    assert len(episodes(*scored(0, 4, 9, 2.9, 2.9, 2.9, 2.9, 2.9, 8, 4, 0), threshold=6)) == 2


def test_a_gap_is_bridged_up_to_three_points_or_thirty_minutes() -> None:
    assert len(episodes(*scored(0, 9, 0, 0, 0, 9, 0), threshold=6)) == 1
    assert len(episodes(*scored(0, 9, 0, 0, 0, 0, 9, 0), threshold=6)) == 2
    for minutes, found in ((30, 1), (31, 2)):
        at, values, scores = scored(0, 9, *[0] * minutes, 9, 0)
        assert len(episodes(times(at.size), values, scores, threshold=6)) == found


def test_the_peak_of_capped_scores_is_the_point_farthest_out() -> None:
    at, values = times(5), np.array([0.0, 7, 50, 8, 0])
    (episode,) = episodes(at, values, np.array([0.0, 99, 99, 99, 0]), threshold=6)
    assert (episode.value, episode.expected, episode.lower, episode.upper) == (50, 7, None, None)


def test_any_detectors_scores_and_band_run_through_the_same_code() -> None:
    at, values = times(6), np.array([1.0, 1, 0, 1, np.nan, 1])
    flat = np.ones(6)
    (episode,) = episodes(
        at,
        values,
        np.array([0, 0, 20, np.nan, 50, 0]),
        threshold=6,
        expected=flat,
        lower=flat - 0.5,
        upper=flat + 0.5,
    )
    assert (episode.direction, episode.lower, episode.upper, episode.severity) == ("down", 0.5, 1.5, "high")
    with pytest.raises(ValueError, match="one entry per point"):
        episodes(at, values, flat[:3], threshold=6)
    with pytest.raises(ValueError, match="threshold"):
        episodes(at, values, flat, threshold=0)


def test_the_detector_is_affine_invariant() -> None:
    values = noise(400)
    values[111] = 150
    (plain,), (moved,) = (detect(times(400), series).episodes for series in (values, -3 * values + 7))
    assert moved.direction == "down"
    assert moved.deviation == pytest.approx(plain.deviation)
    assert moved.peak_ms == plain.peak_ms
