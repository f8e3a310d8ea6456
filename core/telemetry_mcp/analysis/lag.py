"""By how much one of two series is behind the other."""

import numpy as np

from telemetry_mcp.analysis.sample import Values
from telemetry_mcp.analysis.statistic import median

FURTHEST = 6
"""Steps that are looked at, either way."""
NEWEST = 8192
"""Points that a lag is looked for in: more of them would say nothing more, and cost."""
CLIP = 8.0
LEAST_CORRELATION = 0.3
LEAST_GAIN = 0.1
"""A lag must explain this much more than none does."""
BY_CHANCE = 4.0
"""Standard errors that the correlation of unrelated series keeps within, and what one lag has more of it than
another: in a short series no lag is clear."""
SIGMA = 1.4826
"""Median absolute deviations that are one standard deviation of normal noise."""


@np.errstate(over="ignore", invalid="ignore")
def lag_steps(x: Values, y: Values) -> int:
    """How many steps `y` is behind `x` (negative: ahead); 0 where that is not clear.

    Both are on one grid, NaN where there is a gap. Neither their scale nor their level matters. The standardised
    changes from step to step are cross-correlated, clipped so that no spike decides. The strongest correlation
    within 6 steps counts when it is at least 0.3 and above chance, and above the one without a lag by at least 0.1
    and by more than chance.
    """
    a, b = changes(x[-NEWEST:]), changes(y[-NEWEST:])
    if not a.any() or not b.any() or alike(a, b):
        return 0
    has_a, has_b = (a != 0).astype(np.float64), (b != 0).astype(np.float64)
    shared = products(has_a, has_b)
    energy = np.sqrt(products(a**2, has_b) * products(has_a, b**2))
    strength = np.divide(products(a, b), energy, out=np.zeros_like(energy), where=energy > 0)
    best = int(strength.argmax())
    chance = BY_CHANCE / np.sqrt(max(1.0, shared[best]))
    gain = strength[best] - strength[FURTHEST]
    if strength[best] < max(LEAST_CORRELATION, chance) or gain < max(LEAST_GAIN, chance):
        return 0
    return best - FURTHEST


def alike(a: Values, b: Values) -> bool:
    """Whether the two correlate so well as they are that no lag could explain more, as sources of one thing do."""
    energy = float(np.sqrt((a @ (a * (b != 0))) * (b @ (b * (a != 0)))))
    return float(a @ b) > (1 - LEAST_GAIN) * energy


def products(a: Values, b: Values) -> Values:
    """The sum of a's values times those of b so many steps later, for every lag; 0 beyond the ends."""
    found: Values = np.correlate(np.pad(b, FURTHEST), a, "valid")
    return found


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
