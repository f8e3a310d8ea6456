"""One objective over several indicators."""

import numpy as np
import pytest

from telemetry_mcp.analysis.composite import all_of, product, weighted, worst_of
from telemetry_mcp.analysis.slo import assess
from telemetry_mcp.analysis.tally import Tally, Total

NAN = float("nan")
NOTHING = Total(0, 0, coverage=0)
QUIET = Total(0, 0)


def slices(bad: list[float], valid: list[float] | None = None) -> Tally:
    valid = [NAN if each != each else 1000.0 for each in bad] if valid is None else valid
    return Tally(0, 1000, np.array(bad, dtype=np.float64), np.array(valid, dtype=np.float64), "time")


def test_a_slice_is_good_when_it_is_good_everywhere() -> None:
    found = all_of([slices([0, 1000, 0, 1000, 0]), slices([0, 0, 1000, 1000, 0])])
    assert found.bad.tolist() == [0, 1000, 1000, 1000, 0]
    assert assess(found, 100_000).total.ratio == 0.4


def test_a_slice_that_is_bad_somewhere_is_bad_whatever_is_missing_elsewhere() -> None:
    found = all_of([slices([1000, 0, NAN, NAN]), slices([NAN, NAN, NAN, 0])])
    np.testing.assert_array_equal(found.bad, [1000, NAN, NAN, NAN])
    np.testing.assert_array_equal(found.valid, [1000, NAN, NAN, NAN])


def test_a_part_without_traffic_does_not_speak() -> None:
    found = all_of([slices([0, 0, 0], [0, 0, 1000]), slices([0, 0, 1000], [0, 1000, 1000])])
    assert (found.bad.tolist(), found.valid.tolist()) == ([0, 0, 1000], [0, 1000, 1000])


def test_bad_parts_of_a_slice_are_taken_to_overlap() -> None:
    found = all_of([slices([300], [900]), slices([200], [1000])])
    assert (found.bad.tolist(), found.valid.tolist()) == ([300], [900])


def test_events_must_be_judged_first() -> None:
    with pytest.raises(ValueError, match="timeslices"):
        all_of([Tally(0, 1000, np.zeros(2), np.ones(2))])
    with pytest.raises(ValueError, match="differ"):
        all_of([slices([0]), slices([0, 0])])
    with pytest.raises(ValueError, match="no tally"):
        all_of([])


def test_weights_weigh_ratios_and_not_traffic() -> None:
    found = weighted([Total(1, 10), Total(0, 1_000_000), Total(30, 100, "time", coverage=0.7)], (1, 2, 1))
    assert found.error_ratio == pytest.approx((0.1 + 0.3) / 4)
    assert (found.coverage, found.unit) == (0.7, "share")


def test_a_part_without_traffic_is_left_out_with_its_weight() -> None:
    assert weighted([Total(1, 10), QUIET], (1, 9)).error_ratio == 0.1
    assert worst_of([Total(1, 10), QUIET]) == Total(1, 10)
    assert weighted([QUIET, QUIET], (1, 1)).data == worst_of([QUIET, QUIET]).data == "no_traffic"


def test_one_part_without_data_leaves_the_whole_unknown() -> None:
    assert weighted([Total(1, 10), NOTHING], (1, 1)).data == "no_data"
    assert worst_of([Total(10, 10), NOTHING]).data == "no_data"
    assert product([0.9, None]) is None


def test_the_worst_has_the_largest_share_of_bad_and_not_the_most_of_it() -> None:
    assert worst_of([Total(50, 1000), Total(1, 10), Total(1, 10, "time")]) == Total(1, 10)


def test_a_chain_multiplies() -> None:
    assert product([0.5, 0.5]) == 0.25
    assert product([]) == 1


def test_nonsense_is_refused() -> None:
    for totals, weights in (([], []), ([QUIET], [1, 2]), ([QUIET], [0]), ([QUIET], [NAN])):
        with pytest.raises(ValueError, match="weight"):
            weighted(totals, weights)
    with pytest.raises(ValueError, match="indicator"):
        worst_of([])
    with pytest.raises(ValueError, match="ratio"):
        product([99.9])
