"""What Datadog's check says of keys, permissions, the clock and the quota."""

from __future__ import annotations

import re
from email.utils import formatdate
from time import time
from typing import TYPE_CHECKING, Any

import pytest
from anyio import fail_after

from telemetry_mcp import Check, RateLimitedError, SeriesQuery, Window
from telemetry_mcp_datadog import Datadog

if TYPE_CHECKING:
    from tests.plugins.conftest import ConnectDatadog, Failure, Stub

START = 1_700_000_040_000
QUESTION = SeriesQuery(("a",), ("cpu",), Window(START, START + 600_000), 60_000)
SCOPES = {
    "timeseries_query": "/api/v1/query",
    "apm_service_catalog_read": "/api/v2/catalog/entity",
    "metrics_read": "/api/v2/metrics/system.cpu.idle/all-tags",
    "monitors_read": "/api/v1/monitor/groups/search",
    "incident_read": "/api/v2/incidents/search",
    "events_read": "/api/v2/events/search",
    "dora_metrics_read": "/api/v2/dora/deployments",
    "slos_read": "/api/v1/slo",
    "apm_read": "/api/v2/apm/services",
}
OPTIONAL = {"incident_read", "dora_metrics_read"}
LIMIT = {
    "X-RateLimit-Limit": "300",
    "X-RateLimit-Remaining": "0",
    "X-RateLimit-Reset": "9",
    "X-RateLimit-Name": "q",
}


@pytest.fixture
def well(stub: Stub) -> Stub:
    """Everything is allowed."""
    stub.on("/api/v1/validate", {"valid": True}, headers={"X-Date": "none"})
    stub.on("/api/v2/validate_keys", {"status": "ok"})
    for path in SCOPES.values():
        stub.on(path, {"data": []})
    return stub


@pytest.fixture
def source(well: Stub, connect_datadog: ConnectDatadog) -> Datadog:
    return connect_datadog(well.url, env="prod")


async def checks(source: Datadog) -> dict[str, Check]:
    return {check.name: check for check in (await source.check()).items}


async def test_every_permission_is_there_by_name_with_what_it_enables(source: Datadog) -> None:
    found = await checks(source)
    assert {name for name in found if "_" in name} == set(SCOPES)
    assert all(check.ok and (check.enables or check.name == "clock") for check in found.values())
    assert {name for name, check in found.items() if check.optional} == OPTIONAL


@pytest.mark.parametrize("scope", SCOPES)
async def test_exactly_the_missing_permission_is_named(well: Stub, source: Datadog, scope: str) -> None:
    well.on(SCOPES[scope], {"errors": ["Forbidden"]}, 403)
    found = await checks(source)
    assert [name for name, check in found.items() if not check.ok] == [scope]
    assert scope in found[scope].fix
    assert found[scope].optional is (scope in OPTIONAL)


@pytest.mark.parametrize("status", [400, 404])
async def test_an_answer_about_the_question_means_that_it_may_be_asked(
    well: Stub, source: Datadog, status: int
) -> None:
    well.on(SCOPES["metrics_read"], {"errors": ["no such metric"]}, status)
    assert (await checks(source))["metrics_read"].ok


async def test_a_product_that_the_account_lacks_is_no_fault(well: Stub, source: Datadog) -> None:
    well.on(SCOPES["incident_read"], {"errors": ["Not Found"]}, 404)
    check = (await checks(source))["incident_read"]
    assert (check.ok, check.optional) == (False, True)
    assert "not to have this product" in check.fix


async def test_one_part_that_fails_hides_no_other(well: Stub, source: Datadog) -> None:
    well.on(SCOPES["events_read"], b"<html>gone</html>", 502)
    well.on(SCOPES["slos_read"], b"", 429, headers={"X-RateLimit-Reset": "3600"})
    found = await checks(source)
    assert [name for name, check in found.items() if not check.ok] == ["events_read", "slos_read"]


async def test_the_second_api_is_probed_where_it_is_the_one_in_use(
    well: Stub, connect_datadog: ConnectDatadog
) -> None:
    well.on("/api/v2/query/timeseries", {"errors": ["Forbidden"]}, 403)
    assert not (await checks(connect_datadog(well.url, api="v2")))["timeseries_query"].ok


