"""Every service level indicator in one form: bad and valid amounts for each equal slice of a window.

Amounts are summed over a window and divided once: a mean of ratios would weigh a quiet hour like a busy one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from telemetry_mcp.analysis.grid import Grid

Unit = Literal["events", "time", "share"]
Missing = Literal["ignore", "good", "bad", "last"]
Data = Literal["ok", "no_data", "no_traffic"]
Amounts = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Tally:
    """Bad and valid amounts per slice of a window, in `unit`: events, or milliseconds of time.

    NaN in both means that nothing was measured in the slice. Valid 0 means that it was measured and that there was
    nothing to judge: no traffic. A slice of time that was measured in part has a valid amount below `slice_ms`.
    `clipped` is what was left out because the bad or good amount was larger than the valid one; `resets` counts
    the restarts of counters. Raises ValueError unless 0 <= bad <= valid in every measured slice.
    """

    start_ms: int
    slice_ms: int
    bad: Amounts
    valid: Amounts
    unit: Literal["events", "time"] = "events"
    clipped: float = 0.0
    resets: int = 0

    def __post_init__(self) -> None:
        if self.bad.ndim != 1 or self.bad.shape != self.valid.shape:
            raise ValueError(f"bad and valid must be flat and equally long: {self.bad.shape}, {self.valid.shape}")
        missing = np.isnan(self.valid)
        if not np.all(missing | (self.bad >= 0) & (self.bad <= self.valid) & (self.valid < np.inf)):
            raise ValueError("bad must lie between 0 and valid in every slice")
        if np.any(missing & ~np.isnan(self.bad)):
            raise ValueError("a slice is missing in bad and valid or in neither")

    @property
    def end_ms(self) -> int:
        return self.start_ms + self.slice_ms * self.bad.size

    @property
    def grid(self) -> Grid:
        return Grid(self.start_ms, self.end_ms, self.slice_ms)


@dataclass(frozen=True, slots=True)
class Total:
    """What a window sums up to.

    `coverage` (0..1) is what was really measured of the window, whatever filled its gaps; `filled` is the share
    that a policy filled. `missing_slices` of its `slices` were not measured at all. `too_coarse`: the window is
    shorter than one slice, so nothing can be said of it.
    """

    bad: float
    valid: float
    unit: Unit = "events"
    coverage: float = 1.0
    filled: float = 0.0
    slices: int = 0
    missing_slices: int = 0
    too_coarse: bool = False

    @property
    def data(self) -> Data:
        """no_data: nothing was measured. no_traffic: it was, and there was nothing to judge."""
        if self.valid:
            return "ok"
        return "no_traffic" if self.coverage else "no_data"

    @property
    def ratio(self) -> float | None:
        """The SLI: good over valid, None when there is nothing valid."""
        return (self.valid - self.bad) / self.valid if self.valid else None

    @property
    def error_ratio(self) -> float | None:
        return self.bad / self.valid if self.valid else None


def total(
    tally: Tally, *, start_ms: int | None = None, end_ms: int | None = None, missing: Missing = "ignore"
) -> Total:
    """The sums over `start_ms`..`end_ms`, by default the whole tally; widened to whole slices.

    `missing` says what counts where nothing was measured. ignore: nothing. good and bad: all of it is good or bad.
    last: it is as good as the last slice before it that had a ratio; what no such slice precedes stays missing. A
    missing slice of events weighs the median of the valid amounts of all measured slices, missing time its length.
    A policy fills gaps, it does not make up an indicator: a tally in which nothing at all was measured stays
    no_data, and what lies outside the tally is never filled. Raises ValueError for an empty window.
    """
    first = (tally.start_ms if start_ms is None else start_ms) - tally.start_ms
    stop = (tally.end_ms if end_ms is None else end_ms) - tally.start_ms
    if stop <= first:
        raise ValueError(f"a window must end after it starts: {start_ms} .. {end_ms}")
    begin, end = first // tally.slice_ms, -(-stop // tally.slice_ms)
    inside = slice(max(begin, 0), max(end, 0))
    filled_bad, filled_valid = (tally.bad, tally.valid) if missing == "ignore" else _filled(tally, missing)
    bad, valid = filled_bad[inside], filled_valid[inside]
    kept = ~np.isnan(valid)
    weights = _weights(tally, tally.valid[inside])
    slices, measured = end - begin, float(weights.sum())
    whole = 1 if tally.unit == "events" else tally.slice_ms
    counted = measured if missing == "ignore" else float(np.where(kept, whole, weights).sum())
    return Total(
        bad=float(bad[kept].sum()),
        valid=float(valid[kept].sum()),
        unit=tally.unit,
        coverage=measured / (slices * whole),
        filled=(counted - measured) / (slices * whole),
        slices=slices,
        missing_slices=slices - int(np.count_nonzero(weights)),
    )


def trailing(tally: Tally, window_ms: int, *, end_ms: int | None = None, missing: Missing = "ignore") -> Total:
    """The sums over the last `window_ms` before `end_ms`, by default the end of the tally, in whole slices.

    A window shorter than one slice cannot be measured: it is no_data and `too_coarse`.
    """
    if window_ms < tally.slice_ms:
        return Total(0.0, 0.0, tally.unit, coverage=0.0, too_coarse=True)
    end_ms = tally.end_ms if end_ms is None else end_ms
    return total(tally, start_ms=end_ms - window_ms, end_ms=end_ms, missing=missing)


def part(tally: Tally, start_ms: int, end_ms: int) -> Tally:
    """The slices of `start_ms`..`end_ms` that the tally has, as a tally of their own; widened to whole slices.

    For a calendar period inside a tally that reaches further back, for the burn rates of its first days. `clipped`
    and `resets` stay those of the whole. Raises ValueError when it has none of them.
    """
    first = max((start_ms - tally.start_ms) // tally.slice_ms, 0)
    stop = max(-(-(end_ms - tally.start_ms) // tally.slice_ms), 0)
    bad, valid = tally.bad[first:stop], tally.valid[first:stop]
    if not bad.size:
        raise ValueError(f"a tally of {tally.start_ms} .. {tally.end_ms} has nothing of {start_ms} .. {end_ms}")
    return replace(tally, start_ms=tally.start_ms + first * tally.slice_ms, bad=bad, valid=valid)


def summed(tallies: Sequence[Tally]) -> Tally:
    """Several sources of one indicator, added slice by slice.

    A slice that is missing in any of them is missing in the sum: a part of the sources has a ratio of its own.
    Raises ValueError without a tally, or when their slices or units differ.
    """
    first = same_slices(tallies)
    return Tally(
        first.start_ms,
        first.slice_ms,
        np.sum([each.bad for each in tallies], axis=0),
        np.sum([each.valid for each in tallies], axis=0),
        first.unit,
        sum(each.clipped for each in tallies),
        sum(each.resets for each in tallies),
    )


def same_slices(tallies: Sequence[Tally]) -> Tally:
    """The first of them; ValueError unless there is one and all have its slices and its unit."""
    if not tallies:
        raise ValueError("there is no tally")
    first = tallies[0]
    for each in tallies[1:]:
        if (each.grid, each.unit) != (first.grid, first.unit):
            raise ValueError(f"tallies differ: {each.unit} on {each.grid}, {first.unit} on {first.grid}")
    return first


def _weights(tally: Tally, valid: Amounts) -> Amounts:
    """How much of each slice was measured: of events all or nothing, of time the milliseconds.

    A slice of time without anything to judge was measured.
    """
    if tally.unit == "events":
        return np.where(np.isnan(valid), 0.0, 1.0)
    return np.where(valid == 0, tally.slice_ms, np.nan_to_num(valid))


def _filled(tally: Tally, missing: Missing) -> tuple[Amounts, Amounts]:
    """Bad and valid of every slice with its gaps filled; NaN in both where there is nothing to fill them with."""
    gaps = np.isnan(tally.valid)
    if gaps.all():
        return tally.bad, tally.valid
    bad, valid = np.where(gaps, 0.0, tally.bad), np.where(gaps, 0.0, tally.valid)
    if tally.unit == "events":
        weight = np.where(gaps, np.median(tally.valid[~gaps]), 0.0)
    else:
        weight = tally.slice_ms - _weights(tally, tally.valid)
    share = _last_share(bad, valid) if missing == "last" else np.full(bad.size, float(missing == "bad"))
    bad += weight * share
    valid += weight * np.where(np.isnan(share), np.nan, 1.0)
    return bad, valid


def _last_share(bad: Amounts, valid: Amounts) -> Amounts:
    """The error ratio of each slice, or of the last one before it that had one; NaN where there is none."""
    judged = valid > 0
    share = np.full(bad.size, np.nan)
    share[judged] = bad[judged] / valid[judged]
    last = np.maximum.accumulate(np.where(judged, np.arange(bad.size), -1))
    return np.where(last >= 0, share[last], np.nan)
