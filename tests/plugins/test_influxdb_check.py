"""What the check says of each fault, over a ping and a query that end as they are told."""

from __future__ import annotations

from typing import Any

import pytest

from telemetry_mcp import (
    AuthError,
    Check,
    ForbiddenError,
    HttpReply,
    NotFoundError,
    SourceError,
    UpstreamError,
)
from telemetry_mcp_influxdb.check import checks
from telemetry_mcp_influxdb.setting import LANGUAGES, InfluxSettings
from telemetry_mcp_influxdb.statement import Statement

T0_S = 1_700_000_040
PLACES = {1: "database telegraf", 2: "bucket telegraf", 3: "database telegraf"}
RIGHTS = {
    1: "permission READ on database telegraf",
    2: "permission read:buckets on bucket telegraf",
    3: "permission read on database telegraf",
}
TABLES: dict[int, dict[str, Any]] = {
    1: {"database": "telegraf"},
    2: {"bucket": "telegraf", "org": "acme", "token": "token-of-test"},
    3: {"database": "telegraf", "token": "token-of-test"},
}
VERSIONS = pytest.mark.parametrize("version", [1, 2, 3])


async def checked(
    version: int,
    seen: str | SourceError | None = None,
    error: SourceError | None = None,
    grants: SourceError | None = None,
    **more: Any,
) -> dict[str, Check]:
    """The checks by name. `seen` is the server's version, `error` what the probe ends in, `grants` SHOW GRANTS."""
    table = {"plugin": "influxdb", "url": "http://influx.test", "version": version, **TABLES[version], **more}
    settings = InfluxSettings.model_validate(table)

    async def ping() -> HttpReply:
        if isinstance(seen, SourceError):
            raise seen
        return HttpReply(204, {"x-influxdb-version": seen} if seen else {}, b"")

    async def run(statement: Statement) -> None:
        ended = grants if statement.text.startswith("SHOW GRANTS") else error
        if ended:
            raise ended

    reply = await checks(settings, LANGUAGES[version](settings), ping, run)
    return {check.name: check for check in reply.items}


@pytest.mark.parametrize(("version", "seen"), [(1, "1.6.7"), (1, "v2.7.1"), (2, "v2.7.1"), (3, "3.1.0")])
async def test_a_sound_source_passes_its_check(version: int, seen: str) -> None:
    found = await checked(version, seen)
    assert list(found) == ["reachable", "version", "clock", "credentials", PLACES[version], RIGHTS[version]]
    assert all(check.ok for check in found.values())
    assert found[RIGHTS[version]].enables == "series of metrics, services, native queries"
    assert seen in found["version"].detail


@pytest.mark.parametrize(("version", "seen", "major"), [(2, "1.8.10", 1), (2, "3.0", 3), (3, "v2.7.1", 2)])
async def test_a_version_that_the_server_does_not_speak_is_a_fault(version: int, seen: str, major: int) -> None:
    check = (await checked(version, seen))["version"]
    assert (check.ok, check.fix) == (False, f"set version = {major}")


@VERSIONS
async def test_a_server_that_is_gone_hides_nothing_else(version: int) -> None:
    found = await checked(version, UpstreamError("refused", hint="is it up?"))
    assert (found["reachable"].ok, found["reachable"].fix) == (False, "is it up?")
    assert found[RIGHTS[version]].ok


@VERSIONS
async def test_refused_credentials_are_named(version: int) -> None:
    found = await checked(version, error=AuthError("HTTP 401"))
    fix = "correct username and password" if version == 1 else "correct token"
    assert (found["credentials"].ok, found["credentials"].fix) == (False, fix)
    assert found["reachable"].ok


@VERSIONS
async def test_a_missing_permission_is_named_with_what_it_enables_and_how_it_is_given(version: int) -> None:
    found = await checked(version, error=ForbiddenError("HTTP 403"))
    right = found[RIGHTS[version]]
    fix = {
        1: 'GRANT READ ON "telegraf" TO "reader"',
        2: "give the token the permission read:buckets on telegraf",
        3: "give the token the permission read on telegraf",
    }
    assert (right.ok, right.fix, right.optional) == (False, fix[version], False)
    assert found["credentials"].ok


@VERSIONS
async def test_a_missing_database_or_bucket_is_named(version: int) -> None:
    check = (await checked(version, error=NotFoundError("database not found")))[PLACES[version]]
    assert (check.ok, check.detail) == (False, "database not found")


@VERSIONS
async def test_any_other_failure_of_the_query_is_told_as_it_is(version: int) -> None:
    check = (await checked(version, error=UpstreamError("HTTP 500", hint="wait")))["query"]
    assert (check.ok, check.detail, check.fix) == (False, "HTTP 500", "wait")


async def test_an_administrator_of_version_one_may_do_more_than_it_should() -> None:
    user: dict[str, Any] = {"username": 'ro"ot', "password": "password-of-test"}
    check = (await checked(1, **user))["reads only"]
    fix = 'use a user of its own: GRANT READ ON "telegraf" TO "ro\\"ot"'
    assert (check.ok, check.optional, check.fix) == (False, True, fix)
    assert (await checked(1, grants=ForbiddenError("requires admin"), **user))["reads only"].ok
    assert "reads only" not in await checked(1, grants=UpstreamError("HTTP 500"), **user)


async def test_a_server_that_does_not_tell_its_version_or_time_is_no_fault() -> None:
    found = await checked(3)
    assert (found["version"].ok, found["version"].detail) == (True, "the server does not tell its version")
    assert found["clock"].ok
