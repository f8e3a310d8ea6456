"""By how much one series is behind another; what is not clear is no lag."""

import numpy as np
import pytest

from telemetry_mcp.analysis.lag import FURTHEST, lag_steps
from telemetry_mcp.analysis.sample import Values

NAN = np.nan


def walk(size: int = 300, seed: int = 1) -> Values:
    return np.cumsum(np.random.default_rng(seed).normal(0, 1, size))


def late(values: Values, steps: int) -> Values:
    moved = np.full(len(values), NAN)
    source = values[: len(values) - steps] if steps >= 0 else values[-steps:]
    moved[max(steps, 0) : len(values) + min(steps, 0)] = source
    return moved


@pytest.mark.parametrize("steps", range(-FURTHEST, FURTHEST + 1))
def test_every_lag_within_six_steps_is_found_exactly_and_swapping_turns_its_sign(steps: int) -> None:
    x, y = walk(), late(walk(), steps)
    assert lag_steps(x, y) == steps
    assert lag_steps(y, x) == -steps


def test_neither_scale_nor_level_nor_gaps_nor_one_spike_hide_a_lag() -> None:
    x = walk()
    y = 1000 - 1 + 0.01 * late(x, 2)
    y[50] = 1e9
    y[100:140:3] = NAN
    assert lag_steps(x, y) == 2


def test_a_lag_of_more_than_six_steps_is_not_made_up() -> None:
    assert lag_steps(walk(), late(walk(), 9)) == 0


def test_unrelated_series_have_no_lag_however_short_they_are() -> None:
    for size in (2, 5, 10, 20, 60, 300):
        assert [lag_steps(walk(size, seed), walk(size, seed + 1000)) for seed in range(100)] == [0] * 100


def test_a_short_series_shows_no_lag_for_it_could_be_chance() -> None:
    assert lag_steps(walk(16), late(walk(16), 2)) == 0


def test_slow_changes_under_noise_show_no_lag_by_chance() -> None:
    found = []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        slow = 3 * np.cumsum(np.convolve(rng.normal(0, 1, 174), np.full(7, 1 / 7), "valid"))
        found.append(lag_steps(slow + rng.normal(0, 1, 168), slow + rng.normal(0, 1, 168)))
    assert np.count_nonzero(found) <= 3


def test_a_gain_of_less_than_a_tenth_is_no_lag() -> None:
    slow = np.sin(np.arange(600) / 100)
    assert lag_steps(slow, late(slow, 2)) == 0


@pytest.mark.parametrize("values", [np.zeros(50), np.full(50, NAN), np.array([1.0]), np.array([])])
def test_what_never_changes_or_is_not_there_has_no_lag(values: Values) -> None:
    assert lag_steps(values, values) == 0
    assert lag_steps(walk(len(values)), values) == 0


def test_a_series_that_rarely_changes_shows_its_lag_by_those_changes() -> None:
    x = np.repeat(np.random.default_rng(2).normal(0, 1, 60), 10)
    assert lag_steps(x, late(x, 3)) == 3
