"""The simulated estate: reproducible values, a fault with an order of events, a mixed picture of objectives."""

import numpy as np
import pytest
from numpy.typing import NDArray

from telemetry_mcp.demo.estate import METRICS, STEP_MS, Estate
from telemetry_mcp.demo.fault_plan import DAY_MS, MINUTE_MS
from telemetry_mcp.demo.topology import MEMBERS

HOUR_MS = 60 * MINUTE_MS
ANCHOR_MS = 20_500 * DAY_MS
NOW_MS = ANCHOR_MS + 15 * HOUR_MS + 7 * MINUTE_MS
ESTATE = Estate(ANCHOR_MS, now_ms=NOW_MS)


def every(step_ms: int, start_ms: int, end_ms: int) -> NDArray[np.int64]:
    return np.arange(start_ms, end_ms, step_ms, dtype=np.int64)


def clock_time(time: str, days_ago: int = 1) -> int:
    hour, minute = map(int, time.split(":"))
    return ANCHOR_MS - days_ago * DAY_MS + hour * HOUR_MS + minute * MINUTE_MS


def onset(service: str, metric: str, start_ms: int, end_ms: int) -> int:
    """The first time after `start_ms` at which the metric leaves the range of the three hours before."""
    before = ESTATE.values(service, metric, every(STEP_MS, start_ms - 3 * HOUR_MS, start_ms))
    times = every(STEP_MS, start_ms, end_ms)
    beyond = ESTATE.values(service, metric, times) > before.max() + before.std()
    return int(times[np.flatnonzero(beyond & np.roll(beyond, -1) & np.roll(beyond, -2))[0]])


@pytest.mark.parametrize("metric", METRICS)
def test_a_value_does_not_depend_on_the_window_it_is_asked_in(metric: str) -> None:
    times = every(STEP_MS, NOW_MS - 3 * DAY_MS, NOW_MS)
    whole = ESTATE.values("payment-processor", metric, times)
    chosen = np.random.default_rng(1).permutation(len(times))[:500]
    np.testing.assert_array_equal(ESTATE.values("payment-processor", metric, times[chosen]), whole[chosen])
    alone = [ESTATE.values("payment-processor", metric, times[i : i + 1])[0] for i in chosen[:20]]
    np.testing.assert_array_equal(alone, whole[chosen[:20]])


def test_two_estates_of_the_same_seed_agree_and_of_another_seed_do_not() -> None:
    times = every(60_000, NOW_MS - HOUR_MS, NOW_MS)
    same = Estate(ANCHOR_MS, now_ms=NOW_MS).values("auth-service", "cpu", times)
    other = Estate(ANCHOR_MS, now_ms=NOW_MS, seed=8).values("auth-service", "cpu", times)
    np.testing.assert_array_equal(same, ESTATE.values("auth-service", "cpu", times))
    assert np.all(same != other)


def test_today_is_anchored_at_midnight_utc() -> None:
    assert Estate.today(NOW_MS).anchor_ms == ANCHOR_MS


def test_values_stay_where_their_unit_allows_them() -> None:
    times = every(5 * MINUTE_MS, NOW_MS - 60 * DAY_MS, NOW_MS)
    for service in MEMBERS:
        value = {metric: ESTATE.values(service, metric, times) for metric in METRICS}
        for metric in ("cpu", "memory", "error_rate", "availability"):
            assert 0 <= value[metric].min() <= value[metric].max() <= 100
        assert value["request_rate"].min() > 0
        assert np.all(value["latency_p50"] < value["latency_p95"])
        assert np.all(value["latency_p95"] < value["latency_p99"])


