"""When a budget will be gone."""

import numpy as np
import pytest

from telemetry_mcp.analysis.forecast import expected_valid, period_forecast, rolling_exhaustion_ms
from telemetry_mcp.analysis.slo import budget, exhaustion_ms
from telemetry_mcp.analysis.tally import Tally, Total, total, trailing

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
MONTH_MS = 30 * DAY_MS
NAN = float("nan")


def hours(errors: list[float] | np.ndarray, *, traffic: float = 1_000_000) -> Tally:
    """One slice an hour with such error ratios."""
    share = np.array(errors, dtype=np.float64)
    return Tally(0, HOUR_MS, share * traffic, np.where(np.isnan(share), NAN, traffic))


def per_hour(error: float, *, traffic: float = 1_000_000) -> Total:
    return Total(error * traffic, traffic)


def simple_ms(tally: Tally, ppm: int, error: float) -> int | None:
    found = total(tally)
    spent = budget(found.bad, found.valid, ppm)
    return exhaustion_ms(spent.remaining, error * 1_000_000 / ppm, tally.end_ms)


def test_a_window_that_was_even_until_now_lasts_as_long_as_the_formula_says() -> None:
    # bad(T) = (P - T) e0 + T e1 = b P; the simple rule forgets that the old errors leave: T = P (b - e0) / e1.
    tally = hours([0.0004] * 720)
    found = rolling_exhaustion_ms(tally, 1000, per_hour(0.0053), HOUR_MS)
    assert found == pytest.approx(MONTH_MS * (0.0010 - 0.0004) / (0.0053 - 0.0004), abs=1)
    assert simple_ms(tally, 1000, 0.0053) == pytest.approx(MONTH_MS * (0.0010 - 0.0004) / 0.0053, abs=1)


def test_an_old_outage_that_leaves_soon_gives_time_that_the_simple_rule_does_not_see() -> None:
    errors = np.full(720, 0.0001)
    errors[24:30] = 0.1
    tally, recent = hours(errors), per_hour(0.0012)
    found, simple = rolling_exhaustion_ms(tally, 1000, recent, HOUR_MS), simple_ms(tally, 1000, 0.0012)
    assert found is not None
    assert simple is not None
    assert simple < 3 * DAY_MS < 20 * DAY_MS < found


def test_good_days_that_leave_before_an_outage_can_spend_a_budget_that_does_not_burn_too_fast() -> None:
    errors = np.zeros(720)
    errors[600:606] = 0.1199
    tally, recent = hours(errors), per_hour(0.0009)
    assert simple_ms(tally, 1000, 0.0009) is None
    found = rolling_exhaustion_ms(tally, 1000, recent, HOUR_MS)
    assert found == pytest.approx((0.72 - 0.7194) / 0.0009 * HOUR_MS, abs=1)


def test_it_agrees_with_a_window_that_is_moved_step_by_step() -> None:
    rng = np.random.default_rng(4)
    later = 0
    for _ in range(60):
        errors = rng.choice([0.0, 0.0005, 0.004], 200, p=[0.5, 0.35, 0.15])
        errors[rng.random(200) < 0.05] = NAN
        tally, error = hours(errors), float(rng.choice([0.0003, 0.0009, 0.0015, 0.005]))
        ahead = np.concatenate((errors, np.full(200, error)))
        windows = [ahead[k : k + 200] for k in range(201)]
        spent = [bool(np.nansum(w) >= 0.001 * np.count_nonzero(~np.isnan(w)) - 1e-12) for w in windows]
        found = rolling_exhaustion_ms(tally, 1000, per_hour(error), HOUR_MS)
        if True not in spent:
            assert found is None
        else:
            assert found is not None
            assert -(-found // HOUR_MS) == spent.index(True)
            later += found > HOUR_MS
    assert later > 10


def test_a_budget_that_is_spent_is_gone_now_and_one_that_does_not_burn_never_is() -> None:
    assert rolling_exhaustion_ms(hours([0.002] * 24), 1000, per_hour(0), HOUR_MS) == 0
    assert rolling_exhaustion_ms(hours([0.001] * 24), 1000, per_hour(0), HOUR_MS) == 0
    assert rolling_exhaustion_ms(hours([0.0005] * 24), 1000, per_hour(0.0009), HOUR_MS) is None
    assert rolling_exhaustion_ms(hours([0] * 24), 0, per_hour(0), HOUR_MS) is None
    assert rolling_exhaustion_ms(hours([0, 0.1]), 0, per_hour(0), HOUR_MS) == 0


def test_what_nobody_measured_is_not_forecast() -> None:
    assert rolling_exhaustion_ms(hours([NAN] * 24), 1000, per_hour(0.1), HOUR_MS) is None
    assert rolling_exhaustion_ms(hours([0] * 24), 1000, Total(0, 0), HOUR_MS) is None


def test_missing_slices_add_nothing_when_they_leave() -> None:
    gappy = hours([NAN] * 10 + [0.0005] * 14)
    assert rolling_exhaustion_ms(gappy, 1000, trailing(gappy, HOUR_MS), HOUR_MS) is None


def test_a_recent_stretch_that_was_measured_in_part_speaks_for_the_whole() -> None:
    tally, full = hours([0.0004] * 720), per_hour(0.0053)
    half = Total(full.bad / 2, full.valid / 2, coverage=0.3, filled=0.2)
    found = rolling_exhaustion_ms(tally, 1000, half, HOUR_MS)
    assert found == rolling_exhaustion_ms(tally, 1000, full, HOUR_MS)
    ends = [
        period_forecast(Total(300, 400_000), 1_200_000, 1000, left_ms=MONTH_MS, recent=recent, recent_ms=HOUR_MS)
        for recent in (Total(2, 1000), Total(1, 500, coverage=0.5))
    ]
    assert ends[0] == ends[1]
    assert ends[0].exhausted_in_ms == 450 * HOUR_MS


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="recent_ms"):
        rolling_exhaustion_ms(hours([0]), 1000, per_hour(0), 0)
    with pytest.raises(ValueError, match="budget"):
        rolling_exhaustion_ms(hours([0]), 1_000_000, per_hour(0), HOUR_MS)
    with pytest.raises(ValueError, match="bad"):
        period_forecast(Total(2, 1), 10, 1000, left_ms=1)


