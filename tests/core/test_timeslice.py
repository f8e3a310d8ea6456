"""Slices that are good or bad as a whole."""

import numpy as np
import pytest

from telemetry_mcp.analysis.grid import Grid
from telemetry_mcp.analysis.tally import Tally, total
from telemetry_mcp.analysis.timeslice import (
    QUANTILE,
    Aggregate,
    aggregated,
    of_slices,
    ratio_timeslices,
    timeslices,
)

NAN = float("nan")
GRID = Grid(0, 4000, 1000)
AT = np.array([0, 250, 500, 750, 1000, 1500, 3000])
VALUES = np.array([1.0, 2, 3, 99, 80, 80, 81])


@pytest.mark.parametrize(
    ("aggregate", "bad"),
    [("mean", [0, 0, NAN, 1000]), ("max", [1000, 0, NAN, 1000]), ("p95", [1000, 0, NAN, 1000])],
)
def test_a_slice_is_judged_by_its_aggregate(aggregate: Aggregate, bad: list[float]) -> None:
    found = of_slices(GRID, AT, VALUES, threshold=80, aggregate=aggregate)
    np.testing.assert_array_equal(found.bad, bad)
    np.testing.assert_array_equal(found.valid, [1000, 1000, NAN, 1000])
    assert found.unit == "time"


def test_the_comparison_decides_at_the_threshold() -> None:
    assert of_slices(GRID, AT, VALUES, threshold=80, comparison="<").bad[1] == 1000
    assert of_slices(GRID, AT, VALUES, threshold=80, comparison=">=").bad[1] == 0


@pytest.mark.parametrize("aggregate", ["mean", *QUANTILE])
def test_aggregates_are_those_of_numpy(aggregate: Aggregate) -> None:
    rng = np.random.default_rng(6)
    at, values = rng.integers(-5000, 105_000, 300), rng.normal(size=300)
    at = np.unique(at)
    values = values[: at.size]
    order = rng.permutation(at.size)
    found = aggregated(Grid(0, 100_000, 1000), at[order], values[order], aggregate)
    for place, figure in enumerate(found):
        inside = values[(at >= place * 1000) & (at < place * 1000 + 1000)]
        if not inside.size:
            assert np.isnan(figure)
        elif aggregate == "mean":
            assert figure == pytest.approx(inside.mean())
        else:
            assert figure == pytest.approx(np.quantile(inside, QUANTILE[aggregate]))
    assert np.isnan(found).any()


def test_slices_are_those_of_the_grid_wherever_it_begins() -> None:
    later = Grid(50_000, 54_000, 1000)
    found = of_slices(later, AT + 50_000, VALUES, threshold=80, aggregate="max")
    np.testing.assert_array_equal(found.bad, of_slices(GRID, AT, VALUES, threshold=80, aggregate="max").bad)
    assert (found.start_ms, found.end_ms) == (50_000, 54_000)


def test_slices_without_samples_are_missing() -> None:
    empty = of_slices(GRID, np.zeros(0, np.int64), np.zeros(0), threshold=1)
    assert total(empty).data == "no_data"


EVENTS = Tally(0, 1000, np.array([0.0, 1, 2, 0, NAN]), np.array([50.0, 100, 100, 0, NAN]))


def test_slices_of_events_are_good_up_to_their_own_target() -> None:
    found = timeslices(EVENTS, 10_000)
    np.testing.assert_array_equal(found.bad, [0, 0, 1000, 0, NAN])
    np.testing.assert_array_equal(found.valid, [1000, 1000, 1000, 0, NAN])
    assert total(found).ratio == 2 / 3
    assert total(found).coverage == 0.8
    assert timeslices(Tally(0, 1000, np.array([0.0]), np.array([0.5])), 0).valid.tolist() == [1000]


def test_the_mean_of_ratios_weighs_a_quiet_slice_like_a_busy_one() -> None:
    found = ratio_timeslices(EVENTS)
    np.testing.assert_array_equal(found.bad, [0, 10, 20, 0, NAN])
    assert total(found).error_ratio == pytest.approx((0.0 + 0.01 + 0.02) / 3)
    busy = Tally(0, 1000, np.array([0.0, 100]), np.array([1.0, 100]))
    assert total(ratio_timeslices(busy)).ratio == 0.5
    assert total(busy).ratio == 1 / 101


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="aggregate"):
        of_slices(GRID, AT, VALUES, threshold=1, aggregate="p42")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="threshold"):
        of_slices(GRID, AT, VALUES, threshold=NAN)
    with pytest.raises(ValueError, match="budget"):
        timeslices(EVENTS, 1_000_000)
