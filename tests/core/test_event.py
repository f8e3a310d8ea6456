"""Event indicators from the series that sources have: rates, counts and counters, two of good, bad and valid."""

import numpy as np
import pytest

from telemetry_mcp.analysis.event import Absent, Kind, Points, increase, of_events
from telemetry_mcp.analysis.grid import Grid
from telemetry_mcp.analysis.tally import Tally, total

NAN = float("nan")
MINUTE_MS = 60_000
FIVE = Grid(0, 5 * MINUTE_MS, MINUTE_MS)


def minutes(values: list[float], *, start: int = 0) -> Points:
    return (start + np.arange(len(values), dtype=np.int64)) * MINUTE_MS, np.array(values, dtype=np.float64)


def assert_slices(tally: Tally, bad: list[float], valid: list[float]) -> None:
    np.testing.assert_array_equal(tally.bad, bad)
    np.testing.assert_array_equal(tally.valid, valid)


def test_any_two_of_good_bad_and_valid_give_the_same() -> None:
    good, bad, valid = minutes([9, 20, 0, 7, 1]), minutes([1, 0, 0, 3, 9]), minutes([10, 20, 0, 10, 10])
    pairs = ((good, None, valid), (None, bad, valid), (good, bad, None))
    for one, two, three in pairs:
        assert_slices(of_events(FIVE, good=one, bad=two, valid=three), [1, 0, 0, 3, 9], [10, 20, 0, 10, 10])


def test_a_rate_counts_for_the_time_it_holds() -> None:
    found = of_events(FIVE, bad=minutes([0, 0.5, 0, 0, 0]), valid=minutes([2, 2, 2, 2, 2]), kind="rate")
    assert_slices(found, [0, 30, 0, 0, 0], [120] * 5)


def test_counts_may_be_stamped_with_the_end_of_their_interval() -> None:
    bad, valid = minutes([0, 2, 0, 0, 1], start=1), minutes([10, 20, 30, 40, 50], start=1)
    assert_slices(of_events(FIVE, bad=bad, valid=valid, stamp="end"), [0, 2, 0, 0, 1], [10, 20, 30, 40, 50])


@pytest.mark.parametrize("absent", ["unknown", "zero", "sparse"])
def test_slices_are_those_of_the_grid_wherever_it_begins(absent: Absent) -> None:
    later = Grid(60 * MINUTE_MS, 65 * MINUTE_MS, MINUTE_MS)
    bad, valid = minutes([1, 0, 3, 0, 0], start=60), minutes([10, 20, 30, 40, 50], start=60)
    assert_slices(of_events(later, bad=bad, valid=valid, absent=absent), [1, 0, 3, 0, 0], [10, 20, 30, 40, 50])


def test_finer_samples_add_up_in_their_slice() -> None:
    at = np.arange(20, dtype=np.int64) * 15_000
    found = of_events(FIVE, bad=(at, np.ones(20)), valid=(at, np.full(20, 3.0)))
    assert_slices(found, [4] * 5, [12] * 5)


@pytest.mark.parametrize("kind", ["rate", "delta"])
@pytest.mark.parametrize("absent", ["unknown", "zero"])
def test_a_gap_of_one_side_is_unknown_and_never_0(kind: Kind, absent: Absent) -> None:
    found = of_events(
        FIVE, bad=minutes([1, 1, NAN, 1, 1]), valid=minutes([9, 9, 9, NAN, 9]), kind=kind, absent=absent
    )
    assert np.isnan(found.valid).tolist() == [False, False, True, True, False]
    assert total(found).coverage == 0.6


def test_errors_that_no_series_counts_yet_are_none_only_if_the_caller_says_so() -> None:
    valid, none = minutes([10] * 5), minutes([])
    assert total(of_events(FIVE, bad=none, valid=valid)).data == "no_data"
    for absent in ("zero", "sparse"):
        assert_slices(of_events(FIVE, bad=none, valid=valid, absent=absent), [0] * 5, [10] * 5)


@pytest.mark.parametrize(
    ("absent", "bad"),
    [("unknown", [NAN, NAN, 1, NAN, 1, 1]), ("zero", [0, 0, 1, NAN, 1, 1]), ("sparse", [0, 0, 1, 0, 1, 1])],
)
def test_a_gap_in_the_errors_is_what_the_caller_says(absent: Absent, bad: list[float]) -> None:
    grid = Grid(0, 6 * MINUTE_MS, MINUTE_MS)
    found = of_events(grid, bad=minutes([1, NAN, 1, 1], start=2), valid=minutes([10] * 6), absent=absent)
    assert_slices(found, bad, [10 + each * 0 for each in bad])


def test_a_source_that_leaves_out_intervals_without_errors_may_have_a_single_one() -> None:
    one = minutes([3], start=1)
    assert_slices(of_events(FIVE, bad=one, valid=minutes([10] * 5), absent="sparse"), [0, 3, 0, 0, 0], [10] * 5)


def test_absent_good_or_valid_events_are_never_taken_for_none() -> None:
    some, none = minutes([10] * 5), minutes([])
    assert total(of_events(FIVE, good=none, valid=some, absent="zero")).data == "no_data"
    assert total(of_events(FIVE, good=none, bad=some, absent="zero")).data == "no_data"
    assert total(of_events(FIVE, bad=none, valid=none, absent="zero")).data == "no_data"


