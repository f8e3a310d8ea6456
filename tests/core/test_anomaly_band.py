"""The robust seasonal band: what is expected, how far it is ordinary to stray, and which lens saw what."""

import numpy as np
import pytest
from numpy.typing import NDArray

from telemetry_mcp.analysis.anomaly import Detection, detect, score
from telemetry_mcp.analysis.scale import DAY_MS, Scale, floor, scale
from telemetry_mcp.analysis.season import HOUR_MS, WEEK_MS, Period, season

MINUTE = 60_000
START = 1_700_006_400_000  # a midnight

Numbers = NDArray[np.float64]
Times = NDArray[np.int64]


def times(days: float, step_ms: int = 5 * MINUTE) -> Times:
    return START + np.arange(round(days * DAY_MS / step_ms), dtype=np.int64) * step_ms


def noise(at: Times, seed: int = 1) -> Numbers:
    return np.random.default_rng(seed).normal(size=at.size)


def daily(at: Times) -> Numbers:
    return np.asarray(100 + 40 * np.sin(2 * np.pi * at / DAY_MS))


def between(at: Times, start_h: float, end_h: float) -> NDArray[np.bool_]:
    return (at >= START + start_h * HOUR_MS) & (at < START + end_h * HOUR_MS)


def lenses(detection: Detection) -> list[str]:
    return [episode.lens for episode in detection.episodes]


# ---- the season


def test_the_band_follows_the_day() -> None:
    at = times(14)
    detection = detect(at, daily(at) + noise(at))
    assert (detection.period_ms, detection.seasonal, detection.episodes) == (DAY_MS, "", ())
    np.testing.assert_allclose(detection.expected, daily(at), atol=2.0)
    np.testing.assert_allclose(detection.upper - detection.lower, 2 * 6.5 * (detection.scale or 0))
    assert detection.scale == pytest.approx(1, rel=0.2)


def test_a_value_that_is_usual_at_another_hour_is_off_the_pattern() -> None:
    at = times(14)
    values = daily(at) + noise(at)
    night = between(at, 7 * 24 + 17, 7 * 24 + 19)
    values[night] = 100 + noise(at)[night]
    (episode,) = detect(at, values).episodes
    assert (episode.lens, episode.direction, episode.severity) == ("off-pattern", "up", "high")
    assert at[night][0] == episode.start_ms
    assert at[night][-1] == episode.end_ms
    assert episode.expected == pytest.approx(daily(at)[at == episode.peak_ms][0], abs=2)
    assert episode.relative == pytest.approx((episode.value - episode.expected) / episode.expected)
    assert detect(at, values, period="none").episodes == ()


