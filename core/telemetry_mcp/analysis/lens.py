"""How unusual every point of a series is, seen through several lenses against its baseline.

A point can be off the usual pattern by itself, be part of a shift that no single point shows, or stand out from
its neighbours. Each lens has its own scale, by one rule; the strongest speaks.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from telemetry_mcp.analysis.episode import LARGEST_SCORE, LENSES, Lens
from telemetry_mcp.analysis.sample import Samples, Values, median_step_ms
from telemetry_mcp.analysis.scale import RESOLUTION, Scale, few, floor, scale, stretches
from telemetry_mcp.analysis.season import Period, baseline
from telemetry_mcp.analysis.still import constant, flat
from telemetry_mcp.analysis.window import centred_mean, off_neighbours

FEW_POINTS = 30
TAU = 6.5

SHIFTS_MS = ((30 * 60_000, 3, 6), (120 * 60_000, 4, 24))
"""How long a shift must last at least, and over how few and how many points its mean is taken."""
SHIFT_WEIGHT = 1.4
SHORT_SERIES = 8
"""The mean of a shift is taken over an eighth of the series at most."""
SPIKE_POINTS = 9
ROUNDED = 1 - 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """What is seen of each point of a clean series.

    `scores` are robust sigmas from 0 to 99, `sides` positive above and negative below the expected, `lenses` are
    places in `episode.LENSES`. `expected` and `sigma` make the band; NaN where nothing is known. `scale` is that
    of the band, None where it differs from point to point.
    """

    scores: Values
    sides: Values
    lenses: NDArray[np.int8]
    expected: Values
    sigma: Values
    scale: Scale | None
    method: str = "robust seasonal band"
    period_ms: int | None = None
    seasonal: str = ""


def view(samples: Samples, *, period: Period = "auto", guard: bool = True) -> View:
    """Every point judged by the whole series, what comes after it included."""
    values = samples.values
    held = constant(values)
    if held is not None:
        return _left(values, held)
    if values.size < FEW_POINTS:
        return _few(values)
    base = baseline(samples, period)
    residuals = values - base.expected
    least = floor(base.expected, residuals)
    habits = stretches(int(samples.timestamps_ms[-1] - samples.timestamps_ms[0])) if guard else 0
    own = scale(residuals, least, habits=habits)
    spikes = off_neighbours(residuals, SPIKE_POINTS)
    signed = [residuals / own.sigma, spikes / scale(spikes, least, habits=habits).sigma]
    names: list[Lens] = ["off-pattern", "spike"]
    for shifts in _shifts(residuals, TAU * own.sigma, median_step_ms(samples.timestamps_ms) or 0.0):
        sigma = scale(shifts, least, habits=habits).sigma
        signed.append(SHIFT_WEIGHT * _joining(residuals, shifts) / sigma)
        names.append("sustained shift")
    scores, sides, lenses = strongest(np.array(signed), names)
    stuck = flat(samples)
    lenses[stuck > 0] = LENSES.index("flatline")
    return View(
        scores=np.minimum(np.maximum(scores, TAU * stuck), LARGEST_SCORE),
        sides=sides,
        lenses=lenses,
        expected=base.expected,
        sigma=np.full(values.size, own.sigma),
        scale=own,
        period_ms=base.period_ms,
        seasonal=base.reason,
    )


def _shifts(residuals: Values, most: float, step_ms: float) -> list[Values]:
    """Means of the residuals around each point. Those beyond `most` speak for themselves and count as 0."""
    ordinary = np.where(np.abs(residuals) <= most, residuals, 0.0)
    return [centred_mean(ordinary, min(size, residuals.size // SHORT_SERIES)) for size in shift_points(step_ms)]


def _joining(residuals: Values, shifts: Values) -> Values:
    """The shifts at the points that lie as far out as the shift itself: its neighbours are no part of it."""
    return np.where(residuals * np.sign(shifts) >= ROUNDED * np.abs(shifts), shifts, 0.0)


def shift_points(step_ms: float) -> list[int]:
    """Over how many points the means are taken in which shifts show."""
    return [
        round(min(max(span_ms / step_ms, fewest), most)) if step_ms else most
        for span_ms, fewest, most in SHIFTS_MS
    ]


def strongest(signed: Values, names: Sequence[Lens]) -> tuple[Values, Values, NDArray[np.int8]]:
    """Of one row of signed scores a lens: the largest, its sign as a number, and the lens that gave it."""
    winner = np.abs(signed).argmax(axis=0)
    sides = signed[winner, np.arange(signed.shape[1])]
    lenses = np.array([LENSES.index(name) for name in names], dtype=np.int8)[winner]
    return np.minimum(np.abs(sides), LARGEST_SCORE), sides, lenses


def _left(values: Values, held: float) -> View:
    """A series that holds one value: whatever differs from it is as unusual as can be."""
    sides = values - held
    scores = np.where(np.abs(sides) > RESOLUTION * abs(held), LARGEST_SCORE, 0.0)
    return _flat(values, held, Scale(0.0, "none"), scores, "left constant value", "one value is held")


def _few(values: Values) -> View:
    centre = float(np.median(values))
    sizes = np.abs(values - centre)
    own = few(sizes, floor(np.array([centre]), sizes))
    reason = f"fewer than {FEW_POINTS} points: no pattern can be known"
    return _flat(values, centre, own, np.minimum(sizes / own.sigma, LARGEST_SCORE), "off-pattern", reason)


def _flat(values: Values, centre: float, own: Scale, scores: Values, lens: Lens, seasonal: str) -> View:
    size = values.size
    return View(
        scores=scores,
        sides=values - centre,
        lenses=np.full(size, LENSES.index(lens), dtype=np.int8),
        expected=np.full(size, centre),
        sigma=np.full(size, own.sigma),
        scale=own,
        method="median/MAD",
        seasonal=seasonal,
    )
