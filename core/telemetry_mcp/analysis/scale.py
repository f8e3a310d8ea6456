"""How far a series ordinarily strays from what is expected of it: one robust sigma, and what set it."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from telemetry_mcp.analysis.sample import Values

Binding = Literal["typical spread", "habitual excursions", "floor", "none"]

MAD_TO_SIGMA = 1.4826
TAIL = 0.05
NORMAL_TAIL = 1.96
FLOOR = 0.02
OUTLIERS = 0.01
RESOLUTION = 64 * float(np.finfo(np.float64).eps)

DAY_MS = 24 * 3_600_000
STRETCHES = 40
STRETCH_POINTS = 8
FEWEST_STRETCHES = 6
HABIT_QUANTILE = 0.8
HABIT_SIGMAS = 3.5
RARE_EXCURSIONS = 4


@dataclass(frozen=True, slots=True)
class Scale:
    """One robust sigma, the term that set it, and the size of the excursions that are habit where those did."""

    sigma: float
    binding: Binding
    habit: float | None = None


def floor(expected: Values, residuals: Values) -> float:
    """The least that one sigma can be: 2 % of the rms of the residuals, and more than rounding.

    The largest 1 % of the residuals, one at least, are cut to the next: an absurd value must not blind for all
    others. Only where nothing else is left of them are they taken as they are.
    """
    sizes = np.abs(residuals)
    cut = np.minimum(sizes, _upper(sizes, OUTLIERS, fewest=1))
    return max(FLOOR * _rms(cut), resolution(expected)) or FLOOR * _rms(sizes)


def _rms(sizes: Values) -> float:
    return float(np.sqrt(np.mean(np.square(sizes))))


def resolution(expected: Values) -> float:
    """Differences up to this are rounding."""
    return RESOLUTION * float(np.abs(expected).max())


def scale(residuals: Values, least: float, *, habits: int) -> Scale:
    """One sigma of at least 30 residuals: the largest of three terms.

    - the typical spread: the 95th percentile of their size over 1.96. A bare MAD makes the heavy tails of
      operational data look like anomalies.
    - habitual excursions: of `habits` equal stretches (0: no habit counts) each has its largest excursion; what a
      fifth of them reaches is habit, and lies 3.5 sigmas out at most. A series without typical spread, which
      hardly ever moves, makes a habit of what four stretches reach.
    - `least`, the floor.
    """
    sizes = np.abs(residuals)
    typical = _upper(sizes, TAIL) / NORMAL_TAIL
    habit = _habit(sizes, habits, rarely=typical <= least)
    if habit / HABIT_SIGMAS > max(typical, least):
        return Scale(habit / HABIT_SIGMAS, "habitual excursions", habit)
    return Scale(typical, "typical spread") if typical > least else Scale(least, "floor")


def stretches(span_ms: int) -> int:
    """Into how many stretches a series is cut to see its habits: 40, or its days if they are more."""
    return max(STRETCHES, round(span_ms / DAY_MS))


def few(residuals: Values, least: float) -> Scale:
    """One sigma of fewer than 30 residuals: a 95th percentile would be the anomaly itself, so the MAD it is."""
    spread = MAD_TO_SIGMA * float(np.median(np.abs(residuals)))
    return Scale(spread, "typical spread") if spread > least else Scale(least, "floor")


def _upper(sizes: Values, share: float, *, fewest: int = 0) -> float:
    """The size that a `share` of all, and `fewest`, are beyond."""
    place = max(0, sizes.size - 1 - max(fewest, round(share * (sizes.size - 1))))
    return float(np.partition(sizes, place)[place])


def _habit(sizes: Values, habits: int, *, rarely: bool) -> float:
    """The size of habitual excursions; 0 for a series too short to have habits."""
    count = min(habits, sizes.size // STRETCH_POINTS)
    if count < FEWEST_STRETCHES:
        return 0.0
    length = sizes.size // count
    largest = np.sort(sizes[sizes.size - count * length :].reshape(count, length).max(axis=1))
    # As np.quantile, which takes longer than all else here.
    often = float(np.interp(HABIT_QUANTILE * (count - 1), np.arange(count), largest))
    return max(often, float(largest[-RARE_EXCURSIONS])) if rarely else often
