"""Seeded incidents: one culprit whose fault spreads along the calls, a late page, noise, and false alarms."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from numpy.typing import NDArray

from telemetry_mcp.demo.estate import METRICS, STEP_MS, Estate
from telemetry_mcp.demo.fault_plan import DAY_MS, MINUTE_MS, Effect, Plan
from telemetry_mcp.demo.scenario import DOWN, KINDS, Scenario, incident_today, opened, quiet, scenario
from telemetry_mcp.demo.spread import CULPRITS
from telemetry_mcp.demo.topology import MEMBERS

HOUR_MS = 60 * MINUTE_MS
PLAYED = [scenario(seed) for seed in range(40)]
FALSE = [quiet(seed) for seed in range(20)]
READ = {"latency": "latency_p95"}


def named(played: Scenario) -> str:
    return f"{played.seed}-{played.kind}"


def steps(start_ms: int, end_ms: int) -> NDArray[np.int64]:
    return np.arange(start_ms, end_ms, STEP_MS, dtype=np.int64)


def bare(played: Scenario) -> Estate:
    """The same estate on the same day without anything that happens today."""
    estate = played.estate
    return Estate(estate.anchor_ms, now_ms=estate.now_ms, seed=estate.seed, plan=Plan())


def drift(played: Scenario, service: str, metric: str, at_ms: int) -> float:
    """How far the mean of the minute before `at_ms` is from the half hour before the onset, in its deviations."""
    assert played.onset_ms is not None
    before = played.estate.values(service, metric, steps(played.onset_ms - HOUR_MS // 2, played.onset_ms))
    now = played.estate.values(service, metric, steps(at_ms - MINUTE_MS, at_ms))
    return float((now.mean() - before.mean()) / before.std())


def full_ms(effect: Effect) -> int:
    return effect.start_ms + effect.rise_ms


# ---- the set


def test_a_seed_always_plays_the_same() -> None:
    for played in (PLAYED[3], PLAYED[20]):
        again = scenario(played.seed)
        assert (again.page, again.fault, again.cause, again.innocent) == (
            played.page,
            played.fault,
            played.cause,
            played.innocent,
        )
        times = steps(played.now_ms - HOUR_MS, played.now_ms)
        for service in MEMBERS:
            same = again.estate.values(service, "latency_p95", times)
            np.testing.assert_array_equal(same, played.estate.values(service, "latency_p95", times))
    assert quiet(4).page == FALSE[4].page


def test_forty_seeds_have_every_kind_about_as_often_and_most_culprits() -> None:
    counts = Counter(played.kind for played in PLAYED)
    assert set(counts) == set(KINDS)
    assert max(counts.values()) - min(counts.values()) <= 1
    assert len({played.culprit for played in PLAYED}) >= 7
    assert all(played.culprit in CULPRITS[kind] for played in PLAYED for kind in KINDS if played.kind == kind)


def test_in_a_quarter_of_them_a_source_is_down_and_never_the_one_that_pages() -> None:
    down = Counter(played.down for played in PLAYED)
    assert down[None] == 30
    assert {name for name in down if name} == set(DOWN)
    assert "pagerduty" not in DOWN
    assert len({played.kind for played in PLAYED if played.down}) >= 5


def test_what_is_down_is_down_on_the_wire_only_there() -> None:
    world = opened(next(played for played in PLAYED if played.down == "datadog"))
    fault = world.faults["datadog"].take("/api/v1/query")
    assert fault is not None
    assert fault.code == 503
    assert [world.faults[name].take("/") for name in ("prometheus", "newrelic", "pagerduty")] == [None] * 3


def test_an_incident_can_be_played_at_any_moment() -> None:
    now_ms = 20_777 * DAY_MS + 9 * HOUR_MS + 4_321
    played = incident_today(now_ms, 7)
    assert played.now_ms == played.estate.now_ms == now_ms
    assert 3 * MINUTE_MS <= now_ms - played.page_ms <= 16 * MINUTE_MS
    assert (played.kind, played.culprit) == (scenario(7).kind, scenario(7).culprit)


# ---- the page


@pytest.mark.parametrize("played", PLAYED, ids=named)
def test_the_page_is_late_and_about_a_service_that_suffers(played: Scenario) -> None:
    assert played.onset_ms is not None
    assert played.fault is not None
    assert 2 * MINUTE_MS <= played.page_ms - played.onset_ms <= 12 * MINUTE_MS
    assert 3 * MINUTE_MS <= played.now_ms - played.page_ms <= 15 * MINUTE_MS + 1000
    assert played.page.status(played.now_ms) != "resolved"
    assert played.page in played.estate.incidents(played.now_ms - HOUR_MS, played.now_ms)
    assert played.page.service in {effect.service for effect in played.fault.effects}


@pytest.mark.parametrize("played", PLAYED, ids=named)
def test_the_page_says_what_is_true_when_it_comes(played: Scenario) -> None:
    what, _, limit = played.page.title.partition(": ")[2].partition(" above ")
    metric = {"error rate": "error_rate", "p95 latency": "latency_p95"}.get(what, what)
    at_page = played.estate.values(played.page.service, metric, steps(played.page_ms - MINUTE_MS, played.page_ms))
    quiet_time = played.page_ms - HOUR_MS
    an_hour_ago = played.estate.values(played.page.service, metric, steps(quiet_time - MINUTE_MS, quiet_time))
    assert an_hour_ago.mean() < float(limit.split()[0]) < at_page.mean()


def test_the_page_is_often_about_another_service_than_the_culprit() -> None:
    elsewhere = [played for played in PLAYED if played.page.service != played.culprit]
    assert 10 <= len(elsewhere) <= 30
    upward = [played for played in elsewhere if played.kind != "surge"]
    for played in upward:
        reached = {played.culprit}
        while grown := {name for name, m in MEMBERS.items() if reached & set(m.calls)} - reached:
            reached |= grown
        assert played.page.service in reached


def test_nothing_on_the_page_gives_the_culprit_or_the_kind_away() -> None:
    for played in PLAYED:
        told = f"{played.page.id.removesuffix(played.page.service)} {played.page.fault_id}"
        assert not [word for word in (*MEMBERS, *KINDS) if word in told]
        assert played.page.cause is None


# ---- what is wrong


@pytest.mark.parametrize("played", PLAYED, ids=named)
def test_the_culprit_leaves_its_course_at_the_onset_and_not_before(played: Scenario) -> None:
    assert played.fault is not None
    assert played.culprit is not None
    first = played.fault.effects[0]
    assert (first.service, first.start_ms) == (played.culprit, played.onset_ms)
    assert min(effect.start_ms for effect in played.fault.effects) == played.onset_ms
    metric = READ.get(first.metric, first.metric)
    soon_ms = first.start_ms + 2 * MINUTE_MS
    assert abs(drift(played, played.culprit, metric, soon_ms)) > 2.5
    before = steps(first.start_ms - 2 * HOUR_MS, first.start_ms)
    for service in MEMBERS:
        for metric in METRICS:
            np.testing.assert_array_equal(
                played.estate.values(service, metric, before), bare(played).values(service, metric, before)
            )


@pytest.mark.parametrize("played", PLAYED, ids=named)
def test_with_every_call_it_gets_weaker_and_later(played: Scenario) -> None:
    assert played.fault is not None
    own = {effect.metric: effect for effect in played.fault.effects if effect.service == played.culprit}
    further = [effect for effect in played.fault.effects if effect.service != played.culprit]
    assert all(abs(effect.size) < abs(own[effect.metric].size) for effect in further)
    assert all(effect.start_ms > own[effect.metric].start_ms for effect in further)
    assert further or not [name for name, member in MEMBERS.items() if played.culprit in member.calls]
    passing = {"request_rate", "cpu", "latency"} if played.kind == "surge" else {"latency", "error_rate"}
    assert {effect.metric for effect in further} <= passing


def test_an_outage_makes_callers_slow_and_failing() -> None:
    played = next(p for p in PLAYED if p.kind == "outage" and p.culprit == "database-primary")
    assert played.fault is not None
    at_ms = max(map(full_ms, played.fault.effects)) + MINUTE_MS
    for service in ("database-primary", "payment-processor", "auth-service"):
        assert drift(played, service, "latency_p95", at_ms) > 5
        assert drift(played, service, "error_rate", at_ms) > 5
    assert drift(played, "database-primary", "request_rate", at_ms) < -5
    assert abs(drift(played, "cache-redis", "error_rate", at_ms)) < 3


def test_a_surge_raises_the_traffic_downstream() -> None:
    played = next(p for p in PLAYED if p.kind == "surge" and p.fault and p.fault.end_ms is None)
    assert played.fault is not None
    at_ms = max(map(full_ms, played.fault.effects)) + MINUTE_MS
    calm = bare(played)
    minute = steps(at_ms - MINUTE_MS, at_ms)
    grown = {
        service: played.estate.values(service, "request_rate", minute).mean()
        / calm.values(service, "request_rate", minute).mean()
        for service in ("api-gateway", "user-service", "database-replica")
    }
    assert grown["api-gateway"] > grown["user-service"] > grown["database-replica"] > 1.2


def test_a_leak_of_memory_is_slow() -> None:
    for played in (one for one in PLAYED if one.kind == "memory"):
        assert played.fault is not None
        assert played.onset_ms is not None
        assert played.fault.effects[0].rise_ms >= 15 * MINUTE_MS
        memory = [
            drift(played, played.fault.service, "memory", played.onset_ms + minutes * MINUTE_MS)
            for minutes in (2, 6, 12)
        ]
        assert memory == sorted(memory)
        assert memory[2] > 3 * memory[0]


def test_what_passes_by_itself_does_so_after_the_page() -> None:
    faults = [played.fault for played in (scenario(seed) for seed in range(80))]
    ended = [(fault, fault.end_ms) for fault in faults if fault and fault.end_ms is not None]
    assert 5 <= len(ended) <= 25
    assert all(end_ms > max(alarm.delay_min for alarm in f.alarms) * MINUTE_MS + f.start_ms for f, end_ms in ended)


# ---- what went on beside it


def test_a_bad_deployment_comes_one_to_ten_minutes_before_the_onset() -> None:
    for played in PLAYED:
        assert (played.cause is not None) == (played.kind == "deployment")
        if played.cause:
            assert played.onset_ms is not None
            assert MINUTE_MS <= played.onset_ms - played.cause.time_ms <= 10 * MINUTE_MS
            assert (played.cause.service, played.cause.kind) == (played.culprit, "deployment")
            assert played.cause in played.estate.changes(played.onset_ms - HOUR_MS, played.onset_ms)


def test_innocent_changes_surround_every_page() -> None:
    for played in (*PLAYED, *FALSE):
        known = played.estate.changes(played.now_ms - 12 * HOUR_MS, played.now_ms)
        assert 3 <= len(played.innocent) <= 6
        assert {change.id for change in known} >= {change.id for change in played.innocent}
        assert len({change.id for change in known}) == len(known)
        assert any(played.page_ms - HOUR_MS < change.time_ms < played.page_ms for change in played.innocent)
        own = [change for change in played.innocent if change.service == played.culprit]
        assert all(played.onset_ms and played.onset_ms - change.time_ms >= HOUR_MS // 2 for change in own)


def test_now_and_then_the_service_of_the_page_was_deployed_innocently() -> None:
    herrings = [p for p in PLAYED if any(change.service == p.page.service for change in p.innocent)]
    assert len(herrings) >= 8
    assert any(p.kind == "deployment" for p in herrings)


def test_alerts_that_mean_nothing_are_of_low_urgency_and_of_other_services() -> None:
    resolved = Counter[bool]()
    for played in (*PLAYED, *FALSE):
        told = played.estate.incidents(played.page_ms - 2 * HOUR_MS, played.now_ms)
        noises = [one for one in told if one.fault_id != played.page.fault_id]
        assert 1 <= len(noises) <= 3
        assert all((one.priority, one.urgency) == ("P3", "low") for one in noises)
        assert not {one.service for one in noises} & {played.page.service, played.culprit}
        resolved.update(one.status(played.now_ms) == "resolved" for one in noises)
    assert min(resolved[True], resolved[False]) > 10


def test_earlier_incidents_of_the_service_stay_known() -> None:
    for played in PLAYED:
        earlier = played.estate.incidents(0, played.now_ms - DAY_MS)
        assert played.page.service in {one.service for one in earlier}


# ---- false alarms


@pytest.mark.parametrize("played", FALSE, ids=named)
def test_behind_a_false_alarm_no_value_is_out_of_its_course(played: Scenario) -> None:
    assert (played.kind, played.culprit, played.fault, played.down) == ("quiet", None, None, None)
    assert played.page.service in MEMBERS
    assert played.page.status(played.now_ms) != "resolved" or played.page.resolved_ms
    times = steps(played.now_ms - 6 * HOUR_MS, played.now_ms)
    for service in MEMBERS:
        for metric in METRICS:
            np.testing.assert_array_equal(
                played.estate.values(service, metric, times), bare(played).values(service, metric, times)
            )
