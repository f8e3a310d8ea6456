"""The causal ensemble: what somebody sees who asks again and again, each time knowing only what came before."""

import numpy as np
import pytest
from numpy.typing import NDArray

from telemetry_mcp.analysis.anomaly import detect, score
from telemetry_mcp.analysis.scale import DAY_MS
from telemetry_mcp.analysis.season import HOUR_MS, Period

MINUTE = 60_000
START = 1_700_006_400_000

Numbers = NDArray[np.float64]
Times = NDArray[np.int64]


def times(days: float, step_ms: int = 5 * MINUTE) -> Times:
    return START + np.arange(round(days * DAY_MS / step_ms), dtype=np.int64) * step_ms


def daily(at: Times, seed: int = 1) -> Numbers:
    noise = np.random.default_rng(seed).normal(size=at.size)
    return np.asarray(100 + 40 * np.sin(2 * np.pi * at / DAY_MS) + noise)


def uneven(at: Times) -> Times:
    kept = np.random.default_rng(2).random(at.size) > 0.3
    kept[800:900] = False
    return at[kept]


@pytest.mark.parametrize(("days", "step_ms"), [(16, 5 * MINUTE), (1, MINUTE), (30, HOUR_MS), (90, DAY_MS // 4)])
@pytest.mark.parametrize("even", [True, False])
def test_a_score_never_changes_when_later_data_arrive(days: float, step_ms: int, even: bool) -> None:
    at = times(days, step_ms)
    at = at if even else uneven(at)
    values = daily(at)
    values[at.size // 2] = 1e6
    values[at.size // 3 :: 7] = np.nan
    whole = score(at, values, causal=True)
    for known in (1, 31, 55, at.size // 3, at.size // 2 + 1, at.size - 1):
        np.testing.assert_array_equal(score(at[:known], values[:known], causal=True), whole[:known])
    assert np.nanmax(whole) > 6.5


def test_a_band_never_changes_when_later_data_arrive() -> None:
    at = times(9)
    values = daily(at)
    whole = detect(at, values, polled=True)
    known = detect(at[:2000], values[:2000], polled=True)
    np.testing.assert_array_equal(known.expected, whole.expected[:2000])
    np.testing.assert_array_equal(known.upper, whole.upper[:2000])
    assert (whole.method, whole.scale, whole.period_ms) == ("causal ensemble", None, None)
    assert "past" in whole.seasonal


def test_the_same_time_of_earlier_days_is_what_is_expected() -> None:
    at = times(14)
    values = daily(at)
    detection = detect(at, values, polled=True)
    late = at > START + 5 * DAY_MS
    np.testing.assert_allclose(detection.expected[late], (daily(at, seed=9))[late], atol=6)
    assert detection.episodes == ()


@pytest.mark.parametrize(("period", "seen"), [("auto", True), ("1d", True), ("none", False)])
def test_what_is_usual_at_another_hour_is_found_only_where_the_day_is_known(period: Period, seen: bool) -> None:
    at = times(14)
    values = daily(at)
    night = (at >= START + 10 * DAY_MS + 17 * HOUR_MS) & (at < START + 10 * DAY_MS + 19 * HOUR_MS)
    values[night] = 100
    found = detect(at, values, polled=True, period=period).episodes
    assert (at[night][0] in {episode.start_ms for episode in found}) == seen


def test_the_weekend_is_known_from_the_week_before() -> None:
    at = times(28, HOUR_MS)
    values = daily(at)
    weekend = (at // DAY_MS + 3) % 7 >= 5
    values[weekend] -= 60
    last = at > START + 21 * DAY_MS
    expected = detect(at, values, polled=True).expected
    np.testing.assert_allclose(expected[last & weekend], values[last & weekend], atol=15)


def test_nothing_is_said_of_the_first_points() -> None:
    at, values = times(1), daily(times(1))
    values[10], values[29] = 1e6, -1e6
    assert not score(at, values, causal=True)[:30].any()
    detection = detect(at, values, polled=True)
    assert np.isnan(detection.expected[:30]).all()
    assert detection.confidence == "normal"


def test_a_short_window_of_fine_data_is_judged_too() -> None:
    at = times(1 / 24, 15_000)
    values = 100 + np.random.default_rng(1).normal(size=at.size)
    values[200] = 120
    (episode,) = detect(at, values, polled=True).episodes
    assert (episode.start_ms, episode.direction) == (at[200], "up")
