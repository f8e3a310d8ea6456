"""By how much one of two series is behind the other."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from telemetry_mcp.analysis.sample import Values
from telemetry_mcp.analysis.statistic import median

FURTHEST = 6
"""Steps that are looked at, either way."""
CLIP = 8.0
LEAST_CORRELATION = 0.3
LEAST_GAIN = 0.1
"""A lag must explain this much more than none does."""
BY_CHANCE = 4.0
"""Standard errors that the correlation of unrelated series keeps within: in a short one no lag is clear."""
SIGMA = 1.4826
"""Median absolute deviations that are one standard deviation of normal noise."""


@np.errstate(over="ignore", invalid="ignore")
def lag_steps(x: Values, y: Values) -> int:
    """How many steps `y` is behind `x` (negative: ahead); 0 where that is not clear.

    Both are on one grid, NaN where there is a gap. Neither their scale nor their level matters. The standardised
    changes from step to step are cross-correlated, clipped so that no spike decides. The strongest correlation
    within 6 steps counts when it is at least 0.3, above chance, and 0.1 above the one without a lag.
    """
    a, b = changes(x), changes(y)
    has_a, has_b = (a != 0).astype(np.float64), (b != 0).astype(np.float64)
    shared = shifted(has_b) @ has_a
    energy = np.sqrt((shifted(has_b) @ a**2) * (shifted(b**2) @ has_a))
    strength = np.divide(shifted(b) @ a, energy, out=np.zeros_like(energy), where=energy > 0)
    best = int(strength.argmax())
    clear = max(LEAST_CORRELATION, BY_CHANCE / np.sqrt(max(1.0, shared[best])))
    if strength[best] < clear or strength[best] - strength[FURTHEST] < LEAST_GAIN:
        return 0
    return best - FURTHEST


def shifted(values: Values) -> Values:
    """One row a lag: the values as they stand so many steps later, 0 beyond their ends."""
    return sliding_window_view(np.pad(values, FURTHEST), len(values))


def changes(values: Values) -> Values:
    """From step to step, in robust standard deviations, clipped, around their mean; 0 where one is missing."""
    steps = np.diff(values)
    there = np.isfinite(steps)
    known = steps[there]
    out = np.zeros(len(steps))
    if len(known):
        known = known - median(known)
        scale = SIGMA * median(np.abs(known)) or float(np.sqrt(np.mean(known**2)))
        if scale > 0:
            known = np.clip(known / scale, -CLIP, CLIP)
            out[there] = known - known.mean()
    return out
