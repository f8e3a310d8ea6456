"""Whether two series say the same. M numbers are the vectors of the merging research."""

import numpy as np
import pytest

from telemetry_mcp.analysis.agreement import Difference, compare, concordance, tolerance
from telemetry_mcp.analysis.sample import Values

NAN = np.nan
X = np.array([50.0, 52, 51, 53, 49, 50])


def noisy(size: int = 400, seed: int = 1, sigma: float = 1.0) -> Values:
    return np.random.default_rng(seed).normal(0, sigma, size)


def wave(size: int = 400) -> Values:
    return 100 + 30 * np.sin(np.arange(size) / 20)


# ---- the vectors


def test_m1_a_bias_of_one_is_not_significant_at_five_percent() -> None:
    found = compare(X, X + 1)
    assert (found.bias, found.significant) == (1, False)
    assert found.correlation == pytest.approx(1)
    assert tolerance(50.5, 0) == pytest.approx(2.525)
    assert found.relative == 1 / 50.5
    assert (found.verdict, found.shared, found.intervals) == ("agree", 6, ())


def test_m1_its_concordance_by_lins_formula_with_all_moments_over_n() -> None:
    found = compare(X, X + 1)
    assert found.concordance == pytest.approx(0.7831, abs=5e-5)
    # The .9398 of METHODS has the covariance over n - 1 and the variances over n: of two equal series, such a
    # coefficient would be 1.2.
    mixed = 2 * np.cov(X, X + 1)[0, 1] / (X.var() + (X + 1).var() + 1)
    assert mixed == pytest.approx(0.9398, abs=5e-5)
    assert 2 * np.cov(X, X)[0, 1] / (X.var() + X.var()) == pytest.approx(1.2)
    assert concordance(X, X) == pytest.approx(1)


def test_m4_two_constants_that_differ_are_an_offset() -> None:
    found = compare(np.full(6, 100.0), np.full(6, 112.0))
    assert (found.bias, found.relative, found.significant) == (12, 0.12, True)
    assert (found.correlation, found.concordance, found.verdict) == (None, 0, "offset")


def test_m6_three_buckets_that_are_equal_agree() -> None:
    rates = np.array([1, 1, 0.5])
    found = compare(rates, rates)
    assert (found.verdict, found.shared, found.bias, found.significant) == ("agree", 3, 0, False)
    assert [found.correlation, found.concordance] == pytest.approx([1, 1])


# ---- verdicts


@pytest.mark.parametrize("shared", [0, 1, 2])
def test_too_few_shared_buckets_say_nothing_and_how_few_is_said(shared: int) -> None:
    y = np.full(6, NAN)
    y[:shared] = X[:shared] * 2
    assert compare(X, y) == Difference("insufficient", shared)


def test_the_same_shape_on_another_level_is_an_offset() -> None:
    found = compare(wave(), 1.12 * wave() + noisy())
    assert (found.verdict, found.significant) == ("offset", True)
    assert found.relative == pytest.approx(0.12, abs=0.01)


def test_another_shape_diverges_whether_its_level_is_the_same_or_not() -> None:
    for level in (0.0, 50.0):
        found = compare(wave(), wave()[::-1] + level + noisy())
        assert found.verdict == "diverge"


def test_flat_lines_with_noise_of_their_own_agree_though_they_do_not_correlate() -> None:
    found = compare(100 + noisy(), 100 + noisy(seed=2))
    assert abs(found.correlation or 0) < 0.2
    assert found.verdict == "agree"
    assert compare(100 + noisy(), 112 + noisy(seed=2)).verdict == "offset"


@pytest.mark.parametrize(("size", "sigma"), [(48, 2.5), (360, 4), (1440, 4)])
def test_flat_lines_agree_also_where_single_buckets_are_further_apart_than_the_tolerance(
    size: int, sigma: float
) -> None:
    x, y = 100 + noisy(size, 1, sigma), 100 + noisy(size, 2, sigma)
    assert np.mean(np.abs(y - x) > tolerance(100, 0)) > 0.05
    assert compare(x, y).verdict == "agree"


@pytest.mark.parametrize("level", [100, 120])
def test_a_constant_does_not_follow_what_moves_and_neither_the_other_way_round(level: float) -> None:
    constant = np.full(400, float(level))
    assert compare(wave(), constant).verdict == "diverge"
    assert compare(constant, wave()).verdict == "diverge"


def test_a_shape_is_not_doubted_by_fewer_than_six_buckets() -> None:
    x, y = np.array([10.0, 20, 10, 20, 15]), np.array([20.0, 10, 20, 10, 15])
    assert compare(x, y).verdict == "insufficient"
    assert compare(np.append(x, 15.0), np.append(y, 15.0)).verdict == "diverge"


