"""The points of one series, from either API, as arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from telemetry_mcp import ProtocolError, Window
from telemetry_mcp_datadog.unit import unit
from telemetry_mcp_datadog.wire import Row, listed, number, tags, text

Times = NDArray[np.int64]
Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Line:
    """One series of an answer: times sorted and unique, each the beginning of a bucket of `width_ms`.

    Values are in the vendor's unit; times `factor` they are in `unit`.
    """

    tags: Mapping[str, str]
    times: Times
    values: Values
    width_ms: float
    unit: str
    factor: float
    name: str = ""
    scope: str = ""

    def inside(self, window: Window, *, touching: bool = False) -> tuple[Times, Values]:
        """The complete buckets of the window.

        One that goes beyond the window's end is unfinished and left out; one that begins before the window and
        reaches into it counts only with `touching`.
        """
        earliest_ms = window.start_ms - (self.width_ms if touching else 0)
        complete = (self.times < window.end_ms) & (self.times + self.width_ms <= window.end_ms)
        keep = (self.times >= earliest_ms) & complete
        return self.times[keep], self.values[keep]

    def newest(self, window: Window) -> tuple[Times, Values]:
        """The newest point that is a number; empty when there is none."""
        times, values = self.inside(window, touching=True)
        last = np.flatnonzero(~np.isnan(values))[-1:]
        return times[last], values[last]


def from_v1(row: Row) -> Line:
    """One of the `series` of GET /api/v1/query. ProtocolError when its points are none."""
    pairs = numbers(row.get("pointlist") or [])
    if pairs.size and (pairs.ndim != 2 or pairs.shape[1] != 2):
        raise ProtocolError("points that are not pairs of time and number")
    pairs = pairs.reshape(-1, 2)
    scope, given = text(row.get("scope")), listed(row.get("tag_set"))
    width_ms = max(0.0, number(row.get("interval")) or 0.0) * 1000
    name = text(row.get("expression")) or text(row.get("metric"))
    named = tags(given or [tag for tag in scope.split(",") if ":" in tag])
    return Line(named, *ordered(pairs[:, 0], pairs[:, 1]), width_ms, *unit(row.get("unit")), name, scope)


def from_v2(row: Any, given: Any, times: Values, width_ms: float) -> Line:
    """One of the `series` of POST /api/v2/query/timeseries with its own list of values."""
    if not isinstance(row, dict):
        raise ProtocolError("a series that is no object")
    values = numbers(given)
    if values.shape != times.shape:
        raise ProtocolError("not one value for each time")
    return Line(tags(listed(row.get("group_tags"))), *ordered(times, values), width_ms, *unit(row.get("unit")))


def numbers(given: Any) -> Values:
    """Numbers as an array; null, and what text does not say, is NaN."""
    try:
        return np.array(given, dtype=np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise ProtocolError("points that are not numbers") from error


def ordered(times: Values, values: Values) -> tuple[Times, Values]:
    """Sorted by time, the last of duplicates; what is no finite number is NaN, what has no time is left out."""
    real = sane(times)
    if not real.all():
        times, values = times[real], values[real]
    if len(times) > 1 and not (times[1:] > times[:-1]).all():
        order = np.argsort(times, kind="stable")
        times, values = times[order], values[order]
        last = np.append(times[1:] != times[:-1], True)
        times, values = times[last], values[last]
    return times.astype(np.int64), scaled(values, 1.0)


def sane(times: Values) -> NDArray[np.bool_]:
    """Which of them are times at all, and survive as whole numbers."""
    return np.abs(times) < 2**53


def scaled(values: Values, factor: float) -> Values:
    """What grows beyond all numbers is no number."""
    with np.errstate(over="ignore", invalid="ignore"):
        product = values * factor
    return np.where(np.isfinite(product), product, np.nan)


def bucket_ms(times: Values, asked_ms: int) -> float:
    """How long a bucket is where the answer does not say: as asked, or what all distances are multiples of.

    Two times alone prove nothing: there may be buckets without data between them.
    """
    real = np.unique(times[sane(times)]).astype(np.int64)
    return max(asked_ms, int(np.gcd.reduce(np.diff(real)))) if len(real) > 2 else asked_ms
