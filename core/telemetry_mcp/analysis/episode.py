"""Turns the scores of any detector into findings: stretches of a series with a start, an end and a peak."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from telemetry_mcp.analysis.sample import Samples, Timestamps, Values, clean, median_step_ms

Direction = Literal["up", "down"]
Sought = Literal["both", "up", "down"]
Severity = Literal["low", "medium", "high"]
Lens = Literal["spike", "off-pattern", "sustained shift", "left constant value", "flatline"]
LENSES: tuple[Lens, ...] = get_args(Lens)

LARGEST_SCORE = 99.0
MEDIUM_SEVERITY = 9.0
HIGH_SEVERITY = 14.0
JOIN_MS = 30 * 60_000
JOIN_STEPS = 3


@dataclass(frozen=True, slots=True)
class Episode:
    """One unusual stretch, from the first to the last of its points at or over the threshold.

    `value`, `expected`, `lower`, `upper` and `direction` are those of the peak; `deviation` is the peak's score
    (positive, robust sigmas, at most 99) and `relative` is (value - expected) / |expected|, None where 0 is
    expected. `points` counts the numbers from start to end; `ongoing` means that the series ends inside the
    episode. `lower` and `upper` are None when the detector draws no band. `lens` says what made it unusual.
    """

    start_ms: int
    end_ms: int
    peak_ms: int
    value: float
    expected: float
    lower: float | None
    upper: float | None
    deviation: float
    direction: Direction
    severity: Severity
    ongoing: bool
    points: int
    lens: Lens = "off-pattern"
    relative: float | None = None


@dataclass(frozen=True, slots=True)
class Gap:
    """A span without numbers between two points that are too far apart to be joined into one episode."""

    start_ms: int
    end_ms: int


def episodes(
    timestamps_ms: Timestamps,
    values: Values,
    scores: Values,
    *,
    threshold: float,
    expected: Values | None = None,
    lower: Values | None = None,
    upper: Values | None = None,
    direction: Sought = "both",
    min_relative: float = 0.0,
    sides: Values | None = None,
    lenses: NDArray[np.int8] | None = None,
) -> tuple[Episode, ...]:
    """Turn one score per point, from whatever detector, into episodes, strongest peak first.

    An episode is entered at `threshold`, lasts while scores stay at or over half of it, bridges gaps of up to
    three steps or 30 minutes (the longer) but no longer span without data, and is trimmed to points at or over the
    threshold. A NaN score counts as 0. Without `expected` the median of the series stands in; a point whose
    expected value is NaN is left out. `sides` says by its sign whether a point is above or below what its lens
    expects, without it the difference from `expected` does; `lenses` are places in LENSES, all off-pattern by
    default. Raises ValueError for a threshold that is not positive, a negative `min_relative` or arrays of unequal
    length.
    """
    if not threshold > 0 or not min_relative >= 0:
        raise ValueError(f"threshold must be positive, min_relative not negative: {threshold}, {min_relative}")
    given: tuple[NDArray[Any] | None, ...] = (scores, expected, lower, upper, sides, lenses)
    if any(array is not None and len(array) != len(values) for array in given):
        raise ValueError("scores, band, sides and lenses must have one entry per point")
    samples = clean(timestamps_ms, values)
    if not samples.values.size:
        return ()
    centre = np.full(len(values), np.median(samples.values)) if expected is None else expected
    residuals = samples.values - centre[samples.index]
    above = residuals if sides is None else sides[samples.index]
    strength = np.nan_to_num(scores[samples.index], nan=0.0, posinf=LARGEST_SCORE)
    wanted = np.abs(residuals) >= min_relative * np.abs(centre[samples.index])
    if direction != "both":
        wanted &= above > 0 if direction == "up" else above < 0
    seen = _Seen(samples, np.where(wanted, strength, 0.0), residuals, above, centre, lower, upper, lenses)
    found = [_episode(seen, members) for members in _groups(samples.timestamps_ms, seen.strength, threshold)]
    return tuple(sorted(found, key=lambda episode: (-episode.deviation, episode.start_ms)))


def gaps(samples: Samples) -> tuple[Gap, ...]:
    """The spans inside a clean series that are too long for an episode to bridge."""
    times = samples.timestamps_ms
    far = np.flatnonzero(_too_far(times, median_step_ms(times) or 0.0))
    return tuple(Gap(int(times[place]), int(times[place + 1])) for place in far)


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """A clean series and what a detector says of it; the band and the lenses are as long as the input was."""

    samples: Samples
    strength: Values
    residuals: Values
    above: Values
    expected: Values
    lower: Values | None
    upper: Values | None
    lenses: NDArray[np.int8] | None


def _groups(times: Timestamps, strength: Values, threshold: float) -> list[NDArray[np.intp]]:
    """The points at or over the threshold, grouped into episodes."""
    hot = np.flatnonzero(strength >= threshold)
    if not hot.size:
        return []
    step_ms = median_step_ms(times) or 0.0
    calm_before = np.cumsum(strength < threshold / 2)[hot]
    gaps_before = np.cumsum(np.append(False, _too_far(times, step_ms)))[hot]
    apart = (np.diff(calm_before) > 0) & _too_far(times[hot], step_ms) | (np.diff(gaps_before) > 0)
    return np.split(hot, np.flatnonzero(apart) + 1)


def _too_far(times: Timestamps, step_ms: float) -> NDArray[np.bool_]:
    """For each point but the last whether the next is too far off to be of the same episode."""
    return np.asarray(np.diff(times) - step_ms > max(JOIN_STEPS * step_ms, JOIN_MS))


def _episode(seen: _Seen, members: NDArray[np.intp]) -> Episode:
    samples, strength, residuals = seen.samples, seen.strength, seen.residuals
    first, last = int(members[0]), int(members[-1])
    # Scores are capped, so several points can share the highest: the one farthest out is the peak.
    peak = int(members[np.lexsort((np.abs(residuals[members]), strength[members]))[-1]])
    position = samples.index[peak]
    deviation = float(strength[peak])
    return Episode(
        start_ms=int(samples.timestamps_ms[first]),
        end_ms=int(samples.timestamps_ms[last]),
        peak_ms=int(samples.timestamps_ms[peak]),
        value=float(samples.values[peak]),
        expected=float(seen.expected[position]),
        lower=None if seen.lower is None else float(seen.lower[position]),
        upper=None if seen.upper is None else float(seen.upper[position]),
        deviation=deviation,
        direction="up" if seen.above[peak] >= 0 else "down",
        severity=_severity(deviation),
        ongoing=last == samples.values.size - 1,
        points=last - first + 1,
        lens="off-pattern" if seen.lenses is None else LENSES[seen.lenses[position]],
        relative=float(residuals[peak] / abs(seen.expected[position])) if seen.expected[position] else None,
    )


def _severity(deviation: float) -> Severity:
    if deviation < MEDIUM_SEVERITY:
        return "low"
    return "medium" if deviation < HIGH_SEVERITY else "high"
