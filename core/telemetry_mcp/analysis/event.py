"""Event indicators: good, bad and valid events as rates, counts or counters, put into slices."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from telemetry_mcp.analysis.bucket import rise
from telemetry_mcp.analysis.grid import Grid
from telemetry_mcp.analysis.sample import Timestamps, Values, clean, median_step_ms
from telemetry_mcp.analysis.tally import Amounts, Tally

Points = tuple[Timestamps, Values]
Kind = Literal["rate", "delta", "counter"]
Stamp = Literal["start", "end"]
Absent = Literal["unknown", "zero", "sparse"]

GAP_STEPS: dict[Kind, float] = {"rate": 1.25, "delta": 1.0, "counter": 2.5}
"""For how many usual steps one sample speaks: jitter passes, a sample that is missing leaves a gap."""
ENOUGH_OF_A_SLICE = 0.5
NOISE = 1e-12
"""What valid minus good may miss 0 by, relative to valid: the last bits of two sums, not an event."""


@dataclass(frozen=True, slots=True, eq=False)
class _Stretches:
    """Events, each amount spread over its own stretch of time. Sorted, without overlap."""

    starts: Timestamps
    stops: Timestamps
    amounts: Values
    resets: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class _Sliced:
    """Events per slice, and for how many milliseconds of it they were counted."""

    amounts: Amounts
    covered: Amounts


def of_events(
    grid: Grid,
    *,
    good: Points | None = None,
    bad: Points | None = None,
    valid: Points | None = None,
    kind: Kind = "delta",
    stamp: Stamp = "start",
    absent: Absent = "unknown",
    max_gap_ms: int | None = None,
) -> Tally:
    """Bad and valid events per slice from two of good, bad and valid, each (timestamps_ms, values).

    `kind` rate: events per second, which hold until the next sample. delta: the events of the interval that begins
    at the sample, or with `stamp` "end" of the one that ends there. counter: a running count; a drop means that it
    started again from 0 (`Tally.resets`), and nothing is extrapolated to the edges of the window. Hand in the last
    sample before the window too.

    A sample speaks for at most `max_gap_ms`, by default 1.25 (rate), 1 (delta) or 2.5 (counter) times the usual
    step. What a counter grew by over a longer gap is known and spread over it, unless it was reset in the gap.
    A slice counts when both series cover at least half of it; if only one does, it is missing, never 0. Where they
    cover different shares, both are brought to the smaller one.

    `absent` says what the lack of bad events means, as many a series does not exist before the first error.
    unknown: nothing. zero: the time before its first sample, all of it where it has none, is free of errors; a gap
    after that stays unknown. sparse: so is every gap, as the source leaves out intervals without errors. It is
    about bad events only: good or valid ones that are missing are never taken for none.

    More good or bad than valid events are cut to the valid ones; `Tally.clipped` has the sum of what was cut.
    Raises ValueError unless exactly two series are given, for negative values and a `max_gap_ms` that is not
    positive.
    """
    part_of, rest_of = _two(good, bad, valid)
    sparse = bad is not None and absent == "sparse"
    rest = _stretches(rest_of, kind, stamp, _gap_ms(rest_of, kind, max_gap_ms))
    part = _stretches(part_of, kind, stamp, _gap_ms(rest_of if sparse else part_of, kind, max_gap_ms))
    if bad is not None and absent == "zero":
        part = _from_the_start(part, grid)
    counted = _sliced(part, grid)
    if sparse:
        counted = _Sliced(counted.amounts, np.full(grid.size, float(grid.slice_ms)))
    resets = part.resets + rest.resets
    some, others = _common(counted, _sliced(rest, grid), ENOUGH_OF_A_SLICE * grid.slice_ms)
    if valid is None:
        return Tally(grid.start_ms, grid.slice_ms, some, some + others, resets=resets)
    return _within(grid, some, others, resets, good=bad is None)


def increase(timestamps_ms: Timestamps, values: Values) -> tuple[float, int]:
    """What a counter grew by over its samples, and how often it was reset. Nothing is extrapolated."""
    found = _grown(*_plain((timestamps_ms, values)), max_gap_ms=None)
    return float(found.amounts.sum()), found.resets


def _two(good: Points | None, bad: Points | None, valid: Points | None) -> tuple[Points, Points]:
    """The bad or good events, and the valid ones or, without these, the good."""
    part, rest = good if bad is None else bad, good if valid is None else valid
    if part is None or rest is None or sum(each is None for each in (good, bad, valid)) != 1:
        raise ValueError("an event indicator has two of good, bad and valid")
    return part, rest


def _plain(points: Points) -> Points:
    samples = clean(*points)
    if np.any(samples.values < 0):
        raise ValueError("a number of events is not negative")
    return samples.timestamps_ms, samples.values


def _gap_ms(points: Points, kind: Kind, max_gap_ms: int | None) -> int:
    if max_gap_ms is not None and max_gap_ms <= 0:
        raise ValueError(f"max_gap_ms must be positive: {max_gap_ms}")
    # A sample that is no number still shows how far apart the source measures.
    return max_gap_ms or round(GAP_STEPS[kind] * (median_step_ms(np.unique(points[0])) or 0.0))


def _stretches(points: Points, kind: Kind, stamp: Stamp, gap_ms: int) -> _Stretches:
    times, values = _plain(points)
    if kind == "counter":
        return _grown(times, values, gap_ms)
    distance = np.minimum(np.diff(times), gap_ms)
    if stamp == "end" and kind == "delta":
        starts, stops = times - np.concatenate(([gap_ms][: times.size], distance)), times
    else:
        starts, stops = times, times + np.concatenate((distance, [gap_ms][: times.size]))
    amounts = values * ((stops - starts) / 1000) if kind == "rate" else values
    held = stops > starts
    return _Stretches(starts[held].astype(np.int64), stops[held].astype(np.int64), amounts[held])


def _grown(times: Timestamps, values: Values, max_gap_ms: int | None) -> _Stretches:
    amounts, reset = rise(values), np.diff(values) < 0
    known = ~reset | (max_gap_ms is None or np.diff(times) <= max_gap_ms)
    return _Stretches(times[:-1][known], times[1:][known], amounts[known], int(np.count_nonzero(reset)))


def _from_the_start(bad: _Stretches, grid: Grid) -> _Stretches:
    first = int(bad.starts[0]) if bad.starts.size else grid.end_ms
    if first <= grid.start_ms:
        return bad
    return _Stretches(
        np.concatenate(([grid.start_ms], bad.starts)),
        np.concatenate(([first], bad.stops)),
        np.concatenate(([0.0], bad.amounts)),
    )


def _sliced(stretches: _Stretches, grid: Grid) -> _Sliced:
    starts, stops = stretches.starts, stretches.stops
    lengths = (stops - starts).astype(np.float64)
    return _Sliced(grid.spread(starts, stops, stretches.amounts), grid.spread(starts, stops, lengths))


def _common(one: _Sliced, other: _Sliced, least_ms: float) -> tuple[Amounts, Amounts]:
    """The amounts for the time that both cover; NaN in slices of which they cover less than `least_ms`."""
    both = np.minimum(one.covered, other.covered)
    both = np.where(both >= least_ms, both, np.nan)
    return _scaled(one, both), _scaled(other, both)


def _scaled(part: _Sliced, covered: Amounts) -> Amounts:
    """Untouched where it covers just that much: what is exact stays exact."""
    return part.amounts * np.where(part.covered == covered, 1.0, covered / np.maximum(part.covered, 1.0))


def _within(grid: Grid, part: Amounts, valid: Amounts, resets: int, *, good: bool) -> Tally:
    """The tally of the good or the bad `part` of what is valid."""
    noise = NOISE * np.nan_to_num(valid)
    over = np.nan_to_num(part - valid)
    clipped = float(over[over > noise].sum())
    part = np.minimum(part, valid)
    if good:
        part = valid - part
        part[part <= noise] = 0.0
    return Tally(grid.start_ms, grid.slice_ms, part, valid, clipped=clipped, resets=resets)
