"""What `doctor` looks at: both keys, each permission by its name, the clock, and what is left of the quota."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from telemetry_mcp import (
    AuthError,
    BadQueryError,
    Check,
    ForbiddenError,
    HttpReply,
    NotFoundError,
    PlanError,
    Quota,
    Reply,
    SourceError,
    Window,
    clock_check,
    date_s,
    failed_check,
    now_ms,
    parse_json,
    side_by_side,
)
from telemetry_mcp_datadog.change import deployments_request, events_request
from telemetry_mcp_datadog.monitor import FIRING
from telemetry_mcp_datadog.query import formula_request
from telemetry_mcp_datadog.scope import APM, CATALOG, DORA, EVENTS, INCIDENTS, MONITORS, SERIES, SLOS, TAGS, Scope
from telemetry_mcp_datadog.session import Call, Session
from telemetry_mcp_datadog.wire import dig

LOOK_MS = 60_000
METRIC = "system.cpu.idle"
"""What every account with an agent has. Where it is not there, an empty answer or a 404 is leave given as well."""


KEY = Check("api key", ok=True, enables="everything")
APP_KEY = Check("application key", ok=True, enables="everything but the API key's own check")


UNJUDGED = Check(
    "permissions", ok=False, detail="not checked: a good API key comes first", enables="everything", optional=True
)


async def looked_at(session: Session) -> Reply[Check]:
    """Side by side. While the API cannot be reached or refuses the API key, the rest cannot be judged."""
    found = await side_by_side(
        {
            KEY: partial(api_key, session),
            APP_KEY: partial(application_key, session),
            **{
                check_of(scope): partial(permission, session, scope, call)
                for scope, call in probes(session).items()
            },
        }
    )
    key, rest = found[0], found[1:]
    # What is good but has a detail is a 400 or 404: from an address that is no Datadog it says nothing.
    if not any(check.ok and not check.detail for check in found):
        rest = [UNJUDGED] if key.name == KEY.name and not key.optional else []
    return Reply([key, *rest, *clock(session), *left(session.context.quota)])


async def api_key(session: Session) -> list[Check]:
    try:
        return [await session.once(lambda client: client.validate(), valid, None)]
    except (AuthError, ForbiddenError, PlanError) as error:
        return [failed_check(KEY, error)]
    except SourceError as error:
        return [failed_check(replace(KEY, name="reachable"), error)]


def valid(reply: HttpReply) -> Check:
    if dig(parse_json(reply.body), "valid") is not True:
        raise ForbiddenError(
            "Datadog does not call the API key valid", hint="check api_key, and that site is right"
        )
    return KEY


async def application_key(session: Session) -> list[Check]:
    """An older or a private installation may lack the endpoint: then the permissions below tell."""
    try:
        await session.once(lambda client: client.validate_keys(), lambda reply: parse_json(reply.body), None)
    except (NotFoundError, BadQueryError) as error:
        return [replace(APP_KEY, detail=f"not looked at: {error}")]
    except (AuthError, ForbiddenError) as error:
        fix = "check app_key: it must belong to the organization of api_key, at this site"
        return [failed_check(APP_KEY, error, fix)]
    return [APP_KEY]


def check_of(scope: Scope) -> Check:
    return Check(scope.name, ok=True, enables=scope.enables, optional=scope.optional)


async def permission(session: Session, scope: Scope, call: Call) -> list[Check]:
    """One scope. An answer about the question itself (400, 404) is one that was permitted to be asked."""
    check = check_of(scope)
    try:
        await session.once(call, lambda reply: parse_json(reply.body), scope)
    except (BadQueryError, NotFoundError) as error:
        if scope.optional and isinstance(error, NotFoundError):
            return [
                failed_check(check, error, "the account seems not to have this product; nothing to repair here")
            ]
        return [replace(check, detail=str(error))]
    return [check]


def probes(session: Session) -> Mapping[Scope, Call]:
    """The smallest question for each permission."""
    settings, end_ms = session.settings, now_ms()
    window, text = Window(end_ms - LOOK_MS, end_ms), f"avg:{METRIC}{{*}}"
    request = formula_request(text, window, LOOK_MS)
    start_s, end_s = window.start_ms // 1000, window.end_ms // 1000
    wanted: dict[Scope, Call] = {
        SERIES: lambda client: client.query(start_s, end_s, text),
        CATALOG: lambda client: client.catalog(0, 1),
        TAGS: lambda client: client.tags(METRIC, settings.service_tag),
        MONITORS: lambda client: client.monitor_groups(FIRING, 0, 1),
        INCIDENTS: lambda client: client.incidents("state:active", 0, 1),
        EVENTS: lambda client: client.events(events_request(settings.change_query, window, limit=1)),
        DORA: lambda client: client.deployments(deployments_request(window, limit=1)),
        SLOS: lambda client: client.slos(0, 1),
    }
    if settings.api == "v2":
        wanted[SERIES] = lambda client: client.timeseries(request)
    if env := settings.env:
        wanted[APM] = lambda client: client.apm_services(env)
    return wanted


def clock(session: Session) -> list[Check]:
    """By the newest answer, be it a refusal; nothing where there was none."""
    if session.told is None:
        return []
    headers, at_s = session.told
    return [clock_check(date_s(headers), at_s)]


def left(quota: Quota) -> list[Check]:
    """The scarcest limits that Datadog told of; nothing where it told of none."""
    told = [f"{limit.name}: {limit.remaining} of {limit.limit or '?'} left" for limit in quota.left()[:3]]
    return [Check("quota", ok=True, detail="; ".join(told))] if told else []
