"""What others rank services by, as references: the largest deviation after the page of what was before it.

BARO's RobustScorer takes median and interquartile range, N-sigma mean and standard deviation. Neither knows a
guard, kinds of metrics, onsets or who calls whom.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from telemetry_mcp.analysis.sample import clean
from tests.real.incident_set import Labelled

BEFORE_MS = 7_200_000
FEWEST_BEFORE = 3
Numbers = NDArray[Any]


def baro(incident: Labelled) -> list[str]:
    return _order(incident, _robust)


def n_sigma(incident: Labelled) -> list[str]:
    return _order(incident, _plain)


def _robust(before: Numbers) -> tuple[float, float]:
    low, middle, high = np.quantile(before, (0.25, 0.5, 0.75))
    return float(middle), float(high - low)


def _plain(before: Numbers) -> tuple[float, float]:
    return float(before.mean()), float(before.std())


def _order(incident: Labelled, usual: Callable[[Numbers], tuple[float, float]]) -> list[str]:
    """Services by the largest score of their metrics; what never moved before has no scale and is left out."""
    best: dict[str, float] = {}
    for signal in incident.signals:
        samples = clean(signal.timestamps_ms, signal.values)
        since = samples.timestamps_ms >= incident.page_ms
        before = samples.values[~since & (samples.timestamps_ms >= incident.page_ms - BEFORE_MS)]
        if before.size < FEWEST_BEFORE or not since.any():
            continue
        middle, spread = usual(before)
        score = float(np.abs(samples.values[since] - middle).max()) / spread if spread else 0.0
        best[signal.service] = max(score, best.get(signal.service, 0.0))
    return sorted(best, key=lambda service: (-best[service], service))
