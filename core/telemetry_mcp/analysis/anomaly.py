"""Which stretches of a series are unusual, by how much, and how far that finding can be trusted.

A detector gives every point a score in robust sigmas; `episodes` turns the scores of any detector into findings.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

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
    gaps,
)
from telemetry_mcp.analysis.lens import FEW_POINTS, TAU, View, view
from telemetry_mcp.analysis.past import view_of_past
from telemetry_mcp.analysis.sample import Samples, Timestamps, Values, clean
from telemetry_mcp.analysis.scale import Binding
from telemetry_mcp.analysis.season import Period

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
Number = TypeVar("Number", np.float64, np.int8)

DEFAULT_SENSITIVITY = 3.0
TAU_FEW_POINTS = 8.0
TOO_FEW_POINTS = 5
MISSING_SHARE = 0.3


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


# Some clients say "none" with the largest number there is: its square is infinite, and that is right.
@np.errstate(over="ignore", under="ignore", invalid="ignore")
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
    those that differ from it by at least this share of it. `period` is the season to learn: "auto" takes the week
    from 21 days of history on and the day from 3. Without `guard` excursions count however often they come. With
    `polled` each point is judged by those before it alone, as somebody sees it who asks again and again.

    Raises ValueError for a sensitivity that is not finite and positive, and for a negative `min_relative`.
    """
    if not (math.isfinite(sensitivity) and sensitivity > 0):
        raise ValueError(f"sensitivity must be a positive number: {sensitivity}")
    if not min_relative >= 0:
        raise ValueError(f"min_relative must not be negative: {min_relative}")
    samples = clean(timestamps_ms, values)
    few = samples.values.size < FEW_POINTS
    threshold = (TAU_FEW_POINTS if few else TAU) * sensitivity / DEFAULT_SENSITIVITY
    confidence, reason = _confidence(samples)
    if confidence == "none":
        return _unknown(samples, len(values), reason, threshold)
    seen = _seen(samples, period=period, guard=guard, polled=polled)
    if not np.isfinite(seen.expected).any():
        return _unknown(
            samples, len(values), f"{_points(samples.values.size)}: too few to judge any by its past", threshold
        )
    detection = _band(samples, seen, len(values), threshold)
    found = episodes(
        timestamps_ms,
        values,
        _placed(samples, seen.scores, len(values)),
        threshold=threshold,
        expected=detection.expected,
        lower=detection.lower,
        upper=detection.upper,
        direction=direction,
        min_relative=min_relative,
        sides=_placed(samples, seen.sides, len(values)),
        lenses=_placed(samples, seen.lenses, len(values), 0),
    )
    return replace(detection, episodes=found, confidence=confidence, reason=reason)


@np.errstate(over="ignore", under="ignore", invalid="ignore")
def score(timestamps_ms: Timestamps, values: Values, *, causal: bool = False) -> Values:
    """How unusual each input point is, in robust sigmas from 0 to 99; NaN where there is no number.

    Of points with equal timestamps only the last is scored. With `causal` a point is judged by points before it
    alone (so a score never changes when data arrive); until enough has been seen, 30 points at least, it scores 0.
    Fewer than 5 numbers all score 0: too few to tell.
    """
    samples = clean(timestamps_ms, values)
    if samples.values.size < TOO_FEW_POINTS:
        return _placed(samples, np.zeros(samples.values.size), len(values))
    return _placed(samples, _seen(samples, polled=causal).scores, len(values))


def _seen(samples: Samples, *, period: Period = "auto", guard: bool = True, polled: bool) -> View:
    return view_of_past(samples, period=period) if polled else view(samples, period=period, guard=guard)


def _unknown(samples: Samples, length: int, reason: str, threshold: float) -> Detection:
    nothing = np.full(length, np.nan)
    return Detection(
        episodes=(),
        expected=nothing,
        lower=nothing,
        upper=nothing,
        confidence="none",
        reason=reason,
        scale=None,
        method="none",
        threshold=threshold,
        points=samples.values.size,
        missing=samples.missing,
        seasonal=reason,
    )


def _band(samples: Samples, seen: View, length: int, threshold: float) -> Detection:
    """What there is to say of a series but for its episodes and how far they can be trusted."""
    expected, sigma = _placed(samples, seen.expected, length), _placed(samples, seen.sigma, length)
    return Detection(
        episodes=(),
        expected=expected,
        lower=expected - threshold * sigma,
        upper=expected + threshold * sigma,
        confidence="normal",
        reason="",
        scale=seen.scale.sigma if seen.scale else None,
        method=seen.method,
        threshold=threshold,
        points=samples.values.size,
        missing=samples.missing,
        period_ms=seen.period_ms,
        binding=seen.scale.binding if seen.scale else "none",
        habit=seen.scale.habit if seen.scale else None,
        gaps=gaps(samples),
        seasonal=seen.seasonal,
    )


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


def _placed(samples: Samples, seen: NDArray[Number], length: int, absent: float = np.nan) -> NDArray[Number]:
    """What is seen of the clean series, where its points stood in the input."""
    placed = np.full(length, absent, dtype=seen.dtype)
    placed[samples.index] = seen
    return placed
