"""What `doctor` asks of PagerDuty: the key, each permission by name, the plan's features, the clock, the quota."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from email.utils import parsedate_to_datetime
from functools import partial
from time import time
from typing import Any

from telemetry_mcp import (
    AuthError,
    Check,
    ForbiddenError,
    HttpReply,
    NotFoundError,
    PlanError,
    Reply,
    SourceError,
    gather,
    now_ms,
    parse_json,
)
from telemetry_mcp_pagerduty import wire
from telemetry_mcp_pagerduty.page import NOTHING, Api

DAY_MS = 86_400_000
MONTH_MS = 30 * DAY_MS
SKEW_S = 30.0
LITTLE = 20
NEW_KEY = "make a REST API key (Integrations > API Access Keys; read-only is enough) and set api_key to it"
PLAN = "nothing to repair unless the account's plan is said to have it"
DENIED = (AuthError, ForbiddenError, NotFoundError, PlanError)
READ = {
    "read incidents": ("/incidents", "incidents, and timelines of them"),
    "read services": ("/services", "services, and questions about one service"),
    "read on-calls": ("/oncalls", "who is on call"),
    "read change events": ("/change_events", "changes"),
}
"""Permission -> where it is tried, and what it enables."""
FEATURES = {
    "past incidents": ("past_incidents", "earlier incidents like this one"),
    "related incidents": ("related_incidents", "other incidents of the same time"),
    "related change events": ("related_change_events", "changes in an incident's timeline"),
}
"""Feature of a plan -> its part of an incident, and what it enables."""


async def run(api: Api) -> Reply[Check]:
    """The key first; when it is good, all the rest side by side, where one failing part hides no other."""
    key = Check("api key", ok=True, enables="everything")
    ahead_s: float | None = None
    try:
        ahead_s = await api.fetch("/abilities", NOTHING, clock_ahead_s)
    except AuthError as error:
        return Reply([replace(key, ok=False, detail=str(error), fix=NEW_KEY)])
    except ForbiddenError:
        pass  # a good key that may not see this; the rest tells what it may
    except SourceError as error:
        return Reply([Check("reachable", ok=False, detail=str(error), fix=error.hint, enables="everything")])
    parts = {name: partial(permission, api, name, path, enables) for name, (path, enables) in READ.items()}
    found = await gather({**parts, "features": partial(features, api), "dependencies": partial(dependencies, api)})
    return Reply([key, *found.items, *skew(ahead_s), *quota(api)])


async def permission(api: Api, name: str, path: str, enables: str) -> Reply[Check]:
    end_ms = now_ms()
    check = Check(name, ok=True, enables=enables)
    try:
        await api.ask(path, {"limit": 1, **wire.between(end_ms - DAY_MS, end_ms)})
    except SourceError as error:
        fix = f"use a key that may {name}: one of the whole account, or of a user whose role and teams allow it"
        check = replace(check, ok=False, detail=str(error), fix=fix if isinstance(error, DENIED) else error.hint)
    return Reply([check])


async def features(api: Api) -> Reply[Check]:
    """The plan's features, tried on the newest incident."""
    end_ms = now_ms()
    newest = {"limit": 1, "sort_by": "created_at:desc", **wire.between(end_ms - MONTH_MS, end_ms)}
    incident = await first_id(api, "incidents", newest)
    tries = {
        name: partial(feature, api, name, incident and f"/incidents/{incident}/{part}", enables)
        for name, (part, enables) in FEATURES.items()
    }
    return await gather(tries)


async def dependencies(api: Api) -> Reply[Check]:
    service = await first_id(api, "services", {"limit": 1})
    path = service and f"/service_dependencies/technical_services/{service}"
    return await feature(api, "service dependencies", path, "who needs whom")


async def first_id(api: Api, name: str, params: Mapping[str, Any]) -> str:
    """The id of the first entry of a list; empty where there is none or it may not be read."""
    try:
        entries, _ = wire.page(await api.ask(f"/{name}", params), name)
    except SourceError:
        return ""
    found = wire.identity(entries[0]) if entries else ""
    return found if found.isalnum() else ""


async def feature(api: Api, name: str, path: str, enables: str) -> Reply[Check]:
    """One that is not in the plan is no fault."""
    check = Check(name, ok=True, enables=enables, optional=True)
    if not path:
        return Reply([replace(check, ok=False, detail="not tried: nothing was found to try it on", fix=PLAN)])
    try:
        await api.ask(path, {"limit": 5})
    except SourceError as error:
        words = f"not in plan ({error})" if isinstance(error, PlanError) else str(error)
        return Reply([replace(check, ok=False, detail=words, fix=PLAN)])
    return Reply([check])


def clock_ahead_s(reply: HttpReply) -> float | None:
    """How far the clock here is ahead of PagerDuty's; None where it does not tell the time.

    ProtocolError when the answer is not PagerDuty's, such as a login page.
    """
    parse_json(reply.body)
    try:
        return time() - parsedate_to_datetime(reply.headers.get("date", "")).timestamp()
    except ValueError:
        return None


def skew(ahead_s: float | None) -> list[Check]:
    if ahead_s is None:
        return []
    way = "ahead of" if ahead_s > 0 else "behind"
    detail = f"the clock here is {abs(ahead_s):.0f} s {way} PagerDuty's"
    good = abs(ahead_s) <= SKEW_S
    fix = "" if good else "set the clock of this machine (NTP): windows of time are off by as much"
    return [Check("clock", ok=good, detail=detail, fix=fix, enables="windows of time that mean the same")]


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
