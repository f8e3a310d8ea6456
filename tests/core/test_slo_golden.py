"""The golden vectors of the analysis research, G1 to G20, one test each."""

import math

import numpy as np
import pytest

from telemetry_mcp.analysis.burn import Evaluation, Pair, evaluate, pairs
from telemetry_mcp.analysis.composite import product, weighted, worst_of
from telemetry_mcp.analysis.event import Points, increase, of_events
from telemetry_mcp.analysis.forecast import period_forecast
from telemetry_mcp.analysis.grid import Grid
from telemetry_mcp.analysis.interval import wilson
from telemetry_mcp.analysis.sli import of_ratio, of_threshold
from telemetry_mcp.analysis.slo import assess, budget, burn_rate, compare, exhaustion_ms, objective_ppm
from telemetry_mcp.analysis.tally import Missing, Tally, Total, total

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
MONTH_MS = 30 * DAY_MS
THREE_NINES = objective_ppm("99.9")


def one_slice(bad: float, valid: float, *, slice_ms: int = MONTH_MS) -> Tally:
    return Tally(0, slice_ms, np.array([bad], dtype=np.float64), np.array([valid], dtype=np.float64))


def thresholds(days: int) -> list[float]:
    return [float(pair.threshold) for pair in pairs(days * DAY_MS)]


def at_burns(hour: Total, minutes: Total, *, ppm: int = THREE_NINES) -> Evaluation:
    """The page of 1 h and 5 min over 30 days alone."""
    return evaluate({HOUR_MS: hour, 5 * MINUTE_MS: minutes}.__getitem__, ppm, pairs(MONTH_MS)[:1])


def per_minute(minutes: int, rate: float, *, start: int = 0) -> Points:
    at = np.arange(start, start + minutes, dtype=np.int64) * MINUTE_MS
    return at, np.full(minutes, rate)


def test_g01_half_of_a_budget_is_spent_and_half_is_left() -> None:
    found = assess(one_slice(500, 1_000_000), THREE_NINES)
    assert found.total.ratio == found.budget.ratio == 0.9995
    assert (found.budget.allowed, found.budget.consumed, found.budget.remaining) == (1000, 0.5, 0.5)
    assert found.budget.left == 500
    assert (found.budget.allowed_minutes, found.budget.remaining_minutes) == (43.2, 21.6)
    assert (found.verdict, found.data, found.low_coverage) == ("COMPLIANT", "ok", False)


def test_g02_three_times_the_budget_leaves_minus_two_of_it() -> None:
    found = assess(one_slice(3000, 1_000_000), THREE_NINES)
    assert (found.budget.consumed, found.budget.remaining, found.budget.remaining_minutes) == (3, -2, -86.4)
    assert found.verdict == "BREACHED"


