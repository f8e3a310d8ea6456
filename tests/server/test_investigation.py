"""From a page to the likely cause, over the demo estate's seeded incidents: every claim has its evidence, and what
could not be looked at is said."""

from __future__ import annotations

import os
import re
from contextlib import AsyncExitStack
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from telemetry_mcp.config import read
from telemetry_mcp.demo.emulator import CONFIG
from telemetry_mcp.demo.fault import Fault
from telemetry_mcp.demo.scenario import Scenario, opened, quiet, scenario
from tests.server.conftest import serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.server.conftest import Answer, Desk

FIGURE = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?![\w.]*\])")


@pytest.fixture
async def desk_of() -> AsyncIterator[Callable[..., Awaitable[Desk]]]:
    """Opens a desk over a scenario, with further sources down."""
    async with AsyncExitStack() as stack:

        async def enter(played: Scenario, *down: str) -> Desk:
            world = stack.enter_context(opened(played))
            for vendor in down:
                world.faults[vendor].set("/", Fault("status", code=503))
            config = read(CONFIG, {**os.environ, **world.environ})
            return await stack.enter_async_context(serving(config, lambda: played.now_ms))

        yield enter


async def incident_id(desk: Desk, played: Scenario) -> str:
    """PagerDuty's id of the scenario's page."""
    listed = await desk.ask("list_incidents", status="all", since="1d")
    found: set[str] = {
        told.split(": ")[1]
        for row in listed["incidents"]
        if abs(ms(row["opened"]) - played.page_ms) < 300_000 and row["service"] == played.page.service
        for told in (f"{row['source']}: {row['id']}", *row["also"])
        if told.startswith("pagerduty")
    }
    (incident_id,) = found
    return incident_id


async def investigated(desk: Desk, played: Scenario) -> Answer:
    return await desk.ask("investigate_incident", incident_id=await incident_id(desk, played))


def ms(text: str) -> float:
    return datetime.fromisoformat(text).timestamp() * 1000


def evidence(answer: Answer) -> dict[str, Any]:
    """Everything in the answer that has an evidence id."""
    found: dict[str, Any] = {answer["incident"]["evidence"]: answer["incident"]}
    for rows in ("changes", "similar", "dependencies"):
        found |= {row["evidence"]: row for row in answer[rows]}
    for suspect in answer["suspects"]:
        found |= {row["evidence"]: {**row, "service": suspect["service"]} for row in suspect["metrics"]}
    for moment in answer["timeline"]:
        found.setdefault(moment["evidence"], moment)
    return found


# ---- who it was


@pytest.mark.parametrize("seed", [0, 3, 4, 12])
async def test_the_culprit_is_first_also_when_somebody_else_was_paged(
    desk_of: Callable[..., Awaitable[Desk]], seed: int
) -> None:
    played = scenario(seed)
    answer = await investigated(await desk_of(played), played)
    assert answer["conclusion"] == "suspects"
    first = answer["suspects"][0]
    assert first["service"] == played.culprit
    assert abs(ms(first["onset"]) - (played.onset_ms or 0)) <= 120_000
    assert first["lead_min"] == pytest.approx((played.page_ms - ms(first["onset"])) / 60_000, abs=0.1)
    assert answer["incident"]["service"] == played.page.service


async def test_the_deployment_that_did_it_is_a_candidate_before_the_innocent_ones(
    desk_of: Callable[..., Awaitable[Desk]],
) -> None:
    played = scenario(0)
    answer = await investigated(await desk_of(played), played)
    assert played.cause is not None
    own = [row for row in answer["changes"] if row["service"] == played.culprit]
    cause = min(own, key=lambda row: abs(ms(row["at"]) - played.cause.time_ms))  # type: ignore[union-attr]
    assert abs(ms(cause["at"]) - played.cause.time_ms) < 1000
    assert cause["before_onset_min"] > 0
    assert len(answer["changes"]) > 1
    assert f"[{cause['evidence']}]" in answer["summary"]
    assert "Candidate by its time" in answer["summary"]


async def test_a_false_alarm_names_nobody(desk_of: Callable[..., Awaitable[Desk]]) -> None:
    played = quiet(0)
    answer = await investigated(await desk_of(played), played)
    assert (answer["conclusion"], answer["suspects"]) == ("no_deviation", [])
    assert "No deviation was found" in answer["summary"]


async def test_a_service_and_a_start_do_without_an_incident(desk_of: Callable[..., Awaitable[Desk]]) -> None:
    played = scenario(4)
    desk = await desk_of(played)
    start = datetime.fromtimestamp(played.page_ms / 1000).astimezone().isoformat()
    answer = await desk.ask("investigate_incident", service=played.page.service, start=start, symptom="error_rate")
    assert answer["suspects"][0]["service"] == played.culprit
    assert answer["incident"]["id"] is None


# ---- what it rests on