def test_the_band_follows_the_week_from_three_weeks_on() -> None:
    at = times(28, HOUR_MS)
    weekend = (at // DAY_MS + 3) % 7 >= 5
    values = np.where(weekend, 20.0, daily(at)) + noise(at)
    detection = detect(at, values)
    assert (detection.period_ms, detection.episodes) == (WEEK_MS, ())
    busy = np.flatnonzero(weekend & (at > START + 14 * DAY_MS))[:24]
    values[busy] = daily(at)[busy]
    (episode,) = detect(at, values).episodes
    assert at[busy][0] <= episode.start_ms <= episode.end_ms <= at[busy][-1]


@pytest.mark.parametrize(
    ("period", "days", "expected"),
    [
        ("auto", 21, (WEEK_MS, "")),
        ("auto", 20.9, (DAY_MS, "")),
        ("auto", 3, (DAY_MS, "")),
        ("auto", 2.9, (None, "2.9 d of history: no daily pattern can be known")),
        ("auto", 0.2, (None, "4.8 h of history: no daily pattern can be known")),
        ("auto", 0.01, (None, "14.4 min of history: no daily pattern can be known")),
        ("1d", 2, (DAY_MS, "")),
        ("1d", 30, (DAY_MS, "")),
        ("7d", 14, (WEEK_MS, "")),
        ("7d", 13, (None, "13 d of history: no weekly pattern can be known")),
        ("none", 30, (None, "no pattern was asked for")),
    ],
)
def test_a_period_is_learned_when_it_has_been_seen_often_enough(
    period: Period, days: float, expected: tuple[int | None, str]
) -> None:
    assert season(
        np.array([0, round(days * DAY_MS)], dtype=np.int64), 60_000.0 if days > 0.1 else 0.0, period
    ) == (expected)


def test_points_too_far_apart_have_no_daily_pattern() -> None:
    at = times(20, 12 * HOUR_MS)
    assert detect(at, noise(at)).seasonal == "a point every 12 h: no daily pattern can be known"


def test_a_job_that_comes_once_a_week_for_one_point_belongs_to_the_week() -> None:
    at = times(28, HOUR_MS)
    values = daily(at) + noise(at)
    values[30 :: 7 * 24] += 60
    assert detect(at, values).episodes == ()


def test_a_disk_that_fills_is_no_anomaly_at_either_end() -> None:
    at = times(28)
    filling = 10 + 60 * np.arange(at.size) / at.size + 0.05 * noise(at)
    assert detect(at, filling).episodes == ()


def test_half_a_cycle_at_the_end_is_no_shift() -> None:
    at = times(7.5)
    assert detect(at, daily(at) + 0.5 * noise(at)).episodes == ()


def test_an_exact_pattern_without_noise_has_no_anomaly_and_a_departure_from_it_is_one() -> None:
    at = times(14)
    values = daily(at)
    assert detect(at, values).episodes == ()
    values[2000] += 5
    assert [episode.peak_ms for episode in detect(at, values).episodes] == [at[2000]]


# ---- the lenses


def test_a_spike_on_a_curve_that_no_season_explains_is_seen_beside_its_neighbours() -> None:
    at = times(1)
    values = daily(at) + 0.5 * noise(at)
    values[100] += 15
    (episode,) = detect(at, values).episodes
    assert (episode.lens, episode.start_ms, episode.end_ms) == ("spike", at[100], at[100])


def test_a_spike_down_is_down_although_the_point_lies_above_the_expected() -> None:
    at = times(1)
    values = daily(at) + 0.5 * noise(at)
    top = int(values.argmax())
    values[top] -= 15
    (episode,) = detect(at, values).episodes
    assert episode.value > episode.expected
    assert (episode.lens, episode.direction) == ("spike", "down")
    assert detect(at, values, direction="up").episodes == ()


def test_the_ends_of_a_steep_curve_are_no_spikes() -> None:
    for hour in range(24):
        at = times(1) + hour * HOUR_MS
        assert detect(at, daily(at) + 0.1 * noise(at)).episodes == ()


def test_a_spike_at_the_newest_point_is_found_at_once() -> None:
    at = times(1)
    values = daily(at) + 0.5 * noise(at)
    values[-1] += 20
    (episode,) = detect(at, values).episodes
    assert (episode.start_ms, episode.ongoing) == (at[-1], True)


def test_a_shift_that_no_single_point_shows_is_sustained() -> None:
    at = times(14)
    values = daily(at) + 5 * noise(at)
    shifted = between(at, 196, 202)
    values[shifted] += 15
    detection = detect(at, values)
    assert np.abs(values - detection.expected)[shifted].max() < 6.5 * (detection.scale or 0)
    assert lenses(detection) == ["sustained shift"]
    (episode,) = detection.episodes
    assert abs(episode.start_ms - at[shifted][0]) <= 30 * MINUTE
    assert abs(episode.end_ms - at[shifted][-1]) <= 30 * MINUTE


def test_one_huge_spike_is_one_point_and_no_shift() -> None:
    at = times(14)
    values = daily(at) + noise(at)
    values[2000] += 1e6
    (episode,) = detect(at, values).episodes
    assert (episode.start_ms, episode.end_ms, episode.points) == (at[2000], at[2000], 1)


# ---- the scale


def test_excursions_that_come_often_are_habit_and_said_to_be() -> None:
    at = times(14)
    values = noise(at)
    values[np.arange(at.size) % 200 < 2] += 30
    detection = detect(at, values, period="none")
    assert (detection.episodes, detection.binding) == ((), "habitual excursions")
    assert detection.habit == pytest.approx(31, abs=3)
    unguarded = detect(at, values, period="none", guard=False)
    assert (unguarded.binding, unguarded.habit) == ("typical spread", None)
    assert len(unguarded.episodes) == 21


def test_an_excursion_beyond_the_habit_is_still_found() -> None:
    at = times(14)
    values = noise(at)
    values[np.arange(at.size) % 200 < 2] += 30
    values[1111] += 100
    assert [episode.peak_ms for episode in detect(at, values, period="none").episodes] == [at[1111]]


def test_a_metric_that_hardly_ever_moves_makes_a_habit_of_what_came_four_times() -> None:
    at = times(7)
    for times_seen, found in ((3, 3), (6, 0)):
        values = np.zeros(at.size)
        values[150 :: at.size // times_seen] = 1
        assert len(detect(at, values).episodes) == found


def test_the_floor_is_a_share_of_the_rms_and_one_absurd_value_does_not_lift_it() -> None:
    residuals = np.zeros(1000)
    residuals[100:140] = 5
    least = floor(np.full(1000, 7.0), residuals)
    assert scale(residuals, least, habits=40) == Scale(least, "floor")
    assert least == pytest.approx(0.02 * 5 * np.sqrt(40 / 1000))
    residuals[500] = 1e30
    assert floor(np.full(1000, 7.0), residuals) == pytest.approx(least, rel=0.02)


# ---- one meaning of it all


@pytest.mark.parametrize(("factor", "offset"), [(1000, 0), (1e-9, 0), (1e12, 0), (1, 1e6), (1, -1e9), (-1, 0)])
@pytest.mark.parametrize("polled", [False, True])
def test_neither_unit_nor_offset_nor_sign_changes_a_score(factor: float, offset: float, polled: bool) -> None:
    at = times(7)
    values = daily(at) + noise(at)
    values[1500] += 50
    plain = score(at, values, causal=polled)
    assert plain.max() > 6.5
    np.testing.assert_allclose(score(at, values * factor + offset, causal=polled), plain, atol=1e-3)


@pytest.mark.parametrize("days", [0.1, 1, 7, 28])
@pytest.mark.parametrize("polled", [False, True])
def test_episodes_lie_exactly_where_the_score_reaches_the_threshold(days: float, polled: bool) -> None:
    at = times(days)
    values = daily(at) + 3 * np.random.default_rng(5).standard_t(2, size=at.size)
    values[at.size // 2 : at.size // 2 + 9] += 60
    values[::17] = np.nan
    detection = detect(at, values, polled=polled)
    scores = score(at, values, causal=polled)
    inside = np.zeros(at.size, dtype=bool)
    for episode in detection.episodes:
        inside |= (at >= episode.start_ms) & (at <= episode.end_ms)
    hot = np.nan_to_num(scores) >= detection.threshold
    assert not (hot & ~inside).any()
    for episode in detection.episodes:
        assert hot[[int(np.searchsorted(at, episode.start_ms)), int(np.searchsorted(at, episode.end_ms))]].all()
    outside = (values > detection.upper) | (values < detection.lower)
    assert hot[outside].all()


def test_scores_are_capped_and_missing_only_where_there_is_no_number() -> None:
    at = times(3)
    values = noise(at)
    values[100], values[200], values[300] = np.inf, np.nan, 1e30
    scores = score(at, values)
    assert np.flatnonzero(np.isnan(scores)).tolist() == [100, 200]
    assert scores[300] == 99 == np.nanmax(scores)


@pytest.mark.parametrize("size", [1e300, 1e160, 1e-310])
@pytest.mark.parametrize("polled", [False, True])
def test_numbers_whose_squares_cannot_be_written_are_judged_without_a_warning(size: float, polled: bool) -> None:
    values = np.random.default_rng(0).standard_normal(3000) * size
    at = np.arange(3000, dtype=np.int64) * 300_000

    scores = score(at, values, causal=polled)

    assert detect(at, values, polled=polled).confidence in ("normal", "low", "none")
    assert scores.min() >= 0
    assert scores.max() <= 99
