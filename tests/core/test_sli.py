"""Time-weighted compliance; G8 is the golden vector of the analysis research."""

from typing import Literal

import numpy as np
import pytest

from telemetry_mcp.analysis.grid import Grid
from telemetry_mcp.analysis.sli import (
    Comparison,
    Compliance,
    Violation,
    compliance,
    of_ratio,
    of_threshold,
)
from telemetry_mcp.analysis.tally import total

G8_SECONDS = (0, 60, 120, 300, 360, 600)
G8_VALUES = (70, 85, 90, 75, 82, 70)


def measure(
    seconds: tuple[int, ...],
    values: tuple[float, ...],
    *,
    end: int = 600,
    start: int = 0,
    threshold: float = 80,
    comparison: Comparison = "<=",
    max_gap: int | None = None,
) -> Compliance:
    return compliance(
        np.array(seconds, dtype=np.int64) * 1000,
        np.array(values, dtype=np.float64),
        start_ms=start * 1000,
        end_ms=end * 1000,
        threshold=threshold,
        comparison=comparison,
        max_gap_ms=None if max_gap is None else max_gap * 1000,
    )


def test_g8_samples_that_hold_until_the_next_weigh_by_their_time() -> None:
    found = measure(G8_SECONDS, G8_VALUES, max_gap=600)
    assert found.ratio == 0.2
    assert (found.good_ms, found.bad_ms, found.measured_ms) == (120_000, 480_000, 600_000)
    assert (found.coverage, found.method, found.samples) == (1.0, "time_weighted", 6)


def test_g8_a_largest_gap_leaves_time_unmeasured() -> None:
    found = measure(G8_SECONDS, G8_VALUES, max_gap=120)
    assert found.ratio == 120 / 420
    assert found.coverage == 0.7


def test_g8_the_default_gap_is_two_and_a_half_median_steps() -> None:
    found = measure(G8_SECONDS, G8_VALUES)
    assert found == measure(G8_SECONDS, G8_VALUES, max_gap=150)
    assert (found.ratio, found.coverage) == (0.25, 0.8)


def test_g8_the_share_of_points_is_told_apart_from_the_share_of_time() -> None:
    assert measure(G8_SECONDS, G8_VALUES, max_gap=600).point_share == 0.5


def test_a_window_in_which_no_sample_holds_any_time_falls_back_on_points() -> None:
    found = measure((0, 60, 600), (70, 70, 90), start=300, max_gap=60)
    assert (found.ratio, found.method, found.measured_ms, found.coverage) == (0.0, "point_share", 0, 0.0)


@pytest.mark.parametrize(("values", "ratio"), [((70,), 1.0), ((90,), 0.0), ((70, 90), 0.5)])
def test_under_three_samples_the_ratio_is_a_labelled_share_of_points(
    values: tuple[float, ...], ratio: float
) -> None:
    found = measure((0, 540)[: len(values)], values)
    assert (found.method, found.ratio, found.samples) == ("point_share", ratio, len(values))


@pytest.mark.parametrize("values", [(), (float("nan"), float("inf"), float("nan"))])
def test_nothing_measured_is_neither_good_nor_bad(values: tuple[float, ...]) -> None:
    found = measure((0, 60, 120)[: len(values)], values)
    assert (found.ratio, found.method, found.coverage, found.samples) == (None, "none", 0.0, 0)
    assert found.point_share is None
    assert found.violations == ()


def test_data_outside_the_window_do_not_count() -> None:
    found = measure((0, 60, 120, 180), (90, 90, 90, 90), start=1000, end=2000)
    assert (found.ratio, found.method, found.samples) == (None, "none", 0)


def test_a_sample_from_just_before_the_window_holds_into_it() -> None:
    found = measure((-30, 30, 90, 150), (90, 70, 70, 70), end=180)
    assert (found.bad_ms, found.good_ms, found.coverage) == (30_000, 150_000, 1.0)
    assert found.violations == (Violation(start_ms=0, end_ms=30_000, worst=90, worst_ms=0),)


def test_the_last_sample_holds_to_the_end_but_not_beyond_the_gap() -> None:
    near, far = (measure((0, 60, 120), (70, 70, 90), end=end) for end in (180, 1000))
    assert near.bad_ms == 60_000
    assert far.bad_ms == 150_000
    assert far.coverage == 0.27


