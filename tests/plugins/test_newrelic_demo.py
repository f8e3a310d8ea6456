"""The New Relic plugin over the demo's NerdGraph, as the registry builds it: what an incident responder gets, and
what is left of it while New Relic, or whatever stands before it, misbehaves."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from telemetry_mcp import (
    ChangeQuery,
    DependencyQuery,
    IncidentQuery,
    SeriesQuery,
    ServiceQuery,
    SloQuery,
    Window,
)
from telemetry_mcp.config import FILE_NAME, read
from telemetry_mcp.demo import newrelic
from telemetry_mcp.demo.emulator import Emulators
from telemetry_mcp.demo.estate import Estate
from telemetry_mcp.demo.fault import Fault
from telemetry_mcp.demo.topology import MEMBERS
from telemetry_mcp.fanout import Deadline, Fanout
from telemetry_mcp.model import Outcome
from telemetry_mcp.question import (
    CheckQuery,
    Question,
)
from telemetry_mcp.registry import load
from telemetry_mcp_newrelic.preset import PRESETS

NOW_MS = (20_500 * 86_400 + 15 * 3600) * 1000
DAY_MS = 86_400_000
HOUR = Window(NOW_MS - 3_600_000, NOW_MS)
WEEK = Window(NOW_MS - 7 * DAY_MS, NOW_MS)
APPS = {name for name, member in MEMBERS.items() if member.kind == "app"}
CONFIG = """
[sources.nr]
plugin = "newrelic"
url = "{url}"
api_key = "{key}"
account_id = 1234567
preset = [{preset}]
max_body_mb = 4
timeout = "{timeout}"
"""
EVERY: tuple[Question[Any], ...] = (
    SeriesQuery(("api-gateway",), ("error_rate",), HOUR, 60_000),
    ServiceQuery(HOUR),
    IncidentQuery(WEEK),
    ChangeQuery(WEEK),
    DependencyQuery(HOUR),
    SloQuery(HOUR),
)


@pytest.fixture(scope="module")
def emulators() -> Iterator[Emulators]:
    with Emulators(Estate.today(NOW_MS), clock=lambda: NOW_MS) as emulators:
        yield emulators


@pytest.fixture
def world(emulators: Emulators) -> Iterator[Emulators]:
    emulators.requests["newrelic"].clear()
    yield emulators
    emulators.faults["newrelic"].clear()


@asynccontextmanager
async def opened(
    world: Emulators, folder: Path, timeout_ms: int = 5000, preset: str = ""
) -> AsyncIterator[Fanout]:
    settings = {"url": world.urls["newrelic"], "key": newrelic.API_KEY, "timeout": f"{timeout_ms}ms"}
    text = CONFIG.format(**settings, preset=preset or '"apm", "otel", "host"')
    (folder / FILE_NAME).write_text(text)
    registry = load(read(folder / FILE_NAME, {}))
    async with Fanout(registry) as fanout:
        yield fanout
    await registry.close()


@pytest.fixture
async def fan(world: Emulators, tmp_path: Path) -> AsyncIterator[Fanout]:
    async with opened(world, tmp_path) as fanout:
        yield fanout


@pytest.fixture
async def hasty(world: Emulators, tmp_path: Path) -> AsyncIterator[Fanout]:
    """As `fan`, with little patience."""
    async with opened(world, tmp_path, timeout_ms=300) as fanout:
        yield fanout


async def asked(fan: Fanout, question: Question[Any]) -> Outcome[Any]:
    (outcome,) = await fan.ask(question, Deadline(10))
    return outcome


async def test_the_golden_signals_come_without_a_query_in_the_configuration(fan: Fanout) -> None:
    found = await asked(fan, SeriesQuery((), tuple(PRESETS["apm"]), HOUR, 60_000))
    assert found.status == "ok"
    assert {item.metric for item in found.reply.items} == set(PRESETS["apm"])
    assert {item.service for item in found.reply.items} == APPS
    assert all(len(item) == 60 and item.unit for item in found.reply.items)


async def test_hosts_are_what_the_preset_of_hosts_is_about(fan: Fanout) -> None:
    found = await asked(fan, SeriesQuery(("cache-redis-0",), tuple(PRESETS["host"]), HOUR, 60_000))
    assert {(item.service, item.metric) for item in found.reply.items} == {
        ("cache-redis-0", metric) for metric in PRESETS["host"]
    }


@pytest.mark.parametrize("metric", sorted(PRESETS["otel"]))
async def test_every_query_of_the_opentelemetry_preset_is_one_that_new_relic_takes(
    world: Emulators, tmp_path: Path, metric: str
) -> None:
    async with opened(world, tmp_path, preset='"otel"') as fan:
        found = await asked(fan, SeriesQuery((), (metric,), HOUR, 60_000))
    assert {item.service for item in found.reply.items} == {"notification-service"}


async def test_services_have_owners_standings_and_the_lists_they_are_in(fan: Fanout) -> None:
    found = {item.name: item for item in (await asked(fan, ServiceQuery(HOUR))).reply.items}
    assert set(found) == APPS
    assert found["notification-service"].listed_by == ("APM", "OpenTelemetry")
    assert found["notification-service"].status == "WARNING"
    assert {(item.environment, item.team == MEMBERS[item.name].team) for item in found.values()} == {
        ("production", True)
    }


async def test_issues_are_the_incidents_of_the_estate(fan: Fanout, world: Emulators) -> None:
    outcome = await asked(fan, IncidentQuery(WEEK))
    opened = world.estate.incidents(WEEK.start_ms, WEEK.end_ms)
    expected = [one for one in reversed(opened) if one.service in APPS]
    assert [(item.title, item.service, item.opened_ms) for item in outcome.reply.items] == [
        (one.title, one.service, one.created_ms) for one in expected
    ]
    assert [item.status for item in outcome.reply.items] == [one.status(NOW_MS) for one in expected]
    assert len(expected) >= 3


async def test_changes_are_those_of_the_estate(fan: Fanout, world: Emulators) -> None:
    outcome = await asked(fan, ChangeQuery(WEEK))
    expected = [one for one in reversed(world.estate.changes(WEEK.start_ms, NOW_MS)) if one.service in APPS]
    assert [(item.title, item.service, item.at_ms) for item in outcome.reply.items] == [
        (one.title, one.service, one.time_ms) for one in expected
    ]
    assert {item.kind for item in outcome.reply.items} == {"deployment", "change"}
    one = await asked(fan, ChangeQuery(WEEK, services=("payment-processor",)))
    assert {item.service for item in one.reply.items} == {"payment-processor"}


async def test_dependencies_are_those_of_the_applications(fan: Fanout, world: Emulators) -> None:
    found = (await asked(fan, DependencyQuery(HOUR))).reply.items
    assert {(item.caller, item.callee) for item in found} == {
        (name, callee) for name in APPS for callee in MEMBERS[name].calls
    }
    assert len(world.requests["newrelic"]) == 2


async def test_service_levels_stand_where_the_estate_stands(fan: Fanout, world: Emulators) -> None:
    found = {item.service: item for item in (await asked(fan, SloQuery(HOUR))).reply.items}
    assert set(found) == APPS
    assert found["user-service"].state == "ok"
    assert found["user-service"].sli == pytest.approx(99.98, abs=0.02)
    assert (found["user-service"].objective, found["user-service"].window_ms) == (99.5, 7 * DAY_MS)
    assert len(world.requests["newrelic"]) == 2


async def test_doctor_finds_everything_in_order_but_the_clock_of_another_day(fan: Fanout) -> None:
    checks = {check.name: check for check in (await asked(fan, CheckQuery())).reply.items}
    assert [name for name, check in checks.items() if not check.ok] == ["clock"]
    assert checks["service levels"].detail == "5 service levels"


FAULTS = [
    (Fault("status", code=500), "upstream"),
    (Fault("status", code=502, body=b"<html>bad gateway</html>"), "upstream"),
    (Fault("status", code=402, body=b'{"errors":[{"message":"not in the plan"}]}'), "plan"),
    (Fault("status", code=401), "auth"),
    (Fault("rate_limit"), "rate_limited"),
    (newrelic.LIMITED, "rate_limited"),
    (Fault("reset"), "upstream"),
    (Fault("truncate"), "upstream"),
    (Fault("gzip_bomb", size=8 << 20), "protocol"),
    (Fault("html"), "protocol"),
    (Fault("empty"), "protocol"),
]


@pytest.mark.parametrize("question", EVERY, ids=lambda question: question.method)
@pytest.mark.parametrize(("fault", "kind"), FAULTS, ids=[f"{fault.kind}-{fault.code}" for fault, _ in FAULTS])
async def test_every_question_ends_in_the_error_that_the_fault_means(
    fan: Fanout,
    world: Emulators,
    fault: Fault,
    kind: str,
    question: Question[Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    world.faults["newrelic"].set("/", fault)
    outcome = await asked(fan, question)
    assert outcome.failure is not None
    assert (outcome.status, outcome.failure.kind) == ("failed", kind)
    assert newrelic.API_KEY not in f"{outcome} {caplog.text}"


@pytest.mark.parametrize("question", EVERY, ids=lambda question: question.method)
@pytest.mark.parametrize("fault", [Fault("hang"), Fault("drip", 0.02)], ids=["hang", "drip"])
async def test_after_a_time_out_nothing_is_asked_again(
    hasty: Fanout, world: Emulators, fault: Fault, question: Question[Any]
) -> None:
    world.faults["newrelic"].set("/", fault)
    outcome = await asked(hasty, question)
    assert outcome.failure is not None
    assert outcome.failure.kind == "timeout"
    # Open issues and those that have ended are two lists, asked at once.
    assert len(world.requests["newrelic"]) == (2 if question.method == "list_incidents" else 1)


async def test_a_redirect_is_not_followed(fan: Fanout, world: Emulators) -> None:
    world.requests["stranger"].clear()
    world.faults["newrelic"].set("/", Fault("redirect", url=world.stranger))
    outcome = await asked(fan, ServiceQuery(HOUR))
    assert outcome.failure is not None
    assert outcome.failure.kind == "protocol"
    assert not world.requests["stranger"]


@pytest.mark.parametrize("blank", [False, True])
@pytest.mark.parametrize("question", [ServiceQuery(HOUR), IncidentQuery(WEEK)], ids=["services", "incidents"])
async def test_pages_that_never_end_are_left_and_said(
    fan: Fanout, world: Emulators, question: Question[Any], blank: bool
) -> None:
    world.faults["newrelic"].set("/", Fault("endless_pages", blank=blank))
    outcome = await asked(fan, question)
    assert outcome.status == "partial"
    assert "than the 2 pages that were read" in (outcome.reply.partial or "")
    assert bool(outcome.reply.items) is not blank


async def test_a_wrong_content_type_is_read_all_the_same(fan: Fanout, world: Emulators) -> None:
    world.faults["newrelic"].set("/", Fault("wrong_content_type"))
    outcome = await asked(fan, ServiceQuery(HOUR))
    assert {item.name for item in outcome.reply.items} == APPS


async def test_a_deprecation_beside_everything_is_a_warning(fan: Fanout, world: Emulators) -> None:
    errors = [{"message": "This field is deprecated! Please use another.", "path": ["actor"]}]
    world.faults["newrelic"].set("/", Fault("partial", extra={"errors": errors}))
    for question in EVERY:
        outcome = await asked(fan, question)
        assert outcome.status == "ok", question.method
        assert errors[0]["message"] in outcome.reply.warnings, question.method
