"""Which unit values are plainly in, when nobody says it."""

import numpy as np
import pytest

from telemetry_mcp.analysis.factor import FACTORS, pearson, scale_factor

X = np.array([50.0, 52, 51, 53, 49, 50])
NAN = np.nan


def test_m2_percent_as_a_ratio_is_a_hundredth() -> None:
    assert scale_factor(X, (X + 1) / 100) == 0.01


@pytest.mark.parametrize("factor", FACTORS)
def test_every_factor_of_units_is_found_both_ways(factor: float) -> None:
    assert scale_factor(X, X * factor) == factor
    assert scale_factor(X * factor, X) == pytest.approx(1 / factor)


def test_the_table_is_that_of_the_method_and_has_every_inverse() -> None:
    assert len(FACTORS) == 23
    assert {1, 8, 60, 100, 1000, 1024, 3600, 1e6, 1024**2, 1e9, 1024**3, 1024**4} <= set(FACTORS)
    assert sorted(1 / FACTORS) == pytest.approx(FACTORS)


@pytest.mark.parametrize(("off", "found"), [(1.14, 100), (0.86, 100), (1.16, None), (0.84, None)])
def test_within_15_percent_it_is_the_unit_and_beyond_it_something_else(off: float, found: float | None) -> None:
    assert scale_factor(X, X * 100 * off) == found


def test_of_two_near_factors_the_nearer_is_meant() -> None:
    assert (scale_factor(X, X * 1001), scale_factor(X, X * 1020)) == (1000, 1024)


def test_what_does_not_move_together_has_no_factor() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(50, 1, 200), rng.normal(5000, 100, 200)
    assert scale_factor(x, y) is None
    assert scale_factor(np.full(9, 50.0), np.full(9, 5000.0)) is None


@pytest.mark.parametrize("by", [1e-320, 1e-200, 1e200, 1e306])
def test_numbers_whose_squares_cannot_be_written_are_measured_all_the_same(by: float) -> None:
    assert scale_factor(X, X * by) is None
    assert scale_factor(X * by, X) is None
    assert scale_factor(X * 1e150, X * 1e152) == 100


def test_gaps_and_zeros_are_passed_over() -> None:
    x = np.array([*X, NAN, 1, 0])
    y = np.array([*(X * 1000), 7, NAN, 3])
    assert scale_factor(x, y) == 1000


def test_too_few_pairs_or_another_sign_say_nothing() -> None:
    assert scale_factor(X[:5], X[:5] * 100) is None
    assert scale_factor(X, -X * 100) is None
    assert scale_factor(np.array([]), np.array([])) is None


def test_the_correlation_of_a_constant_is_unknown_and_not_0() -> None:
    assert pearson(X, np.full(6, 0.1)) is None
    assert pearson(X, -X) == pytest.approx(-1)
