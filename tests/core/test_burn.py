"""Burn-rate pairs, and the state that they put an objective in. Thresholds and pages of the golden vectors are in
test_slo_golden.py."""

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest

from telemetry_mcp.analysis.burn import Evaluation, Pair, evaluate, pairs
from telemetry_mcp.analysis.composite import weighted
from telemetry_mcp.analysis.tally import Missing, Tally, Total, trailing

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
MONTH = pairs(30 * DAY_MS)
NAN = float("nan")


def burning(**errors: float) -> Callable[[int], Total]:
    """A source of events with so many bad ones of a million in each window; 0 in all others."""
    lengths = {"m5": 5, "m30": 30, "h1": 60, "h2": 120, "h6": 360, "d1": 1440, "d3": 4320}
    named = {lengths[name] * MINUTE_MS: bad for name, bad in errors.items()}
    return lambda window: Total(named.get(window, 0), 1_000_000)


def but(source: Callable[[int], Total], **others: Total) -> Callable[[int], Total]:
    """The source with another total for some windows."""
    lengths = {"m5": 5, "h1": 60, "h6": 360, "d3": 4320}
    named = {lengths[name] * MINUTE_MS: found for name, found in others.items()}
    return lambda window: named.get(window) or source(window)


def state(source: Callable[[int], Total]) -> str:
    return evaluate(source, 1000, MONTH).state


def thresholds(period_ms: int) -> list[float]:
    return [float(pair.threshold) for pair in pairs(period_ms)]


# ---- which pairs there are


def test_a_week_has_the_shares_of_its_own() -> None:
    week = pairs(7 * DAY_MS)
    assert [float(pair.threshold) for pair in week] == [13.44, 3.5, 1.4, 0.98]
    shares = [pair.threshold * pair.long_ms / (7 * DAY_MS) for pair in week]
    assert shares == [Fraction(8, 100), Fraction(125, 1000), Fraction(20, 100), Fraction(42, 100)]


@pytest.mark.parametrize(
    ("days", "expected"),
    [(31, [14.88, 6.2, 3.1, 3.1 / 3]), (90, [43.2, 18, 9, 3]), (28, [13.44, 5.6, 2.8, 2.8 / 3])],
)
def test_months_and_quarters_have_the_shares_of_the_workbook(days: int, expected: list[float]) -> None:
    assert thresholds(days * DAY_MS) == pytest.approx(expected, rel=1e-15)


def test_between_a_week_and_four_weeks_thresholds_change_without_a_jump() -> None:
    found = np.array([thresholds(days * DAY_MS) for days in range(7, 29)])
    assert found[7].tolist() == pytest.approx([13.44, 4.2, 28 / 15, 0.98 - (0.98 - 2.8 / 3) / 3])
    steps = np.diff(found, axis=0)
    assert np.allclose(steps, steps[0], atol=1e-12)


@pytest.mark.parametrize(
    ("hours", "expected"),
    [
        (168, {1: 13.44, 6: 3.5, 24: 1.4, 72: 0.98}),
        (72, {1: 13.44, 6: 3.5, 24: 1.26}),
        (24, {1: 10.08, 6: 1.68}),
        (6, {1: 2.52}),
        (2, {}),
    ],
)
def test_a_short_period_keeps_the_pairs_that_leave_time_to_act(hours: int, expected: dict[int, float]) -> None:
    found = pairs(hours * HOUR_MS)
    assert {pair.long_ms // HOUR_MS: float(pair.threshold) for pair in found} == expected
    assert all(pair.threshold * pair.long_ms <= Fraction(42, 100) * hours * HOUR_MS for pair in found)


def test_a_period_without_length_is_refused() -> None:
    with pytest.raises(ValueError, match="positive"):
        pairs(0)


def test_a_generous_objective_may_never_fire_a_pair_and_that_is_said() -> None:
    outage = evaluate(lambda _: Total(100, 100), 100_000, MONTH)
    assert [each.attainable for each in outage.pairs] == [False, True, True, True]
    assert (outage.pairs[0].firing, outage.state) == (False, "critical")
    all_bad = Pair("page", HOUR_MS, HOUR_MS, Fraction(10))
    assert (all_bad.attainable(100_000), all_bad.attainable(99_999)) == (False, True)


# ---- the state


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (burning(), "healthy"),
        (burning(h1=14_401, m5=14_401), "critical"),
        (burning(h6=6001, m30=6001), "critical"),
        (burning(d1=3001, h2=3001), "warning"),
        (burning(d3=1001, h6=1001), "warning"),
        (burning(h1=14_401, m5=14_401, d3=1001, h6=1001), "critical"),
        (burning(h1=14_401, d3=1001, h6=1001), "warning"),
        (burning(d3=1001), "recovering"),
        (burning(m5=1_000_000), "healthy"),
        (burning(d3=1000, h6=1_000), "healthy"),
    ],
)
def test_the_worst_pair_that_fires_is_the_state(source: Callable[[int], Total], expected: str) -> None:
    assert state(source) == expected


