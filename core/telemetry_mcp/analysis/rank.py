"""How far several metrics of one service are unusual at the same time: what services are ranked by.

The largest score of many metrics is no measure of a service: the more metrics, the surer that one of them is odd
by chance. Several that are odd at the same time are not chance.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from telemetry_mcp.analysis.sample import Timestamps, Values

WITNESSES = 3
"""Metrics that have to agree."""
ORDINARY = 1.0
"""The strength of a metric that is not unusual, or not there: one robust sigma."""


@dataclass(frozen=True, slots=True)
class Concurrence:
    """The moment at which the metrics of a service agree most; `stretches` are the positions of those that cover
    it, strongest first."""

    score: float
    at_ms: int
    stretches: tuple[int, ...]


def concurrence(strengths: Values) -> Values:
    """One score an instant from `strengths`, an array of metrics by instants.

    It is the geometric mean of the three largest strengths at that instant, each at least 1 (an ordinary
    deviation); a metric that is not there counts as 1, as does NaN. So it is on the scale of the metrics' own
    scores and grows with each of three that agree, but one alone, however far out (99 at most), comes to
    99 ** (1/3) = 4.6: less than the 6.5 from which a series is unusual. It differs from the third largest score
    (METHODS 2.6) in that it does not fall to nothing where two very strong ones have no third.
    """
    floored = np.maximum(np.nan_to_num(strengths, nan=ORDINARY), ORDINARY)
    largest = np.sort(floored, axis=0)[-WITNESSES:]
    return np.asarray(np.exp(np.log(largest).sum(axis=0) / WITNESSES))


def strongest(metric: NDArray[np.intp], start_ms: Timestamps, end_ms: Timestamps, strength: Values) -> Concurrence:
    """The strongest concurrence of unusual stretches `[start_ms, end_ms)`, the first one of several.

    `metric` numbers the metric that each stretch is of: of those of one metric at a time the strongest counts.
    Raises ValueError where there is no stretch.
    """
    if not metric.size:
        raise ValueError("without a stretch nothing concurs")
    # Whatever stretches overlap do so at the start of one of them: no other instant has to be looked at.
    instants = np.unique(start_ms)
    covers = (start_ms[:, None] <= instants) & (instants < end_ms[:, None])
    strengths = np.zeros((int(metric.max()) + 1, instants.size))
    np.maximum.at(strengths, metric, np.where(covers, strength[:, None], 0.0))
    scores = concurrence(strengths)
    best = int(scores.argmax())
    there = np.flatnonzero(covers[:, best])
    order = there[np.argsort(-strength[there], kind="stable")]
    return Concurrence(float(scores[best]), int(instants[best]), tuple(int(place) for place in order))
