"""One objective over several indicators."""

from collections.abc import Sequence
from math import isfinite, prod

import numpy as np

from telemetry_mcp.analysis.tally import Tally, Total, same_slices


def all_of(tallies: Sequence[Tally]) -> Tally:
    """A slice of time is good when it is good in all of them, and bad when it is bad in one.

    Where slices are bad in part (a threshold on irregular samples) the bad parts are taken to overlap: the longest
    one counts, the least that can be. A slice that is bad in one counts as bad even if another is missing there;
    otherwise a slice missing in one is missing. One without traffic does not speak. Judge events by `timeslices`
    first: raises ValueError for tallies of events, for different slices and for none.
    """
    first = same_slices(tallies)
    if first.unit != "time":
        raise ValueError("only slices of time are good or bad: judge events with timeslices first")
    bad, valid = np.stack([each.bad for each in tallies]), np.stack([each.valid for each in tallies])
    worst = np.nan_to_num(bad).max(axis=0)
    unknown = np.isnan(valid).any(axis=0) & (worst < first.slice_ms)
    whole = np.where((valid > 0).any(axis=0), np.where(valid > 0, valid, np.inf).min(axis=0), 0.0)
    whole = np.maximum(whole, worst)
    return Tally(
        first.start_ms,
        first.slice_ms,
        np.where(unknown, np.nan, worst),
        np.where(unknown, np.nan, whole),
        "time",
    )


def weighted(totals: Sequence[Total], weights: Sequence[float]) -> Total:
    """The mean of the indicators by weight, over one window; what has no traffic is left out with its weight.

    Unknown as a whole (no_data) when one of them is: the coverage is the smallest. Amounts are shares of the
    weights, so there is no number of events to say how sure it is. Raises ValueError unless there is one positive
    weight for each.
    """
    if not totals or len(totals) != len(weights) or not all(isfinite(w) and w > 0 for w in weights):
        raise ValueError("a weighted composite has one positive weight for each indicator")
    if any(each.data == "no_data" for each in totals):
        return Total(0.0, 0.0, "share", coverage=0.0)
    parts = [(each.error_ratio, weight) for each, weight in zip(totals, weights, strict=True)]
    return Total(
        bad=sum(error * weight for error, weight in parts if error is not None),
        valid=sum(weight for error, weight in parts if error is not None),
        unit="share",
        coverage=min(each.coverage for each in totals),
        filled=max(each.filled for each in totals),
    )


def worst_of(totals: Sequence[Total]) -> Total:
    """The indicator with the largest share of bad; the first of equals.

    Unknown as a whole (no_data) when one of them is: the worst may be the one that nobody saw. What has no traffic
    is left out while another has some. Raises ValueError for none.
    """
    if not totals:
        raise ValueError("there is no indicator")
    if any(each.data == "no_data" for each in totals):
        return Total(0.0, 0.0, "share", coverage=0.0)
    return max(totals, key=lambda each: -1.0 if each.error_ratio is None else each.error_ratio)


def product(ratios: Sequence[float | None]) -> float | None:
    """The SLI of a chain whose parts fail independently of each other: an estimate, as parts seldom do.

    None when one of them is unknown. Raises ValueError for a ratio outside 0..1.
    """
    known = [ratio for ratio in ratios if ratio is not None]
    if not all(0 <= ratio <= 1 for ratio in known):
        raise ValueError(f"a ratio lies between 0 and 1: {known}")
    return prod(known) if len(known) == len(ratios) else None