def test_a_window_with_too_little_coverage_leaves_the_state_unknown() -> None:
    low = Total(0, 1_000_000, coverage=0.49)
    found = evaluate(but(burning(), d3=low), 1000, MONTH)
    assert (found.state, found.pairs[3].long.over, found.pairs[3].long.unknown) == (
        "unknown",
        None,
        "low_coverage",
    )
    assert found.pairs[3].firing is False  # its short window is not over
    assert state(but(burning(), d3=Total(0, 1_000_000, coverage=0.5))) == "healthy"
    assert state(but(burning(), d3=Total(0, 1_000_000, coverage=0.1, filled=0.4))) == "healthy"
    assert evaluate(but(burning(), d3=low), 1000, MONTH, min_coverage=0.4).state == "healthy"


def test_what_is_unknown_hides_no_alert() -> None:
    low = Total(0, 1_000_000, coverage=0.1)
    assert state(but(burning(h1=14_401, m5=14_401), d3=low)) == "critical"
    assert state(but(burning(d1=3001, h2=3001), h1=low)) == "warning"


def test_a_short_window_that_nobody_measured_matters_only_while_its_long_one_is_over() -> None:
    low = Total(0, 1_000_000, coverage=0.1)
    assert state(but(burning(), m5=low)) == "healthy"
    assert state(but(burning(h1=14_401), m5=low)) == "unknown"
    assert state(but(burning(m5=14_401), h1=low)) == "unknown"


def test_an_hour_without_traffic_spends_nothing() -> None:
    quiet = but(burning(), m5=Total(0, 0), h1=Total(0, 0))
    assert state(quiet) == "healthy"
    assert evaluate(quiet, 1000, MONTH).pairs[0].long.burn is None


def test_nobody_knows_if_an_outage_is_over_while_there_is_no_traffic() -> None:
    found = evaluate(but(burning(h1=14_401), m5=Total(0, 0)), 1000, MONTH)
    assert (found.state, found.pairs[0].short.unknown) == ("unknown", "no_traffic")


def test_no_traffic_in_any_window_of_a_page_is_said() -> None:
    quiet = but(burning(), m5=Total(0, 0), h1=Total(0, 0), h6=Total(0, 0))
    assert state(quiet) == "no_traffic"
    nothing = evaluate(lambda _: Total(0, 0), 1000, MONTH)
    assert (nothing.state, nothing.low_traffic) == ("no_traffic", False)


def test_no_data_in_any_window_is_said() -> None:
    assert state(lambda _: Total(0, 0, coverage=0)) == "no_data"
    dead = Total(0, 0, coverage=0)
    assert state(but(burning(), m5=dead, h1=dead)) == "unknown"
    quiet = Total(0, 0)
    assert state(but(lambda _: quiet, m5=dead, h1=dead)) == "unknown"
    assert state(but(lambda _: quiet, h1=Total(0, 0, coverage=0.1))) == "unknown"
    assert evaluate(lambda _: quiet, 1000, MONTH[2:]).state == "no_traffic"


def test_without_a_pair_nothing_is_known() -> None:
    assert evaluate(burning(), 1000, ()).state == "unknown"


# ---- low traffic


