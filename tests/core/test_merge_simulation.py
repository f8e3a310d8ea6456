"""Two sources of one series, one of them late, in another unit, off or partly wrong: merging finds it out."""

import pytest

from tests.real.labelled import ABSENT
from tests.real.twin import Floats, made_series, real_series, shares


@pytest.mark.parametrize("seed", [1, 2])
def test_of_made_up_series_everything_is_found_and_nothing_that_is_not_there(seed: int) -> None:
    found = shares(made_series(seed), range(2))
    assert len(found) == 8
    assert found == dict.fromkeys(found, 1.0)


@pytest.mark.skipif(bool(ABSENT), reason=ABSENT)
def test_of_real_series_everything_is_found_and_nothing_that_is_not_there() -> None:
    series = real_series()
    assert len(series) == 19
    found = shares(series, range(100, 101))
    assert found.pop("unit found") >= 0.98
    assert found == dict.fromkeys(found, 1.0)


def test_noise_of_the_size_of_the_signal_makes_no_false_alarm() -> None:
    found = shares(made_series(3), range(3), noise=1.5)
    assert (found["no false bias"], found["no false interval"]) == (1.0, 1.0)


def test_the_made_up_series_are_not_one_and_the_same() -> None:
    # Guards the guard: were the noise left out, everything would be found in it.
    one: Floats = made_series(1)["walk"]
    assert (one != made_series(2)["walk"]).all()