def test_traffic_is_lower_at_night_and_at_the_weekend() -> None:
    times = every(15 * MINUTE_MS, ANCHOR_MS - 28 * DAY_MS, ANCHOR_MS)
    rate = ESTATE.values("user-service", "request_rate", times)
    hour = times // HOUR_MS % 24
    weekday = (times // DAY_MS + 3) % 7
    assert rate[hour == 2].mean() < 0.7 * rate[hour == 14].mean()
    assert rate[weekday >= 5].mean() < 0.85 * rate[weekday < 5].mean()


def test_yesterdays_fault_shows_in_the_cpu_first_then_in_latency_then_in_errors() -> None:
    start, end = clock_time("14:00"), clock_time("15:20")
    order = [onset("payment-processor", metric, start, end) for metric in ("cpu", "latency_p95", "error_rate")]
    assert clock_time("14:05") <= order[0] < clock_time("14:07")
    assert order == sorted(set(order))
    assert order[2] - order[0] >= 8 * MINUTE_MS
    assert onset("api-gateway", "latency_p95", start, end) > order[1]
    assert onset("api-gateway", "error_rate", start, end) > order[2]


def test_yesterdays_fault_is_over_after_the_rollback() -> None:
    after = every(STEP_MS, clock_time("15:20"), clock_time("16:20"))
    before = every(STEP_MS, clock_time("13:00"), clock_time("14:00"))
    for metric in ("cpu", "latency_p95", "error_rate"):
        values = [ESTATE.values("payment-processor", metric, times).mean() for times in (before, after)]
        assert values[1] == pytest.approx(values[0], rel=0.1)


def test_yesterdays_fault_has_its_deployment_and_its_rollback() -> None:
    changes = ESTATE.changes(clock_time("14:00"), clock_time("15:30"))
    assert [(change.service, change.version, change.time_ms) for change in changes] == [
        ("payment-processor", "v2.14.0", clock_time("14:02")),
        ("payment-processor", "v2.13.4", clock_time("15:15")),
    ]


@pytest.mark.parametrize("seed", [7, 1, 2])
def test_thirty_days_against_three_nines_make_a_mixed_picture(seed: int) -> None:
    estate = Estate(ANCHOR_MS, now_ms=NOW_MS, seed=seed)
    times = every(MINUTE_MS, NOW_MS - 30 * DAY_MS, NOW_MS)
    consumed = {s: (100 - estate.values(s, "availability", times).mean()) / 0.1 for s in MEMBERS}
    assert {service for service, part in consumed.items() if part > 1} == {"payment-processor"}
    assert {service for service, part in consumed.items() if 0.75 <= part <= 1} == {"api-gateway"}


def test_only_the_notification_service_is_unwell_now() -> None:
    now = np.array([NOW_MS])
    errors = {service: ESTATE.values(service, "error_rate", now)[0] for service in MEMBERS}
    assert {service for service, value in errors.items() if value > 1} == {"notification-service"}
    open_now = [i for i in ESTATE.incidents(0, NOW_MS) if i.status(NOW_MS) != "resolved"]
    assert [incident.service for incident in open_now] == ["notification-service"]
    assert ESTATE.faults(NOW_MS, NOW_MS + 1)[0].end_ms is None


def test_a_fault_spreads_along_the_calls_only() -> None:
    near = {name: {name, *member.calls} for name, member in MEMBERS.items()}
    for fault in ESTATE.faults(0, NOW_MS):
        struck = {effect.service for effect in fault.effects}
        reached = {fault.service}
        while grown := {a for a in struck - reached if any(a in near[b] or b in near[a] for b in reached)}:
            reached |= grown
        assert struck <= reached, fault.id


def test_every_fault_has_a_cause_before_it_and_an_incident_after_it() -> None:
    faults = ESTATE.faults(0, NOW_MS)
    incidents = ESTATE.incidents(0, NOW_MS)
    assert len(faults) >= 10
    assert [incident.number for incident in incidents] == sorted(incident.number for incident in incidents)
    for fault in faults:
        assert fault.cause in ESTATE.changes(fault.start_ms - HOUR_MS, fault.start_ms)
        assert any(i.fault_id == fault.id and i.created_ms > fault.start_ms for i in incidents)


def test_an_incident_is_triggered_then_acknowledged_then_resolved() -> None:
    incident = ESTATE.incidents(clock_time("14:00"), clock_time("15:00"))[0]
    assert incident.resolved_ms is not None
    times = (incident.created_ms, incident.acknowledged_ms, incident.resolved_ms)
    assert [incident.status(time) for time in times] == ["triggered", "acknowledged", "resolved"]


def test_an_average_over_a_minute_is_the_mean_of_its_values() -> None:
    start = np.array([NOW_MS // MINUTE_MS * MINUTE_MS])
    steps = start[0] + np.arange(4) * STEP_MS
    mean = ESTATE.values("cache-redis", "cpu", steps).mean()
    assert ESTATE.average("cache-redis", "cpu", start, MINUTE_MS)[0] == pytest.approx(mean)


def test_a_strange_name_is_refused() -> None:
    with pytest.raises(KeyError, match="billing"):
        ESTATE.values("billing", "cpu", np.array([NOW_MS]))
