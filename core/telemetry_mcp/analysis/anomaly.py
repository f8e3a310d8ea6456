"""Which stretches of a series are unusual, by how much, and how far that finding can be trusted.

A detector gives every point a score in robust sigmas; `episodes` turns the scores of any detector into findings.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from telemetry_mcp.analysis.episode import (
    HIGH_SEVERITY,
    JOIN_MS,
    JOIN_STEPS,
    LARGEST_SCORE,
    MEDIUM_SEVERITY,
    Direction,
    Episode,
    Gap,
    Lens,
    Severity,
    Sought,
    episodes,
)
from telemetry_mcp.analysis.sample import Samples, Timestamps, Values, clean

__all__ = [
    "DEFAULT_SENSITIVITY",
    "HIGH_SEVERITY",
    "JOIN_MS",
    "JOIN_STEPS",
    "LARGEST_SCORE",
    "MEDIUM_SEVERITY",
    "TAU",
    "Binding",
    "Confidence",
    "Detection",
    "Direction",
    "Episode",
    "Gap",
    "Lens",
    "Options",
    "Period",
    "Severity",
    "Sought",
    "detect",
    "episodes",
    "score",
]

Confidence = Literal["normal", "low", "none"]
Period = Literal["auto", "none", "1d", "7d"]
Binding = Literal["typical spread", "habitual excursions", "floor", "none"]

DEFAULT_SENSITIVITY = 3.0
TAU = 6.5
TAU_FEW_POINTS = 8.0
FEW_POINTS = 30
TOO_FEW_POINTS = 5
MISSING_SHARE = 0.3

MAD_TO_SIGMA = 1.4826
NORMAL_Q95 = 1.96
SCALE_FLOOR = 0.02
CONSTANT_SHARE = 1 / 3
CONSTANT_TOLERANCE = 1e-9
REFIT_GROWTH = 16


@dataclass(frozen=True, slots=True)
class Options:
    """How to look for the unusual; the fields are the keyword arguments of `detect`, which explains them."""

    sensitivity: float = DEFAULT_SENSITIVITY
    direction: Sought = "both"
    min_relative: float = 0.0
    period: Period = "auto"
    guard: bool = True
    polled: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Detection:
    """The episodes of a series, strongest first, and the band they were judged by.

    `expected`, `lower` and `upper` are as long as the input (NaN when the series is too short for any band).
    `confidence` "low" still carries findings, "none" never does; `reason` says why in plain words and is empty
    when the confidence is normal. `scale` is one robust sigma in the unit of the values: 0 for a series that holds
    one value, None when unknown. `threshold` is the score from which a point is unusual.

    `period_ms` is the season the band follows, None for a flat one; `seasonal` then says why there is none.
    `binding` names the term that set the scale: with "habitual excursions" those up to `habit`, in the unit of the
    values, come so often that they are no finding. `gaps` are the inner spans without data.
    """

    episodes: tuple[Episode, ...]
    expected: Values
    lower: Values
    upper: Values
    confidence: Confidence
    reason: str
    scale: float | None
    method: str
    threshold: float
    points: int
    missing: int
    period_ms: int | None = None
    binding: Binding = "none"
    habit: float | None = None
    gaps: tuple[Gap, ...] = ()
    seasonal: str = ""


def detect(
    timestamps_ms: Timestamps,
    values: Values,
    *,
    sensitivity: float = DEFAULT_SENSITIVITY,
    direction: Sought = "both",
    min_relative: float = 0.0,
    period: Period = "auto",
    guard: bool = True,
    polled: bool = False,
) -> Detection:
    """Find the unusual stretches of a series.

    `sensitivity` scales the threshold, 6.5 robust sigmas at the default of 3 (8 below 30 points): smaller finds
    more. `direction` keeps only points above ("up") or below ("down") the expected value, `min_relative` only
    those that differ from it by at least this share of it. Raises ValueError for a sensitivity that is not finite
    and positive, and for a negative `min_relative`.
    """
    if not (math.isfinite(sensitivity) and sensitivity > 0):
        raise ValueError(f"sensitivity must be a positive number: {sensitivity}")
    samples = clean(timestamps_ms, values)
    count = samples.values.size
    threshold = (TAU if count >= FEW_POINTS else TAU_FEW_POINTS) * sensitivity / DEFAULT_SENSITIVITY
    confidence, reason = _confidence(samples)
    expected = np.full(len(values), np.nan)
    lower, upper, scale = expected, expected, None
    found: tuple[Episode, ...] = ()
    if confidence != "none":
        centre, scale = _fit(samples.values)
        expected = np.full(len(values), centre)
        lower, upper = expected - threshold * scale, expected + threshold * scale
        found = episodes(
            timestamps_ms,
            values,
            _placed(samples, _against(samples.values, centre, scale), len(values)),
            threshold=threshold,
            expected=expected,
            lower=lower,
            upper=upper,
            direction=direction,
            min_relative=min_relative,
        )
    return Detection(
        found, expected, lower, upper, confidence, reason, scale, "median/MAD", threshold, count, samples.missing
    )


def score(timestamps_ms: Timestamps, values: Values, *, causal: bool = False) -> Values:
    """How unusual each input point is, in robust sigmas from 0 to 99; NaN where there is no number.

    Of points with equal timestamps only the last is scored. With `causal` a point is judged by points before it
    alone (so a score never changes when data arrive); the first 30 then score 0, as nothing can be said of them.
    """
    samples = clean(timestamps_ms, values)
    if causal:
        return _placed(samples, _expanding_scores(samples.values), len(values))
    scores = _against(samples.values, *_fit(samples.values)) if samples.values.size else samples.values
    return _placed(samples, scores, len(values))


def _confidence(samples: Samples) -> tuple[Confidence, str]:
    count = samples.values.size
    if count < TOO_FEW_POINTS:
        return "none", f"{_points(count)}: too few to tell" if count else "no numbers in the series"
    reasons = [f"{_points(count)}: fewer than {FEW_POINTS}"] if count < FEW_POINTS else []
    share = samples.missing / (count + samples.missing)
    if share > MISSING_SHARE:
        reasons.append(f"{share:.0%} of the points are not numbers".replace("%", " %"))
    return ("low", "; ".join(reasons)) if reasons else ("normal", "")


def _points(count: int) -> str:
    return "1 point" if count == 1 else f"{count} points"


def _placed(samples: Samples, scores: Values, length: int) -> Values:
    placed = np.full(length, np.nan)
    placed[samples.index] = scores
    return placed


def _expanding_scores(values: Values) -> Values:
    """Refitted whenever the past has grown by a sixteenth, which keeps the cost linear."""
    scores = np.zeros(values.size)
    start = FEW_POINTS
    while start < values.size:
        stop = start + max(1, start // REFIT_GROWTH)
        scores[start:stop] = _against(values[start:stop], *_fit(values[:start]))
        start = stop
    return scores


def _against(values: Values, centre: float, scale: float) -> Values:
    residuals = np.abs(values - centre)
    if scale == 0:
        return np.where(residuals > CONSTANT_TOLERANCE * abs(centre), LARGEST_SCORE, 0.0)
    return np.minimum(residuals / scale, LARGEST_SCORE)


def _fit(values: Values) -> tuple[float, float]:
    """The expected value and one robust sigma; a sigma of 0 means that the series holds one value.

    A bare MAD makes the heavy tails of operational data look like anomalies, hence the 95th percentile beside it;
    below 30 points that percentile is the anomaly itself, so the MAD stands alone. The floor keeps a nearly silent
    series from turning rounding into findings.
    """
    centre = float(np.median(values))
    residuals = np.abs(values - centre)
    mad = MAD_TO_SIGMA * float(np.median(residuals))
    if mad <= CONSTANT_TOLERANCE * abs(centre) and _holds(residuals <= CONSTANT_TOLERANCE * abs(centre)):
        return centre, 0.0
    floor = SCALE_FLOOR * float(np.sqrt(np.mean(np.square(residuals))))
    tail = float(np.quantile(residuals, 0.95)) / NORMAL_Q95 if values.size >= FEW_POINTS else 0.0
    return centre, max(mad, tail, floor)


def _holds(still: NDArray[np.bool_]) -> bool:
    """Whether one unbroken stretch without movement covers a third of the series.

    A counter that is mostly zero but bursts all the time has no such stretch: its bursts are habit.
    """
    moved = np.flatnonzero(~still)
    edges = np.concatenate(([-1], moved, [still.size]))
    return bool(np.diff(edges).max() - 1 >= CONSTANT_SHARE * still.size)
