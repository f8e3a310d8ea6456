"""What `doctor` looks at: both keys, each permission by its name, the clock, and what is left of the quota."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from email.utils import parsedate_to_datetime
from functools import partial

from telemetry_mcp import (
    AuthError,
    BadQueryError,
    Check,
    ForbiddenError,
    HttpReply,
    NotFoundError,
    Quota,
    Reply,
    SourceError,
    Window,
    gather,
    now_ms,
    parse_json,
)
from telemetry_mcp_datadog.change import deployments_request, events_request
from telemetry_mcp_datadog.monitor import FIRING
from telemetry_mcp_datadog.query import formula_request
from telemetry_mcp_datadog.scope import APM, CATALOG, DORA, EVENTS, INCIDENTS, MONITORS, SERIES, SLOS, TAGS, Scope
from telemetry_mcp_datadog.session import Call, Session
from telemetry_mcp_datadog.wire import dig

LOOK_MS = 60_000
SKEW_MS = 30_000
METRIC = "system.cpu.idle"
"""What every account with an agent has. Where it is not there, an empty answer or a 404 is leave given as well."""


async def looked_at(session: Session) -> Reply[Check]:
    """Side by side. While the API cannot be reached or refuses the API key, nothing else is worth a line."""
    try:
        key, date = await session.ask(lambda client: client.validate(), valid, None)
    except SourceError as error:
        refused = isinstance(error, AuthError | ForbiddenError)
        return Reply([Check("api key" if refused else "reachable", ok=False, detail=str(error), fix=error.hint)])
    parts: dict[str, Callable[[], Awaitable[Reply[Check]]]] = {
        "application key": partial(application_key, session),
        **{scope.name: partial(permission, session, scope, call) for scope, call in probes(session).items()},
    }
    found: Reply[Check] = await gather(parts)
    return Reply([key, *found.items, *clock(date, now_ms()), *left(session.context.quota)])


def valid(reply: HttpReply) -> tuple[Check, str]:
    """The API key's line, and the date that the answer bears."""
    if dig(parse_json(reply.body), "valid") is not True:
        raise ForbiddenError(
            "Datadog does not call the API key valid", hint="check api_key, and that site is right"
        )
    return Check("api key", ok=True, enables="everything"), reply.headers.get("date", "")


async def application_key(session: Session) -> Reply[Check]:
    """An older or a private installation may lack the endpoint: then the permissions below tell."""
    name, enables = "application key", "everything but the API key's own check"
    try:
        await session.ask(lambda client: client.validate_keys(), lambda reply: parse_json(reply.body), None)
    except (NotFoundError, BadQueryError) as error:
        return Reply([Check(name, ok=True, detail=f"not looked at: {error}", enables=enables)])
    except SourceError as error:
        fix = "check app_key: it must belong to the organization of api_key, at this site"
        return Reply([Check(name, ok=False, detail=str(error), fix=fix, enables=enables)])
    return Reply([Check(name, ok=True, enables=enables)])


async def permission(session: Session, scope: Scope, call: Call) -> Reply[Check]:
    """One scope. An answer about the question itself (400, 404) is one that was permitted to be asked."""
    given = partial(Check, scope.name, enables=scope.enables, optional=scope.optional)
    try:
        await session.ask(call, lambda reply: parse_json(reply.body), scope)
    except (BadQueryError, NotFoundError) as error:
        absent = scope.optional and isinstance(error, NotFoundError)
        fix = "the account seems not to have this product; nothing to repair here"
        return Reply([given(ok=not absent, detail=str(error), fix=fix if absent else "")])
    except SourceError as error:
        return Reply([given(ok=False, detail=str(error), fix=error.hint)])
    return Reply([given(ok=True)])


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


def clock(date: str, at_ms: int) -> list[Check]:
    """How far Datadog's clock and ours are apart; nothing where its answer bears no date."""
    try:
        ahead_ms = at_ms - parsedate_to_datetime(date).timestamp() * 1000
    except (ValueError, TypeError):
        return []
    side = "ahead of" if ahead_ms > 0 else "behind"
    fix = "set this machine's clock (NTP): a window would begin and end at other times than meant"
    ok = abs(ahead_ms) <= SKEW_MS
    detail = f"{abs(ahead_ms) / 1000:.0f} s {side} Datadog's"
    return [Check("clock", ok=ok, detail=detail, fix="" if ok else fix, enables="windows that mean what they say")]


def left(quota: Quota) -> list[Check]:
    """The scarcest limits that Datadog told of; nothing where it told of none."""
    told = [f"{limit.name}: {limit.remaining} of {limit.limit or '?'} left" for limit in quota.left()[:3]]
    return [Check("quota", ok=True, detail="; ".join(told))] if told else []
