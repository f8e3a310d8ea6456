"""How far a ratio of few events can be trusted."""

import numpy as np
import pytest

from telemetry_mcp.analysis.interval import wilson


@pytest.mark.parametrize(
    ("bad", "valid", "expected"),
    [
        (0, 10, (0, 0.27753)),
        (10, 10, (0.72247, 1)),
        (15, 50, (0.19104, 0.43750)),
        (1, 1000, (0.000177, 0.005642)),
    ],
)
def test_intervals_are_those_of_the_tables(bad: int, valid: int, expected: tuple[float, float]) -> None:
    assert wilson(bad, valid) == pytest.approx(expected, abs=6e-6)


def test_its_ends_are_where_the_score_test_just_rejects() -> None:
    for bad, valid in ((3, 40), (1, 7), (39, 40)):
        for end in wilson(bad, valid) or ():
            assert abs(bad / valid - end) / (end * (1 - end) / valid) ** 0.5 == pytest.approx(1.959964, abs=1e-5)


def test_it_covers_the_ratio_and_narrows_with_events() -> None:
    widths = [np.subtract(*(wilson(n // 10, n) or (0, 0))[::-1]) for n in (10, 100, 1000)]
    assert widths == sorted(widths, reverse=True)
    assert widths[0] > 0.3


def test_nothing_has_no_interval() -> None:
    assert wilson(0, 0) is None


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="bad"):
        wilson(2, 1)
