"""How well and how fast the services behind an incident are ranked, beside BARO and N-sigma in the same run.

The same figures with an assertion: tests/core/test_correlation_figures.py.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
from figure import Figure

from telemetry_mcp.analysis import evidence
from telemetry_mcp.analysis.correlation import Ranking, rank, suspects_of_changes
from telemetry_mcp.analysis.signal import KINDS, Signal
from telemetry_mcp.analysis.suspect import DEFAULT, Weights

sys.path.append(str(Path(__file__).resolve().parents[1]))

from tests.real.incident_set import (
    ABSENT,
    Labelled,
    average_at,
    nezha,
    petshop,
    place_of,
    rootcausebench,
    top_share,
)
from tests.real.plain_ranking import baro, n_sigma

SERIES, MINUTES = 2000, 165
MINUTE_MS = 60_000
ROUNDS = 7
Places = list[int | None]


def measure() -> list[Figure]:
    return [*quality(), speed()]


def quality() -> list[Figure]:
    """Nothing, and a word on stderr, where the labelled incidents are not."""
    if ABSENT:
        sys.stderr.write(f"no figures on the ranking of causes: {ABSENT}\n")
        return []
    shop = nezha("2022-08-22")
    of_cpu = [one for one in shop if one.fault.startswith("cpu")]
    of_resources = [one for one in shop if one.fault not in ("return", "exception")]
    alerts = rootcausebench()
    cpu = top_share(places(of_cpu), 1)
    return [
        _average("PetShop, low traffic", petshop("low"), 0.70),
        _average("PetShop, high traffic", petshop("high"), 0.38),
        _average("Nezha, Online Boutique, resource faults", of_resources, 0.74),
        Figure(f"Nezha, Online Boutique, {len(of_cpu)} CPU faults: top-1", cpu, "", 1.0, relation=">="),
        Figure("RootCauseBench: culprit in the top two", culprits_in_top_two(), "of 12", 6, relation=">="),
        Figure("RootCauseBench: alerting service in the top three", _alerting(alerts), "", 1.0, relation=">="),
    ]


def _average(what: str, incidents: Sequence[Labelled], limit: float) -> Figure:
    others = ", ".join(
        f"{name} {average_at([place_of(one.root, order(one)) for one in incidents]):.2f}"
        for name, order in (("BARO", baro), ("N-sigma", n_sigma))
    )
    reached = average_at(places(incidents))
    return Figure(f"{what}, {len(incidents)} incidents: Avg@5 ({others})", reached, "", limit, relation=">=")


def ranked(incident: Labelled, weights: Weights = DEFAULT) -> Ranking:
    return rank(
        incident.page_ms,
        incident.signals,
        dependencies=incident.dependencies,
        changes=incident.changes,
        symptom=incident.symptom,
        weights=weights,
    )


def places(incidents: Sequence[Labelled], weights: Weights = DEFAULT) -> Places:
    orders = ([suspect.service for suspect in ranked(one, weights)] for one in incidents)
    return [place_of(one.root, order) for one, order in zip(incidents, orders, strict=True)]


def _alerting(incidents: Sequence[Labelled], weights: Weights = DEFAULT) -> float:
    alerting = [replace(one, root=one.symptom[0]) for one in incidents if one.symptom]
    return top_share(places(alerting, weights), 3)


def culprits_in_top_two(weights: Weights = DEFAULT) -> int:
    found = 0
    for one in rootcausebench():
        suspected = suspects_of_changes(ranked(one, weights), one.changes, one.page_ms)
        found += one.culprit in [candidate.change.id for candidate in suspected[:2]]
    return found


def speed() -> Figure:
    signals = list(_made())
    page_ms = int(signals[0].timestamps_ms[-1]) - 10 * MINUTE_MS
    taken = []
    for _ in range(ROUNDS):
        started = perf_counter()
        rank(page_ms, signals)
        taken.append(perf_counter() - started)
    return Figure(f"ranking {SERIES:,} series of {MINUTES} points", median(taken), "s", 1.0)


def _made() -> Iterator[Signal]:
    times = 1_795_000_020_000 + np.arange(MINUTES, dtype=np.int64) * MINUTE_MS
    chance = np.random.default_rng(1)
    for place in range(SERIES):
        values = 100 + 5 * chance.normal(size=MINUTES)
        yield Signal(f"service-{place // len(KINDS)}", "made", KINDS[place % len(KINDS)], times, values)


# ---- how the figures move when a weight does


def stability() -> str:
    """The quality by set with one weight changed at a time."""
    rows = [("as it is", _row(DEFAULT)), *_changed_weights(), *_changed_rules()]
    head = "PetShop low / high, Nezha resource Avg@5, CPU top-1, culprits in the top two, alerting top-3"
    return "\n".join([head, *(f"{what:32} {row}" for what, row in rows)])


def _row(weights: Weights) -> str:
    shop = nezha("2022-08-22")
    cpu = [one for one in shop if one.fault.startswith("cpu")]
    resources = [one for one in shop if one.fault not in ("return", "exception")]
    return "  ".join(
        (
            f"{average_at(places(petshop('low'), weights)):.2f}",
            f"{average_at(places(petshop('high'), weights)):.2f}",
            f"{average_at(places(resources, weights)):.2f}",
            f"{top_share(places(cpu, weights), 1):.2f}",
            f"{culprits_in_top_two(weights)}",
            f"{_alerting(rootcausebench(), weights):.2f}",
        )
    )


PERTURBED: Mapping[str, Sequence[float]] = {
    "harmless": (0.3, 0.8),
    "other_kind": (0.6, 1.0),
    "saturation": (30, 99),
    "second": (0.3, 0.6),
    "explained": (0.0, 0.15, 0.5),
    "unreachable": (0.3, 0.7),
    "onset": (0.0, 0.25, 1.0),
    "change": (0.0, 0.1),
}


def _changed_weights() -> Iterator[tuple[str, str]]:
    for name, several in PERTURBED.items():
        for value in several:
            yield f"{name} {value:g}", _row(_with(name, value))
    yield "all kinds 1", _row(replace(DEFAULT, kind=dict.fromkeys(KINDS, 1.0)))


def _with(name: str, value: float) -> Weights:
    changed: dict[str, Any] = {name: value}
    return replace(DEFAULT, **changed)


RULES: Mapping[str, Sequence[float]] = {
    "ONSET_SIGMAS": (3.0, 5.0),
    "SIZE_QUANTILE": (0.6, 0.9),
    "LATEST_POINTS": (2, 5),
    "DOUBT": (0.0, 6.0),
    "UNTOUCHED_GUARDS": (2, 6),
}


def _changed_rules() -> Iterator[tuple[str, str]]:
    for name, several in RULES.items():
        usual = getattr(evidence, name)
        for value in several:
            setattr(evidence, name, value)
            yield f"{name} {value:g}", _row(DEFAULT)
        setattr(evidence, name, usual)


PRINTS: dict[str, Callable[[], str]] = {"stability": stability}


if __name__ == "__main__":
    for figure in measure():
        sys.stdout.write(
            f"{figure.what}: {figure.measured:.4g} {figure.unit} ({figure.relation} {figure.limit:g})\n"
        )
    for text in PRINTS.values() if not ABSENT else ():
        sys.stdout.write(f"\n{text()}\n")
