"""Sources that fail: the others' answer arrives in time, and the ledger says who is missing and what to do."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from telemetry_mcp.demo import datadog, newrelic, prometheus
from telemetry_mcp.demo.fault import Fault

if TYPE_CHECKING:
    from telemetry_mcp.config import Config
    from telemetry_mcp.demo.emulator import Emulators
    from tests.server.conftest import Ask, Desk, OpenDesk

VENDORS = ("prometheus", "datadog", "newrelic", "pagerduty")
GRACE_S = 0.5
HANG = Fault("hang")
DOWN = Fault("status", code=500)
MB = 2**20


def befall(world: Emulators, **faults: Fault) -> None:
    for vendor, fault in faults.items():
        world.faults[vendor].set("/", fault)


# One of them answers


@pytest.mark.parametrize(
    ("hung", "down", "limited", "limit", "well", "services"),
    [
        ("prometheus", "newrelic", "datadog", datadog.LIMITED, "pagerduty", 8),
        ("datadog", "pagerduty", "prometheus", prometheus.LIMITED, "newrelic", 5),
    ],
)
async def test_one_answer_arrives_by_the_deadline_while_three_sources_fail(
    ask: Ask, world: Emulators, hung: str, down: str, limited: str, limit: Fault, well: str, services: int
) -> None:
    befall(world, **{hung: HANG, down: DOWN, limited: limit})
    answer = await ask("list_services", deadline_s=2)
    assert answer.took_s < 2 + GRACE_S
    assert not answer.is_error
    assert answer.ledger[well]["status"] == "ok"
    assert [row["sources"] for row in answer["services"]] == [[well]] * services
    assert answer.kinds == {hung: "timeout", down: "upstream", limited: "rate_limited"}
    assert all(line["error"]["fix"] for line in answer.ledger.values() if line["error"])
    note = answer["coverage"]["note"]
    assert note.startswith("1 of 4 sources answered; treat absence as unknown.")
    assert all(name in note for name in (hung, down, limited))
    assert answer["coverage"]["complete"] is False


async def test_what_failed_sources_would_have_said_is_null(ask: Ask, world: Emulators) -> None:
    befall(world, prometheus=DOWN, datadog=DOWN, pagerduty=DOWN)
    answer = await ask("list_services")
    row = answer.row("services", name="payment-processor")
    assert (row["cpu"], row["memory"], row["open_incidents"]) == (None, None, None)
    assert row["error_rate"] is not None
    assert row["sources"] == ["newrelic"]


async def test_the_note_names_every_failed_source_however_much_they_say(ask: Ask, world: Emulators) -> None:
    wordy = Fault("status", code=500, body=b"the shard is gone " * 100)
    befall(world, prometheus=wordy, datadog=wordy, newrelic=wordy)
    note = (await ask("list_services"))["coverage"]["note"]
    assert all(name in note for name in ("prometheus", "datadog", "newrelic"))


async def test_the_hint_of_a_rate_limit_is_passed_on(ask: Ask, world: Emulators) -> None:
    befall(world, datadog=datadog.LIMITED, newrelic=newrelic.LIMITED)
    answer = await ask("list_services")
    assert answer.ledger["datadog"]["error"]["retry_after_s"] == pytest.approx(7, abs=1)
    assert answer.kinds == {"datadog": "rate_limited", "newrelic": "rate_limited"}


async def test_the_source_that_is_shown_first_is_replaced_by_the_next_when_it_fails(
    ask: Ask, world: Emulators
) -> None:
    befall(world, prometheus=DOWN)
    answer = await ask("get_current_metrics", service="payment-processor", metrics=["cpu"])
    assert answer.row("readings", metric="cpu")["source"] == "datadog"
    assert answer.kinds == {"prometheus": "upstream"}


# None of them answers


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("list_services", {}),
        ("get_current_metrics", {"service": "payment-processor"}),
        ("query_historical_metrics", {"service": "payment-processor", "metric_type": "cpu"}),
        ("check_sli_compliance", {"service": "payment-processor", "metric": "cpu"}),
        ("detect_anomalies", {}),
        ("list_incidents", {}),
        ("query_source", {"source": "prometheus", "query": "up"}),
    ],
)
async def test_when_all_sources_fail_it_is_an_error_with_the_ledger_inside(
    ask: Ask, world: Emulators, tool: str, arguments: dict[str, str]
) -> None:
    befall(world, **dict.fromkeys(VENDORS, DOWN))
    answer = await ask(tool, **arguments)
    assert answer.is_error
    assert set(answer.kinds.values()) == {"upstream"}
    assert answer["coverage"]["answered"] == 0
    assert answer["coverage"]["note"].startswith("no source answered; nothing is known. ")
    assert '"kind":"upstream"' in answer.text


# What is known of a source that keeps failing


async def test_sources_that_keep_failing_are_left_alone_and_listed_so(
    open_desk: OpenDesk, config: Config, world: Emulators
) -> None:
    config.sources = [
        replace(table, values={**table.values, "timeout": "200ms"}) if table.name == "newrelic" else table
        for table in config.sources
    ]
    ask = (await open_desk(config)).ask
    befall(world, prometheus=DOWN, datadog=datadog.LIMITED, newrelic=HANG)
    for _ in range(3):
        await ask("list_services", fresh=True)
    sources = await ask("list_sources")
    down, hung = (sources.row("sources", name=name) for name in ("prometheus", "newrelic"))
    limited, well = (sources.row("sources", name=name) for name in ("datadog", "pagerduty"))
    assert [row["status"] for row in (down, limited, hung, well)] == [
        *("breaker_open", "backing_off", "breaker_open", "ready"),
    ]
    assert down["breaker"]["state"] == hung["breaker"]["state"] == "open"
    assert 0 < down["breaker"]["retry_in_s"] <= 15
    assert 0 < limited["backing_off_s"] <= 8
    assert all(row["reason"] and row["fix"] for row in (down, hung, limited))
    assert sources["ready"] == 1

    for requests in world.requests.values():
        requests.clear()
    answer = await ask("list_services", fresh=True)
    assert answer.kinds == {"prometheus": "breaker_open", "datadog": "rate_limited", "newrelic": "breaker_open"}
    assert {name for name, requests in world.requests.items() if requests} == {"pagerduty"}


async def test_threads_that_cannot_be_cancelled_are_counted(ask: Ask, world: Emulators) -> None:
    befall(world, datadog=HANG)
    await ask("get_current_metrics", service="payment-processor", metrics=["cpu"], deadline_s=0.3)
    sources = await ask("list_sources")
    assert sources.row("sources", name="datadog")["abandoned_threads"] > 0
    assert sources.row("sources", name="prometheus")["abandoned_threads"] == 0


# Every fault there is, on every vendor

FAULTS: dict[str, tuple[Fault, str]] = {
    "html": (Fault("html"), "protocol"),
    "empty": (Fault("empty"), "protocol"),
    "redirect": (Fault("redirect", url="to the stranger"), "protocol"),
    "gzip_bomb": (Fault("gzip_bomb", size=128 * MB), "protocol"),
    "truncate": (Fault("truncate"), "upstream"),
    "reset": (Fault("reset"), "upstream"),
    "bad_gateway": (Fault("status", code=502, body=b"<html>Bad Gateway</html>"), "upstream"),
    "rate_limit": (Fault("rate_limit"), "rate_limited"),
    "hang": (HANG, "timeout"),
    "drip": (Fault("drip", seconds=0.05), "timeout"),
}
HARMLESS: dict[str, Fault] = {
    "delay": Fault("delay", seconds=0.1),
    "wrong_content_type": Fault("wrong_content_type"),
    "endless_pages": Fault("endless_pages"),
    "endless_blank_pages": Fault("endless_pages", blank=True),
    "partial": Fault("partial"),
}
DEADLINE_S = 0.6
GENEROUS_S = 7.0


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("name", FAULTS)
async def test_whatever_befalls_one_source_has_a_kind_and_leaves_the_others_alone(
    ask: Ask, world: Emulators, name: str, vendor: str
) -> None:
    fault, kind = FAULTS[name]
    if fault.kind == "redirect":
        fault = Fault("redirect", url=world.stranger)
    befall(world, **{vendor: fault})
    deadline_s = DEADLINE_S if kind == "timeout" else GENEROUS_S
    answer = await ask("list_services", deadline_s=deadline_s)
    assert answer.took_s < deadline_s + GRACE_S
    assert answer.kinds == {vendor: kind}
    assert {line["status"] for other, line in answer.ledger.items() if other != vendor} == {"ok"}
    assert len(answer["services"]) == 8
    assert vendor in answer["coverage"]["note"]
    assert not world.requests["stranger"]


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("name", HARMLESS)
async def test_what_can_be_read_is_used_and_what_never_ends_is_ended(
    ask: Ask, world: Emulators, name: str, vendor: str
) -> None:
    befall(world, **{vendor: HARMLESS[name]})
    answer = await ask("list_services", deadline_s=GENEROUS_S)
    assert answer.took_s < GENEROUS_S
    assert answer.ledger[vendor]["status"] in ("ok", "partial")
    assert [row["name"] for row in answer["services"]] == sorted({row["name"] for row in answer["services"]})
    assert answer["total"] == 8
    assert len(world.requests[vendor]) < 300


async def test_a_list_that_never_ends_is_reported_as_partial(ask: Ask, world: Emulators) -> None:
    befall(world, pagerduty=HARMLESS["endless_pages"])
    answer = await ask("list_incidents", status="all")
    assert answer.ledger["pagerduty"]["status"] == "partial"
    assert answer.ledger["pagerduty"]["error"]["kind"] == "partial"
    assert answer["coverage"]["complete"] is False


@pytest.mark.parametrize("vendor", ["prometheus", "datadog"])
async def test_a_gzip_bomb_stays_within_the_memory_of_one_body(ask: Ask, world: Emulators, vendor: str) -> None:
    await ask("query_historical_metrics", service="payment-processor", metric_type="cpu", hours=1)
    befall(world, **{vendor: Fault("gzip_bomb", size=1024 * MB)})
    tracemalloc.start()
    try:
        answer = await ask("query_historical_metrics", service="payment-processor", metric_type="cpu", hours=2)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert answer.kinds == {vendor: "protocol"}
    assert peak < 200 * MB


async def test_a_source_that_hangs_costs_no_more_than_the_deadline_in_any_tool(
    desk: Desk, world: Emulators
) -> None:
    await desk.ask("list_services")
    befall(world, prometheus=HANG)
    service = {"service": "payment-processor"}
    for tool, arguments in {
        "list_services": {},
        "get_current_metrics": service,
        "query_historical_metrics": {**service, "metric_type": "cpu"},
        "check_sli_compliance": {**service, "metric": "cpu"},
        "detect_anomalies": {**service, "metric": "cpu"},
        "query_source": {"source": "prometheus", "query": "up"},
    }.items():
        answer = await desk.ask(tool, deadline_s=0.3, fresh=True, **arguments)
        assert answer.took_s < 0.3 + GRACE_S
        assert answer.ledger["prometheus"]["error"]["kind"] in ("timeout", "breaker_open")


async def test_what_a_source_last_failed_by_or_lacked_is_told_until_it_answers_again(
    ask: Ask, world: Emulators
) -> None:
    refused = Fault("status", code=401, body=b"who are you")
    world.faults["newrelic"].set("/", refused)
    world.faults["datadog"].set("/api/v2/incidents", Fault("status", code=403, body=b"Forbidden"))
    await ask("list_services")
    sources = await ask("list_sources")
    newrelic, datadog = (sources.row("sources", name=name) for name in ("newrelic", "datadog"))
    assert newrelic["status"] == "failing"
    assert "services: HTTP 401" in newrelic["reason"]
    assert "who are you" in newrelic["reason"]
    assert newrelic["fix"]
    assert datadog["status"] == "ready"
    assert "incident_read" in datadog["reason"]
    assert sources["ready"] == 3

    for vendor in ("newrelic", "datadog"):
        world.faults[vendor].clear()
    await ask("list_services", fresh=True)
    assert (await ask("list_sources"))["ready"] == 4
