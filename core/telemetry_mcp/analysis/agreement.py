"""Whether two sources of the same thing say the same: by how much they are apart, where, and in shape."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from telemetry_mcp.analysis.factor import pearson
from telemetry_mcp.analysis.sample import Values
from telemetry_mcp.analysis.statistic import median

Places = NDArray[np.intp]
Verdict = Literal["agree", "offset", "diverge", "insufficient"]

RELATIVE = 0.05
"""Differences within this share of the reference's median size are no disagreement."""
ENOUGH = 3
"""Shared buckets. With fewer, nothing is said."""
ENOUGH_FOR_SHAPE = 6
"""With fewer, two series that do not move together may do so by chance."""
FOLLOWS = 0.9
STRAYS = 0.8
OUTLYING = 0.05
"""Share of the means over a few buckets that may lie beyond the tolerance before the shape is looked at. Single
buckets may: where nothing happens, the noises of two sources do not move together, and say nothing of either."""
SIGMA = 1.4826
"""Median absolute deviations that are one standard deviation of normal noise."""
MEDIAN_ERROR = 1.2533
"""The standard error of a median against that of a mean, sqrt(pi / 2)."""
BIAS_ERRORS = 3.0
INTERVAL_SIGMAS = 4.0
RUN = 3
"""Buckets in a row that make a disagreement."""
SUSTAINED = 12
"""Buckets whose mean shows a disagreement that is smaller, but lasts."""
SUSTAINED_SIGMAS = 5.0
EDGE_SIGMAS = 2.0
"""Where such a disagreement begins and ends."""
GAP = 3
"""Buckets without a value from either; more of them end the row."""


@dataclass(frozen=True, slots=True)
class Difference:
    """How another source's values y relate to the reference's x, over the `shared` buckets that both have.

    `bias` is the median of y - x, `relative` its share of the median size of x (None where x is 0 throughout),
    `significant` whether it is more than noise and more than the tolerance. `correlation` is Pearson's and None
    where one of both is constant, `concordance` Lin's. `intervals` are the stretches [start, end) in epoch ms in
    which the two part by more than the bias explains. `lag_ms` is how much y was behind, and had been moved back
    before it was compared.
    """

    verdict: Verdict
    shared: int
    bias: float | None = None
    relative: float | None = None
    significant: bool = False
    correlation: float | None = None
    concordance: float | None = None
    intervals: tuple[tuple[int, int], ...] = ()
    lag_ms: int = 0


def tolerance(size: float, least: float) -> float:
    """What two numbers may differ by and still say the same: a share of the reference's `size`, but at `least`
    so much, as a share of nearly nothing says nothing."""
    return max(RELATIVE * size, least)


@np.errstate(over="ignore", invalid="ignore")
def compare(x: Values, y: Values, *, least: float = 0.0, start_ms: int = 0, step_ms: int = 1) -> Difference:
    """The difference of two series on one grid of buckets, NaN where there is a gap; x is the reference.

    `least` is the smallest tolerance, in their unit: one percentage point, say.

    Bias: b = median(d) of d = y - x, with the standard error 1.2533 s sqrt((1 + r) / (1 - r) / n), where
    s = 1.4826 MAD(d) and r is d's correlation with itself one bucket later. It is significant beyond three errors
    and the tolerance t = max(5 % of median|x|, least). Where x is 0 more often than not, buckets in which both are
    0 are left out: they say nothing about a level.
    Disagreement: |d - b| > max(4 s, t) in three buckets in a row; or the mean of d - b over twelve beyond t and
    five of its own robust deviations. Where |x| is larger than usual, 5 % of what it is more is taken off first.
    """
    apart = y - x
    shared = np.flatnonzero(np.isfinite(apart))
    places = shared
    if len(shared) >= ENOUGH and not median(np.abs(x[shared])):
        places = shared[(x[shared] != 0) | (y[shared] != 0)]
        places = places if len(places) >= ENOUGH else shared
    if len(places) < ENOUGH:
        return Difference("insufficient", len(places))
    told, runs = weighed(x[places], y[places], places, least)
    intervals = tuple((start_ms + step_ms * first, start_ms + step_ms * (last + 1)) for first, last in runs)
    return replace(told, shared=len(shared), intervals=intervals)


