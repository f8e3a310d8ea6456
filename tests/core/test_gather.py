"""One request a metric, all at once: partial when some fail by their own fault, an error otherwise."""

from collections.abc import Awaitable, Callable

import pytest
from anyio import Event, fail_after

from telemetry_mcp.errors import AuthError, BadQueryError, ForbiddenError, SourceError, UpstreamError
from telemetry_mcp.gather import gather
from telemetry_mcp.model import Reply, Service

Call = Callable[[], Awaitable[Reply[Service]]]


def giving(*names: str, query: str = "", warning: str = "", partial: str | None = None) -> Call:
    async def call() -> Reply[Service]:
        return Reply([Service(n) for n in names], [query] if query else [], [warning] if warning else [], partial)

    return call


def raising(error: Exception) -> Call:
    async def call() -> Reply[Service]:
        raise error

    return call


async def test_all_requests_are_under_way_before_any_is_answered() -> None:
    started: list[str] = []
    all_started = Event()

    def meeting(name: str) -> Call:
        async def call() -> Reply[Service]:
            started.append(name)
            if len(started) == 3:
                all_started.set()
            await all_started.wait()
            return Reply([Service(name)])

        return call

    with fail_after(5):
        reply = await gather({name: meeting(name) for name in "abc"})
    assert [service.name for service in reply.items] == ["a", "b", "c"]


async def test_replies_are_joined_in_the_given_order_and_repeats_are_dropped() -> None:
    first_may_answer = Event()

    async def late() -> Reply[Service]:
        await first_may_answer.wait()
        return Reply([Service("1")], ["q1", "q"], ["w"])

    async def early() -> Reply[Service]:
        first_may_answer.set()
        return Reply([Service("2")], ["q", "q2"], ["w"])

    with fail_after(5):
        reply = await gather({"late": late, "early": early})
    assert [service.name for service in reply.items] == ["1", "2"]
    assert (reply.queries, reply.warnings, reply.partial) == (["q1", "q", "q2"], ["w"], None)


@pytest.mark.parametrize("error", [BadQueryError("parse error at 4"), ForbiddenError("needs metrics_read")])
async def test_a_request_that_fails_by_its_own_fault_is_named_and_the_others_count(error: SourceError) -> None:
    reply = await gather({"cpu": giving("a"), "memory": raising(error)})
    assert [service.name for service in reply.items] == ["a"]
    assert reply.partial == f"memory: {error}"


async def test_what_was_partial_already_stays_so() -> None:
    reply = await gather({"cpu": giving("a", partial="capped"), "memory": raising(BadQueryError("no"))})
    assert reply.partial == "capped; memory: no"


async def test_when_all_fail_the_first_in_the_given_order_is_raised() -> None:
    second_failed = Event()

    async def first() -> Reply[Service]:
        await second_failed.wait()
        raise BadQueryError("first")

    async def second() -> Reply[Service]:
        second_failed.set()
        raise ForbiddenError("second")

    with fail_after(5), pytest.raises(BadQueryError, match="first"):
        await gather({"a": first, "b": second})


@pytest.mark.parametrize("error", [UpstreamError("502"), AuthError("401")])
async def test_a_sick_backend_is_an_error_though_some_answered(error: SourceError) -> None:
    calls = {"a": giving("a"), "b": raising(BadQueryError("no")), "c": raising(error)}
    with pytest.raises(type(error), match=str(error)):
        await gather(calls)


async def test_no_request_is_an_empty_reply() -> None:
    reply: Reply[Service] = await gather({})
    assert reply == Reply([], [], [], None)
