"""Slices of a window: sums, coverage, and what stands in for slices that nothing measured."""

from itertools import pairwise

import numpy as np
import pytest

from telemetry_mcp.analysis.grid import Grid
from telemetry_mcp.analysis.tally import Missing, Tally, part, summed, total, trailing

NAN = float("nan")
POLICIES: tuple[Missing, ...] = ("ignore", "good", "bad", "last")


def events(bad: list[float], valid: list[float]) -> Tally:
    return Tally(0, 1000, np.array(bad, dtype=np.float64), np.array(valid, dtype=np.float64))


def times(bad: list[float], valid: list[float]) -> Tally:
    return Tally(0, 1000, np.array(bad, dtype=np.float64), np.array(valid, dtype=np.float64), "time")


GAPPY = events([1, NAN, 0, NAN, 5], [10, NAN, 20, NAN, 60])


def test_a_window_is_judged_by_its_sums() -> None:
    found = total(GAPPY)
    assert (found.bad, found.valid) == (6, 90)
    assert (found.ratio, found.error_ratio) == (84 / 90, 6 / 90)
    assert (found.coverage, found.filled, found.slices, found.missing_slices) == (0.6, 0, 5, 2)


@pytest.mark.parametrize(
    ("missing", "bad", "valid"), [("ignore", 6, 90), ("good", 6, 130), ("bad", 46, 130), ("last", 8, 130)]
)
def test_a_missing_slice_of_events_weighs_the_median_of_the_measured_ones(
    missing: Missing, bad: float, valid: float
) -> None:
    found = total(GAPPY, missing=missing)
    assert (found.bad, found.valid) == (bad, valid)
    assert found.coverage == 0.6
    assert found.filled == pytest.approx(0 if missing == "ignore" else 0.4)


@pytest.mark.parametrize(
    ("missing", "bad", "valid"),
    [("ignore", 300, 1500), ("good", 300, 4000), ("bad", 2800, 4000), ("last", 600, 2000)],
)
def test_missing_time_weighs_its_length_in_whole_slices_and_in_parts(
    missing: Missing, bad: float, valid: float
) -> None:
    # Nothing precedes the first two slices; the second half of the last one is, by "last", as bad as its first.
    found = total(times([NAN, NAN, 0, 300], [NAN, NAN, 1000, 500]), missing=missing)
    assert (found.bad, found.valid) == (bad, valid)
    assert found.coverage == 0.375
    assert found.coverage + found.filled == {"ignore": 0.375, "last": 0.5}.get(missing, 1.0)


@pytest.mark.parametrize("missing", POLICIES)
def test_a_tally_without_any_measurement_stays_without_data(missing: Missing) -> None:
    found = total(events([NAN, NAN], [NAN, NAN]), missing=missing)
    assert (found.data, found.ratio, found.error_ratio, found.coverage) == ("no_data", None, None, 0)


@pytest.mark.parametrize("missing", POLICIES)
def test_measured_slices_without_traffic_are_no_gap(missing: Missing) -> None:
    for quiet in (events([0, 0], [0, 0]), times([0, 0], [0, 0])):
        found = total(quiet, missing=missing)
        assert (found.data, found.ratio, found.coverage, found.missing_slices) == ("no_traffic", None, 1, 0)


def test_a_policy_speaks_for_a_window_without_data_inside_a_tally_that_has_some() -> None:
    dead = events([0, 0, NAN, NAN], [10, 10, NAN, NAN])
    assert trailing(dead, 2000).data == "no_data"
    found = trailing(dead, 2000, missing="bad")
    assert (found.bad, found.valid, found.coverage, found.filled, found.data) == (20, 20, 0, 1, "ok")


def test_what_lies_outside_the_tally_lowers_the_coverage_and_is_never_filled() -> None:
    found = total(events([1, 1], [10, 10]), start_ms=-2000, end_ms=4000, missing="bad")
    assert (found.bad, found.valid, found.slices, found.missing_slices) == (2, 20, 6, 4)
    assert (found.coverage, found.filled) == (2 / 6, 0)
    assert total(GAPPY, start_ms=9000, end_ms=12_000).data == "no_data"
    assert total(GAPPY, start_ms=-9000, end_ms=-1000).data == "no_data"


def test_a_window_is_widened_to_whole_slices() -> None:
    assert total(GAPPY, start_ms=2500, end_ms=4001) == total(GAPPY, start_ms=2000, end_ms=5000)
    assert trailing(GAPPY, 1500).slices == 2