@pytest.mark.parametrize("seed", [0, 2, 5, 9, 12])
async def test_every_figure_of_the_summary_is_in_the_evidence_that_it_cites(
    desk_of: Callable[..., Awaitable[Desk]], seed: int
) -> None:
    played = scenario(seed)
    answer = await investigated(await desk_of(played), played)
    known = evidence(answer)
    for clause in re.findall(r"[^;.]*(?:\.\d+[^;.]*)*\[\w+\]", answer["summary"]):
        cited = re.findall(r"\[([a-z]\d+)\]", clause)
        assert set(cited) <= known.keys(), clause
        text = " ".join(str(known[each]) for each in cited)
        plain = re.sub(r"\[\w+\]", "", clause)
        for time in re.findall(r"\d\d:\d\d", plain):
            assert f"T{time}" in text, clause
        for figure in FIGURE.findall(re.sub(r"\d\d:\d\d|\d{4}-\d\d-\d\d|latency_p\d+|the past: \d+", "", plain)):
            assert figure in text, (figure, clause)


async def test_all_times_are_on_one_clock_in_order(desk_of: Callable[..., Awaitable[Desk]]) -> None:
    played = scenario(12)
    answer = await investigated(await desk_of(played), played)
    times = [ms(moment["at"]) for moment in answer["timeline"]]
    assert times == sorted(times)
    kinds = {moment["kind"] for moment in answer["timeline"]}
    assert kinds >= {"page", "onset", "alert", "log_entry", "change"}
    onset = next(moment for moment in answer["timeline"] if moment["kind"] == "onset")
    assert evidence(answer)[onset["evidence"]]["onset"] == onset["at"]


async def test_who_is_on_call_who_depends_and_what_was_alike_are_there(
    desk_of: Callable[..., Awaitable[Desk]],
) -> None:
    played = scenario(12)
    answer = await investigated(await desk_of(played), played)
    assert answer["on_call"][0]["level"] == 1
    assert {row["relation"] for row in answer["similar"]} <= {"past", "related"}
    assert answer["similar"]
    callers = {row["caller"] for row in answer["dependencies"] if row["callee"] == played.culprit}
    assert callers <= set(answer["blast_radius"])
    assert callers
    assert all(row["sources"] for row in answer["dependencies"])


async def test_what_sources_wrote_is_never_in_our_own_words(desk_of: Callable[..., Awaitable[Desk]]) -> None:
    played = scenario(4)
    answer = await investigated(await desk_of(played), played)
    written = [answer["incident"]["title"], *(row["title"] for row in answer["changes"] + answer["similar"])]
    written += [moment["text"] for moment in answer["timeline"] if moment.get("text")]
    written += [row["person"] for row in answer["on_call"]]
    assert [text for text in written if text in answer["summary"]] == []


# ---- what could not be looked at


@pytest.mark.parametrize("vendor", ["prometheus", "datadog", "newrelic"])
async def test_with_a_source_down_it_is_uncertain_and_says_what_was_not_seen(
    desk_of: Callable[..., Awaitable[Desk]], vendor: str
) -> None:
    played = scenario(3)
    answer = await investigated(await desk_of(played, vendor), played)
    assert answer["conclusion"] == "uncertain"
    assert f"{vendor} could not be heard" in answer["summary"]
    assert "the cause may lie where nobody could look" in answer["summary"]
    assert any(vendor in row for row in answer["not_examined"])
    assert answer.ledger[vendor]["status"] == "failed"


async def test_with_every_source_of_numbers_down_nothing_is_known(desk_of: Callable[..., Awaitable[Desk]]) -> None:
    played = scenario(3)
    answer = await investigated(await desk_of(played, "prometheus", "datadog", "newrelic"), played)
    assert (answer["conclusion"], answer["suspects"]) == ("unknown", [])
    assert "Unknown: no metric of any service could be looked at" in answer["summary"]
    assert answer["timeline"]
    assert not answer.is_error


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({}, "name an incident_id (from list_incidents), or a service and a start"),
        ({"incident_id": "NOPE"}, "no incident of the last 30 days has the id 'NOPE'"),
        ({"incident_id": "A", "service": "api-gateway"}, "either an incident_id, or a service and a start"),
        ({"service": "api-gateway", "start": "now-1h", "guard": "3h"}, "guard must be shorter than lookback"),
        ({"service": "api-gateway", "start": "soon"}, "start='soon' is not a time"),
        ({"service": "api-gateway", "start": "now-1000d"}, "configured look-back"),
        ({"service": "checkout", "start": "now-1h"}, "no service is called 'checkout'"),
    ],
)
async def test_a_case_that_is_none_is_refused(
    desk_of: Callable[..., Awaitable[Desk]], arguments: dict[str, Any], says: str
) -> None:
    answer = await (await desk_of(quiet(1))).ask("investigate_incident", **arguments)
    assert answer.is_error
    assert says in answer.text
