"""Series that are constant, stuck, short, full of holes, out of order or absurd."""

import numpy as np
import pytest
from numpy.typing import NDArray

from telemetry_mcp.analysis.anomaly import Gap, detect, score

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
START = 1_700_006_400_000

Numbers = NDArray[np.float64]
Times = NDArray[np.int64]


def times(count: int, step_ms: int = 5 * MINUTE) -> Times:
    return START + np.arange(count, dtype=np.int64) * step_ms


def noise(count: int, seed: int = 1) -> Numbers:
    return 100 + np.random.default_rng(seed).normal(size=count)


# ---- constant


@pytest.mark.parametrize("value", [0.0, 0.1 + 0.2, -7.0, 1e300, 1e-300])
@pytest.mark.parametrize("polled", [False, True])
def test_a_constant_series_is_judged_and_has_no_anomaly(value: float, polled: bool) -> None:
    detection = detect(times(300), np.full(300, value), polled=polled)
    assert (detection.episodes, detection.confidence) == ((), "normal")
    np.testing.assert_array_equal(score(times(300), np.full(300, value), causal=polled), np.zeros(300))


@pytest.mark.parametrize("polled", [False, True])
def test_the_first_change_from_a_constant_is_found_and_named(polled: bool) -> None:
    values = np.full(300, 42.0)
    values[290:] = 42.5
    (episode,) = detect(times(300), values, polled=polled).episodes
    assert (episode.lens, episode.deviation, episode.severity) == ("left constant value", 99, "high")
    assert (episode.start_ms, episode.direction, episode.expected) == (times(300)[290], "up", 42)


