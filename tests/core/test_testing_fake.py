"""The fakes that plugin authors are given: they do as they are told, through the real fan-out and Http."""

from __future__ import annotations

import httpx
import pytest
from anyio import create_task_group

from telemetry_mcp import (
    AuthError,
    ForbiddenError,
    HttpSettings,
    Quota,
    RateLimitedError,
    Reply,
    Service,
    ServiceQuery,
    Source,
    Window,
)
from telemetry_mcp.fanout import Deadline, Fanout
from telemetry_mcp.model import Outcome
from telemetry_mcp.testing import Clock, mock_http, mocked, registry_of, scripted
from telemetry_mcp.testing.mutant import MOST, chosen, emptied

SERVICES = ServiceQuery(Window(0, 60_000))


class Acme(Source):
    Settings = HttpSettings

    async def list_services(self, query: ServiceQuery) -> Reply[Service]:
        return Reply([Service(name) for name in await self.http.json("GET", "/services")])


async def test_a_mocked_source_speaks_to_its_fake_transport() -> None:
    source = mocked(Acme, lambda request: httpx.Response(200, json=[request.url.path]), bearer_token="t0ken")
    assert [service.name for service in (await source.list_services(SERVICES)).items] == ["/services"]


async def test_a_mocked_answer_raises_what_its_status_means() -> None:
    http = mock_http(lambda request: httpx.Response(401, text="who are you?"))
    with pytest.raises(AuthError, match="who are you"):
        await http.json("GET", "/")


async def test_a_scripted_source_has_the_capabilities_that_it_was_given_answers_for() -> None:
    source = scripted(services=Reply([Service("cart")]), incidents=ForbiddenError("not you"))
    assert source.capabilities == ("services", "incidents")
    assert scripted().capabilities == ()


async def test_scripted_sources_answer_fail_and_compute_in_one_fan_out() -> None:
    async def echo(query: object) -> Reply[Service]:
        return Reply([Service(type(query).__name__)])

    sources = (
        scripted("well", services=Reply([Service("cart")])),
        scripted("ill", services=ForbiddenError("not you")),
        scripted("echo", services=echo),
    )
    async with Fanout(registry_of(*sources)) as fanout:
        well, ill, echoed = await fanout.ask(SERVICES, Deadline(5))
    assert well.reply.items == [Service("cart")]
    assert ill.failure is not None
    assert (ill.failure.kind, ill.failure.message) == ("forbidden", "not you")
    assert echoed.reply.items == [Service("ServiceQuery")]
    assert sources[0].asked == [SERVICES]


async def test_a_held_source_answers_when_it_is_released() -> None:
    source = scripted(services=Reply([Service("cart")]))
    gate = source.hold()
    landed: list[Outcome[Service]] = []
    async with Fanout(registry_of(source)) as fanout, create_task_group() as tasks:

        async def ask() -> None:
            landed.extend(await fanout.ask(SERVICES, Deadline(5)))

        tasks.start_soon(ask)
        await source.asked_once.wait()
        assert landed == []
        gate.set()
    assert [outcome.status for outcome in landed] == ["ok"]


def test_a_clock_moves_only_when_it_is_told() -> None:
    clock = Clock(100.0)
    quota = Quota(clock)
    quota.note({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "30"}, "/a")
    with pytest.raises(RateLimitedError):
        quota.enter("/a")
    clock.advance(31)
    quota.enter("/a")
    assert (clock(), clock.ms()) == (131.0, 131_000)


def test_an_emptied_answer_keeps_its_shape() -> None:
    document = {"data": {"result": [{"x": 1}], "type": "matrix"}, "more": False}
    assert emptied(document) == {"data": {"result": [], "type": "matrix"}, "more": False}


def test_strange_values_reach_to_the_end_of_a_long_answer() -> None:
    document = {f"key{nth}": {"inner": nth} for nth in range(200)}
    places = [path for path, _, _ in chosen([document])]
    assert len(places) == MOST
    assert max(int(str(path[0]).removeprefix("key")) for path in places if path) > 180
