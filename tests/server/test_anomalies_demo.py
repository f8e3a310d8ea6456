"""detect_anomalies over the demo estate, whose faults are known: what is found, what is not, what is unknown."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from telemetry_mcp.demo.fault import Fault

if TYPE_CHECKING:
    from telemetry_mcp.config import Config
    from telemetry_mcp.demo.emulator import Emulators
    from telemetry_mcp.demo.fault_plan import Effect
    from tests.server.conftest import Answer, Ask, OpenDesk

HOUR_MS = 3_600_000
SLACK_MS = 600_000
DOWN = Fault("status", code=503, body=b"maintenance")
PAYMENT = "payment-processor"


def ms(time: str) -> int:
    return round(datetime.fromisoformat(time).timestamp() * 1000)


def planted(world: Emulators, now_ms: int, hours: int) -> list[Effect]:
    since_ms = now_ms - hours * HOUR_MS
    faults = world.estate.faults(since_ms, now_ms)
    effects = [effect for fault in faults for effect in fault.effects]
    return [effect for effect in effects if effect.start_ms < now_ms and effect.end_ms > since_ms]


def is_of(row: dict[str, Any], effect: Effect) -> bool:
    name = {"availability": "error_rate"}.get(row["metric"], row["metric"])
    name = "latency" if name.startswith("latency") else name
    near = ms(row["start"]) <= effect.end_ms + SLACK_MS and ms(row["end"]) >= effect.start_ms - SLACK_MS
    return near and (row["service"], name) == (effect.service, effect.metric)


@pytest.mark.parametrize("days_ago", [0, 1, 3])
async def test_every_planted_effect_of_a_day_is_found_and_hardly_anything_else(
    open_desk: OpenDesk, config: Config, world: Emulators, days_ago: int
) -> None:
    now_ms = world.clock() - days_ago * 24 * HOUR_MS
    answer = await (await open_desk(config, lambda: now_ms)).ask("detect_anomalies")
    effects = planted(world, now_ms, 24)
    rows = answer["anomalies"]
    assert effects
    assert [effect for effect in effects if not any(is_of(row, effect) for row in rows)] == []
    wrong = [row for row in rows if not any(is_of(row, effect) for effect in effects)]
    assert {row["severity"] for row in wrong} <= {"low"}
    assert len(wrong) <= 0.2 * len(rows)
    concurring = [row["service"] for row in answer["services"] if row["score"] >= answer["baseline"]["threshold"]]
    assert set(concurring) == {effect.service for effect in effects}


@pytest.mark.parametrize("days_ago", [5, 8])
async def test_a_day_without_a_fault_is_quiet(
    open_desk: OpenDesk, config: Config, world: Emulators, days_ago: int
) -> None:
    now_ms = world.clock() - days_ago * 24 * HOUR_MS
    assert planted(world, now_ms, 24) == []
    answer = await (await open_desk(config, lambda: now_ms)).ask("detect_anomalies")
    assert (answer["anomalies_detected"], answer["services"]) == (0, [])
    assert answer["summary"] == "nothing unusual in the 64 series that could be judged well"
    assert answer["baseline"]["periods"] == {"1d": 64}


async def test_one_series_is_judged_by_the_pattern_of_its_week(ask: Ask) -> None:
    answer = await ask("detect_anomalies", service=PAYMENT, metric="cpu", hours=48)
    assert answer["baseline"]["hours"] == 28 * 24
    assert answer["baseline"]["periods"] == {"7d": 1}
    assert "percent at this time of the week" in answer["anomalies"][0]["why"]


async def test_every_option_reaches_the_detector(ask: Ask) -> None:
    plain = await ask("detect_anomalies", service=PAYMENT)
    assert {row["direction"] for row in plain["anomalies"]} == {"up", "down"}
    down = await ask("detect_anomalies", service=PAYMENT, direction="down")
    assert {row["direction"] for row in down["anomalies"]} == {"down"}
    large = await ask("detect_anomalies", service=PAYMENT, min_relative=2)
    assert {row["relative_deviation"] >= 2 for row in large["anomalies"]} == {True}
    flat = await ask("detect_anomalies", service=PAYMENT, period="none")
    assert flat["baseline"]["periods"] == {"none": 8}
    polled = await ask("detect_anomalies", service=PAYMENT, polled=True)
    assert polled["baseline"]["method"] != plain["baseline"]["method"]
    sharp = await ask("detect_anomalies", service=PAYMENT, sensitivity=1.5)
    assert sharp["baseline"]["threshold"] == plain["baseline"]["threshold"] / 2


async def test_a_source_that_is_down_takes_its_series_out_of_the_all_clear(
    open_desk: OpenDesk, config: Config, world: Emulators
) -> None:
    config.sources = [table for table in config.sources if table.name in ("prometheus", "datadog")]
    world.faults["prometheus"].set("/", DOWN)
    answer = await (await open_desk(config)).ask("detect_anomalies", metric="error_rate")
    assert answer.is_error is False or answer["coverage"]["answered"] == 0
    assert answer["anomalies_detected"] is None
    assert answer["summary"].startswith("Unknown: ")
    assert "prometheus" in answer["summary"]


async def test_what_only_the_source_that_is_down_has_is_named(ask: Ask, world: Emulators) -> None:
    world.faults["prometheus"].set("/", DOWN)
    answer = await ask("detect_anomalies")
    assert answer["anomalies_detected"] > 0
    assert "could not be judged" in answer["summary"]
    assert "what else prometheus would have said is unknown" in answer["summary"]
    told = {said.partition(": ")[0] for said in answer["baseline"]["not_judged"]}
    # Datadog and New Relic have the rest of this service; of a database they have cpu, memory and latency_p95.
    assert f"latency_p50, latency_p99 of {PAYMENT}" in told
    assert "error_rate, request_rate, latency_p50, latency_p99, availability of cache-redis" in told


async def test_when_no_source_answers_the_answer_is_an_error_and_says_unknown(ask: Ask, world: Emulators) -> None:
    for vendor in ("prometheus", "datadog", "newrelic"):
        world.faults[vendor].set("/", DOWN)
    answer: Answer = await ask("detect_anomalies", service=PAYMENT)
    assert answer.is_error
    assert answer["anomalies_detected"] is None
    assert answer["summary"].startswith("Unknown: ")
    assert answer["baseline"]["series_judged"] == 0
    assert all(f"of {PAYMENT}: " in said for said in answer["baseline"]["not_judged"])
