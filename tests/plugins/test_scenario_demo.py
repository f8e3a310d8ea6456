"""Seeded incidents through the sources, as the registry builds them: all that a responder needs is on the wire."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest

from telemetry_mcp import (
    ChangeQuery,
    DependencyQuery,
    IncidentQuery,
    OnCallQuery,
    RelatedQuery,
    SeriesQuery,
    TimelineQuery,
    Window,
)
from telemetry_mcp.config import read
from telemetry_mcp.demo.emulator import CONFIG
from telemetry_mcp.demo.newrelic_entity import APPS
from telemetry_mcp.demo.pagerduty_wire import incident_id
from telemetry_mcp.demo.scenario import Scenario, opened, quiet, scenario
from telemetry_mcp.demo.topology import MEMBERS, PEOPLE
from telemetry_mcp.fanout import Deadline, Fanout
from telemetry_mcp.model import Outcome, Series
from telemetry_mcp.question import Question
from telemetry_mcp.registry import load

MINUTE_MS = 60_000
METRICS = ("cpu", "memory", "error_rate", "request_rate", "latency_p95")
BY_EFFECT = {"latency": "latency_p95"}
PLAYED = [scenario(seed) for seed in range(7)]
"""One of each kind."""
FIRST_DOWN = [next(p for p in map(scenario, range(40)) if p.down == name) for name in ("prometheus", "datadog")]


def named(played: Scenario) -> str:
    return f"{played.seed}-{played.kind}"


def window(played: Scenario, minutes: int = 180) -> Window:
    return Window(played.now_ms - minutes * MINUTE_MS, played.now_ms)


@asynccontextmanager
async def asking(played: Scenario) -> AsyncIterator[Fanout]:
    with opened(played) as world:
        registry = load(read(CONFIG, world.environ))
        async with Fanout(registry) as fanout:
            yield fanout
        await registry.close()


async def asked(fan: Fanout, question: Question[Any]) -> dict[str, Outcome[Any]]:
    return {outcome.source: outcome for outcome in await fan.ask(question, Deadline(10))}


def deviation(series: Series, played: Scenario) -> float:
    """The largest change after the onset, in deviations of the two hours before it."""
    assert played.onset_ms is not None
    times, values = np.asarray(series.timestamps_ms), np.asarray(series.values)
    before = values[(times < played.onset_ms - MINUTE_MS) & (times > played.onset_ms - 120 * MINUTE_MS)]
    after = values[times > played.onset_ms]
    return float(np.abs(after - np.median(before)).max() / before.std())


@pytest.mark.parametrize("played", PLAYED, ids=named)
async def test_the_page_and_its_story_are_at_pagerduty(played: Scenario) -> None:
    name, at = incident_id(played.page.id), window(played)
    async with asking(played) as fan:
        told = (await asked(fan, IncidentQuery(at)))["pagerduty"]
        story = (await asked(fan, TimelineQuery(name)))["pagerduty"]
        alike = (await asked(fan, RelatedQuery(name)))["pagerduty"]
        duty = (await asked(fan, OnCallQuery(at, (played.page.service,))))["pagerduty"]
    assert {told.status, story.status, alike.status, duty.status} == {"ok"}
    (page,) = [item for item in told.reply.items if item.id == name]
    assert (page.title, page.service, page.opened_ms) == (
        played.page.title,
        played.page.service,
        played.page_ms,
    )
    assert page.status == played.page.status(played.now_ms)
    assert page.urgency == "high"
    assert any(item.urgency == "low" and item.service != played.culprit for item in told.reply.items)
    kinds = [entry.kind for entry in story.reply.items]
    assert {"alert", "log_entry"} <= set(kinds) <= {"alert", "log_entry", "change"}
    assert all(entry.at_ms <= played.now_ms for entry in story.reply.items)
    assert any(item.relation == "past" and item.score for item in alike.reply.items)
    team = MEMBERS[played.page.service].team
    assert next(row.person for row in duty.reply.items if row.level == 1) == PEOPLE[team].name


@pytest.mark.parametrize("played", PLAYED, ids=named)
async def test_the_page_rings_at_the_other_vendors_too(played: Scenario) -> None:
    async with asking(played) as fan:
        told = await asked(fan, IncidentQuery(window(played)))
    keep = {"prometheus", "datadog"} | ({"newrelic"} if played.page.service in APPS else set())
    for source in keep - {played.down}:
        rows = [item for item in told[source].reply.items if item.service == played.page.service]
        assert played.page_ms in {item.opened_ms for item in rows}, source
    assert (played.down is None) == all(outcome.answered for outcome in told.values())


@pytest.mark.parametrize("played", PLAYED, ids=named)
async def test_the_changes_are_told_by_all_who_keep_them(played: Scenario) -> None:
    at = window(played, 12 * 60)
    known = played.estate.changes(at.start_ms, at.end_ms)
    async with asking(played) as fan:
        told = await asked(fan, ChangeQuery(at))
    for source in {"datadog", "newrelic", "pagerduty"} - {played.down}:
        kept = [change for change in known if source != "newrelic" or change.service in APPS]
        assert {(item.title, item.service, item.at_ms) for item in told[source].reply.items} == {
            (change.title, change.service, change.time_ms) for change in kept
        }
    if played.cause:
        assert played.cause in known


@pytest.mark.parametrize("played", PLAYED, ids=named)
async def test_the_culprits_metrics_leave_their_course_in_every_source_that_has_them(played: Scenario) -> None:
    assert played.fault is not None
    first = played.fault.effects[0]
    assert first.service == played.culprit
    async with asking(played) as fan:
        told = await asked(fan, SeriesQuery((), METRICS, window(played), MINUTE_MS))
    metric = BY_EFFECT.get(first.metric, first.metric)
    found = {
        source: deviation(series, played)
        for source, outcome in told.items()
        for series in outcome.reply.items
        if (series.service, series.metric) == (played.culprit, metric)
    }
    assert found
    assert min(found.values()) > 5, found
    assert played.down not in found


@pytest.mark.parametrize("played", FIRST_DOWN, ids=lambda played: played.down)
async def test_a_source_that_is_down_is_said_to_be_and_the_others_answer(played: Scenario) -> None:
    async with asking(played) as fan:
        told = await asked(fan, SeriesQuery((), METRICS, window(played), MINUTE_MS))
        page = (await asked(fan, IncidentQuery(window(played))))["pagerduty"]
    assert played.down is not None
    assert told[played.down].status == "failed"
    assert {name for name, outcome in told.items() if outcome.status == "ok"} == {
        "prometheus",
        "datadog",
        "newrelic",
    } - {played.down}
    assert incident_id(played.page.id) in {item.id for item in page.reply.items}


async def test_whoever_knows_dependencies_agrees_on_them() -> None:
    async with asking(PLAYED[0]) as fan:
        told = await asked(fan, DependencyQuery(window(PLAYED[0])))
    pairs = {(member.name, callee) for member in MEMBERS.values() for callee in member.calls}
    for source, outcome in told.items():
        known = {(edge.caller, edge.callee) for edge in outcome.reply.items}
        of_apps = {pair for pair in pairs if pair[0] in APPS}
        assert known == (of_apps if source == "newrelic" else pairs), source


async def test_a_false_alarm_pages_like_any_other() -> None:
    played = quiet(0)
    async with asking(played) as fan:
        told = await asked(fan, IncidentQuery(window(played)))
        changes = await asked(fan, ChangeQuery(window(played, 12 * 60)))
    assert incident_id(played.page.id) in {item.id for item in told["pagerduty"].reply.items}
    assert len(changes["pagerduty"].reply.items) >= 3
