"""What `doctor` is told about a PagerDuty account: key, permissions, plan, clock, quota."""

from __future__ import annotations

import re
from email.utils import formatdate
from time import time
from typing import TYPE_CHECKING

import pytest
from anyio import fail_after

from telemetry_mcp import Check
from telemetry_mcp_pagerduty import PagerDuty

if TYPE_CHECKING:
    from tests.plugins.conftest import ConnectPagerDuty, Page, Stub

DENIED = {"error": {"message": "Access Denied", "code": 2010}}
LACKING = {"error": {"message": "Account does not have the ability", "code": 2014}}
LISTS = ("incidents", "services", "oncalls", "change_events")
FEATURES = ("past_incidents", "related_incidents", "related_change_events")
WITHIN = "/service_dependencies/technical_services/P1"


@pytest.fixture
def well(stub: Stub, page: Page) -> Stub:
    """An account in which everything may be read."""
    left = {"ratelimit-limit": "960", "ratelimit-remaining": "900", "ratelimit-reset": "30"}
    stub.on("/abilities", {"abilities": ["teams"]}, headers=left)
    for name in LISTS:
        stub.on(f"/{name}", page(name, []))
    stub.on("/incidents", page("incidents", [{"id": "Q1"}]))
    stub.on("/services", page("services", [{"id": "P1"}]))
    for part in FEATURES:
        stub.on(f"/incidents/Q1/{part}", {part: []})
    stub.on(WITHIN, {"relationships": []})
    return stub


async def checks(pagerduty: PagerDuty) -> dict[str, Check]:
    return {check.name: check for check in (await pagerduty.check()).items}


async def test_everything_that_is_there_is_named_with_what_it_enables(well: Stub, pagerduty: PagerDuty) -> None:
    found = await checks(pagerduty)
    assert {name for name, check in found.items() if check.ok} == set(found)
    assert list(found) == [
        "api key",
        "read incidents",
        "read services",
        "read on-calls",
        "read change events",
        "past incidents",
        "related incidents",
        "related change events",
        "service dependencies",
        "clock",
        "quota of requests",
    ]
    assert all(check.enables for name, check in found.items() if not name.startswith(("clock", "quota")))
    assert found["quota of requests"].detail.startswith("900 of 960 left; resets in ")


@pytest.mark.parametrize("name", LISTS)
async def test_a_permission_that_is_missing_is_named_with_its_fix(
    well: Stub, pagerduty: PagerDuty, name: str
) -> None:
    well.on(f"/{name}", DENIED, 403)
    spelt = {"oncalls": "read on-calls", "change_events": "read change events"}.get(name, f"read {name}")
    found = await checks(pagerduty)
    faults = [check for check in found.values() if not check.ok and not check.optional]
    assert [check.name for check in faults] == [spelt]
    assert "Access Denied" in faults[0].detail
    assert f"use a key that may {spelt}" in faults[0].fix


@pytest.mark.parametrize("status", [402, 403, 404])
async def test_what_the_plan_lacks_is_no_fault(well: Stub, pagerduty: PagerDuty, status: int) -> None:
    for part in FEATURES:
        well.on(f"/incidents/Q1/{part}", LACKING, status)
    well.on(WITHIN, LACKING, status)
    missing = [check for check in (await checks(pagerduty)).values() if not check.ok]
    assert [check.name for check in missing] == [
        "past incidents",
        "related incidents",
        "related change events",
        "service dependencies",
    ]
    assert all(check.optional and "Account does not have the ability" in check.detail for check in missing)


async def test_without_an_incident_its_features_are_not_tried(
    well: Stub, pagerduty: PagerDuty, page: Page
) -> None:
    well.on("/incidents", page("incidents", []))
    past = (await checks(pagerduty))["past incidents"]
    assert (past.ok, past.optional, past.detail) == (False, True, "not tried: nothing was found to try it on")


async def test_a_wrong_key_is_one_fault_that_does_not_repeat_the_key(
    stub: Stub, connect_pagerduty: ConnectPagerDuty
) -> None:
    stub.on("/abilities", {"error": {"message": "Invalid token", "code": 2006}}, 401)
    for name in LISTS:
        stub.on(f"/{name}", {"error": {"message": "Invalid token", "code": 2006}}, 401)
    key, clock = (await connect_pagerduty(stub.url, api_key="planted-key-WXYZ").check()).items
    assert (key.name, key.ok) == ("api key", False)
    assert "api_key" in key.fix
    assert "WXYZ" not in repr(key)
    assert clock.name == "clock"


async def test_a_key_that_may_not_see_the_abilities_is_good_for_the_rest(well: Stub, pagerduty: PagerDuty) -> None:
    well.on("/abilities", DENIED, 403)
    found = await checks(pagerduty)
    assert found["api key"].ok
    assert found["read incidents"].ok
    assert found["clock"].ok


@pytest.mark.parametrize(("status", "body"), [(200, b"<html>Sign in</html>"), (404, b""), (503, b""), (302, b"")])
async def test_an_address_that_is_no_pagerduty_is_one_fault(
    stub: Stub, pagerduty: PagerDuty, status: int, body: bytes
) -> None:
    for name in ("abilities", *LISTS):
        stub.on(f"/{name}", body, status)
    fault, _ = (await pagerduty.check()).items
    assert (fault.name, fault.ok) == ("reachable", False)
    assert fault.fix


@pytest.mark.parametrize(("ahead_s", "good"), [(0, True), (20, True), (-600, False), (3600, False)])
@pytest.mark.parametrize("status", [200, 403])
async def test_a_clock_that_is_off_is_a_fault_also_by_the_date_of_a_refusal(
    stub: Stub, pagerduty: PagerDuty, ahead_s: int, good: bool, status: int
) -> None:
    date = {"date": formatdate(time() + ahead_s, usegmt=True)}
    for name in ("abilities", *LISTS):
        stub.on(f"/{name}", DENIED, status, headers=date)
    clock = (await checks(pagerduty))["clock"]
    assert (clock.ok, bool(clock.fix)) == (good, not good)


async def test_what_did_not_answer_in_time_is_named_beside_what_did(
    well: Stub, connect_pagerduty: ConnectPagerDuty
) -> None:
    well.on("/oncalls", b"", drips=True, promised=1000)
    with fail_after(0.5):
        found = await checks(connect_pagerduty(well.url, timeout="1s"))
    late = [check for check in found.values() if not check.ok]
    assert [check.name for check in late] == ["read on-calls"]
    assert re.fullmatch(r"no answer within 0\.\d s", late[0].detail)
    assert late[0].fix


async def test_a_quota_that_is_nearly_used_up_is_a_fault(well: Stub, pagerduty: PagerDuty) -> None:
    left = {"ratelimit-limit": "960", "ratelimit-remaining": "3", "ratelimit-reset": "30"}
    well.on("/abilities", {"abilities": []}, headers=left)
    assert not (await checks(pagerduty))["quota of requests"].ok