def test_a_window_shorter_than_a_slice_is_too_coarse_to_say() -> None:
    found = trailing(GAPPY, 999)
    assert (found.too_coarse, found.data) == (True, "no_data")


def test_windows_are_named_by_their_time_wherever_a_tally_begins() -> None:
    later = Tally(50_000, 1000, GAPPY.bad, GAPPY.valid)
    assert later.end_ms == 55_000
    assert total(later) == total(GAPPY)
    assert total(later, start_ms=52_000, end_ms=53_000).valid == 20
    assert trailing(later, 1000, end_ms=51_000) == total(GAPPY, end_ms=1000)


def test_windows_add_up() -> None:
    rng = np.random.default_rng(3)
    valid = rng.integers(0, 50, 500).astype(np.float64)
    bad = np.floor(valid * rng.random(500))
    valid[rng.random(500) < 0.1] = NAN
    bad[np.isnan(valid)] = NAN
    tally = events(bad.tolist(), valid.tolist())
    cuts = [0, 7, 130, 131, 400, 500]
    parts = [total(tally, start_ms=a * 1000, end_ms=b * 1000) for a, b in pairwise(cuts)]
    whole = total(tally)
    assert sum(part.bad for part in parts) == whole.bad
    assert sum(part.valid for part in parts) == whole.valid
    assert sum(part.missing_slices for part in parts) == whole.missing_slices > 0


def test_a_part_of_a_tally_is_a_tally() -> None:
    later = Tally(50_000, 1000, GAPPY.bad, GAPPY.valid, clipped=3)
    found = part(later, 52_500, 54_001)
    assert (found.start_ms, found.end_ms, found.clipped) == (52_000, 55_000, 3)
    np.testing.assert_array_equal(found.valid, [20, NAN, 60])
    whole = part(later, 0, 99_000)
    assert (whole.start_ms, whole.end_ms) == (50_000, 55_000)
    for nothing in ((0, 50_000), (55_000, 99_000), (53_000, 53_000)):
        with pytest.raises(ValueError, match="nothing of"):
            part(later, *nothing)


def test_several_sources_add_up_where_all_of_them_were_measured() -> None:
    found = summed([GAPPY, events([2, 2, NAN, 2, 2], [10, 10, NAN, 10, 10])])
    np.testing.assert_array_equal(found.bad, [3, NAN, NAN, NAN, 7])
    np.testing.assert_array_equal(found.valid, [20, NAN, NAN, NAN, 70])


def test_what_does_not_fit_together_is_refused() -> None:
    with pytest.raises(ValueError, match="differ"):
        summed([GAPPY, events([1], [1])])
    with pytest.raises(ValueError, match="differ"):
        summed([events([1], [1]), times([1], [1])])
    with pytest.raises(ValueError, match="no tally"):
        summed([])
    with pytest.raises(ValueError, match="end after"):
        total(GAPPY, start_ms=1000, end_ms=1000)
    with pytest.raises(ValueError, match="end after"):
        total(GAPPY, start_ms=2000, end_ms=1000)


@pytest.mark.parametrize(
    ("bad", "valid"),
    [
        ([-1.0], [1.0]),
        ([2.0], [1.0]),
        ([NAN], [1.0]),
        ([0.0], [NAN]),
        ([0.0], [float("inf")]),
        ([0.0], [1.0, 1.0]),
    ],
)
def test_amounts_that_cannot_be_are_refused(bad: list[float], valid: list[float]) -> None:
    with pytest.raises(ValueError, match="bad"):
        events(bad, valid)


@pytest.mark.parametrize("grid", [(0, 1500, 1000), (500, 2000, 1000), (2000, 2000, 1000), (0, 1000, 0)])
def test_a_grid_is_made_of_whole_slices(grid: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match=r"slices|window"):
        Grid(*grid)


def test_amounts_are_spread_over_the_time_they_belong_to_and_none_is_lost() -> None:
    grid = Grid(0, 4000, 1000)
    found = grid.spread(np.array([0, 1500, 3500]), np.array([1000, 3500, 4000]), np.array([7.0, 8, 1]))
    assert found.tolist() == [7, 2, 4, 3]
    outside = grid.spread(np.array([-1000, 3000]), np.array([1000, 5000]), np.array([8.0, 6]))
    assert outside.tolist() == [4, 0, 0, 3]
    tenths = grid.spread(
        np.array([0, 1000, 2000, 3000]), np.array([1000, 2000, 3000, 4000]), np.array([0.1, 0, 0.7, 0])
    )
    assert [tenths[1], tenths[3]] == [0, 0]
    assert grid.spread(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)).tolist() == [0] * 4
