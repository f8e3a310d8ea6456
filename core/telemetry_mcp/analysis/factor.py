"""By which factor of units two series of the same thing differ, where nobody declared it."""

import numpy as np

from telemetry_mcp.analysis.sample import Values
from telemetry_mcp.analysis.statistic import median

STEPS = (60.0, 3600.0, 8.0, 100.0, 1e3, 1e6, 1e9, 1024.0, 1024.0**2, 1024.0**3, 1024.0**4)
FACTORS = np.array(sorted([1.0, *STEPS, *(1 / step for step in STEPS)]))
"""Those that units of one thing differ by: shares, times, rates, bits, decimal and binary prefixes."""
NEAR = 0.15
LEAST_CORRELATION = 0.9
ENOUGH = 6
"""Pairs of values. With fewer, correlation is chance."""


@np.errstate(over="ignore", invalid="ignore")
def scale_factor(x: Values, y: Values) -> float | None:
    """How many times `y` reads what `x` does, as the factor between two units (1: the same unit).

    Both are on one grid, NaN where there is a gap. The median of y / x, over the larger half of the pairs, is
    taken for the nearest factor of the table when it is within 15 % of it and both move together (Pearson above
    0.9). None where that does not hold: nothing is known about the unit then.
    """
    both = np.isfinite(x) & np.isfinite(y)
    x, y = x[both], y[both]
    if len(x) < ENOUGH or not x.any() or not y.any():
        return None
    # Near 0 a ratio is one of noises; by the size of both, for that of one would choose where its noise is large.
    size = np.abs(x) / root_mean_square(x) + np.abs(y) / root_mean_square(y)
    large = (size >= median(size)) & (x != 0)
    measured = median(y[large] / x[large]) if large.any() else 0.0
    if not 0 < measured < np.inf:
        return None
    nearest = float(FACTORS[np.abs(np.log(FACTORS / measured)).argmin()])
    if abs(measured / nearest - 1) > NEAR:
        return None
    together = pearson(x, y)
    return nearest if together is not None and together > LEAST_CORRELATION else None


def root_mean_square(values: Values) -> float:
    """Of numbers that are not all 0; the squares of very small or very large ones would be 0 or infinite."""
    largest = float(np.abs(values).max())
    return largest * float(np.sqrt(np.mean((values / largest) ** 2)))


def pearson(x: Values, y: Values) -> float | None:
    """The correlation of two series without gaps; None where one of them is constant."""
    if x.min() == x.max() or y.min() == y.max():
        return None
    a, b = x - x.mean(), y - y.mean()
    size = float(np.sqrt(a @ a) * np.sqrt(b @ b))
    return float(a @ b) / size if 0 < size < np.inf else None
