"""What `doctor` looks at: the key, each account and what may be done there, the clock, the quota."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from telemetry_mcp import Check, Quota, Reply, clock_check, date_s, side_by_side
from telemetry_mcp_newrelic.account import within
from telemetry_mcp_newrelic.entity import REPORTING
from telemetry_mcp_newrelic.field import text
from telemetry_mcp_newrelic.graph import Graph
from telemetry_mcp_newrelic.issue import OPT_IN

USER = "{ actor { user { name } } }"
ACCOUNT = "query($id: Int!) { actor { account(id: $id) { id name } } }"
COUNT = "query($q: String!) { actor { entitySearch(query: $q) { count } } }"
ISSUES = "query($id: Int!) { actor { account(id: $id) { aiIssues { issues { issues { issueId } } } } } }"
TRANSACTIONS = "SELECT count(*) FROM Transaction, Metric SINCE 30 minutes ago LIMIT 1"
CHANGES = "SELECT count(*) FROM ChangeTrackingEvent, Deployment SINCE 30 days ago LIMIT 1"

Ask = Callable[[], Awaitable[str]]


async def look(graph: Graph, accounts: Sequence[int], quota: Quota) -> Reply[Check]:
    """Every check side by side; when the key itself is refused, that alone, with the clock."""
    key = Check("api key", ok=True, enables="everything")
    calls = {name: call for account in accounts for name, call in of_account(graph, account).items()}
    calls |= of_entities(graph, accounts)
    looks = {
        check: partial(one, check, ask)
        for name, (ask, enables, optional) in calls.items()
        for check in (Check(name, ok=True, enables=enables, optional=optional),)
    }
    found = await side_by_side({key: partial(one, key, partial(user_of, graph)), **looks})
    items = found if any(check.ok for check in found) else found[:1]
    return Reply([*items, *clock(graph), *left(quota)])


def of_account(graph: Graph, account: int) -> Mapping[str, tuple[Ask, str, bool]]:
    """Name of a check -> what to ask, what it enables, and whether it may be missing."""
    right = f"account {account}"
    return {
        right: (partial(name_of, graph, account), "everything of this account", False),
        f"{right}: query data": (partial(count_of, graph, account, TRANSACTIONS, "events"), "series", False),
        f"{right}: issues": (partial(issues_of, graph, account), "incidents", False),
        f"{right}: change tracking": (
            partial(count_of, graph, account, CHANGES, "changes in 30 days"),
            "changes",
            True,
        ),
    }


def of_entities(graph: Graph, accounts: Sequence[int]) -> Mapping[str, tuple[Ask, str, bool]]:
    levels = f"type = 'SERVICE_LEVEL' AND {within(accounts)}"
    services = REPORTING + within(accounts)
    return {
        "entities": (partial(entities, graph, services, "services"), "services, dependencies", False),
        "service levels": (partial(entities, graph, levels, "service levels"), "SLOs", True),
    }


async def one(check: Check, ask: Ask) -> list[Check]:
    return [replace(check, detail=await ask())]


async def user_of(graph: Graph) -> str:
    needs = "a role on the account, or set api_key to the key of one who has it"
    return text((await graph.ask(USER, {}, "actor", "user", needs=needs)).node.get("name"))


async def name_of(graph: Graph, account: int) -> str:
    needs = f"a role on account {account}, or correct account_id"
    found = await graph.ask(ACCOUNT, {"id": account}, "actor", "account", needs=needs)
    return text(found.node.get("name"))


async def count_of(graph: Graph, account: int, query: str, what: str) -> str:
    rows, _ = (await graph.nrql(account, query)).listing("results")
    return f"{text(rows[0].get('count')) if rows else 0} {what}"


async def issues_of(graph: Graph, account: int) -> str:
    path = ("actor", "account", "aiIssues", "issues")
    needs = f"the right to see the alerts of account {account}"
    found = await graph.ask(ISSUES, {"id": account}, *path, needs=needs, headers=OPT_IN)
    return f"{len(found.listing('issues')[0])} issues on the first page"


async def entities(graph: Graph, search: str, what: str) -> str:
    found = await graph.ask(COUNT, {"q": search}, "actor", "entitySearch", needs="the right to see entities")
    return f"{text(found.node.get('count')) or 'an unknown number of'} {what}"


def clock(graph: Graph) -> list[Check]:
    """By the newest answer, be it a refusal; nothing where there was none."""
    if graph.told is None:
        return []
    headers, at_s = graph.told
    return [clock_check(date_s(headers), at_s)]


def left(quota: Quota) -> list[Check]:
    told = [f"{limit.remaining} of {limit.limit or '?'} {limit.name}" for limit in quota.left()]
    return [Check("quota", True, ", ".join(told), optional=True)] if told else []
