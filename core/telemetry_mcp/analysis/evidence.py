"""How far one metric left what was usual before an incident, in which direction, and since when."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from telemetry_mcp.analysis.sample import Timestamps, Values, clean
from telemetry_mcp.analysis.scale import MAD_TO_SIGMA, NORMAL_TAIL
from telemetry_mcp.analysis.signal import HARMLESS, Direction, Kind, Signal

ONSET_SIGMAS = 4.0
"""A point farther out than this deviates."""
NEAR_SIGMAS = 2.0
"""Three neighbours nearer than this end a deviation."""
SIZE_QUANTILE = 0.75
"""The size of a deviation is this quantile of its points."""
FEWEST_BEFORE = 3
FEWEST_AFTER = 2
LATEST_POINTS = 3
"""The latest is what there is since the page, and so many points at least."""
WANTED_BEFORE = 20
"""A baseline of fewer points is made longer, as far as there are any."""
LATE_STEPS = 2.0
"""So many steps may the newest point be older than the page, and an onset later than the edge of the analysis."""
EDGE = 0.25
"""The edge is this share of the guard at most."""
UNTOUCHED_GUARDS = 4
"""What is older than so many guards before the page is told from an incident even when the page came late."""
TAIL = 0.95
IQR_TO_SIGMA = 1 / 1.349
LEAST_NOISE = 0.1
"""The noise is this part of a sigma at least."""
DOUBT = 3.0
"""With n points before, one sigma is 1 + 3 / n times what they say."""

RELATIVE_FLOOR: Mapping[Kind, float] = {"latency": 0.02, "traffic": 0.05, "resource": 0.05}
"""The least that one sigma can be, as a share of the usual value."""
RATIO_FLOOR = 0.0001
"""The same for availability and errors, as a share of full scale: any leaving of 100 % is news."""
_PERCENT = re.compile(r"pct|percent|%")


@dataclass(frozen=True, slots=True)
class Span:
    """When to look: `baseline_ms` before the page less the guard is what was usual, from there to `end_ms` what
    happened."""

    page_ms: int
    guard_ms: int
    baseline_ms: int
    end_ms: int

    @property
    def start_ms(self) -> int:
        """Where the baseline ends and the analysis begins."""
        return self.page_ms - self.guard_ms


@dataclass(frozen=True, slots=True)
class Usual:
    """The median before, and what one sigma is: at least the floor of the kind. `noise` is the same without the
    floor, which says what matters and not what can be seen: a slow rise is seen earlier than it matters."""

    middle: float
    sigma: float
    noise: float


@dataclass(frozen=True, slots=True)
class Evidence:
    """What happened to one metric.

    `before` and `after` are medians, `after` of the time since the onset, or without one since the page.
    `deviation` is the robust size of what happened in sigmas, 0 or more. `onset_ms` is None where nothing lasted:
    it takes two of three points that deviate. `at_edge` says that it began where one began to look, and so maybe
    before; `step_ms` is how finely the onset can be told.
    """

    service: str
    metric: str
    kind: Kind
    before: float
    after: float
    deviation: float
    direction: Direction
    onset_ms: int | None
    step_ms: float
    at_edge: bool = False

    @property
    def harmless(self) -> bool:
        """Whether it is a change for the better."""
        return (self.kind, self.direction) in HARMLESS


def examine(signal: Signal, span: Span) -> Evidence | str:
    """What happened to a metric, or the reason why that cannot be said.

    A sigma is the largest of the MAD and the interquartile range of the baseline, both as normal sigmas, its 95th
    percentile over 1.96, and a floor by kind (METHODS 3.2). The size of a deviation is the 75th percentile of its
    points: the geometric mean of that since the onset and that since the page, as what is over by then counts
    less.
    """
    samples = clean(signal.timestamps_ms, signal.values)
    times, values = samples.timestamps_ms, samples.values
    if not times.size:
        return "no data"
    step = _step(times)
    if times[-1] < span.page_ms - LATE_STEPS * step:
        return "its data end before the page"
    first, last = (int(place) for place in np.searchsorted(times, (span.start_ms, span.end_ms + 1)))
    oldest = int(np.searchsorted(times, span.start_ms - span.baseline_ms))
    oldest = max(0, min(oldest, first - WANTED_BEFORE))
    if first - oldest < FEWEST_BEFORE:
        return "too few points before"
    if last - first < FEWEST_AFTER:
        return "too few points since"
    untouched = int(np.searchsorted(times[oldest:first], span.page_ms - UNTOUCHED_GUARDS * span.guard_ms))
    floor = _floor(signal, values[oldest:first], values[oldest:last])
    usual = _usual(values[oldest:first], untouched, floor)
    return _evidence(signal, span, step, times[first:last], values[first:last], usual)


def _evidence(
    signal: Signal, span: Span, step: float, times: Timestamps, values: Values, usual: Usual
) -> Evidence:
    z = (values - usual.middle) / usual.sigma
    begin = _begin(z, times, span.page_ms - LATE_STEPS * step, usual.sigma / usual.noise)
    paged = max(0, min(int(np.searchsorted(times, span.page_ms)), times.size - LATEST_POINTS))
    since = paged if begin is None else begin
    edge = span.start_ms + min(LATE_STEPS * step, EDGE * span.guard_ms)
    size = _size(z[since:])
    return Evidence(
        signal.service,
        signal.metric,
        signal.kind,
        usual.middle,
        _quantile(np.sort(values[since:]), 0.5),
        math.sqrt(size * _size(z[max(since, paged) :])),
        _direction(z[since:], size),
        None if begin is None else int(times[begin]),
        step,
        begin is not None and (begin == 0 or bool(times[begin] <= edge)),
    )


def _size(z: Values) -> float:
    return _quantile(np.sort(np.abs(z)), SIZE_QUANTILE)


def _direction(z: Values, size: float) -> Direction:
    """The side on which the points of at least that size lie."""
    total = float(z[np.abs(z) >= size].sum())
    return "up" if total > 0 else "down" if total < 0 else "none"


def _step(times: Timestamps) -> float:
    """The usual distance between neighbours; np.median takes longer than all else here."""
    gaps = np.sort(np.diff(times))
    return float(gaps[gaps.size // 2]) if gaps.size else 0.0


def _quantile(ordered: Values, share: float) -> float:
    """Of sorted values, interpolated linearly."""
    place = share * (ordered.size - 1)
    below = int(place)
    above = min(below + 1, ordered.size - 1)
    return float(ordered[below] + (ordered[above] - ordered[below]) * (place - below))


def _usual(values: Values, untouched: int, floor: float) -> Usual:
    """What the baseline says.

    Its tail is told by the first `untouched` points alone, where those are many enough. An incident that began
    before the guard would be its own measure else, and nobody would notice that the guard is too short.
    """
    ordered = np.sort(values)
    middle = _quantile(ordered, 0.5)
    sizes = np.abs(values - middle)
    quartiles = _quantile(ordered, 0.75) - _quantile(ordered, 0.25)
    tail = _quantile(np.sort(sizes[:untouched] if 2 * untouched >= WANTED_BEFORE else sizes), TAIL)
    spread = max(MAD_TO_SIGMA * _quantile(np.sort(sizes), 0.5), IQR_TO_SIGMA * quartiles, tail / NORMAL_TAIL)
    sigma = (1 + DOUBT / values.size) * max(spread, floor)
    return Usual(middle, sigma, max((1 + DOUBT / values.size) * spread, LEAST_NOISE * sigma))


def _floor(signal: Signal, before: Values, seen: Values) -> float:
    """The least that one sigma can be. Of what is usually 0, it is a share of the largest value seen."""
    largest = float(np.abs(seen).max())
    share = RELATIVE_FLOOR.get(signal.kind)
    if share is not None:
        return share * (abs(_quantile(np.sort(before), 0.5)) or largest) or 1.0
    return RATIO_FLOOR * (100.0 if largest > 1 or _PERCENT.search(signal.metric.lower()) else 1.0)


def _begin(z: Values, times: Timestamps, page_ms: float, finer: float) -> int | None:
    """Where the deviation begins that lasts until the page or, if none does, the last one before it; dated back
    over its rise, for which the noise is `finer` than a sigma by so many times."""
    sizes = np.abs(z)
    deviating = np.append(sizes > ONSET_SIGMAS, (False, False))
    lasting = np.flatnonzero(deviating[:-2] & (deviating[1:-1] | deviating[2:]))
    if not lasting.size:
        return None
    ends = np.append(_calm(sizes), z.size)
    run = np.searchsorted(ends, lasting)
    heads = lasting[np.append(True, np.diff(run) > 0)]
    until = np.append(times, times[-1])[ends[np.unique(run)]]
    reaching = heads[until >= page_ms]
    head = int(reaching[0] if reaching.size else heads[-1])
    return _risen(finer * z, head)


def _risen(z: Values, head: int) -> int:
    """Where the rise to the first deviating point began: from there on all points leave to the same side."""
    leaving = z[:head] * np.sign(z[head]) > NEAR_SIGMAS
    inside = np.flatnonzero(~leaving)
    return int(inside[-1]) + 1 if inside.size else 0


def _calm(sizes: Values) -> NDArray[np.intp]:
    """The places from which on three neighbours are near."""
    near = sizes <= NEAR_SIGMAS
    return np.flatnonzero(near[:-2] & near[1:-1] & near[2:]) if near.size > 2 else np.empty(0, dtype=np.intp)
