"""What must survive when points are left out."""

import numpy as np
import pytest
from numpy.typing import NDArray

from telemetry_mcp.analysis.downsample import keep_extremes


def series(seed: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    size = int(rng.integers(50, 5000))
    values = rng.standard_t(2, size=size).cumsum() if seed % 2 else rng.standard_t(2, size=size)
    values[rng.random(size) < 0.1] = np.nan
    return np.cumsum(rng.integers(1, 90_000, size=size)), values


@pytest.mark.parametrize("max_points", [2, 3, 17, 120, 1000])
@pytest.mark.parametrize("seed", range(20))
def test_extremes_are_kept_in_order_and_within_bounds(seed: int, max_points: int) -> None:
    times, values = series(seed)
    kept = keep_extremes(times, values, max_points)
    assert kept.dtype == np.int64
    assert kept.size <= max_points
    assert (np.diff(kept) > 0).all()
    if values.size <= max_points:
        assert kept.tolist() == list(range(values.size))
    else:
        assert np.isfinite(values[kept]).all()
    assert values[kept][np.isfinite(values[kept])].min() == np.nanmin(values)
    assert values[kept][np.isfinite(values[kept])].max() == np.nanmax(values)
    np.testing.assert_array_equal(keep_extremes(times, values, max_points), kept)


@pytest.mark.parametrize("seed", range(10))
def test_every_peak_is_kept(seed: int) -> None:
    times, values = series(seed)
    peaks = np.random.default_rng(seed).choice(values.size, size=10, replace=False).tolist()
    kept = keep_extremes(times, values, 40, peaks=peaks)
    assert set(peaks) <= set(kept.tolist())
    assert kept.size <= 40
    assert {np.nanargmin(values), np.nanargmax(values)} <= set(kept.tolist())


def test_the_answer_is_used_to_the_full() -> None:
    values = np.random.default_rng(3).normal(size=1000)
    assert keep_extremes(np.arange(1000), values, 120).size == 120


def test_extremes_of_the_first_and_last_bucket_are_kept() -> None:
    values = np.zeros(1000)
    values[[3, 7, 500, 501, 990, 995]] = [1, -1, 50, -50, 1, -1]
    assert {3, 7, 500, 501, 990, 995} <= set(keep_extremes(np.arange(1000), values, 20).tolist())


def test_too_many_peaks_give_way_to_the_extremes_in_their_order() -> None:
    values = np.zeros(100)
    values[[10, 20]] = [-5, 5]
    assert keep_extremes(np.arange(100), values, 4, peaks=[90, 80, 70]).tolist() == [10, 20, 80, 90]


def test_a_series_without_numbers_keeps_only_its_peaks() -> None:
    nothing = np.full(100, np.nan)
    assert keep_extremes(np.arange(100), nothing, 10).size == 0
    assert keep_extremes(np.arange(100), nothing, 10, peaks=[5]).tolist() == [5]
    assert keep_extremes(np.arange(0), np.array([]), 10).size == 0


def test_few_numbers_among_many_gaps_are_all_kept() -> None:
    values = np.full(100, np.nan)
    values[[3, 50, 51]] = [2, 2, 2]
    assert keep_extremes(np.arange(100), values, 10).tolist() == [3, 50, 51]


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        keep_extremes(np.arange(3), np.ones(3), 1)
    with pytest.raises(ValueError, match="peaks"):
        keep_extremes(np.arange(3), np.ones(3), 2, peaks=[3])
