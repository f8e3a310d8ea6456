"""How good the detector is on real labelled series; `make bench` prints the same figures and those of speed."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from telemetry_mcp.analysis.anomaly import TAU, Episode, detect, score
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

pytestmark = pytest.mark.skipif(bool(ABSENT), reason=ABSENT)

LEAST_OF_NAB = {"standard": 63, "low_FP": 56, "low_FN": 67}
LEAST_OF_NAB_CAUSAL = 53
LEAST_F1 = 0.52

Found = list[tuple[Episode, ...]]


def found(series: Sequence[Labelled]) -> Found:
    return [detect(one.timestamps_ms, one.values).episodes for one in series]


def batch_score(series: Sequence[Labelled], its: Found, threshold: float) -> dict[str, float]:
    emitted = [onsets(one, episodes) for one, episodes in zip(series, its, strict=True)]
    return nab_score(series, emitted, threshold)


def test_nab_in_batch() -> None:
    reached = batch_score(nab(), found(nab()), TAU)
    assert {profile: reached[profile] >= LEAST_OF_NAB[profile] for profile in PROFILES} == dict.fromkeys(
        PROFILES, True
    )


def test_nab_by_the_past_alone() -> None:
    emitted = [alarms(score(one.timestamps_ms, one.values, causal=True), TAU) for one in nab()]
    assert nab_score(nab(), emitted, TAU)["standard"] >= LEAST_OF_NAB_CAUSAL


def test_events_of_both_sets_at_the_one_default() -> None:
    f1 = [event_f1(series, found(series)) for series in (nab(), cloud_monitoring())]
    assert sum(f1) / 2 >= LEAST_F1


def test_series_made_without_an_anomaly_have_at_most_one_episode() -> None:
    clean = [one for one in nab() if clean_of_nab(one)]
    assert len(clean) == 3
    assert sum(len(episodes) for episodes in found(clean)) <= 1


@pytest.mark.parametrize("part", [0, 1])
def test_either_half_of_the_files_is_better_than_by_the_plain_z_score(part: int) -> None:
    half, cloud = nab()[part::2], cloud_monitoring()[part::2]
    plain = [plain_episodes(one) for one in half]
    assert batch_score(half, found(half), TAU)["standard"] > batch_score(half, plain, PLAIN_THRESHOLD)["standard"]
    own = event_f1(half, found(half)) + event_f1(cloud, found(cloud))
    assert own > event_f1(half, plain) + event_f1(cloud, [plain_episodes(one) for one in cloud])