@pytest.mark.parametrize(
    ("answer", "name", "fix"),
    [
        ({"body": {"errors": ["API key required"]}, "status": 403}, "api key", "api_key"),
        ({"body": {"errors": ["Unauthorized"]}, "status": 401}, "api key", "api_key"),
        ({"body": {"valid": False}}, "api key", "api_key"),
        ({"body": b"<html>Log in</html>"}, "reachable", "url"),
        ({"body": b"", "status": 503}, "reachable", ""),
    ],
)
async def test_without_the_api_key_nothing_else_can_be_judged(
    well: Stub, source: Datadog, answer: dict[str, Any], name: str, fix: str
) -> None:
    refusal = {"body": {"errors": ["Forbidden"]}, "status": 403} if name == "api key" else answer
    for path in ("/api/v2/validate_keys", *SCOPES.values()):
        well.on(path, **refusal)
    well.on("/api/v1/validate", **answer)
    key, *rest, clock = (await source.check()).items
    assert (key.name, key.ok, clock.name) == (name, False, "clock")
    assert fix in key.fix
    unjudged = [("permissions", True)] if name == "api key" else []
    assert [(check.name, check.optional) for check in rest] == unjudged
    assert [asked.path for asked in well.asked].count("/api/v1/validate") == 1


async def test_what_the_plan_lacks_is_optional(well: Stub, source: Datadog) -> None:
    well.on(SCOPES["slos_read"], {"errors": ["Payment Required"]}, 402)
    check = (await checks(source))["slos_read"]
    assert (check.ok, check.optional) == (False, True)


async def test_what_did_not_answer_in_time_is_named_beside_what_did(
    well: Stub, connect_datadog: ConnectDatadog
) -> None:
    well.on(SCOPES["slos_read"], b"", drips=True, promised=1000)
    with fail_after(0.5):
        found = await checks(connect_datadog(well.url, timeout="1s"))
    late = [check for check in found.values() if not check.ok]
    assert [(check.name, bool(check.fix)) for check in late] == [("slos_read", True)]
    assert re.fullmatch(r"no answer within 0\.\d s", late[0].detail)


async def test_a_refused_application_key_has_a_line_of_its_own(well: Stub, source: Datadog) -> None:
    well.on("/api/v2/validate_keys", {"errors": ["Forbidden"]}, 403)
    check = (await checks(source))["application key"]
    assert not check.ok
    assert "app_key" in check.fix


async def test_an_installation_without_that_check_is_told_by_its_permissions(well: Stub, source: Datadog) -> None:
    well.on("/api/v2/validate_keys", {"errors": ["Not found"]}, 404)
    assert (await checks(source))["application key"].ok


@pytest.mark.parametrize(("ahead_s", "ok"), [(0, True), (20, True), (300, False), (-300, False)])
@pytest.mark.parametrize("status", [200, 403])
async def test_a_clock_that_is_wrong_is_told_also_by_the_date_of_a_refusal(
    well: Stub, source: Datadog, ahead_s: int, ok: bool, status: int
) -> None:
    date = {"date": formatdate(time() + ahead_s, usegmt=True)}
    for path in ("/api/v1/validate", "/api/v2/validate_keys", *SCOPES.values()):
        well.on(path, {"valid": True}, status, headers=date)
    check = (await checks(source))["clock"]
    assert (check.ok, bool(check.fix)) == (ok, not ok)


async def test_what_is_left_of_the_quota_is_told(well: Stub, source: Datadog) -> None:
    headers = LIMIT | {"X-RateLimit-Remaining": "12"}
    well.on(SCOPES["slos_read"], {"data": []}, headers=headers)
    assert (await checks(source))["quota"].detail == "q: 12 of 300 left"


async def test_a_used_up_limit_holds_only_its_own_operation_back(
    well: Stub, source: Datadog, failure: Failure
) -> None:
    well.on("/api/v1/query", {"series": []}, headers=LIMIT)
    await source.fetch_series(QUESTION)
    raised = await failure(source.fetch_series(QUESTION))
    assert isinstance(raised, RateLimitedError)
    assert "q is used up" in str(raised)
    assert [asked.path for asked in well.asked] == ["/api/v1/query"]
    found = await checks(source)
    assert not found["timeseries_query"].ok
    assert found["slos_read"].ok
