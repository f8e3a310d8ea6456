"""list_sources: what doctor would say, in short and without asking anybody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from telemetry_mcp.demo.fault import Fault

if TYPE_CHECKING:
    from telemetry_mcp.demo.emulator import Emulators
    from tests.server.conftest import Ask, Desk


async def row(ask: Ask, name: str) -> dict[str, Any]:
    return (await ask("list_sources")).row("sources", name=name)


async def test_a_source_that_was_not_asked_yet_has_nothing_to_say(ask: Ask) -> None:
    source = await row(ask, "datadog")
    assert (source["status"], source["quota"], source["reason"], source["fix"]) == ("ready", None, None, None)


async def test_the_scarcest_limit_is_told_with_what_is_left(desk: Desk) -> None:
    quota = desk.engine.registry["newrelic"].source.context.quota
    for name, remaining in (("queries", "7"), ("requests", "90")):
        headers = {"remaining": remaining, "limit": "100", "reset": "60", "name": name}
        quota.note({f"x-ratelimit-{key}": value for key, value in headers.items()}, of=name)
    told = (await row(desk.ask, "newrelic"))["quota"]
    assert told in ("queries: 7 of 100 left, reset in 60 s", "queries: 7 of 100 left, reset in 59 s")


async def test_what_a_source_fails_by_is_told_before_the_breaker_opens(ask: Ask, world: Emulators) -> None:
    world.faults["prometheus"].set("/", Fault("status", code=500))
    await ask("list_services", fresh=True)
    source = await row(ask, "prometheus")
    assert source["status"] == "failing"
    assert "services: HTTP 500" in source["reason"]
    assert source["fix"]
    world.faults["prometheus"].clear()
    await ask("list_services", fresh=True)
    assert (await row(ask, "prometheus"))["reason"] is None


async def test_a_back_off_is_told_in_the_backends_words(ask: Ask, world: Emulators) -> None:
    limited = Fault("rate_limit", body=b"too many queries", headers={"Retry-After": "30"})
    world.faults["prometheus"].set("/", limited)
    await ask("list_services", fresh=True)
    source = await row(ask, "prometheus")
    assert source["status"] == "backing_off"
    assert "too many queries" in source["reason"]