def test_a_constant_that_is_left_four_times_has_a_habit() -> None:
    for departures, found in ((3, 3), (4, 0)):
        values = np.zeros(400)
        values[20 :: 400 // departures] = 1
        episodes = detect(times(400), values).episodes
        assert len(episodes) == found
        assert {episode.lens for episode in episodes} <= {"left constant value"}


def test_an_expected_zero_has_no_relative_deviation() -> None:
    values = np.zeros(300)
    values[-1] = 3
    (episode,) = detect(times(300), values, min_relative=0.5).episodes
    assert (episode.expected, episode.relative) == (0, None)


# ---- stuck


def test_a_sensor_that_hangs_is_a_flatline() -> None:
    values = noise(500)
    values[200:236] = values[200]
    (episode,) = detect(times(500), values).episodes
    assert (episode.lens, episode.points) == ("flatline", 36)
    assert (episode.start_ms, episode.end_ms) == (times(500)[200], times(500)[235])
    assert episode.deviation == pytest.approx(6.5 * 36 / 12)


@pytest.mark.parametrize(
    ("step_ms", "points", "found"),
    [(5 * MINUTE, 11, 0), (5 * MINUTE, 12, 1), (MINUTE, 59, 0), (MINUTE, 60, 1), (HOUR, 11, 0), (HOUR, 12, 1)],
)
def test_a_flatline_takes_twelve_points_and_an_hour(step_ms: int, points: int, found: int) -> None:
    values = noise(400)
    values[200 : 200 + points] = 100
    assert len(detect(times(400, step_ms), values).episodes) == found


def test_a_metric_that_often_stands_still_has_no_flatline() -> None:
    values = np.random.default_rng(1).poisson(0.7, size=500).astype(np.float64)
    values[200:230] = 1
    assert [e for e in detect(times(500), values).episodes if e.lens == "flatline"] == []


def test_a_metric_that_begins_to_move_was_no_flatline() -> None:
    values = noise(500)
    values[:150] = 0
    assert [e for e in detect(times(500), values).episodes if e.lens == "flatline"] == []


def test_what_hangs_to_the_end_of_the_series_is_ongoing() -> None:
    values = noise(500)
    values[450:] = values[450]
    (episode,) = detect(times(500), values).episodes
    assert (episode.lens, episode.start_ms, episode.ongoing) == ("flatline", times(500)[450], True)


def test_a_quiet_metric_whose_excursions_all_came_at_one_time_is_judged() -> None:
    values = np.zeros(4032)
    values[[1000, 1015, 1030, 1045]] = 1
    found = detect(times(4032), values, period="none").episodes
    assert {(e.start_ms - START) // (5 * MINUTE) for e in found} == {1000, 1015, 1030, 1045}


# ---- short


@pytest.mark.parametrize("count", range(1, 80))
@pytest.mark.parametrize("polled", [False, True])
def test_any_length_is_judged_without_a_warning_or_not_at_all(count: int, polled: bool) -> None:
    at, values = times(count, HOUR), noise(count)
    detection = detect(at, values, polled=polled)
    assert np.isfinite(score(at, values, causal=polled)).all()
    assert (detection.confidence == "none") == np.isnan(detection.expected).all()
    assert bool(detection.reason) == (detection.confidence != "normal")
    assert detection.points == count


def test_a_series_too_short_to_be_judged_by_its_past_says_so() -> None:
    detection = detect(times(40), noise(40), polled=True)
    assert (detection.confidence, detection.reason) == ("none", "40 points: too few to judge any by its past")


def test_under_thirty_points_a_band_is_drawn_but_not_trusted() -> None:
    values = noise(20)
    values[10] = 130
    detection = detect(times(20), values)
    assert (detection.method, detection.threshold, detection.confidence) == ("median/MAD", 8, "low")
    assert detection.seasonal == "fewer than 30 points: no pattern can be known"
    assert [episode.value for episode in detection.episodes] == [130]


# ---- holes, order, steps


@pytest.mark.parametrize(("holes", "confidence"), [(0.29, "normal"), (0.31, "low")])
def test_more_than_three_in_ten_missing_numbers_lower_the_confidence(holes: float, confidence: str) -> None:
    values = noise(1000)
    values[: round(1000 * holes)] = np.nan
    detection = detect(times(1000), values)
    assert detection.confidence == confidence
    assert bool(detection.reason) == (confidence == "low")


def test_a_gap_is_said_and_no_episode_reaches_over_it() -> None:
    at, values = times(1000), noise(1000)
    values[400:410] = values[490:500] = 200
    kept = np.r_[0:410, 490:1000]
    detection = detect(at[kept], values[kept])
    assert detection.gaps == (Gap(int(at[409]), int(at[490])),)
    assert {(e.start_ms, e.end_ms) for e in detection.episodes} == {(at[400], at[409]), (at[490], at[499])}
    holed = values.copy()
    holed[410:490] = np.nan
    assert detect(at, holed).gaps == detection.gaps


@pytest.mark.parametrize(("skipped", "found"), [(6, 0), (7, 1)])
def test_a_hole_that_an_episode_bridges_is_no_gap(skipped: int, found: int) -> None:
    kept = np.r_[0:300, 300 + skipped : 600]
    assert len(detect(times(600)[kept], noise(600)[kept]).gaps) == found


def test_a_day_without_data_does_not_bend_the_band() -> None:
    at = times(14 * 288)
    daily = 100 + 40 * np.sin(2 * np.pi * at / DAY)
    values = daily + noise(at.size) - 100
    kept = (at < START + 6 * DAY) | (at > START + 7.3 * DAY)
    detection = detect(at[kept], values[kept])
    assert detection.episodes == ()
    np.testing.assert_allclose(detection.expected, daily[kept], atol=3)


def test_uneven_steps_follow_the_clock_and_not_the_count() -> None:
    rng = np.random.default_rng(3)
    at = np.sort(rng.choice(times(14 * 1440, MINUTE), size=4000, replace=False))
    daily = 100 + 40 * np.sin(2 * np.pi * at / DAY)
    values = daily + rng.normal(size=at.size)
    values[2000] += 30
    detection = detect(at, values)
    assert [episode.peak_ms for episode in detection.episodes] == [at[2000]]
    np.testing.assert_allclose(detection.expected, daily, atol=4)


@pytest.mark.parametrize("polled", [False, True])
def test_order_and_duplicates_change_no_score(polled: bool) -> None:
    at, values = times(700), noise(700)
    values[500] = 140
    plain = score(at, values, causal=polled)
    order = np.random.default_rng(7).permutation(700)
    messy = score(np.concatenate((at[:1], at[order])), np.concatenate(([9e9], values[order])), causal=polled)
    assert np.isnan(messy[0])
    np.testing.assert_array_equal(messy[1:], plain[order])


# ---- absurd


@pytest.mark.parametrize("absurd", [1.7e308, -1.7e308, 1.8e19, 1e12])
@pytest.mark.parametrize("count", [40, 300, 4032])
def test_one_absurd_value_does_not_hide_the_others(absurd: float, count: int) -> None:
    values = noise(count)
    values[count // 3], values[2 * count // 3] = absurd, 130
    assert [episode.value for episode in detect(times(count), values).episodes] == [absurd, 130]
    if count > 100:
        assert score(times(count), values, causal=True)[2 * count // 3] > 10


@pytest.mark.parametrize("span", [0, 1, 10**9, 10**15, 4 * 10**18])
@pytest.mark.parametrize("polled", [False, True])
def test_absurd_times_are_survived(span: int, polled: bool) -> None:
    at = np.linspace(0, span, 200).astype(np.int64)
    at[100:] += span
    detection = detect(at, noise(200), polled=polled)
    assert detection.expected.shape == (200,)