@pytest.mark.parametrize(
    ("bad", "valid", "expected"),
    [(1, 1, "healthy"), (1, 20, "healthy"), (2, 69, "healthy"), (2, 20, "critical"), (20, 20, "critical")],
)
def test_few_events_page_only_when_chance_does_not_explain_them(bad: int, valid: int, expected: str) -> None:
    found = evaluate(lambda _: Total(bad, valid), 1000, MONTH[:1])
    assert (found.state, found.low_traffic, found.pairs[0].low_traffic) == (expected, True, True)


def test_enough_events_are_counted_as_they_are() -> None:
    found = evaluate(lambda _: Total(2, 100), 1000, MONTH[:1])
    assert (found.state, found.low_traffic) == ("critical", False)
    assert evaluate(lambda _: Total(2, 100), 1000, MONTH[:1], min_events=101).state == "healthy"


@pytest.mark.parametrize("ppm", [10, 500, 1000, 50_000, 137])
def test_one_error_can_page_just_below_the_least_number_of_events(ppm: int) -> None:
    for pair in MONTH:
        enough = pair.enough_events(ppm)
        assert pair.exceeded_by(1, enough - 1, ppm)
        assert not pair.exceeded_by(1, enough, ppm)


def test_time_is_not_events_and_needs_no_least_number() -> None:
    found = evaluate(lambda window: Total(window / 10, window, "time"), 1000, MONTH)
    assert (found.state, found.low_traffic, found.pairs[0].long.interval) == ("critical", False, None)


# ---- from a tally


def steady(minutes: int, bad_last: int, *, missing_last: int = 0) -> Tally:
    valid, bad = np.full(minutes, 100.0), np.zeros(minutes)
    bad[minutes - bad_last :] = 50
    valid[minutes - missing_last :] = bad[minutes - missing_last :] = NAN
    return Tally(0, MINUTE_MS, bad, valid)


def test_windows_end_where_the_tally_does_or_where_asked() -> None:
    tally = steady(4320, 30)
    assert evaluate(tally, 1000, MONTH).state == "critical"
    assert evaluate(tally, 1000, MONTH, end_ms=tally.end_ms - 30 * MINUTE_MS).state == "healthy"
    assert evaluate(tally, 1000, MONTH, end_ms=2100 * MINUTE_MS).state == "unknown"


def test_a_source_that_went_silent_is_unknown_unless_silence_is_declared_bad_or_good() -> None:
    tally = steady(4320, 0, missing_last=45)
    states: dict[Missing, str] = {"ignore": "unknown", "good": "healthy", "bad": "critical", "last": "healthy"}
    assert {each: evaluate(tally, 1000, MONTH, missing=each).state for each in states} == states


def test_slices_longer_than_a_window_are_too_coarse_for_it() -> None:
    def hourly(bad: float) -> Evaluation:
        return evaluate(Tally(0, HOUR_MS, np.full(72, bad), np.full(72, 6000.0)), 1000, MONTH)

    assert hourly(0).state == "healthy"
    failing = hourly(100)
    assert (failing.pairs[0].short.unknown, failing.pairs[0].firing) == ("too_coarse", None)
    assert failing.state == "warning"


def test_composites_are_evaluated_window_by_window() -> None:
    fine, failing = steady(4320, 0), steady(4320, 60)

    def mixed(window_ms: int) -> Total:
        return weighted([trailing(fine, window_ms), trailing(failing, window_ms)], (3, 1))

    found = evaluate(mixed, 1000, MONTH)
    assert found.pairs[0].long.burn == pytest.approx(125)
    assert (found.state, found.low_traffic) == ("critical", False)


def test_comparisons_are_those_of_whole_numbers() -> None:
    rng = np.random.default_rng(8)
    for _ in range(500):
        valid, ppm = int(rng.integers(1, 10**9)), int(rng.integers(1, 10**6))
        tenths = int(rng.integers(1, 400))
        bad = min(valid, tenths * ppm * valid // 10**7 + int(rng.integers(0, 2)))
        pair = Pair("page", HOUR_MS, HOUR_MS, Fraction(tenths, 10))
        assert pair.exceeded_by(float(bad), float(valid), ppm) is (bad * 10**7 > tenths * ppm * valid)
