"""Samples in buckets, as their kind asks for."""

import numpy as np
import pytest

from telemetry_mcp.analysis.bucket import highest, holding, mean, rates, spread

NAN = np.nan


def ints(*numbers: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array(numbers, np.int64)


def floats(*numbers: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array(numbers, np.float64)


def test_m6_a_counter_is_what_it_rises_by_and_a_fall_is_a_reset() -> None:
    times, values = rates(ints(0, 60_000, 120_000, 180_000), floats(0, 60, 120, 30))
    assert (times.tolist(), values.tolist()) == ([0, 60_000, 120_000], [1, 1, 0.5])


def test_all_increases_of_a_counter_come_to_its_whole_rise() -> None:
    times = ints(0, 10, 25, 40, 70, 75) * 1000
    _, values = rates(times, floats(100, 160, 220, 10, 70, 130))
    assert float(values @ (np.diff(times) / 1000)) == pytest.approx(250)


@pytest.mark.parametrize("size", [0, 1])
def test_less_than_two_samples_of_a_counter_are_no_rate(size: int) -> None:
    times, values = rates(ints(5)[:size], floats(7)[:size])
    assert (len(times), len(values)) == (0, 0)


def test_a_mean_is_weighted_by_the_time_that_each_sample_stands_for() -> None:
    times = ints(0, 10_000, 30_000, 50_000)
    weights = holding(times, 20_000)
    assert weights is not None
    assert weights.tolist() == [0.5, 1, 1, 1]
    values, counts = mean(ints(0, 0, 0, 0), floats(8, 1, 1, 1), 2, weights)
    assert values[0] == pytest.approx((4 + 3) / 3.5)
    assert np.isnan(values[1])
    assert counts.tolist() == [4, 0]


def test_evenly_spaced_samples_and_those_before_a_gap_stand_for_the_same() -> None:
    assert holding(ints(0, 60, 120, 600), 60) is None
    assert holding(ints(0), 60) is None


def test_ratios_weighted_by_their_denominators_are_the_ratio_of_the_sums() -> None:
    bad, valid = floats(1, 30, 0), floats(1000, 100, 0)
    ratios = np.divide(bad, valid, out=np.zeros(3), where=valid > 0)
    values, _ = mean(ints(0, 0, 1), ratios, 2, valid)
    assert values[0] == pytest.approx(31 / 1100)
    assert np.isnan(values[1])


def test_percentiles_of_a_bucket_become_their_largest() -> None:
    values, counts = highest(ints(0, 0, 2), floats(3, 9, -1), 3)
    np.testing.assert_array_equal(values, [9, NAN, -1])
    assert counts.tolist() == [2, 0, 1]


def test_a_sample_that_does_not_fit_the_grid_is_spread_over_the_time_it_stands_for() -> None:
    values = spread(ints(0, 90, 180), floats(1, 2, 4), 90, ints(0, 60, 120, 180, 240, 300))
    assert values[:4] == pytest.approx([1, 1.5, 2, 4])
    # Of the last bucket 30 of 60 are covered, which is enough; of one before all samples, nothing is.
    assert values[4] == 4
    assert np.isnan(spread(ints(100), floats(1), 50, ints(0, 100))).all()


def test_what_is_spread_keeps_its_sum() -> None:
    rng = np.random.default_rng(1)
    times = np.cumsum(rng.integers(50, 70, 200))
    values = rng.normal(5, 1, 200)
    edges = np.arange(times[0] // 60 * 60 + 60, times[-1], 60)
    inside = spread(times, values, 70, edges)
    held = np.interp(edges, times, np.concatenate([[0], np.cumsum(np.diff(times) * values[:-1])]))
    assert inside.sum() * 60 == pytest.approx(held[-1] - held[0])
