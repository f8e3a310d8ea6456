"""What `doctor` is told about a New Relic source: each permission by name, what it is good for, and the fix."""

from __future__ import annotations

import re
from email.utils import formatdate
from time import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from telemetry_mcp import Check, Quota
from telemetry_mcp_newrelic import NewRelic
from telemetry_mcp_newrelic.check import left

if TYPE_CHECKING:
    from tests.plugins.conftest import ConnectNewRelic, NerdGraph

USER = {"data": {"actor": {"user": {"name": "Ines"}}}}
ASKED = {
    "user": re.compile(r"user \{"),
    "issues": re.compile("aiIssues"),
    "changes": re.compile("ChangeTrackingEvent"),
    "levels": re.compile("SERVICE_LEVEL"),
    "services": re.compile("domain IN"),
    "data": re.compile("FROM Transaction"),
    "account": re.compile(r"account\(id"),
}
"""Part of the check -> how its request is told; the first that fits."""


def denied(words: str, kind: str = "ACCESS_DENIED") -> dict[str, Any]:
    return {
        "data": {"actor": {"account": None}},
        "errors": [{"message": words, "extensions": {"errorClass": kind}}],
    }


def standing(nerdgraph: NerdGraph, ahead_s: float = 0, **refused: Any) -> None:
    """New Relic with everything in order, but for what is `refused`; its clock may be ahead."""
    good = {
        "user": USER,
        "issues": {"data": {"actor": {"account": {"aiIssues": {"issues": {"issues": [{"issueId": "1"}]}}}}}},
        "changes": nerdgraph.found([{"count": 3}]),
        "levels": {"data": {"actor": {"entitySearch": {"count": 2}}}},
        "services": {"data": {"actor": {"entitySearch": {"count": 5}}}},
        "data": nerdgraph.found([{"count": 1542}]),
        "account": {"data": {"actor": {"account": {"id": 7, "name": "Shop"}}}},
    }
    date = formatdate(time() + ahead_s, usegmt=True)

    def answer(asked: dict[str, Any]) -> httpx.Response:
        said = f"{asked['query']} {asked['variables']}"
        part = next(name for name, pattern in ASKED.items() if pattern.search(said))
        return nerdgraph.response({**good, **refused}[part], headers={"date": date})

    nerdgraph.answer = answer


async def looked(source: NewRelic) -> dict[str, Check]:
    return {check.name: check for check in (await source.check()).items}


async def test_everything_in_order_is_said_by_name(nerdgraph: NerdGraph, newrelic: NewRelic) -> None:
    standing(nerdgraph)
    found = await looked(newrelic)
    assert {name: (check.detail, check.enables) for name, check in found.items() if name != "clock"} == {
        "api key": ("Ines", "everything"),
        "account 7": ("Shop", "everything of this account"),
        "account 7: query data": ("1542 events", "series"),
        "account 7: issues": ("1 issues on the first page", "incidents"),
        "account 7: change tracking": ("3 changes in 30 days", "changes"),
        "entities": ("5 services", "services, dependencies"),
        "service levels": ("2 service levels", "SLOs"),
    }
    assert all(check.ok and not check.fix for check in found.values())
    assert {name for name, check in found.items() if check.optional} == {
        "account 7: change tracking",
        "service levels",
    }


@pytest.mark.parametrize(
    ("part", "name", "fix"),
    [
        ("account", "account 7", "a role on account 7, or correct account_id"),
        ("data", "account 7: query data", "the right to query data of account 7"),
        ("issues", "account 7: issues", "the right to see the alerts of account 7"),
        ("changes", "account 7: change tracking", "the right to query data of account 7"),
        ("services", "entities", "the right to see entities"),
        ("levels", "service levels", "the right to see entities"),
    ],
)
async def test_a_missing_permission_is_named_and_hides_nothing_else(
    nerdgraph: NerdGraph, newrelic: NewRelic, part: str, name: str, fix: str
) -> None:
    refused = {**denied("Access denied."), "data": None}
    standing(nerdgraph, 0, **{part: refused})
    found = await looked(newrelic)
    assert len(found) == 8
    assert [check.name for check in found.values() if not check.ok] == [name]
    assert (found[name].detail, found[name].fix) == ("Access denied.", f"give the user of the key {fix}")


async def test_what_the_plan_lacks_is_no_fault(nerdgraph: NerdGraph, newrelic: NewRelic) -> None:
    standing(nerdgraph, issues=denied("not in your plan", "PAYMENT_REQUIRED"))
    issues = (await looked(newrelic))["account 7: issues"]
    assert (issues.ok, issues.optional, issues.detail) == (False, True, "not in your plan")


async def test_a_refused_key_is_all_that_is_said(nerdgraph: NerdGraph, newrelic: NewRelic) -> None:
    nerdgraph.says(
        {"errors": [{"message": "Api key is invalid.", "extensions": {"error_code": "BAD_API_KEY"}}]}, 401
    )
    key, clock = (await newrelic.check()).items
    assert (key.name, key.ok, key.detail) == ("api key", False, "Api key is invalid.")
    assert "user key" in key.fix
    assert "doctor" not in key.fix
    assert clock.name == "clock"


async def test_an_unreachable_new_relic_is_one_finding(nerdgraph: NerdGraph, newrelic: NewRelic) -> None:
    nerdgraph.says(b"<html>bad gateway</html>", 502)
    key, _ = (await newrelic.check()).items
    assert (key.ok, key.detail) == (False, "HTTP 502: <html>bad gateway</html>")


@pytest.mark.parametrize(("ahead_s", "ok"), [(0, True), (-25, True), (90, False), (-3600, False)])
async def test_a_clock_that_is_off_is_found_by_the_date_of_the_answer(
    nerdgraph: NerdGraph, newrelic: NewRelic, ahead_s: float, ok: bool
) -> None:
    standing(nerdgraph, ahead_s)
    clock = (await looked(newrelic))["clock"]
    assert clock.ok is ok
    assert bool(clock.fix) is not ok


async def test_the_clock_is_judged_by_the_date_of_a_refusal_too(nerdgraph: NerdGraph, newrelic: NewRelic) -> None:
    nerdgraph.says(b"", 403, {"date": formatdate(time() + 3600, usegmt=True)})
    found = await looked(newrelic)
    assert [(check.name, check.ok) for check in found.values()] == [("api key", False), ("clock", False)]
    assert "a role on the account" in found["api key"].fix


async def test_every_account_is_looked_at(nerdgraph: NerdGraph, connect_newrelic: ConnectNewRelic) -> None:
    standing(nerdgraph)
    found = await looked(connect_newrelic(account_id=[7, 8]))
    assert {name for name in found if name.startswith("account 8")} == {
        "account 8",
        "account 8: query data",
        "account 8: issues",
        "account 8: change tracking",
    }


def test_a_quota_is_shown_where_it_was_told() -> None:
    quota = Quota()
    assert left(quota) == []
    quota.note({"x-ratelimit-limit": "3000", "x-ratelimit-remaining": "12", "x-ratelimit-reset": "30"})
    assert [check.detail for check in left(quota)] == ["12 of 3000 requests"]
