"""What must survive when points are left out."""

import numpy as np
import pytest
from numpy.typing import NDArray

from telemetry_mcp.analysis.downsample import min_max
from tests.real.labelled import ABSENT
from tests.real.visible import every, kept, ours


def series(seed: int) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    size = int(rng.integers(50, 5000))
    values = rng.standard_t(2, size=size).cumsum() if seed % 2 else rng.standard_t(2, size=size)
    values[rng.random(size) < 0.1] = np.nan
    return values


@pytest.mark.parametrize("max_points", [2, 3, 17, 60, 1000])
@pytest.mark.parametrize("seed", range(20))
def test_the_extremes_survive_within_the_number_of_points(seed: int, max_points: int) -> None:
    values = series(seed)

    thinned = min_max(values, max_points)

    assert len(thinned.values) <= max_points
    assert np.nanmin(thinned.values) == np.nanmin(values)
    assert np.nanmax(thinned.values) == np.nanmax(values)
    assert set(thinned.values[np.isfinite(thinned.values)]) <= set(values[np.isfinite(values)])


@pytest.mark.parametrize("seed", range(10))
def test_a_spike_is_found_within_half_a_bucket_of_its_time(seed: int) -> None:
    values = np.zeros(1440)
    place = int(np.random.default_rng(seed).integers(0, 1440))
    values[place] = 100.0

    thinned = min_max(values, 60)

    assert abs(int(thinned.values.argmax()) * thinned.every - place) < 2 * thinned.every


def test_the_two_values_of_a_bucket_keep_their_order() -> None:
    assert min_max(np.array([1.0, 9.0, 2.0, 3.0, 8.0, 1.0, 5.0, 4.0]), 4).values.tolist() == [1.0, 9.0, 8.0, 1.0]


def test_a_series_that_fits_is_kept_as_it_is() -> None:
    values = np.array([1.0, np.nan, 3.0])

    thinned = min_max(values, 3)

    assert thinned.values is values
    assert thinned.every == 1


def test_a_stretch_without_numbers_stays_one() -> None:
    values = np.array([1.0] * 50 + [np.nan] * 100 + [2.0] * 50)

    thinned = min_max(values, 20).values

    assert np.isnan(thinned[len(thinned) // 2])
    assert np.isfinite(thinned[[0, -1]]).all()


def test_infinite_values_are_no_extremes() -> None:
    values = np.array([1.0, np.inf, 3.0, -np.inf, 2.0, 2.5])

    assert np.nanmax(min_max(values, 2).values) == 3.0


def test_a_peak_beside_a_larger_one_is_kept_besides() -> None:
    values = np.zeros(1440)
    values[700], values[705] = 100.0, 60.0

    thinned = min_max(values, 60, [700, 705])

    assert thinned.peaks.tolist() == [705]
    assert 60.0 not in thinned.values
    assert thinned.points <= 60


def test_peaks_that_the_buckets_hold_cost_nothing() -> None:
    values = np.zeros(1440)
    values[[100, 900]] = 50.0

    thinned = min_max(values, 60, [100, 900])

    assert thinned.peaks.size == 0
    assert thinned.points == 60


@pytest.mark.parametrize("max_points", [2, 10, 60, 120])
@pytest.mark.parametrize("seed", range(10))
def test_however_many_peaks_there_are_the_points_stay_within_their_number(seed: int, max_points: int) -> None:
    values = np.random.default_rng(seed).standard_normal(3000)
    peaks = np.argsort(-np.abs(values))[:500].tolist()

    thinned = min_max(values, max_points, peaks)

    assert thinned.points <= max_points
    assert len(thinned.peaks) <= max_points // 6
    assert set(thinned.peaks.tolist()) <= set(peaks[: max_points // 6])
    shown = set(thinned.values) | set(values[thinned.peaks])
    assert set(values[peaks[: max_points // 6]]) <= shown
    assert {values.min(), values.max()} <= shown


def test_one_point_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        min_max(np.zeros(10), 1)


@pytest.mark.skipif(bool(ABSENT), reason=ABSENT or "the labelled data are here")
@pytest.mark.parametrize(("max_points", "least"), [(60, 0.81), (120, 0.88)])
def test_real_incidents_keep_their_peaks(max_points: int, least: float) -> None:
    peaks, whole = kept(ours, max_points)
    assert peaks >= least
    assert whole == 1.0
    assert kept(every, max_points)[0] < 0.2