def test_g03_thresholds_follow_from_the_shares_and_the_period() -> None:
    assert thresholds(30) == [14.4, 6, 3, 1]
    assert thresholds(28) == pytest.approx([13.44, 5.6, 2.8, 0.9333], abs=5e-5)
    assert [pair.short_ms // MINUTE_MS for pair in pairs(MONTH_MS)] == [5, 30, 120, 360]
    assert [pair.severity for pair in pairs(MONTH_MS)] == ["page", "page", "ticket", "ticket"]


@pytest.mark.parametrize(
    ("hour", "minutes", "state"),
    [
        pytest.param(1450, 1500, "critical", id="both-over"),
        pytest.param(1450, 100, "recovering", id="recovered"),
        pytest.param(1440, 1440, "healthy", id="exactly-at-the-threshold"),
    ],
)
def test_g04_a_page_needs_both_windows_strictly_over(hour: int, minutes: int, state: str) -> None:
    found = at_burns(Total(hour, 100_000), Total(minutes, 100_000))
    assert found.state == state
    assert found.pairs[0].firing is (state == "critical")


@pytest.mark.parametrize(("objective", "page_ms"), [("99.9", 51_840), ("99", 518_400)])
def test_g05_a_total_outage_pages_when_the_long_window_is_over(objective: str, page_ms: int) -> None:
    def outage(lasting_ms: int) -> Evaluation:
        ppm = objective_ppm(objective)
        return evaluate(lambda window: Total(min(lasting_ms, window), window, "time"), ppm, pairs(MONTH_MS)[:1])

    before, after = outage(page_ms), outage(page_ms + 1)
    assert (before.state, after.state) == ("healthy", "critical")
    assert (before.pairs[0].long.over, before.pairs[0].short.over) == (False, True)
    if objective == "99.9":
        assert [outage(ms).pairs[0].short.over for ms in (4320, 4321)] == [False, True]


def test_g06_what_is_left_lasts_for_48_hours_at_burn_6() -> None:
    assert exhaustion_ms(0.4, 6, MONTH_MS) == 48 * HOUR_MS
    assert exhaustion_ms(0.4, 0.5, MONTH_MS) is None


@pytest.mark.parametrize(
    ("missing", "ratio", "consumed", "verdict"),
    [
        ("good", 0.99421296, 0.5787, "COMPLIANT"),
        ("ignore", 0.99418605, 0.5814, "COMPLIANT"),
        ("bad", 0.98958333, 1.0417, "BREACHED"),
    ],
)
def test_g07_the_policy_for_missing_slices_decides(
    missing: Missing, ratio: float, consumed: float, verdict: str
) -> None:
    length = 5 * MINUTE_MS
    bad, valid = np.zeros(8640), np.full(8640, float(length))
    bad[100:150] = length
    bad[4000:4040] = valid[4000:4040] = np.nan
    found = assess(Tally(0, length, bad, valid, "time"), objective_ppm("99"), missing=missing)
    assert found.total.ratio == pytest.approx(ratio, abs=5e-9)
    assert found.budget.consumed == pytest.approx(consumed, abs=5e-5)
    assert found.verdict == verdict
    assert found.total.coverage == 8600 / 8640
    assert (found.total.slices, found.total.missing_slices) == (8640, 40)


@pytest.mark.parametrize(
    ("max_gap", "ratio", "coverage"), [(600, 0.20, 1.0), (120, 120 / 420, 0.70), (None, 0.25, 0.80)]
)
def test_g08_samples_weigh_by_the_time_they_hold(max_gap: int | None, ratio: float, coverage: float) -> None:
    # .20 of the research is without a largest gap; the default one of 2.5 median steps leaves 120 s unmeasured.
    at = np.array([0, 60, 120, 300, 360, 600]) * 1000
    values = np.array([70.0, 85, 90, 75, 82, 70])
    gap_ms = None if max_gap is None else max_gap * 1000
    found = total(of_threshold(Grid(0, 600_000, 100_000), at, values, threshold=80, max_gap_ms=gap_ms))
    assert (found.ratio, found.coverage) == (ratio, coverage)


def test_g09_a_counter_that_drops_started_again_from_0() -> None:
    at, counter = np.arange(6) * MINUTE_MS, np.array([100.0, 160, 220, 10, 70, 130])
    assert increase(at, counter) == (250, 1)
    found = of_events(Grid(0, 300_000, 60_000), bad=(at, counter * 0), valid=(at, counter), kind="counter")
    assert found.valid.tolist() == [60, 60, 10, 60, 60]
    assert (found.resets, total(found).valid) == (1, 250)


def test_g10_errors_weigh_by_events_and_not_by_hours() -> None:
    valid = np.repeat([100.0, 100, 10], [720, 60, 720])
    bad = np.repeat([0.0, 3, 0], [720, 60, 720])
    at = np.arange(1500) * MINUTE_MS
    tally = of_events(Grid(0, 25 * HOUR_MS, 5 * MINUTE_MS), bad=(at, bad), valid=(at, valid))
    found = assess(tally, THREE_NINES)
    assert (found.total.bad, found.total.valid) == (180, 85_200)
    assert found.total.error_ratio == pytest.approx(0.0021127, abs=5e-8)
    assert found.budget.consumed == pytest.approx(2.11, abs=5e-3)
    assert found.budget.remaining == pytest.approx(-1.11, abs=5e-3)


def test_g11_composites_of_three_indicators() -> None:
    totals = [Total(1, 1000), Total(5, 1000), Total(10, 1000)]
    assert product([each.ratio for each in totals]) == pytest.approx(0.98406495, abs=1e-15)
    assert weighted(totals, (1, 2, 1)).ratio == pytest.approx(0.99475, abs=1e-15)
    assert worst_of(totals).ratio == 0.99


def test_g12_the_minutes_of_three_nines() -> None:
    allowed = [budget(0, 1, THREE_NINES, window_ms=days * DAY_MS).allowed_minutes for days in (28, 30, 31, 90)]
    assert allowed == [40.32, 43.2, 44.64, 129.6]


def test_g13_a_calendar_budget_counts_against_the_period_and_against_what_elapsed() -> None:
    found = period_forecast(Total(300, 400_000), 1_200_000, THREE_NINES, left_ms=20 * DAY_MS)
    assert (found.consumed_of_period, found.consumed_of_elapsed, found.consumed_at_end) == (0.25, 0.75, 0.75)
    assert found.exhausted_in_ms is None


def test_g14_a_period_is_compared_with_the_one_before() -> None:
    found = compare(Total(9, 10_000), Total(22, 10_000), THREE_NINES)
    assert found.points == pytest.approx(0.0013, abs=1e-15)
    assert found.errors == pytest.approx(1 - 0.591, abs=5e-4)
    assert (found.consumed, found.consumed_before) == (0.9, 2.2)


def test_g15_one_error_in_a_quiet_hour_does_not_page() -> None:
    assert wilson(1, 20) == pytest.approx((0.00888, 0.23613), abs=5e-6)
    found = at_burns(Total(1, 20), Total(1, 2))
    assert (found.state, found.low_traffic) == ("healthy", True)
    assert (found.pairs[0].long.burn, found.pairs[0].min_events) == (50, 70)
    assert at_burns(Total(1, 69), Total(1, 6), ppm=THREE_NINES).state == "healthy"
    unguarded = evaluate(lambda _: Total(1, 69), THREE_NINES, pairs(MONTH_MS)[:1], min_events=0)
    assert unguarded.state == "critical"
    assert evaluate(lambda _: Total(1, 70), THREE_NINES, pairs(MONTH_MS)[:1], min_events=0).state == "healthy"


def test_g16_an_objective_of_100_percent_is_breached_by_the_first_failure() -> None:
    found = assess(one_slice(1, 100), objective_ppm("100"))
    assert (found.budget.allowed, found.budget.consumed, found.verdict) == (0, math.inf, "BREACHED")
    assert at_burns(Total(1, 100), Total(1, 100), ppm=0).state == "critical"
    assert at_burns(Total(0, 100), Total(0, 100), ppm=0).state == "healthy"


def test_g17_a_small_burn_is_not_rounded_to_0() -> None:
    assert burn_rate(1, 100_000_000, objective_ppm("99.999")) == 0.001


def test_g18_a_burn_just_over_the_threshold_pages() -> None:
    found = at_burns(Total(14_449, 1_000_000), Total(14_449, 1_000_000))
    assert (found.pairs[0].long.burn, found.state) == (14.449, "critical")


def test_g19_no_traffic_and_no_data_are_states_of_their_own() -> None:
    quiet, absent = (assess(one_slice(each, each), THREE_NINES) for each in (0, math.nan))
    assert (quiet.data, quiet.total.ratio, quiet.budget.consumed, quiet.verdict) == (
        "no_traffic", None, None, "UNKNOWN"
    )  # fmt: skip
    assert (absent.data, absent.total.ratio, absent.budget.consumed, absent.verdict) == (
        "no_data", None, None, "UNKNOWN"
    )  # fmt: skip
    assert at_burns(Total(0, 0), Total(0, 0)).state == "no_traffic"
    assert at_burns(Total(0, 0, coverage=0), Total(0, 0, coverage=0)).state == "no_data"


def test_g20_a_budget_comes_from_the_decimal_text() -> None:
    assert 1 - 0.999 == 0.0010000000000000009
    assert objective_ppm("99.9") == 1000
    at = np.arange(10) * MINUTE_MS
    exactly = total(of_ratio(Grid(0, 600_000, 60_000), at, np.full(10, 0.999)))
    assert not budget(exactly.bad, exactly.valid, 1000).breached
    assert not Pair("page", HOUR_MS, HOUR_MS, pairs(MONTH_MS)[3].threshold).exceeded_by(1, 1000, 1000)
