"""How well causes are ranked on labelled incidents; `make bench` prints the same figures and those of speed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from telemetry_mcp.analysis.correlation import GUARD_MS, rank, suspects_of_changes
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

pytestmark = pytest.mark.skipif(bool(ABSENT), reason=ABSENT)


def places(incidents: Sequence[Labelled], guard_ms: int = GUARD_MS) -> list[int | None]:
    found = []
    for one in incidents:
        ranking = rank(
            one.page_ms, one.signals, dependencies=one.dependencies, symptom=one.symptom, guard_ms=guard_ms
        )
        found.append(place_of(one.root, [suspect.service for suspect in ranking.services]))
    return found


@pytest.mark.parametrize(("traffic", "least"), [("low", 0.70), ("high", 0.38)])
def test_petshop(traffic: str, least: float) -> None:
    reached = average_at(places(petshop(traffic)))
    assert reached >= least
    for other in (baro, n_sigma):
        assert reached > average_at([place_of(one.root, other(one)) for one in petshop(traffic)])


@pytest.mark.parametrize("guard_minutes", [10, 15])
def test_nezha_resource_faults_of_online_boutique(guard_minutes: int) -> None:
    incidents = [one for one in nezha("2022-08-22") if one.fault not in ("return", "exception")]
    assert len(incidents) == 16
    assert average_at(places(incidents, guard_minutes * 60_000)) >= 0.74


@pytest.mark.parametrize("guard_minutes", [2, 5, 10, 15])
def test_nezha_cpu_faults_are_all_first(guard_minutes: int) -> None:
    incidents = [one for one in nezha("2022-08-22") if one.fault.startswith("cpu")]
    assert len(incidents) == 9
    assert top_share(places(incidents, guard_minutes * 60_000), 1) == 1


def test_rootcausebench_has_the_culprit_in_the_top_two_and_the_alerting_service_in_the_top_three() -> None:
    found = 0
    for one in rootcausebench():
        ranking = rank(one.page_ms, one.signals, dependencies=one.dependencies, symptom=one.symptom)
        suspected = suspects_of_changes(ranking, one.changes, one.page_ms)
        found += one.culprit in [candidate.change.id for candidate in suspected[:2]]
    assert found >= 6
    alerting = [replace(one, root=one.symptom[0]) for one in rootcausebench() if one.symptom]
    assert top_share(places(alerting), 3) == 1
