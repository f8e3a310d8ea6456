"""How good and how fast the detector of anomalies is, beside the plain z-score of the proof of concept.

What the scores mean, and the same figures with an assertion: tests/core/test_anomaly_figures.py.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean, median
from time import perf_counter

import numpy as np
from figure import Figure

from telemetry_mcp.analysis.anomaly import TAU, Episode, detect, score

sys.path.append(str(Path(__file__).resolve().parents[1]))

from tests.real.labelled import (
    ABSENT,
    PLAIN_THRESHOLD,
    PROFILES,
    Labelled,
    alarms,
    clean_of_nab,
    cloud_monitoring,
    event_f1,
    nab,
    nab_score,
    onsets,
    plain_episodes,
)

LIMITS = {"standard": 63.0, "low_FP": 56.0, "low_FN": 67.0}
STEP_MS = 300_000
ROUNDS = 15

PUBLISHED = """NAB as published, standard / low-FP / low-FN, over all 58 series and judged by the past alone:
ARTime 74.9 / 65.1 / 80.4, Numenta HTM 70.1 / 63.1 / 75.2, CAD OSE 69.9 / 67.0 / 73.2,
Skyline (earthgecko) 58.2 / 46.2 / 63.9, KNN-CAD 58.0 / 43.4 / 64.8, relative entropy 54.6 / 47.6 / 58.8,
random cut forest 51.7 / 38.4 / 59.7, Twitter ADVec 47.1 / 33.6 / 53.5, windowed Gaussian 39.6 / 20.9 / 47.4.
Event F1 at their best NAB threshold: CAD OSE .60, ARTime .59, relative entropy, forest, Twitter .46, HTM .45."""

Found = list[tuple[Episode, ...]]


def measure() -> list[Figure]:
    return [*quality(), *speed()]


def quality() -> list[Figure]:
    """Nothing, and a word on stderr, where the labelled data are not."""
    if ABSENT:
        sys.stderr.write(f"no figures on the quality of anomalies: {ABSENT}\n")
        return []
    sets = (nab(), cloud_monitoring())
    own = [[detect(one.timestamps_ms, one.values).episodes for one in series] for series in sets]
    plain = [[plain_episodes(one) for one in series] for series in sets]
    past = [alarms(score(one.timestamps_ms, one.values, causal=True), TAU) for one in nab()]
    batch, reference = _batch(own[0], TAU), _batch(plain[0], PLAIN_THRESHOLD)
    f1, plain_f1 = ([event_f1(s, f) for s, f in zip(sets, found, strict=True)] for found in (own, plain))
    false, plain_false = (
        sum(len(episodes) for one, episodes in zip(nab(), found[0], strict=True) if clean_of_nab(one))
        for found in (own, plain)
    )
    return [
        *(_quality(f"NAB, batch, {name}", batch[name], LIMITS[name], reference[name]) for name in PROFILES),
        _quality("NAB, causal, standard", nab_score(nab(), past, TAU)["standard"], 53.0),
        _quality("event F1, NAB and cloud-monitoring", mean(f1), 0.52, mean(plain_f1)),
        Figure(f"false episodes, clean NAB files (plain z-score: {plain_false})", false, "", 1.0),
    ]


def _batch(found: Found, threshold: float) -> dict[str, float]:
    emitted = [onsets(one, episodes) for one, episodes in zip(nab(), found, strict=True)]
    return nab_score(nab(), emitted, threshold)


def _quality(what: str, measured: float, limit: float, plain: float | None = None) -> Figure:
    beside = "" if plain is None else f" (plain z-score: {plain:.3g})"
    return Figure(what + beside, measured, "", limit, relation=">=")


def speed() -> list[Figure]:
    million = 1e6
    return [
        *(
            Figure(f"anomalies, {n:,} points", n / _seconds(n) / million, "Mpoint/s", 1.0, relation=">=")
            for n in (10_000, 50_000)
        ),
        Figure("anomalies, 1,000 points", _seconds(1_000) * 1000, "ms", 2.0),
        Figure("anomalies, 50 services x 3 metrics x 2,016 points", _seconds(2_016, series=150), "s", 0.5),
    ]


def _seconds(points: int, series: int = 1) -> float:
    """The median over several rounds."""
    many = [_series(points, seed) for seed in range(series)]
    taken = []
    for _ in range(ROUNDS):
        started = perf_counter()
        for one in many:
            detect(one.timestamps_ms, one.values)
        taken.append(perf_counter() - started)
    return median(taken)


def _series(points: int, seed: int) -> Labelled:
    """Five-minute values with a day, noise and an outage."""
    times = 1_795_000_000_000 // STEP_MS * STEP_MS + np.arange(points, dtype=np.int64) * STEP_MS
    values = 100 + 30 * np.sin(2 * np.pi * times / 86_400_000) + np.random.default_rng(seed).normal(size=points)
    values[points // 2 : points // 2 + 10] += 80
    return Labelled(f"made {seed}", times, values, ())


def stability(rounds: int = 200, seed: int = 1) -> str:
    """The spread of the figures over random halves of the files: what a set of other files may show."""
    chance = np.random.default_rng(seed)
    sets = (nab(), cloud_monitoring())
    found = {one.name: detect(one.timestamps_ms, one.values).episodes for series in sets for one in series}
    rows = []
    for _ in range(rounds):
        halves = [_half(series, chance) for series in sets]
        its = [[found[one.name] for one in half] for half in halves]
        emitted = [onsets(one, episodes) for one, episodes in zip(halves[0], its[0], strict=True)]
        scores = nab_score(halves[0], emitted, TAU)
        rows.append([*scores.values(), mean(event_f1(h, i) for h, i in zip(halves, its, strict=True))])
    names = [*(f"NAB {profile}" for profile in PROFILES), "macro event F1"]
    quantiles = np.quantile(np.array(rows), (0.05, 0.5, 0.95), axis=0).T
    return "\n".join(
        f"{name}: {low:.3g} .. {middle:.3g} .. {high:.3g} (5 %, median, 95 % of {rounds} random halves)"
        for name, (low, middle, high) in zip(names, quantiles, strict=True)
    )


def _half(series: Sequence[Labelled], chance: np.random.Generator) -> list[Labelled]:
    return [series[place] for place in sorted(chance.permutation(len(series))[: len(series) // 2])]


PRINTS: dict[str, Callable[[], str]] = {"published": lambda: PUBLISHED, "stability": stability}


if __name__ == "__main__":
    for figure in measure():
        sys.stdout.write(
            f"{figure.what}: {figure.measured:.4g} {figure.unit} ({figure.relation} {figure.limit:g})\n"
        )
    for text in PRINTS.values():
        sys.stdout.write(f"\n{text()}\n")
