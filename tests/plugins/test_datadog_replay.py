"""Answers recorded from Datadog, through the source."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

from telemetry_mcp import SeriesQuery, ServiceQuery, Window
from telemetry_mcp_datadog import Datadog

if TYPE_CHECKING:
    from tests.plugins.conftest import ConnectDatadog, Failure, Stub

CASES = Path(__file__).parents[3] / "shared" / "wire" / "datadog"
START = 1_700_000_040_000
WINDOW = Window(START, START + 600_000)
QUESTION = SeriesQuery(("a",), ("cpu",), WINDOW, 60_000)


def recorded(case: str) -> list[dict[str, Any]]:
    path = CASES / f"{case}.json"
    if not path.is_file():
        pytest.skip("the recorded payloads are not beside the repository")
    interactions: list[dict[str, Any]] = json.loads(path.read_text())["interactions"]
    return interactions


async def test_a_recorded_query_answer_is_read_in_full(stub: Stub, connect_datadog: ConnectDatadog) -> None:
    interaction = recorded("v1_query_ok")[0]
    stub.on("/api/v1/query", interaction["response"]["body"].encode())
    asked = parse_qs(urlsplit(interaction["request"]["url"]).query)
    start_ms, end_ms = int(asked["from"][0]) * 1000, int(asked["to"][0]) * 1000
    one = connect_datadog(stub.url, metrics={"cpu": "system.cpu.idle{*}"})
    reply = await one.fetch_series(SeriesQuery(("a",), ("cpu",), Window(start_ms, end_ms), 300_000))
    (series,) = reply.items
    # 288 buckets of 5 minutes, the last of which goes beyond the asked end.
    assert (len(series), series.timestamps_ms[0]) == (287, 1641344100000)
    assert 90.4 < series.values.min() <= series.values.max() < 93


async def test_the_recorded_catalog_is_read_in_full(stub: Stub, datadog: Datadog) -> None:
    body = recorded("catalog_entities")[0]["response"]["body"]
    stub.on("/api/v2/catalog/entity", body.encode())
    names = {entity["attributes"]["name"] for entity in json.loads(body)["data"]}
    reply = await datadog.list_services(ServiceQuery(WINDOW))
    assert {item.name for item in reply.items} == names
    assert any(item.team for item in reply.items)


@pytest.mark.parametrize(("case", "good"), [("validate_ok", True), ("validate_403", False)])
async def test_recorded_key_checks_are_told_apart(stub: Stub, datadog: Datadog, case: str, good: bool) -> None:
    response = recorded(case)[0]["response"]
    stub.on("/api/v1/validate", response["body"].encode(), response["status"])
    assert (await datadog.check()).items[0].ok is good


def recorded_errors() -> list[tuple[str, int, str]]:
    if not CASES.is_dir():
        return []
    found = [(path.stem, json.loads(path.read_text())) for path in sorted(CASES.glob("*.json"))]
    responses = [(name, part["response"]) for name, case in found for part in case["interactions"]]
    return [(name, each["status"], each["body"]) for name, each in responses if each["status"] >= 400]


async def test_every_recorded_error_becomes_a_typed_error_with_words(
    stub: Stub, datadog: Datadog, failure: Failure
) -> None:
    errors = recorded_errors()
    if not errors:
        pytest.skip("the recorded payloads are not beside the repository")
    for name, status, body in errors:
        stub.on("/api/v1/query", body.encode(), status)
        raised = await failure(datadog.fetch_series(QUESTION))
        assert f"HTTP {status}" in str(raised), name
        assert "{" not in str(raised), name
