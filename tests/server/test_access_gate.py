"""What a role has no right to is not there; and what stands on facts that sources tell keeps standing."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest
from mcp.types import PromptReference, ResourceTemplateReference

from telemetry_mcp.model import Change, Entry, Incident, OnCall, Service, Slo
from tests.server.conftest import NOW_MS
from tests.server.house import FAILS, numbers, teller, written
from tests.server.realm import NORTH, Seat, Sit, estate, incident, running, seated
from tests.server.test_access_surface import OF_METRIC, alike, metric_uri

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from telemetry_mcp.config import Config

ROLES = """
[access.roles.lister]
tools = ["list_services"]
services = ["*"]
sources = ["*"]

[access.roles.falcons]
tools = ["*"]
services = ["*"]
sources = ["*"]
teams = ["falcon"]

[access.roles.east]
tools = ["*"]
services = ["*"]
sources = ["*"]
environments = ["prodeast"]

[access.roles.brief]
tools = ["*"]
services = ["*"]
sources = ["*"]
lookback = "1h"

[access.roles.odd]
tools = ["*"]
services = ["svc[1]", "a*c"]
sources = ["*"]
"""
HOUR_MS = 3_600_000
Open = Any


@pytest.fixture
async def open_seat() -> AsyncIterator[Open]:
    async with AsyncExitStack() as stack:

        async def enter(config: Config, *roles: str) -> Seat:
            engine = await stack.enter_async_context(running(config))
            return await stack.enter_async_context(seated(engine, *roles))

        yield enter


@pytest.fixture
async def sit(tmp_path: Path) -> AsyncIterator[Sit]:
    async with running(estate(tmp_path, ROLES)) as engine, AsyncExitStack() as stack:

        async def enter(*roles: str) -> Seat:
            return await stack.enter_async_context(seated(engine, *roles))

        yield enter


@pytest.mark.parametrize(
    ("role", "tool"),
    [("lister", "list_incidents"), ("viewer", "query_source"), ("viewer", "investigate_incident")],
)
async def test_a_tool_that_a_role_has_not_is_answered_as_one_that_there_is_not(
    sit: Sit, role: str, tool: str
) -> None:
    seat, admin = await sit(role), await sit("admin")
    assert tool not in await seat.told(seat.client.list_tools())
    for arguments in ({}, {"nonsense": 1}):
        denied = alike(await seat.ask(tool, **arguments), tool)
        assert denied == alike(await seat.ask("no_such_tool", **arguments), "no_such_tool")
        assert denied == alike(await admin.ask("no_such_tool", **arguments), "no_such_tool")


async def test_prompts_and_resources_go_with_the_tool_that_they_stand_for(sit: Sit) -> None:
    seat, admin = await sit("lister"), await sit("admin")
    assert {each.name for each in (await seat.client.list_prompts()).prompts} == {"health_check"}
    assert {str(each.uri) for each in (await seat.client.list_resources()).resources} == {"telemetry://catalog"}
    assert (await seat.client.list_resource_templates()).resource_templates == []
    for uri in ("telemetry://sources", "telemetry://sli-report", metric_uri("payment-api")):
        denied = alike(await seat.told(seat.client.read_resource(uri)), uri)
        assert denied == alike(await admin.told(admin.client.read_resource("telemetry://no")), "telemetry://no")
    denied = await seat.told(seat.client.get_prompt("investigate", {"incident_id": "x"}))
    unknown = await seat.told(seat.client.get_prompt("investigat", {"incident_id": "x"}))
    assert alike(denied, "'investigate'") == alike(unknown, "'investigat'")


async def test_names_are_completed_by_the_right_to_what_takes_them_only(sit: Sit) -> None:
    seat, responder = await sit("lister"), await sit("responder")
    investigate = PromptReference(type="ref/prompt", name="investigate")
    health = PromptReference(type="ref/prompt", name="health_check")
    catalog = ResourceTemplateReference(type="ref/resource", uri="telemetry://catalog")
    ask = {"name": "incident_id", "value": ""}
    for reference in (investigate, health, catalog, OF_METRIC):
        assert (await seat.client.complete(reference, ask)).completion.values == []
    found = (await responder.client.complete(investigate, ask)).completion.values
    assert incident("payment-api", NORTH) in found
    assert (await responder.client.complete(health, ask)).completion.values == []
    assert (await responder.client.complete(health, {"name": "source", "value": ""})).completion.values == []


async def test_who_has_no_role_is_told_so_whatever_is_asked(sit: Sit) -> None:
    seat = await sit("ghost")
    told = await seat.ask("list_services")
    assert told == await seat.ask("no_such_tool")
    assert "kim has no role here: ask whoever runs the server" in told


async def test_upper_and_lower_case_differ_and_only_two_signs_mean_anything(
    open_seat: Open, tmp_path: Path
) -> None:
    names = ("svc[1]", "svc1", "abc", "ABC", "a-b\nc", "a*c", "abcd")
    seat = await open_seat(written(tmp_path, ROLES, told=teller(list_services=[Service(n) for n in names])), "odd")
    listed = (await seat.client.call_tool("list_services")).structured_content
    assert [row["name"] for row in listed["services"]] == ["a*c", "a-b c", "abc", "svc[1]"]


async def test_a_service_that_sources_place_differently_is_seen_where_it_is_allowed_only(
    open_seat: Open, tmp_path: Path
) -> None:
    told = {
        "one": teller(list_services=[Service("x", team="falcon"), Service("y", team="falcon")]),
        "two": teller(
            list_services=[Service("x", team="osprey")], list_changes=[Change("c2", "t", NOW_MS - 9, service="x")]
        ),
        "three": teller(
            list_services=[Service("y", team="osprey"), Service("y", team="falcon")],
            list_changes=[Change("c3", "t", NOW_MS - 9, service="y")],
        ),
        # It says nothing of teams: then what all the others say counts, and they differ.
        "four": teller(list_changes=[Change("c4", "t", NOW_MS - 9, service="x")]),
    }
    seat = await open_seat(written(tmp_path, ROLES, **told), "falcons")
    listed = (await seat.client.call_tool("list_services")).structured_content
    assert {(row["name"], *row["sources"]) for row in listed["services"]} == {("x", "one"), ("y", "one")}
    changes = (await seat.client.call_tool("list_changes")).structured_content
    assert changes["total"] == 0
    assert {line["items"] for line in changes["sources"]} == {0}


DOWN = "class Teller(Source):\n    down = []\n"


async def test_nobody_sees_more_because_a_source_is_down(open_seat: Open, tmp_path: Path) -> None:
    # Once "two" is down, only "one" would tell of x, and of its own.
    one = teller(list_services=[Service("x", team="falcon"), Service("z", team="falcon")])
    plain = teller(list_changes=[Change("c", "t", NOW_MS - 9, service="x")])
    two = teller(list_services=[Service("x", team="osprey")]).replace(
        "        return", "        if self.down: raise UpstreamError('HTTP 503')\n        return"
    )
    two = two.replace("class Teller(Source):\n", DOWN)
    seat = await open_seat(
        written(tmp_path, ROLES + '[cache]\ninventory = "1ms"\n', one=one, two=two, plain=plain), "falcons"
    )
    before = (await seat.client.call_tool("list_changes")).structured_content
    type(seat.engine.registry["two"].source).down.append(True)
    after = (await seat.client.call_tool("list_changes", {"fresh": True})).structured_content
    assert (before["total"], after["total"]) == (0, 0)


async def test_a_source_that_never_said_which_services_it_has_is_named_in_every_answer(
    open_seat: Open, tmp_path: Path
) -> None:
    config = written(
        tmp_path, ROLES, one=teller(list_services=[Service("x", team="falcon")]), two=teller(list_services=FAILS)
    )
    seat = await open_seat(config, "falcons")
    listed = (await seat.client.call_tool("list_changes")).structured_content
    assert any("could not be had: two" in warning for warning in listed["warnings"])


async def test_the_look_back_of_a_role_holds_for_what_tools_look_up_by_themselves(
    open_seat: Open, tmp_path: Path
) -> None:
    text = (
        teller(
            list_services=[Service("x")],
            list_incidents=[
                Incident("OLD", "t", "resolved", NOW_MS - 5 * HOUR_MS, "x", resolved_ms=NOW_MS - 4 * HOUR_MS)
            ],
            list_slos=[Slo("s", "t", 99, 1000, "x")],
        )
        .replace("Teller(Source):", "Teller(Source):\n    asked = []")
        .replace("        return", "        self.asked.append(query)\n        return")
    )
    seat = await open_seat(written(tmp_path, ROLES, told=text), "brief")
    asked = type(seat.engine.registry["told"].source).asked
    for tool, arguments in (("list_services", {}), ("investigate_incident", {"incident_id": "OLD"})):
        await seat.ask(tool, **arguments)
    await seat.told(seat.client.read_resource("telemetry://sli-report"))
    assert {type(query).__name__ for query in asked} == {"ServiceQuery", "IncidentQuery", "SloQuery"}
    assert min(query.window.start_ms for query in asked) >= NOW_MS - HOUR_MS - 120_000
    refused = await seat.ask("list_incidents", since="3h")
    assert "look-back" in refused


async def test_how_other_callers_questions_ended_is_told_in_outline_only(open_seat: Open, tmp_path: Path) -> None:
    text = teller(list_services=[Service("payment-x")], list_changes=FAILS).replace(
        "HTTP 503", "no table secret-svc"
    )
    role = '[access.roles.part]\ntools = ["*"]\nservices = ["payment-*"]\nsources = ["*"]\n'
    config = written(tmp_path, role, told=text)
    async with running(config) as engine, seated(engine, "part") as part, seated(engine, "admin") as admin:
        await admin.ask("list_changes")
        assert "secret-svc" in await admin.ask("list_sources")
        told = await part.ask("list_sources")
        assert "secret-svc" not in told
        (row,) = (await part.client.call_tool("list_sources")).structured_content["sources"]
        assert (row["status"], row["reason"]) == ("failing", "changes: upstream")


async def test_a_question_of_hidden_services_alone_has_the_ledger_of_a_service_that_there_is_not(
    open_seat: Open, tmp_path: Path
) -> None:
    role = '[access.roles.part]\ntools = ["*"]\nservices = ["a*"]\nsources = ["*"]\n'
    # A source that cannot list its services lets every name through.
    config = written(tmp_path, role, numbers=numbers(["abc", "xyz"]).replace("list_services", "not_a_method"))
    seat = await open_seat(config, "part")
    hidden, unknown = [await seat.ask("list_changes", service=name) for name in ("xyz", "xyy")]
    assert alike(hidden, "xyz") == alike(unknown, "xyy")
    assert '"status":"skipped"' in hidden  # it has no changes, whoever asks
    hidden, unknown = [await seat.ask("get_current_metrics", service=name) for name in ("xyz", "xyy")]
    assert alike(hidden, "xyz") == alike(unknown, "xyy")
    assert '"status":"no_data"' in hidden
    assert "skipped" not in hidden
    await seat.ask("get_current_metrics", service="abc")
    asked = type(seat.engine.registry["numbers"].source).asked
    assert {query.services for query in asked} == {("abc",)}


async def test_what_belongs_to_no_service_is_shown_with_the_incident_that_it_belongs_to(
    open_seat: Open, tmp_path: Path
) -> None:
    role = '[access.roles.part]\ntools = ["*"]\nservices = ["a*"]\nsources = ["*"]\n'
    text = teller(
        list_services=[Service("abc"), Service("xyz")],
        list_incidents=[Incident("I1", "t", "triggered", NOW_MS - 60_000, "abc")],
        list_timeline=[
            Entry("e1", NOW_MS - 50_000, "note", "a note"),
            Entry("e2", NOW_MS - 50_000, "alert", "of another", "xyz"),
        ],
        list_on_call=[OnCall("Kim", 1), OnCall("Lee", 1, "xyz")],
        list_changes=[Change("c", "of nobody", NOW_MS - 70_000)],
    )
    seat = await open_seat(written(tmp_path, role, told=text), "part")
    found = await seat.fields("investigate_incident", incident_id="I1")
    assert [row["text"] for row in found["timeline"] if "text" in row] == ["a note"]
    assert [row["person"] for row in found["on_call"]] == ["Kim"]
    # A change of no service is for roles that see all of them.
    assert found["changes"] == []


async def test_why_a_detector_cannot_be_used_is_for_whoever_sees_everything(
    open_seat: Open, tmp_path: Path
) -> None:
    (tmp_path / "spoilt.py").write_text("raise ValueError('of nobody elses concern')", encoding="utf-8")
    role = '[access.roles.part]\ntools = ["*"]\nservices = ["a*"]\nsources = ["*"]\n'
    more = role + '[detectors.spoilt]\nplugin = "./spoilt.py"\n'
    config = written(tmp_path, more, numbers=numbers(["abc"]))
    ask = {"service": "abc", "metric": "cpu"}
    async with running(config) as engine, seated(engine, "part") as part, seated(engine, "admin") as admin:
        told = [await part.ask("detect_anomalies", **ask, detector=name) for name in ("spoilt", "spoilx")]
        assert alike(told[0], "spoilt") == alike(told[1], "spoilx")
        assert "of nobody elses concern" in await admin.ask("detect_anomalies", **ask, detector="spoilt")
