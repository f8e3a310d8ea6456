"""PagerDuty's emulator through the source: what the estate tells, and each of the faults of a network."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from time import monotonic
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from telemetry_mcp import (
    ChangeQuery,
    DependencyQuery,
    IncidentQuery,
    OnCallQuery,
    ProtocolError,
    RateLimitedError,
    RelatedQuery,
    Reply,
    ServiceQuery,
    SourceError,
    SourceTimeoutError,
    TimelineQuery,
    UpstreamError,
    Window,
)
from telemetry_mcp.demo.emulator import Emulators
from telemetry_mcp.demo.estate import Estate, Incident
from telemetry_mcp.demo.fault import Fault
from telemetry_mcp.demo.pagerduty import API_KEY, LIMITED
from telemetry_mcp.demo.pagerduty_wire import incident_id, routing_key
from telemetry_mcp.demo.topology import MEMBERS
from telemetry_mcp.guard import Guard
from telemetry_mcp.question import Question
from telemetry_mcp_pagerduty import PagerDuty

if TYPE_CHECKING:
    from tests.plugins.conftest import ConnectPagerDuty

NOW_MS = (20_500 * 86_400 + 15 * 3600) * 1000
HOUR_MS = 3_600_000
WEEK = Window(NOW_MS - 168 * HOUR_MS, NOW_MS)
DEADLINE_S = 0.6
TIMEOUT_S = 1.0


@pytest.fixture(scope="module")
def emulators() -> Iterator[Emulators]:
    with Emulators(Estate.today(NOW_MS), clock=lambda: NOW_MS) as emulators:
        yield emulators


@pytest.fixture
def world(emulators: Emulators) -> Iterator[Emulators]:
    """The vendors at one moment, all well, who have been asked nothing yet."""
    emulators.requests["pagerduty"].clear()
    emulators.requests["stranger"].clear()
    yield emulators
    emulators.faults["pagerduty"].clear()


@pytest.fixture
def duty(world: Emulators, connect_pagerduty: ConnectPagerDuty) -> PagerDuty:
    return connect_pagerduty(
        world.urls["pagerduty"], api_key=API_KEY, timeout=f"{int(TIMEOUT_S * 1000)}ms", max_body_mb=1
    )


@pytest.fixture
def slow(world: Emulators) -> Incident:
    """The incident of the payment processor that was slow after a deployment."""
    (found,) = (one for one in world.estate.incidents(0, NOW_MS) if one.id == "payment-slow-payment-processor")
    return found


async def test_an_incident_is_told_from_its_cause_to_its_end(duty: PagerDuty, slow: Incident) -> None:
    reply = await duty.list_timeline(TimelineQuery(incident_id(slow.id)))
    assert slow.cause is not None
    told = [(entry.kind, entry.title) for entry in reply.items if entry.at_ms >= slow.cause.time_ms]
    assert reply.partial is None
    assert told == [
        ("change", "Deploy payment-processor v2.14.0 (most recent)"),
        ("alert", f"{slow.title} [critical]: fault: payment-slow, check: {slow.title}"),
        ("log_entry", "Triggered through the API."),
        ("log_entry", f"Acknowledged by {slow.assignee}."),
        ("note", "Looks like this began with: Deploy payment-processor v2.14.0"),
        ("log_entry", "Resolved through the API."),
    ]


async def test_relatives_of_an_incident_come_with_how_they_ended(duty: PagerDuty, slow: Incident) -> None:
    reply = await duty.list_related(RelatedQuery(incident_id(slow.id)))
    (gateway,) = [item for item in reply.items if item.relation == "related"]
    assert (gateway.service, gateway.status, gateway.severity) == ("api-gateway", "resolved", "P2")
    assert all(item.service == slow.service and item.score for item in reply.items if item.relation == "past")
    assert reply.partial is None


async def test_an_incident_of_before_the_window_that_ended_in_it_is_found(duty: PagerDuty, slow: Incident) -> None:
    assert slow.resolved_ms is not None
    last_minutes = Window(slow.resolved_ms - 60_000, slow.resolved_ms + 60_000)
    reply = await duty.list_incidents(IncidentQuery(last_minutes, (slow.service,)))
    assert [(item.title, item.resolved_ms) for item in reply.items] == [(slow.title, slow.resolved_ms)]


async def test_who_is_on_call_for_a_service_is_its_team_and_then_the_permanent_one(duty: PagerDuty) -> None:
    reply = await duty.list_on_call(OnCallQuery(Window(NOW_MS - HOUR_MS, NOW_MS), ("payment-processor",)))
    assert [(row.level, row.person, row.service, row.end_ms is None) for row in reply.items] == [
        (1, "Amara Okafor", "payment-processor", False),
        (2, "Ines Moreau", "payment-processor", True),
    ]
    everyone = await duty.list_on_call(OnCallQuery(Window(NOW_MS - HOUR_MS, NOW_MS)))
    assert {row.service for row in everyone.items} == set(MEMBERS)


async def test_changes_and_dependencies_are_those_of_the_estate(world: Emulators, duty: PagerDuty) -> None:
    changes = await duty.list_changes(ChangeQuery(WEEK))
    estate = sorted(world.estate.changes(WEEK.start_ms, WEEK.end_ms), key=lambda change: -change.time_ms)
    assert [(item.title, item.service, item.kind, item.at_ms) for item in changes.items] == [
        (change.title, change.service, change.kind, change.time_ms) for change in estate
    ]
    mine = await duty.list_changes(ChangeQuery(WEEK, ("payment-processor",)))
    assert list(mine.items) == [item for item in changes.items if item.service == "payment-processor"]
    edges = (await duty.list_dependencies(DependencyQuery(WEEK))).items
    assert {(edge.caller, edge.callee) for edge in edges} == {
        (member.name, other) for member in MEMBERS.values() for other in member.calls
    }


async def test_a_check_finds_nothing_wrong_but_the_clock_of_this_world(duty: PagerDuty) -> None:
    found = (await duty.check()).items
    assert [check.name for check in found if not check.ok and not check.optional] == ["clock"]
    assert {"quota of requests", "quota of on-call requests"} < {check.name for check in found}


async def asked(duty: PagerDuty, slow: Incident) -> dict[str, Reply[Any] | SourceError]:
    """What each question ends as, all asked at once through a guard."""
    name, guard = incident_id(slow.id), Guard(timeout_s=DEADLINE_S, max_concurrency=16)
    ends: dict[str, Reply[Any] | SourceError] = {}

    async def ask(query: Question[Any]) -> None:
        try:
            ends[query.method] = await guard.ask(duty, query)
        except SourceError as error:
            ends[query.method] = error

    began = monotonic()
    async with anyio.create_task_group() as tasks:
        for query in (
            IncidentQuery(WEEK),
            TimelineQuery(name),
            RelatedQuery(name),
            ChangeQuery(WEEK),
            OnCallQuery(WEEK),
            ServiceQuery(WEEK),
            DependencyQuery(WEEK),
        ):
            tasks.start_soon(ask, query)
    assert monotonic() - began < DEADLINE_S + 0.5
    return ends


FAILING: list[tuple[Fault, tuple[type[SourceError], ...]]] = [
    (Fault("hang"), (SourceTimeoutError,)),
    (Fault("drip", seconds=0.01), (SourceTimeoutError,)),
    (Fault("delay", seconds=30), (SourceTimeoutError,)),
    (Fault("status", code=500), (UpstreamError,)),
    (Fault("status", code=503), (UpstreamError,)),
    (Fault("reset"), (UpstreamError,)),
    (Fault("truncate"), (UpstreamError,)),
    (Fault("truncate", chunked=True), (UpstreamError,)),
    (Fault("gzip_bomb"), (ProtocolError,)),
    (Fault("html"), (ProtocolError,)),
    (Fault("empty"), (ProtocolError,)),
    (Fault("rate_limit"), (RateLimitedError,)),
    (LIMITED, (RateLimitedError,)),
]


@pytest.mark.parametrize(("fault", "errors"), FAILING, ids=lambda value: getattr(value, "kind", ""))
async def test_every_fault_is_a_typed_error_in_time_that_tells_no_secret(
    world: Emulators,
    duty: PagerDuty,
    slow: Incident,
    fault: Fault,
    errors: tuple[type[SourceError], ...],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    world.faults["pagerduty"].set("/", fault)
    for method, end in (await asked(duty, slow)).items():
        assert isinstance(end, errors), (method, end)
        said = "".join(traceback.format_exception(end)) + end.hint + caplog.text
        assert API_KEY[-4:] not in said


async def test_a_time_out_is_one_request(world: Emulators, duty: PagerDuty) -> None:
    world.faults["pagerduty"].set("/", Fault("hang"))
    with pytest.raises(SourceTimeoutError):
        await Guard(timeout_s=DEADLINE_S, max_concurrency=16).ask(duty, ServiceQuery(WEEK))
    assert len(world.requests["pagerduty"]) == 1


async def test_a_redirect_leads_nobody_to_the_stranger(world: Emulators, duty: PagerDuty, slow: Incident) -> None:
    world.faults["pagerduty"].set("/", Fault("redirect", url=world.stranger))
    assert all(isinstance(end, ProtocolError) for end in (await asked(duty, slow)).values())
    assert not world.requests["stranger"]


@pytest.mark.parametrize("blank", [False, True])
async def test_pages_without_end_are_partial(
    world: Emulators, duty: PagerDuty, slow: Incident, blank: bool
) -> None:
    world.faults["pagerduty"].set("/services", Fault("endless_pages", blank=blank))
    reply = await Guard(timeout_s=DEADLINE_S, max_concurrency=16).ask(duty, ServiceQuery(WEEK))
    assert len(reply.items) == (0 if blank else len(MEMBERS))
    assert (reply.partial or "").startswith("PagerDuty ")


@pytest.mark.parametrize("kind", ["wrong_content_type", "partial"])
async def test_what_does_no_harm_changes_nothing(world: Emulators, duty: PagerDuty, kind: Any) -> None:
    well = await duty.list_services(ServiceQuery(WEEK))
    world.faults["pagerduty"].set("/", Fault(kind))
    assert await duty.list_services(ServiceQuery(WEEK)) == well


async def test_no_integration_key_of_the_estate_gets_out(
    world: Emulators, duty: PagerDuty, slow: Incident
) -> None:
    ends = await asked(duty, slow)
    assert all(isinstance(end, Reply) and end.items for end in ends.values())
    said = repr(ends)
    assert not [name for name in MEMBERS if routing_key(name) in said]