# ---- calendar periods


def test_a_period_is_exhausted_at_the_pace_of_the_last_hours() -> None:
    # 900 bad are left of 1,200, at 10 an hour.
    found = period_forecast(
        Total(300, 400_000), 1_200_000, 1000, left_ms=20 * DAY_MS, recent=Total(60, 10_000), recent_ms=6 * HOUR_MS
    )
    assert found.exhausted_in_ms == 90 * HOUR_MS
    assert found.consumed_at_end == pytest.approx((300 + 0.006 * 800_000) / 1200)


def test_a_period_that_lasts_to_its_end_is_not_exhausted() -> None:
    slow = period_forecast(
        Total(300, 400_000), 1_200_000, 1000, left_ms=3 * DAY_MS, recent=Total(60, 10_000), recent_ms=6 * HOUR_MS
    )
    assert slow.exhausted_in_ms is None
    clean = period_forecast(Total(0, 400_000), 1_200_000, 1000, left_ms=3 * DAY_MS)
    assert (clean.consumed_at_end, clean.exhausted_in_ms) == (0, None)


def test_without_a_pace_errors_are_spread_over_what_is_left() -> None:
    found = period_forecast(Total(600, 400_000), 1_200_000, 1000, left_ms=20 * DAY_MS)
    assert found.consumed_at_end == pytest.approx(1.5)
    assert found.exhausted_in_ms == 10 * DAY_MS


def test_the_pace_needs_to_know_how_long_it_was_measured() -> None:
    recent = Total(60, 10_000)
    found = period_forecast(Total(300, 400_000), 1_200_000, 1000, left_ms=20 * DAY_MS, recent=recent)
    assert found.exhausted_in_ms == pytest.approx(20 * DAY_MS * 900 / (0.006 * 800_000), abs=1)


@pytest.mark.parametrize("left_ms", [DAY_MS, 0])
def test_a_period_whose_budget_is_just_spent_is_exhausted_now(left_ms: int) -> None:
    assert period_forecast(Total(1200, 400_000), 1_200_000, 1000, left_ms=left_ms).exhausted_in_ms == 0
    assert period_forecast(Total(0, 400_000), 1_200_000, 0, left_ms=left_ms).exhausted_in_ms is None


def test_an_overspent_period_is_exhausted_now() -> None:
    found = period_forecast(Total(1300, 400_000), 1_200_000, 1000, left_ms=DAY_MS)
    assert (found.exhausted_in_ms, found.consumed_of_elapsed) == (0, 3.25)


def test_more_traffic_than_expected_raises_what_is_expected() -> None:
    found = period_forecast(Total(300, 400_000), 100_000, 1000, left_ms=DAY_MS)
    assert found.consumed_of_period == found.consumed_of_elapsed == found.consumed_at_end == 0.75


@pytest.mark.parametrize("spent", [Total(0, 0), Total(0, 0, coverage=0)])
def test_a_period_without_traffic_or_data_has_no_forecast(spent: Total) -> None:
    found = period_forecast(spent, 1000, 1000, left_ms=DAY_MS)
    assert (found.consumed_of_elapsed, found.consumed_at_end, found.exhausted_in_ms) == (None, None, None)
    assert found.consumed_of_period == (None if spent.data == "no_data" else 0)


def week(slice_ms: int = HOUR_MS // 2) -> Tally:
    """Two weeks, each hour of the week with a traffic of its own."""
    at = np.arange(0, 14 * DAY_MS, slice_ms)
    valid = (at % (7 * DAY_MS) // HOUR_MS + 1).astype(np.float64)
    return Tally(0, slice_ms, valid * 0, valid)


def test_traffic_is_expected_as_in_the_same_hours_of_the_week() -> None:
    previous = week()
    start = 14 * DAY_MS
    assert expected_valid(previous, start, start + 7 * DAY_MS) == previous.valid[:336].sum()
    assert expected_valid(previous, start + DAY_MS, start + DAY_MS + HOUR_MS) == 2 * 25
    assert expected_valid(previous, start + HOUR_MS // 2, start + 2 * HOUR_MS) == pytest.approx(1 + 2 * 2)
    assert expected_valid(previous, start, start) == 0


def test_hours_that_were_never_measured_count_as_the_mean_of_all() -> None:
    valid = np.array([10.0, 20.0, NAN])
    previous = Tally(0, HOUR_MS, valid * 0, valid)
    assert expected_valid(previous, 7 * DAY_MS, 7 * DAY_MS + 4 * HOUR_MS) == 10 + 20 + 15 + 15
    assert expected_valid(Tally(0, HOUR_MS, valid[2:], valid[2:]), 0, HOUR_MS) is None


def test_slices_of_several_hours_serve_too() -> None:
    previous = week(6 * HOUR_MS)
    start = 14 * DAY_MS
    assert expected_valid(previous, start, start + 7 * DAY_MS) == pytest.approx(previous.valid[:28].sum())
