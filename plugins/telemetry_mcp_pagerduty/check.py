"""What `doctor` asks of PagerDuty: the key, each permission by name, the plan's features, the clock, the quota."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from anyio import Event

from telemetry_mcp import (
    AuthError,
    Check,
    ForbiddenError,
    NotFoundError,
    PlanError,
    Reply,
    SourceError,
    clock_check,
    date_s,
    failed_check,
    now_ms,
    parse_json,
    side_by_side,
)
from telemetry_mcp_pagerduty import wire
from telemetry_mcp_pagerduty.page import NOTHING, Api

MONTH_MS = 30 * 86_400_000
LITTLE = 20
NEW_KEY = "make a REST API key (Integrations > API Access Keys; read-only is enough) and set api_key to it"
PLAN = "nothing to repair unless the account's plan is said to have it"
DENIED = (AuthError, ForbiddenError, NotFoundError, PlanError)
KEY = Check("api key", ok=True, enables="everything")
READ = {
    "read incidents": ("incidents", "incidents, and timelines of them"),
    "read services": ("services", "services, and questions about one service"),
    "read on-calls": ("oncalls", "who is on call"),
    "read change events": ("change_events", "changes"),
}
"""Permission -> the list that it is tried on, and what it enables."""
FEATURES = {
    "past incidents": ("incidents", "/incidents/{}/past_incidents", "earlier incidents like this one"),
    "related incidents": ("incidents", "/incidents/{}/related_incidents", "other incidents of the same time"),
    "related change events": (
        "incidents",
        "/incidents/{}/related_change_events",
        "changes in an incident's timeline",
    ),
    "service dependencies": ("services", "/service_dependencies/technical_services/{}", "who needs whom"),
}
"""Feature of a plan -> the list whose first entry it is tried on, where, and what it enables."""
Look = Callable[[], Awaitable[list[Check]]]


class First:
    """The id of the first entry of a list, for those who wait until it is known; empty where there is none."""

    def __init__(self) -> None:
        self.known = Event()
        self.id = ""

    def take(self, body: Mapping[str, Any], name: str) -> None:
        with suppress(SourceError):
            entries, _ = wire.page(body, name)
            found = wire.identity(entries[0]) if entries else ""
            self.id = found if found.isalnum() else ""


async def run(api: Api) -> Reply[Check]:
    """All side by side; a feature waits for something to try it on. Where nobody gets in, the key's line alone."""
    firsts = {"incidents": First(), "services": First()}
    looks: dict[Check, Look] = {KEY: partial(api_key, api)}
    for name, (part, enables) in READ.items():
        check = Check(name, ok=True, enables=enables)
        looks[check] = partial(permission, api, check, part, firsts.get(part, First()))
    for name, (part, path, enables) in FEATURES.items():
        check = Check(name, ok=True, enables=enables, optional=True)
        looks[check] = partial(feature, api, check, path, firsts[part])
    found = await side_by_side(looks)
    if not any(check.ok for check in found):
        found = found[:1]
    return Reply([*found, *clock(api), *quota(api)])


async def api_key(api: Api) -> list[Check]:
    try:
        await api.fetch("/abilities", NOTHING, lambda reply: parse_json(reply.body))
    except AuthError as error:
        return [failed_check(KEY, error, NEW_KEY)]
    except (ForbiddenError, PlanError):
        return [KEY]  # a good key that may not see this; the rest tells what it may
    except SourceError as error:
        return [failed_check(replace(KEY, name="reachable"), error)]
    return [KEY]


async def permission(api: Api, check: Check, name: str, first: First) -> list[Check]:
    """A list of the last month, newest first where it has an order. Its first entry is kept for the features."""
    end_ms = now_ms()
    order = {"sort_by": "created_at:desc"} if name == "incidents" else {}
    try:
        body = await api.ask(f"/{name}", {"limit": 1, **order, **wire.between(end_ms - MONTH_MS, end_ms)})
        first.take(body, name)
    except DENIED as error:
        who = "one of the whole account, or of a user whose role and teams allow it"
        return [failed_check(check, error, f"use a key that may {check.name}: {who}")]
    finally:
        first.known.set()
    return [check]


async def feature(api: Api, check: Check, path: str, first: First) -> list[Check]:
    """One of the plan's features. One that is not in the plan is no fault."""
    await first.known.wait()
    if not first.id:
        return [replace(check, ok=False, detail="not tried: nothing was found to try it on", fix=PLAN)]
    try:
        await api.ask(path.format(first.id), {"limit": 5})
    except SourceError as error:
        words = f"not in plan ({error})" if isinstance(error, PlanError) else str(error)
        return [replace(check, ok=False, detail=words, fix=PLAN)]
    return [check]


def clock(api: Api) -> list[Check]:
    """By the newest answer, be it a refusal; nothing where there was none."""
    if api.told is None:
        return []
    headers, at_s = api.told
    return [clock_check(date_s(headers), at_s)]


def quota(api: Api) -> list[Check]:
    """What PagerDuty's rate headers say is left."""
    known = api.context.quota
    checks = []
    for limit in known.left():
        most = f" of {limit.limit}" if limit.limit is not None else ""
        detail = f"{limit.remaining}{most} left; resets in {max(0.0, limit.resets_at - known.clock()):.0f} s"
        good = limit.remaining > LITTLE
        fix = "" if good else "others use this key as well: make a key for telemetry-mcp alone"
        checks.append(Check(f"quota of {limit.name}", ok=good, detail=detail, fix=fix))
    return checks