def test_a_bias_within_the_noise_or_the_tolerance_is_not_significant() -> None:
    x = np.full(50, 100.0)
    assert not compare(x, x + 5).significant
    assert compare(x, x + 5.1).significant
    assert not compare(x, x + 5.1, least=6).significant
    wild = x + 8 + noisy(50, sigma=60)
    assert not compare(x, wild).significant


def test_noise_that_follows_itself_makes_a_bias_less_certain() -> None:
    x = np.full(400, 100.0)
    white = noisy(sigma=20)
    assert compare(x, x + 8 + white - np.median(white)).significant
    slow = np.repeat(noisy(20, sigma=20), 20)
    assert not compare(x, x + 8 + slow - np.median(slow)).significant


def test_where_the_reference_is_mostly_0_the_rest_tells_the_level() -> None:
    x = np.zeros(200)
    x[::7] = 50 + noisy(29)
    found = compare(x, 1.12 * x)
    assert (found.verdict, found.significant, found.shared) == ("offset", True, 200)
    assert found.relative == pytest.approx(0.12)
    assert compare(np.zeros(9), np.zeros(9)).verdict == "agree"


# ---- disagreements


def test_a_disagreement_of_three_buckets_has_its_start_and_end() -> None:
    y = wave()
    y[100:103] += 40
    found = compare(wave(), y, start_ms=1000, step_ms=60)
    assert (found.verdict, found.intervals) == ("agree", ((1000 + 6000, 1000 + 6180),))


def test_two_buckets_are_none_and_a_longer_gap_ends_one() -> None:
    y = wave()
    y[100:102] += 40
    assert compare(wave(), y).intervals == ()
    y[200:206] += 40
    y[203] = NAN
    assert compare(wave(), y).intervals == ((200, 206),)
    x = wave()
    y = wave()
    y[200:208] += 40
    x[202:206] = NAN
    assert compare(x, y).intervals == ()


def test_a_disagreement_smaller_than_the_noise_is_found_when_it_lasts() -> None:
    x = np.full(400, 100.0)
    y = x + noisy(sigma=10)
    y[200:224] += 25
    (found,) = compare(x, y).intervals
    assert found[0] in range(195, 206)
    assert found[1] in range(218, 230)


def test_noise_alone_is_no_disagreement_not_even_with_heavy_tails_or_when_it_follows_itself() -> None:
    rng = np.random.default_rng(4)
    for _ in range(20):
        x = wave(2000)
        slow = np.convolve(rng.normal(0, 10, 2004), np.full(5, 1 / np.sqrt(5)), "valid")
        for noise in (rng.normal(0, 20, 2000), 10 * rng.standard_t(6, 2000), slow):
            assert compare(x, x + noise).intervals == ()


# ---- what must hold of any two


@pytest.mark.parametrize("seed", range(10))
def test_swapping_the_two_turns_the_sign_of_the_bias_and_scaling_scales_it(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = wave() + rng.normal(0, 3, 400)
    y = x + rng.normal(2, 5, 400)
    y[rng.random(400) < 0.1] = NAN
    one, back, large = compare(x, y), compare(y, x), compare(1024 * x, 1024 * y)
    assert one.bias is not None
    assert back.bias == -one.bias
    assert (back.correlation, back.concordance) == (one.correlation, one.concordance)
    assert large.bias == 1024 * one.bias
    assert (large.relative, large.verdict, large.intervals) == (one.relative, one.verdict, one.intervals)


@pytest.mark.parametrize("seed", range(10))
def test_buckets_that_only_one_of_both_has_change_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = wave() + rng.normal(0, 3, 400), wave() + rng.normal(0, 3, 400)
    gaps = rng.random(400) < 0.2
    x[gaps], y[~gaps & (rng.random(400) < 0.2)] = NAN, NAN
    both = np.isfinite(x) & np.isfinite(y)
    one, bare = compare(x, y), compare(x[both], y[both])
    assert (one.bias, one.correlation, one.verdict, one.shared) == (
        *(bare.bias, bare.correlation, bare.verdict, int(both.sum())),
    )


def test_numbers_too_large_to_be_squared_are_unknown_and_not_wrong() -> None:
    found = compare(X * 1e300, X * 1e300)
    assert (found.bias, found.concordance, found.verdict) == (0, None, "agree")


def test_noise_that_grows_with_an_incident_is_no_disagreement() -> None:
    rng = np.random.default_rng(3)
    level = np.full(288, 200.0)
    level[150:165] = 1300.0
    x, y = level * (1 + 0.02 * rng.standard_normal((2, 288)))

    told = compare(x, y)

    assert told.verdict == "agree"
    assert told.intervals == ()
    y[150:165] *= 0.6
    assert len(compare(x, y).intervals) == 1
