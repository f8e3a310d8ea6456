"""Service level indicators: which share of the time a metric kept to its threshold.

Samples are rarely evenly spaced, so time is weighed, not points: each sample holds until the next one, yet never
longer than `max_gap_ms`. What no sample covers is unmeasured time: neither good nor bad, and shown as coverage.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from telemetry_mcp.analysis.grid import Grid
from telemetry_mcp.analysis.sample import Timestamps, Values, clean, median_step_ms
from telemetry_mcp.analysis.tally import Tally

Comparison = Literal["<=", "<", ">=", ">"]
Method = Literal["time_weighted", "point_share", "none"]

MAX_GAP_STEPS = 2.5
ENOUGH_SAMPLES = 3
GOOD: dict[Comparison, Callable[[Values, float], NDArray[np.bool_]]] = {
    "<=": np.less_equal,
    "<": np.less,
    ">=": np.greater_equal,
    ">": np.greater,
}


@dataclass(frozen=True, slots=True)
class Violation:
    """An unbroken stretch of bad time; `worst` is its value farthest beyond the threshold, seen at `worst_ms`."""

    start_ms: int
    end_ms: int
    worst: float
    worst_ms: int


@dataclass(frozen=True, slots=True)
class Compliance:
    """How much of a window kept to the threshold.

    `ratio` (0..1) is good over measured time, or None when nothing was measured. `point_share` is the share of
    good samples; `method` says so when the ratio had to fall back on it, as there were too few samples to know how
    long one holds. `coverage` (0..1) is
    measured over expected time, `samples` the numbers the answer rests on. `violations` come longest first, the
    newer first of equally long ones.
    """

    ratio: float | None
    point_share: float | None
    good_ms: int
    bad_ms: int
    measured_ms: int
    expected_ms: int
    coverage: float
    method: Method
    samples: int
    violations: tuple[Violation, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Held:
    """Every sample with the time it stands for, before any window is laid over it."""

    starts: Timestamps
    stops: Timestamps
    values: Values
    good: NDArray[np.bool_]
    upward: bool


def compliance(
    timestamps_ms: Timestamps,
    values: Values,
    *,
    start_ms: int,
    end_ms: int,
    threshold: float,
    comparison: Comparison = "<=",
    max_gap_ms: int | None = None,
) -> Compliance:
    """The share of `start_ms`..`end_ms` in which `value comparison threshold` was true.

    A sample holds until the next one, the end of the window or `max_gap_ms` (default: 2.5 times the median step),
    whichever comes first; the last sample and one from just before the window are treated alike. A sample exactly
    at `end_ms` counts but holds no time. With fewer than three samples in the series, or none that holds any time
    in the window, the ratio is the share of samples. Raises ValueError for an empty window, a threshold that is
    not finite, an unknown comparison or a `max_gap_ms` that is not positive.
    """
    return _measure(_hold(timestamps_ms, values, threshold, comparison, max_gap_ms), start_ms, end_ms)


def of_threshold(
    grid: Grid,
    timestamps_ms: Timestamps,
    values: Values,
    *,
    threshold: float,
    comparison: Comparison = "<=",
    max_gap_ms: int | None = None,
) -> Tally:
    """Per slice, the time in which `value comparison threshold` was false, of the time that samples cover.

    Samples hold as in `compliance`, and the same errors are raised. Hand in the last sample before the window too.
    """
    held = _hold(timestamps_ms, values, threshold, comparison, max_gap_ms)
    return _timed(grid, held.starts, held.stops, np.where(held.good, 0.0, 1.0))


def of_ratio(
    grid: Grid,
    timestamps_ms: Timestamps,
    ratios: Values,
    *,
    kind: Literal["success", "failure"] = "success",
    max_gap_ms: int | None = None,
) -> Tally:
    """Per slice, the bad time by a ratio (0..1) that somebody else worked out: each holds as in `compliance`.

    `kind` says whether the ratio is the good share (success) or the bad one. Time stands in for the events nobody
    told us of, so a quiet hour weighs like a busy one. Raises ValueError for a ratio outside 0..1 and a
    `max_gap_ms` that is not positive.
    """
    starts, stops, shares = _held(timestamps_ms, ratios, max_gap_ms)
    if np.any((shares < 0) | (shares > 1)):
        raise ValueError("a ratio lies between 0 and 1")
    # 1 - 0.999 is 0.0010000000000000009: the digits after the fifteenth are not the source's.
    return _timed(grid, starts, stops, np.round(1 - shares, 15) if kind == "success" else shares)


def comparator(comparison: Comparison, threshold: float) -> Callable[[Values, float], NDArray[np.bool_]]:
    """What tells good values from bad ones. Raises ValueError as `compliance` does."""
    if comparison not in GOOD:
        raise ValueError(f"comparison must be one of {', '.join(GOOD)}: {comparison}")
    if not np.isfinite(threshold):
        raise ValueError(f"threshold must be a finite number: {threshold}")
    return GOOD[comparison]


def _timed(grid: Grid, starts: Timestamps, stops: Timestamps, bad_shares: Values) -> Tally:
    lengths = (stops - starts).astype(np.float64)
    valid = grid.spread(starts, stops, lengths)
    bad = np.minimum(grid.spread(starts, stops, lengths * bad_shares), valid)
    measured = valid > 0
    return Tally(
        grid.start_ms, grid.slice_ms, np.where(measured, bad, np.nan), np.where(measured, valid, np.nan), "time"
    )


def _held(
    timestamps_ms: Timestamps, values: Values, max_gap_ms: int | None
) -> tuple[Timestamps, Timestamps, Values]:
    """From when and until when each sample holds, and its value."""
    if max_gap_ms is not None and max_gap_ms <= 0:
        raise ValueError(f"max_gap_ms must be positive: {max_gap_ms}")
    samples = clean(timestamps_ms, values)
    starts = samples.timestamps_ms
    gap_ms = int(MAX_GAP_STEPS * (median_step_ms(starts) or 0.0)) if max_gap_ms is None else max_gap_ms
    stops = starts + gap_ms
    stops[:-1] = np.minimum(stops[:-1], starts[1:])
    return starts, stops, samples.values


def _hold(
    timestamps_ms: Timestamps, values: Values, threshold: float, comparison: Comparison, max_gap_ms: int | None
) -> _Held:
    meets = comparator(comparison, threshold)
    starts, stops, numbers = _held(timestamps_ms, values, max_gap_ms)
    return _Held(starts, stops, numbers, meets(numbers, threshold), upward=comparison in ("<=", "<"))


def _measure(held: _Held, start_ms: int, end_ms: int) -> Compliance:
    if end_ms <= start_ms:
        raise ValueError(f"a window must end after it starts: {start_ms} .. {end_ms}")
    inside = (held.starts <= end_ms) & ((held.stops > start_ms) | (held.starts >= start_ms))
    part = _Held(
        np.clip(held.starts[inside], start_ms, end_ms),
        np.clip(held.stops[inside], start_ms, end_ms),
        held.values[inside],
        held.good[inside],
        held.upward,
    )
    lengths = part.stops - part.starts
    good_ms, measured_ms = int(lengths[part.good].sum()), int(lengths.sum())
    point_share = float(part.good.mean()) if part.good.size else None
    ratio = point_share
    method: Method = "none" if point_share is None else "point_share"
    if held.starts.size >= ENOUGH_SAMPLES and measured_ms:
        ratio, method = good_ms / measured_ms, "time_weighted"
    return Compliance(
        ratio=ratio,
        point_share=point_share,
        good_ms=good_ms,
        bad_ms=measured_ms - good_ms,
        measured_ms=measured_ms,
        expected_ms=end_ms - start_ms,
        coverage=measured_ms / (end_ms - start_ms),
        method=method,
        samples=int(part.starts.size),
        violations=_violations(part),
    )


def _violations(part: _Held) -> tuple[Violation, ...]:
    bad = np.flatnonzero(~part.good)
    if not bad.size:
        return ()
    apart = (np.diff(bad) > 1) | (part.starts[bad[1:]] != part.stops[bad[:-1]])
    found = [_violation(part, members) for members in np.split(bad, np.flatnonzero(apart) + 1)]
    return tuple(sorted(found, key=lambda span: (span.start_ms - span.end_ms, -span.start_ms)))


def _violation(part: _Held, members: NDArray[np.intp]) -> Violation:
    values = part.values[members]
    worst = int(members[values.argmax() if part.upward else values.argmin()])
    return Violation(
        start_ms=int(part.starts[members[0]]),
        end_ms=int(part.stops[members[-1]]),
        worst=float(part.values[worst]),
        worst_ms=int(part.starts[worst]),
    )