@pytest.mark.parametrize(("comparison", "good"), [("<=", 120), ("<", 60), (">=", 120), (">", 60)])
def test_the_comparison_decides_at_the_threshold(comparison: Comparison, good: int) -> None:
    found = measure((0, 60, 120), (70, 80, 90), end=180, comparison=comparison)
    assert found.good_ms == good * 1000


def test_violations_merge_when_they_touch_and_come_longest_first() -> None:
    found = measure(G8_SECONDS, G8_VALUES, max_gap=600)
    assert found.violations == (
        Violation(start_ms=360_000, end_ms=600_000, worst=82, worst_ms=360_000),
        Violation(start_ms=60_000, end_ms=300_000, worst=90, worst_ms=120_000),
    )


def test_unmeasured_time_splits_a_violation() -> None:
    found = measure((0, 60, 120, 500, 560), (90, 90, 90, 90, 90), max_gap=60)
    assert [(span.start_ms, span.end_ms) for span in found.violations] == [(0, 180_000), (500_000, 600_000)]


def test_the_worst_of_a_lower_bound_is_the_lowest() -> None:
    found = measure((0, 60, 120), (99, 95, 97), end=180, threshold=98, comparison=">=")
    assert found.violations == (Violation(start_ms=60_000, end_ms=180_000, worst=95, worst_ms=60_000),)


def test_the_ratio_is_good_over_measured_whatever_the_order_of_the_samples() -> None:
    rng = np.random.default_rng(5)
    at = np.cumsum(rng.integers(1_000, 90_000, size=400))
    values = rng.normal(80, 5, size=400)
    order = rng.permutation(400)
    end = int(at[-1]) + 60_000
    plain = compliance(at, values, start_ms=0, end_ms=end, threshold=80)
    assert compliance(at[order], values[order], start_ms=0, end_ms=end, threshold=80) == plain
    assert plain.good_ms + plain.bad_ms == plain.measured_ms <= plain.expected_ms
    assert sum(span.end_ms - span.start_ms for span in plain.violations) == plain.bad_ms


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="window"):
        measure((0,), (1,), start=600)
    with pytest.raises(ValueError, match="threshold"):
        measure((0,), (1,), threshold=float("nan"))
    with pytest.raises(ValueError, match="max_gap_ms"):
        measure((0,), (1,), max_gap=0)
    with pytest.raises(ValueError, match="comparison"):
        measure((0,), (1,), comparison="=")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="equally long"):
        measure((0, 1), (1,))


# ---- per slice


def test_slices_add_up_to_the_compliance_of_the_window() -> None:
    rng = np.random.default_rng(7)
    at = np.cumsum(rng.integers(1_000, 90_000, size=400))
    values = rng.normal(80, 5, size=400)
    grid = Grid(0, int(at[-1]) // 60_000 * 60_000, 60_000)
    window = compliance(at, values, start_ms=0, end_ms=grid.end_ms, threshold=80)
    found = total(of_threshold(grid, at, values, threshold=80))
    assert (found.bad, found.valid) == pytest.approx((window.bad_ms, window.measured_ms), abs=1e-3)
    assert found.coverage == pytest.approx(window.coverage)


def test_time_without_a_sample_is_missing_in_its_slice() -> None:
    at, values = np.array([0, 60, 120, 300, 360]) * 1000, np.array([90.0, 70, 70, 90, 70])
    found = of_threshold(Grid(0, 480_000, 60_000), at, values, threshold=80, max_gap_ms=90_000)
    nan = float("nan")
    np.testing.assert_array_equal(found.bad, [60_000, 0, 0, 0, nan, 60_000, 0, 0])
    np.testing.assert_array_equal(found.valid, [60_000, 60_000, 60_000, 30_000, nan, 60_000, 60_000, 30_000])
    assert found.unit == "time"


@pytest.mark.parametrize("kind", ["success", "failure"])
def test_ratios_weigh_by_the_time_they_hold(kind: Literal["success", "failure"]) -> None:
    at, ratios = np.array([0, 60, 240]) * 1000, np.array([0.5, 1.0, 0.0])
    shares = ratios if kind == "success" else 1 - ratios
    found = total(of_ratio(Grid(0, 300_000, 60_000), at, shares, kind=kind))
    assert (found.bad, found.valid) == (30_000 + 60_000, 300_000)


def test_a_ratio_outside_0_to_1_is_refused() -> None:
    with pytest.raises(ValueError, match="ratio"):
        of_ratio(Grid(0, 60_000, 60_000), np.array([0, 1]), np.array([99.9, 0.5]))
