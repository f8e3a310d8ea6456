"""Alerts as they are written, without a connection: what is odd costs itself, what is the same is told once."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import orjson
import pytest

from telemetry_mcp import (
    Context,
    DependencyQuery,
    ForbiddenError,
    HttpReply,
    IncidentQuery,
    ProtocolError,
    Window,
    http_for,
)
from telemetry_mcp.demo.emulator import Emulators
from telemetry_mcp.demo.fault import Fault
from telemetry_mcp.demo.topology import MEMBERS
from telemetry_mcp_prometheus import Prometheus
from telemetry_mcp_prometheus.alert import Seen, firings, grid, merged
from telemetry_mcp_prometheus.rule import Alarm, alerts_of, rules_of
from telemetry_mcp_prometheus.wire import Row

MINUTE = 60_000
START = 1_795_340_040_000
WINDOW = Window(START, START + 60 * MINUTE)
LABELS = {"alertname": "Slow", "service": "a", "severity": "page"}
FIRING = {"labels": LABELS, "annotations": {}, "state": "firing", "activeAt": "2026-11-22T09:38:16.109526732Z"}


def reply(name: str, entries: Any) -> HttpReply:
    return HttpReply(200, {}, orjson.dumps({"status": "success", "data": {name: entries}}))


@pytest.mark.parametrize(
    "entry",
    [
        None,
        [],
        "firing",
        {},
        {**FIRING, "labels": None},
        {**FIRING, "labels": [LABELS]},
        {**FIRING, "labels": {"alertname": 7}},
        {**FIRING, "annotations": "summary"},
        {**FIRING, "activeAt": None},
        {**FIRING, "activeAt": 1795340296},
        {**FIRING, "activeAt": "yesterday"},
        {**FIRING, "activeAt": "2026-11-22T09:38:16"},
        {**FIRING, "activeAt": "0001-01-01T00:00:00Z"},
    ],
)
def test_an_alert_that_cannot_be_read_costs_only_itself(entry: object) -> None:
    found = alerts_of(reply("alerts", [entry, FIRING]))
    assert [alarm.labels["service"] for alarm in found.alarms] == ["a"]
    assert list(found.remarks()) == ["1 alerts could not be read"]
    with pytest.raises(ProtocolError):
        alerts_of(reply("alerts", [entry]))


@pytest.mark.parametrize("entries", [{}, "none", 7, True])
def test_alerts_that_are_no_list_are_a_protocol_error(entries: object) -> None:
    with pytest.raises(ProtocolError, match="no list of alerts"):
        alerts_of(reply("alerts", entries))
    with pytest.raises(ProtocolError, match="no list of groups"):
        rules_of(reply("groups", entries))


def test_no_alerts_may_also_be_written_as_null() -> None:
    assert alerts_of(reply("alerts", None)).alarms == []
    assert rules_of(reply("groups", None)).count == 0


def test_rules_tell_their_alerts_their_words_and_their_sickness() -> None:
    sick = {"type": "alerting", "name": "Sick", "health": "err", "lastError": "many-to-many", "alerts": None}
    slow = {
        "type": "alerting",
        "name": "Slow",
        "health": "ok",
        "annotations": {"summary": "it is slow", "description": "by {{ $value }}"},
        "alerts": [FIRING],
    }
    recorded = {"type": "recording", "name": "job:up", "health": "err"}
    found = rules_of(reply("groups", [{"rules": [sick, slow, recorded, None]}, None, {"rules": {}}]))
    assert (found.count, len(found.alarms)) == (2, 1)
    assert found.annotations["Slow"] == {"summary": "it is slow"}
    assert list(found.remarks()) == [
        "alert rules that cannot be evaluated, and so cannot fire: Sick (many-to-many)",
        "3 alert rules could not be read",
    ]


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("2018-07-04T20:27:12.60602144+02:00", 1_530_728_832_606),
        ("2018-07-04T18:27:12Z", 1_530_728_832_000),
        ("2018-07-04T18:27:12.109526732Z", 1_530_728_832_109),
    ],
)
def test_times_of_any_precision_and_offset_are_read(text: str, milliseconds: int) -> None:
    (alarm,) = alerts_of(reply("alerts", [{**FIRING, "activeAt": text}])).alarms
    assert alarm.opened_ms == milliseconds


@pytest.mark.parametrize(
    ("severity", "urgency"),
    [("page", "high"), ("CRITICAL", "high"), ("warning", "low"), ("info", "low"), ("purple", None), (None, None)],
)
def test_the_label_severity_gives_the_urgency(severity: str | None, urgency: str | None) -> None:
    labels = {"alertname": "Slow", **({"severity": severity} if severity else {})}
    incident = Alarm(labels, START).incident("service")
    assert (incident.severity, incident.urgency, incident.service, incident.title) == (
        severity,
        urgency,
        None,
        "Slow",
    )


def past(values: Sequence[float], *minutes: int, **labels: str) -> Row:
    times = np.array([START + minute * MINUTE for minute in minutes], np.int64)
    return Row({"__name__": "ALERTS_FOR_STATE", **LABELS, **labels}, times, np.array(values, np.float64))


def test_each_time_of_becoming_active_is_one_firing() -> None:
    first, second = START // 1000 - 300, START // 1000 + 600
    row = past([first] * 2 + [second] * 3, 1, 2, 12, 13, 60)
    found = list(firings(row, WINDOW, MINUTE))
    assert [(one.opened_ms, one.resolved_ms) for one in found] == [
        (first * 1000, START + 2 * MINUTE),
        (second * 1000, None),
    ]


def test_without_that_time_a_pause_of_more_than_five_minutes_makes_two_of_one() -> None:
    found = list(firings(past([4.0] * 5, 1, 2, 6, 12, 13), WINDOW, MINUTE))
    assert [(one.opened_ms, one.resolved_ms) for one in found] == [
        (START, START + 6 * MINUTE),
        (START + 11 * MINUTE, START + 13 * MINUTE),
    ]


def test_an_alert_that_fires_now_is_not_told_again_by_what_it_has_written() -> None:
    opened_s = START // 1000 + 300
    now = Alarm(LABELS, opened_s * 1000 + 526, annotations={"summary": "slow"}, fires=True)
    row = past([opened_s] * 3, 5, 6, 60, replica="b", cluster="eu")
    seen = Seen(now=[now], past=list(firings(row, WINDOW, MINUTE)))
    (one,) = merged(seen, WINDOW)
    assert (one.fires, one.annotations) == (True, {"summary": "slow"})


def test_an_alert_with_other_labels_is_another_one() -> None:
    opened_s = START // 1000 + 300
    now = Alarm({**LABELS, "service": "b"}, opened_s * 1000, fires=True)
    seen = Seen(now=[now], past=list(firings(past([opened_s] * 2, 5, 6), WINDOW, MINUTE)))
    assert {(one.labels["service"], one.status) for one in merged(seen, WINDOW)} == {
        ("a", "resolved"),
        ("b", "triggered"),
    }


def test_an_alert_that_became_active_after_the_window_is_not_in_it() -> None:
    later = Alarm(LABELS, WINDOW.end_ms, fires=True)
    assert merged(Seen(now=[later]), WINDOW) == []


@pytest.mark.parametrize(("told", "status"), [(None, "triggered"), ([], "resolved")])
def test_what_was_written_until_now_fires_still_only_if_nobody_denies_it(told: Any, status: str) -> None:
    end_ms = int(time.time() * 1000)
    row = Row(LABELS, np.array([end_ms], np.int64), np.array([end_ms // 1000 - 300.0]))
    window = Window(end_ms - 60 * MINUTE, end_ms)
    (one,) = merged(Seen(now=told, past=list(firings(row, window, MINUTE))), window)
    assert one.status == status


@pytest.mark.parametrize(("minutes", "step"), [(1, 1), (60, 1), (1440, 1), (1441, 2), (30 * 1440, 30)])
def test_the_past_is_asked_for_in_at_most_a_days_minutes(minutes: int, step: int) -> None:
    window = Window(START, START + minutes * MINUTE)
    asked, step_ms = grid(window, now=window.end_ms + 1)
    assert (step_ms, asked.end_ms) == (step * MINUTE, window.end_ms)
    assert asked.start_ms - step_ms <= window.start_ms < asked.start_ms
    assert (asked.end_ms - asked.start_ms) // step_ms < 1440


# Over the emulator of the demonstration


@pytest.fixture(scope="module")
def estate() -> Iterator[Emulators]:
    with Emulators() as emulators:
        yield emulators


async def ask(estate: Emulators, days: int = 2, limit: int = 100, **settings: Any) -> Any:
    """Incidents and dependencies as the source tells them."""
    url = estate.urls["prometheus"]
    parsed = Prometheus.Settings.model_validate({"plugin": "prometheus", "url": url, **settings})
    http = http_for(parsed)
    source = Prometheus(parsed, Context("prometheus", http=http))
    now = estate.clock()
    window = Window(now - days * 86_400_000, now)
    try:
        incidents = await source.list_incidents(IncidentQuery(window, limit=limit))
        return incidents, await source.list_dependencies(DependencyQuery(window))
    finally:
        await http.close()
        estate.faults["prometheus"].clear()


async def test_the_demonstration_shows_alerts_and_dependencies(estate: Emulators) -> None:
    incidents, dependencies = await ask(estate)
    now = estate.clock()
    opened = estate.estate.incidents(now - 2 * 86_400_000, now)
    assert {(one.service, one.opened_ms) for one in incidents.items} == {
        (one.service, one.created_ms // 1000 * 1000) for one in opened
    }
    assert {one.status for one in incidents.items} == {"triggered", "resolved"}
    pairs = {(one.caller, one.callee) for one in dependencies.items}
    assert pairs == {(member.name, callee) for member in MEMBERS.values() for callee in member.calls}
    assert (incidents.partial, dependencies.partial) == (None, None)


async def test_more_alerts_than_wanted_are_the_newest_and_said(estate: Emulators) -> None:
    incidents, _ = await ask(estate, limit=1)
    assert (len(incidents.items), incidents.items[0].status) == (1, "triggered")
    assert incidents.partial.startswith("only the newest 1 of ")


@pytest.mark.parametrize(("path", "named"), [("alerts", "alerts"), ("rules", "rules"), ("query_range", "earlier")])
async def test_one_of_the_three_requests_that_is_forbidden_costs_only_itself(
    estate: Emulators, path: str, named: str
) -> None:
    whole, _ = await ask(estate)
    estate.faults["prometheus"].set(f"/api/v1/{path}", Fault("status", code=403, body=b"not for you"))
    incidents, _ = await ask(estate)
    assert incidents.partial.startswith(named)
    assert "not for you" in incidents.partial
    kept = {(one.service, one.opened_ms, one.status) for one in incidents.items}
    assert kept <= {(one.service, one.opened_ms, one.status) for one in whole.items}
    assert "triggered" in {one.status for one in incidents.items}


async def test_a_backend_that_lets_nobody_read_alerts_is_forbidden(estate: Emulators) -> None:
    estate.faults["prometheus"].set("/", Fault("status", code=403, body=b"not for you"))
    with pytest.raises(ForbiddenError, match="not for you"):
        await ask(estate)


async def test_a_partial_answer_about_the_past_makes_the_reply_partial(estate: Emulators) -> None:
    estate.faults["prometheus"].set("/api/v1/query", Fault("partial"))
    incidents, dependencies = await ask(estate)
    assert incidents.partial == dependencies.partial == "one shard did not answer"
    assert len(incidents.items) > 0


async def test_the_counter_of_calls_can_be_ones_own(estate: Emulators) -> None:
    own = {"traces_service_graph_request_total": ["server", "client"]}
    _, dependencies = await ask(estate, dependencies=own)
    assert ("cache-redis", "auth-service") in {(one.caller, one.callee) for one in dependencies.items}
    assert len(dependencies.queries) == 1


@pytest.mark.parametrize("value", [np.inf, 1e300, -np.inf, np.nan])
def test_an_alert_whose_beginning_is_no_time_began_when_it_was_seen(value: float) -> None:
    row = Row(LABELS, np.array([START + MINUTE]), np.array([value]))
    (alarm,) = firings(row, WINDOW, MINUTE)
    assert alarm.opened_ms == START


def test_an_alert_of_an_unknown_state_is_counted_and_one_without_a_name_has_a_title() -> None:
    nameless = {**FIRING, "labels": {"alertname": ""}}
    found = alerts_of(reply("alerts", [nameless, {**FIRING, "state": "burning"}, {**FIRING, "state": "inactive"}]))
    assert [alarm.incident("service").title for alarm in found.alarms] == ["an alert without a name"]
    assert list(found.remarks()) == ["1 alerts could not be read"]


def test_an_unreadable_alert_of_a_rule_is_counted() -> None:
    rule = {"type": "alerting", "name": "Slow", "alerts": [FIRING, 7]}
    assert list(rules_of(reply("groups", [{"rules": [rule]}])).remarks()) == ["1 alerts could not be read"]
