"""The figures of a series, and what they say when there are none."""

from dataclasses import asdict

import numpy as np
import pytest

from telemetry_mcp.analysis.statistic import summarize

HOUR = 3_600_000


def test_the_figures_of_a_known_series() -> None:
    found = summarize(np.arange(101) * HOUR, np.arange(101.0))
    assert (found.count, found.missing, found.min, found.max, found.mean) == (101, 0, 0, 100, 50)
    assert (found.p50, found.p95, found.p99, found.last, found.last_ms) == (50, 95, 99, 100, 100 * HOUR)
    assert found.trend_per_hour == pytest.approx(1)
    assert found.trend_direction == "rising"


@pytest.mark.parametrize("values", [[], [np.nan, np.inf]])
def test_without_numbers_every_figure_is_unknown(values: list[float]) -> None:
    found = asdict(summarize(np.arange(len(values)), np.array(values)))
    assert (found.pop("count"), found.pop("missing")) == (0, len(values))
    assert set(found.values()) == {None}


def test_a_single_number_has_figures_but_no_trend() -> None:
    found = summarize(np.array([7]), np.array([3.5]))
    assert (found.count, found.p50, found.p99, found.last, found.last_ms) == (1, 3.5, 3.5, 3.5, 7)
    assert (found.trend_per_hour, found.trend_direction) == (None, None)


def test_the_last_number_is_the_newest_and_gaps_are_counted() -> None:
    found = summarize(np.array([30, 10, 40, 20, 20]), np.array([3.0, 1, np.nan, 9, 2]))
    assert (found.count, found.missing, found.last, found.last_ms, found.max) == (3, 1, 3, 30, 3)


def test_a_noisy_fall_is_falling_at_its_slope() -> None:
    at = np.arange(2000) * HOUR // 60
    values = 500 - 2.5 * at / HOUR + 5 * np.random.default_rng(2).normal(size=2000)
    found = summarize(at, values)
    assert found.trend_direction == "falling"
    assert found.trend_per_hour == pytest.approx(-2.5, rel=0.02)


def test_spikes_do_not_bend_the_trend() -> None:
    values = np.arange(300.0)
    values[-20::2] = -1e6
    assert summarize(np.arange(300) * HOUR, values).trend_per_hour == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize("size", [4, 12, 500])
def test_a_constant_is_flat(size: int) -> None:
    found = summarize(np.arange(size) * HOUR, np.full(size, 4.0))
    assert (found.trend_per_hour, found.trend_direction) == (0, "flat")


def test_noise_is_hardly_ever_called_a_trend() -> None:
    rng = np.random.default_rng(4)
    for size, largest in ((6, 20), (30, 10), (300, 0)):
        named = [summarize(np.arange(size), rng.normal(size=size)).trend_direction for _ in range(200)]
        assert 200 - named.count("flat") <= largest