def test_a_counter_is_read_from_the_sample_before_the_window() -> None:
    counter = minutes([100, 110, 120, 130, 140, 150])
    found = of_events(FIVE, bad=minutes([0, 0, 1, 1, 1, 1]), valid=counter, kind="counter")
    assert_slices(found, [0, 1, 0, 0, 0], [10] * 5)
    late = of_events(FIVE, bad=minutes([0, 0, 0], start=3), valid=counter, kind="counter")
    assert np.isnan(late.valid).tolist() == [True, True, True, False, False]


def test_what_a_counter_grew_by_in_a_gap_is_known_unless_it_was_reset_there() -> None:
    grid = Grid(0, 10 * MINUTE_MS, MINUTE_MS)
    at = np.array([0, 1, 2, 8, 9, 10]) * MINUTE_MS
    grown = np.array([0.0, 10, 20, 80, 90, 100])
    found = of_events(grid, bad=(at, grown / 10), valid=(at, grown), kind="counter")
    assert total(found).coverage == 1
    assert (total(found).bad, total(found).valid) == pytest.approx((10, 100))
    reset = np.array([50.0, 60, 70, 5, 15, 25])
    found = of_events(grid, bad=(at, reset * 0), valid=(at, reset), kind="counter")
    assert (found.resets, total(found).coverage, total(found).valid) == (1, 0.4, 40)


@pytest.mark.parametrize(("lost", "known"), [(1, True), (2, False)])
def test_a_reset_counts_across_one_lost_sample_and_not_across_two(lost: int, known: bool) -> None:
    at, counter = minutes([10, 20, 30, 40, 5, 15, 25, 35, 45])
    kept = np.r_[0:3, 3 + lost : 9]
    found = of_events(
        Grid(0, 8 * MINUTE_MS, MINUTE_MS), bad=(at, counter * 0), valid=(at[kept], counter[kept]), kind="counter"
    )
    assert (total(found).coverage == 1) is known


def test_a_reset_inside_the_usual_step_counts_from_0() -> None:
    assert increase(*minutes([7, 9, 2, 4])) == (6, 1)
    assert increase(*minutes([7])) == (0, 0)
    assert increase(*minutes([])) == (0, 0)


def test_more_good_than_valid_events_are_cut_and_said() -> None:
    found = of_events(FIVE, good=minutes([12, 10, 9, 10, 10]), valid=minutes([10] * 5))
    assert_slices(found, [0, 0, 1, 0, 0], [10] * 5)
    assert found.clipped == 2
    found = of_events(FIVE, bad=minutes([0, 11, 0, 0, 0]), valid=minutes([10] * 5))
    assert_slices(found, [0, 10, 0, 0, 0], [10] * 5)
    assert found.clipped == 1


def test_the_last_bits_of_two_sums_are_no_error() -> None:
    at = np.arange(50, dtype=np.int64) * 6000
    rate = np.full(50, 0.1)
    valid = (at, rate * 3)
    assert (rate * 3 != np.full(50, 0.3)).all()
    for good in (np.full(50, 0.3), np.full(50, 0.30000000000000010)):
        found = of_events(FIVE, good=(at, good), valid=valid, kind="rate")
        assert (found.bad.sum(), found.clipped) == (0, 0)


def test_both_sides_count_for_the_time_that_both_cover() -> None:
    # The errors were seen for the last 45 s of the first minute only.
    late = (np.array([15, 30, 45, 60, 75, 90, 105]) * 1000, np.full(7, 1.0))
    valid = (np.arange(8) * 15_000, np.full(8, 4.0))
    found = of_events(Grid(0, 2 * MINUTE_MS, MINUTE_MS), bad=late, valid=valid)
    assert_slices(found, [3, 4], [12, 16])


def test_less_than_half_of_a_slice_is_too_little() -> None:
    at = np.array([0, 1, 2, 3, 6, 7, 8, 9]) * 15_000
    some = (at, np.ones(8))
    found = of_events(Grid(0, 3 * MINUTE_MS, MINUTE_MS), bad=some, valid=some)
    assert_slices(found, [4, 2, 2], [4, 2, 2])
    short = (at[:5], np.ones(5))
    assert_slices(of_events(Grid(0, 2 * MINUTE_MS, MINUTE_MS), bad=short, valid=short), [4, NAN], [4, NAN])


def test_the_order_of_samples_does_not_matter() -> None:
    rng = np.random.default_rng(2)
    at = np.arange(300, dtype=np.int64) * MINUTE_MS
    valid = rng.poisson(50, 300).astype(np.float64)
    bad = np.floor(valid * rng.random(300))
    grid, order = Grid(0, 300 * MINUTE_MS, 5 * MINUTE_MS), rng.permutation(300)
    found = of_events(grid, bad=(at, bad), valid=(at, valid))
    mixed = of_events(grid, bad=(at[order], bad[order]), valid=(at, valid))
    assert_slices(mixed, found.bad.tolist(), found.valid.tolist())
    np.testing.assert_array_equal(found.bad, bad.reshape(-1, 5).sum(axis=1))


def test_what_is_no_event_indicator_is_refused() -> None:
    some = minutes([1] * 5)
    with pytest.raises(ValueError, match="two of"):
        of_events(FIVE, valid=some)
    with pytest.raises(ValueError, match="two of"):
        of_events(FIVE, good=some, bad=some, valid=some)
    with pytest.raises(ValueError, match="max_gap_ms"):
        of_events(FIVE, bad=some, valid=some, max_gap_ms=0)
    with pytest.raises(ValueError, match="negative"):
        of_events(FIVE, bad=minutes([-1] * 5), valid=some)