def weighed(x: Values, y: Values, places: Places, least: float) -> tuple[Difference, list[tuple[int, int]]]:
    """Of two series without gaps, at these places of the grid: their difference, and the first and last place of
    each disagreement."""
    apart = y - x
    size, bias = median(np.abs(x)), median(apart)
    allowed = tolerance(size, least)
    rest = apart - bias
    off = np.abs(rest)
    sigma = SIGMA * median(off)
    significant = abs(bias) > max(BIAS_ERRORS * bias_error(apart, sigma), allowed)
    correlation = pearson(x, y)
    few = SUSTAINED if len(x) >= 4 * SUSTAINED else RUN
    strays = float(np.mean(np.abs(neighbours(rest, few)) > allowed)) > OUTLYING
    limit = max(INTERVAL_SIGMAS * sigma, allowed)
    # Noise grows with the level: in an incident six times as high as usual a share of that is no disagreement.
    excess = np.maximum(off - np.maximum(RELATIVE * np.abs(x) - allowed, 0.0), 0.0)
    beyond = excess > limit
    # Clipped, so that a few spikes do not look like something that lasts.
    for first, end in sustained(np.copysign(np.minimum(excess, limit), rest), allowed):
        inside = first + np.flatnonzero(excess[first:end] > max(EDGE_SIGMAS * sigma, allowed))
        if len(inside) >= RUN:
            beyond[inside[0] : inside[-1] + 1] = True
    told = Difference(
        verdict=verdict(len(x), significant, (correlation or 0.0) if strays else None),
        shared=len(x),
        bias=bias,
        relative=bias / size if size else None,
        significant=significant,
        correlation=correlation,
        concordance=concordance(x, y),
    )
    return told, rows(beyond, places)


def verdict(shared: int, significant: bool, correlation: float | None) -> Verdict:
    """`correlation` is None where the two keep so close, but for the bias, that their shape cannot be doubted."""
    strays = correlation is not None and correlation < (FOLLOWS if significant else STRAYS)
    if strays:
        return "diverge" if shared >= ENOUGH_FOR_SHAPE else "insufficient"
    return "offset" if significant else "agree"


def bias_error(apart: Values, sigma: float) -> float:
    """The standard error of the median of differences that follow one another in time."""
    around = apart - apart.mean()
    energy = float(around @ around)
    after = float(around[1:] @ around[:-1]) / energy if energy else 0.0
    kept = min(max(after, 0.0), 0.99)
    return MEDIAN_ERROR * sigma * float(np.sqrt((1 + kept) / (1 - kept) / len(apart)))


def concordance(x: Values, y: Values) -> float | None:
    """Lin's coefficient, 2 cov(x, y) / (var x + var y + (mean x - mean y)^2): 1 where both are equal throughout.

    All moments are over n, as Lin has them. None where the numbers are too large for it.
    """
    a, b = x - x.mean(), y - y.mean()
    whole = float((a @ a + b @ b) / len(x) + (x.mean() - y.mean()) ** 2)
    if not np.isfinite(whole):
        return None
    return 2 * float(a @ b) / len(x) / whole if whole else 1.0


def neighbours(rest: Values, few: int) -> Values:
    """The means of so many neighbours each, or of all where there are fewer."""
    few = min(few, len(rest))
    means: Values = np.convolve(rest, np.full(few, 1 / few), "valid")
    return means


def sustained(rest: Values, allowed: float) -> list[tuple[int, int]]:
    """The stretches [first, end) whose mean over twelve buckets is beyond `allowed` and five robust deviations of
    such means, which know by themselves how far noise that follows itself carries."""
    if len(rest) < 4 * SUSTAINED:
        return []
    means = np.abs(neighbours(rest, SUSTAINED))
    found = np.flatnonzero(means > max(SUSTAINED_SIGMAS * SIGMA * median(means), allowed))
    if not len(found):
        return []
    groups = np.split(found, np.flatnonzero(np.diff(found) > 1) + 1)
    return [(int(group[0]), int(group[-1]) + SUSTAINED) for group in groups]


def rows(beyond: NDArray[np.bool_], places: Places) -> list[tuple[int, int]]:
    """The first and last place of every row of at least three buckets that are `beyond`."""
    found = np.flatnonzero(beyond)
    if len(found) < RUN:
        return []
    ends = np.flatnonzero((np.diff(found) > 1) | (np.diff(places[found]) > GAP + 1))
    groups = np.split(found, ends + 1)
    return [(int(places[group[0]]), int(places[group[-1]])) for group in groups if len(group) >= RUN]
