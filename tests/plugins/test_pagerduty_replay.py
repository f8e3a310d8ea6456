"""Answers recorded from PagerDuty, through the source."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from telemetry_mcp import IncidentQuery, ServiceQuery, Window
from telemetry_mcp_pagerduty import PagerDuty
from telemetry_mcp_pagerduty.wire import epoch_ms

if TYPE_CHECKING:
    from tests.plugins.conftest import Failure, Page, Stub

CASES = Path(__file__).parents[3] / "shared" / "wire" / "pagerduty"
HOUR = 3_600_000
START = 1_730_000_000_000
EVERY = ServiceQuery(Window(START, START + 3_600_000))


def recorded(case: str) -> dict[str, Any]:
    path = CASES / f"{case}.json"
    if not path.is_file():
        pytest.skip("the recorded payloads are not beside the repository")
    response: dict[str, Any] = json.loads(path.read_text())["interactions"][0]["response"]
    return response


@pytest.mark.parametrize("case", ["incidents_a", "incidents_b", "incidents_c", "incident_with_priority"])
async def test_recorded_incidents_are_read(stub: Stub, pagerduty: PagerDuty, case: str, page: Page) -> None:
    recorded_entry = json.loads(recorded(case)["body"])
    stub.on("/incidents", page("incidents", [recorded_entry]))
    opened_ms = epoch_ms(recorded_entry["created_at"]) or 0
    window = Window(opened_ms - HOUR, opened_ms + HOUR)
    (found,) = (await pagerduty.list_incidents(IncidentQuery(window))).items
    assert (found.id, found.service) == (recorded_entry["id"], recorded_entry["service"]["summary"])
    assert (found.status, found.opened_ms) == (recorded_entry["status"], opened_ms)
    assert found.severity == (recorded_entry["priority"] or {}).get("summary")


async def test_a_recorded_page_of_incidents_is_read(stub: Stub, pagerduty: PagerDuty) -> None:
    body = json.loads(recorded("incidents_list_page_more_true")["body"])
    stub.on("/incidents", {**body, "more": False})
    window = Window(epoch_ms("2023-11-19T00:00:00Z") or 0, epoch_ms("2023-11-20T00:00:00Z") or 0)
    (found,) = (await pagerduty.list_incidents(IncidentQuery(window))).items
    assert (found.id, found.service) == ("1578", "API Service")
    assert found.resolved_ms == epoch_ms("2023-11-19T05:51:28Z")


@pytest.mark.parametrize("case", ["services_a", "services_b", "services_c"])
async def test_recorded_services_are_read(stub: Stub, pagerduty: PagerDuty, case: str, page: Page) -> None:
    recorded_entry = json.loads(recorded(case)["body"])
    stub.on("/services", page("services", [recorded_entry]))
    (found,) = (await pagerduty.list_services(EVERY)).items
    assert (found.name, found.url) == (recorded_entry["name"], recorded_entry["html_url"])
    assert found.status in ("OK", "WARNING", "CRITICAL")


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("error_429_shape_0", "Enhance Your Calm; No Seriously, Enhance Your Calm"),
        ("error_429_shape_3", "links should have at most 50 item(s)"),
        ("error_object_variant_0", "test message; first error; second error"),
        ("error_object_variant_1", "other message; only error"),
    ],
)
async def test_recorded_errors_keep_their_words(
    stub: Stub, pagerduty: PagerDuty, case: str, said: str, failure: Failure
) -> None:
    response = recorded(case)
    stub.on("/services", response["body"].encode(), response["status"])
    assert said in str(await failure(pagerduty.list_services(EVERY)))
