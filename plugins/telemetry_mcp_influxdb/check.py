"""What `doctor` asks: is it there, is it the version that is configured, may we read, may we do too much?"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from time import time

from telemetry_mcp import (
    AuthError,
    Check,
    ForbiddenError,
    HttpReply,
    NotFoundError,
    Reply,
    SourceError,
    clock_check,
    date_s,
    failed_check,
    now_ms,
    side_by_side,
)
from telemetry_mcp_influxdb.influxql import identifier
from telemetry_mcp_influxdb.language import Language
from telemetry_mcp_influxdb.setting import InfluxSettings
from telemetry_mcp_influxdb.statement import Statement

ENABLES = "series of metrics, services, native queries"
QUERY = Check("query", ok=True, enables=ENABLES)

Ping = Callable[[], Awaitable[HttpReply]]
Run = Callable[[Statement], Awaitable[object]]


async def checks(settings: InfluxSettings, language: Language, ping: Ping, run: Run) -> Reply[Check]:
    """Every part at once; none can hide another."""
    found = await side_by_side(
        {
            Check("reachable", ok=True): partial(check_ping, settings, ping),
            QUERY: partial(check_reading, settings, language, run),
            Check("reads only", ok=True, optional=True): partial(check_writing, settings, language, run),
        }
    )
    return Reply(found)


async def check_ping(settings: InfluxSettings, ping: Ping) -> list[Check]:
    try:
        reply = await ping()
    except SourceError as error:
        return [failed_check(Check("reachable", ok=False), error)]
    reached = Check("reachable", ok=True, detail="answers /ping")
    return [reached, version_check(settings, reply), clock_check(date_s(reply.headers), time())]


def version_check(settings: InfluxSettings, reply: HttpReply) -> Check:
    """2 and 3 still answer what 1 does; nothing answers what comes after it."""
    seen = reply.headers.get("x-influxdb-version", "")
    major = seen.lstrip("v").partition(".")[0]
    if not major.isdigit():
        return Check("version", ok=True, detail="the server does not tell its version")
    fits = settings.version in (1, int(major))
    told = f"the server is {seen}, asked as version {settings.version}"
    return Check("version", ok=fits, detail=told, fix="" if fits else f"set version = {major}")


async def check_reading(settings: InfluxSettings, language: Language, run: Run) -> list[Check]:
    """One statement that needs all of it: which part fails is told by its error."""
    place = f"{language.place} {settings.place}"
    right = f"permission {language.permission} on {place}"
    let_in, there = Check("credentials", ok=True), Check(place, ok=True, detail="exists")
    try:
        await run(language.probe(now_ms()))
    except AuthError as error:
        return [Check("credentials", ok=False, detail=str(error), fix=credentials_fix(settings))]
    except ForbiddenError as error:
        fix = grant_fix(settings, language)
        return [let_in, Check(right, ok=False, detail=str(error), fix=fix, enables=ENABLES)]
    except NotFoundError as error:
        return [let_in, Check(place, ok=False, detail=str(error), fix=error.hint, enables=ENABLES)]
    except SourceError as error:
        return [failed_check(QUERY, error)]
    return [let_in, there, Check(right, ok=True, detail="granted", enables=ENABLES)]


def credentials_fix(settings: InfluxSettings) -> str:
    return "correct username and password" if settings.version == 1 else "correct token"


def grant_fix(settings: InfluxSettings, language: Language) -> str:
    if settings.version == 1:
        return f"GRANT READ ON {identifier(settings.place)} TO {identifier(settings.username or 'reader')}"
    return f"give the token the permission {language.permission} on {settings.place}"


async def check_writing(settings: InfluxSettings, language: Language, run: Run) -> list[Check]:
    """Who may list grants in 1.x is an administrator, who may do everything. Other users cannot see their own."""
    if settings.version != 1 or not settings.username:
        return []
    try:
        await run(Statement(f"SHOW GRANTS FOR {identifier(settings.username)}"))
    except ForbiddenError:
        told = "no administrator; whether WRITE is granted, InfluxDB tells administrators only"
        return [Check("reads only", ok=True, detail=told, optional=True)]
    except SourceError:
        return []  # check_reading has its words
    fix = f"use a user of its own: {grant_fix(settings, language)}"
    told = "this user is an administrator: it may write and delete"
    return [Check("reads only", ok=False, detail=told, fix=fix, optional=True)]
