"""The span of each source that a call asks: whose child it is, what it says, and what goes on to the backend."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest
from anyio import Event, create_task_group
from opentelemetry import baggage, context, trace

from telemetry_mcp.errors import AuthError
from telemetry_mcp.fanout import Deadline
from telemetry_mcp.question import ServiceQuery, Window
from telemetry_mcp.span import trace_headers
from tests.spans import Spans, id_of, parent_of, recorded, trace_of, traceparent_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.core.conftest import ConnectHttp, MakeFanout, Saying, Scripted, ServeRaw

SERVICES = ServiceQuery(Window(0, 3_600_000))
TRACER = trace.get_tracer("test")


@pytest.fixture
def spans() -> Iterator[Spans]:
    with recorded() as spans:
        yield spans


async def test_each_source_has_a_span_under_the_calls_own(
    spans: Spans, fanout: MakeFanout, scripted: type[Scripted]
) -> None:
    broken = scripted.raising(AuthError("the key ABC is not valid"))
    async with fanout(one=scripted.finding(), two=broken) as fan:
        with TRACER.start_as_current_span("call"):
            await fan.ask(SERVICES, Deadline(5))
    call, one, two = (spans.one(name) for name in ("call", "source one", "source two"))
    assert parent_of(one) == parent_of(two) == id_of(call)
    assert trace_of(one) == trace_of(two) == trace_of(call)
    assert dict(one.attributes or {}) == {
        "telemetry_mcp.source": "one",
        "telemetry_mcp.plugin": "scripted",
        "telemetry_mcp.method": "list_services",
        "telemetry_mcp.shared": False,
        "telemetry_mcp.status": "ok",
        "telemetry_mcp.cached": False,
        "telemetry_mcp.items": 1,
    }
    assert (two.attributes or {})["error.type"] == "auth"
    assert not two.status.is_ok
    assert "ABC" not in two.to_json()


async def test_an_answer_from_the_cache_has_a_span_that_says_so(
    spans: Spans, fanout: MakeFanout, scripted: type[Scripted]
) -> None:
    async with fanout(one=scripted.finding()) as fan:
        await fan.ask(SERVICES, Deadline(5))
        with TRACER.start_as_current_span("call"):
            await fan.ask(SERVICES, Deadline(5))
    assert (spans.one("source one").attributes or {})["telemetry_mcp.cached"] is True


async def test_a_shared_request_belongs_to_the_first_call_and_is_linked_with_the_others(
    spans: Spans, fanout: MakeFanout, scripted: type[Scripted]
) -> None:
    started, cancelled, release = Event(), Event(), Event()
    async with fanout(one=scripted.telling(started, cancelled, release)) as fan:

        async def call(name: str) -> None:
            with TRACER.start_as_current_span(name):
                await fan.ask(SERVICES, Deadline(5))

        async with create_task_group() as calls:
            calls.start_soon(call, "first")
            await started.wait()
            calls.start_soon(call, "second")
            await anyio.wait_all_tasks_blocked()
            release.set()
    first, second = spans.one("first"), spans.one("second")
    by_parent = {parent_of(span): span for span in spans.named("source one")}
    own, joined = by_parent[id_of(first)], by_parent[id_of(second)]
    assert [link.context.span_id for link in own.links] == [id_of(joined)]
    assert [link.context.span_id for link in joined.links] == [id_of(own)]
    assert (joined.attributes or {})["telemetry_mcp.shared"] is True
    assert trace_of(joined) == trace_of(second) != trace_of(own)


async def test_a_source_that_is_too_late_has_a_span_that_says_so(
    spans: Spans, fanout: MakeFanout, scripted: type[Scripted]
) -> None:
    async with fanout(one=scripted.hanging()) as fan:
        with TRACER.start_as_current_span("call"):
            await fan.ask(SERVICES, Deadline(0.05))
    assert (spans.one("source one").attributes or {})["error.type"] == "timeout"


async def test_a_call_that_is_given_up_leaves_no_span_open(
    spans: Spans, fanout: MakeFanout, scripted: type[Scripted]
) -> None:
    started, cancelled = Event(), Event()
    async with fanout(one=scripted.telling(started, cancelled)) as fan, create_task_group() as calls:

        async def call(name: str) -> None:
            with TRACER.start_as_current_span(name):
                await fan.ask(SERVICES, Deadline(30))

        calls.start_soon(call, "first")
        await started.wait()
        calls.start_soon(call, "second")
        await anyio.wait_all_tasks_blocked()
        calls.cancel_scope.cancel()
    sources = spans.named("source one")
    assert [(span.attributes or {})["telemetry_mcp.status"] for span in sources] == ["left", "left"]


async def test_the_backend_is_told_the_trace_and_nothing_of_the_callers_baggage(
    spans: Spans, serve_raw: ServeRaw, connect_http: ConnectHttp, saying: Saying
) -> None:
    async with serve_raw(saying(b"{}")) as server, connect_http(server.url) as http:
        token = context.attach(baggage.set_baggage("user", "alice"))
        with TRACER.start_as_current_span("call"):
            await http.request("GET", "/", headers={"x-own": "1"})
        context.detach(token)
        await http.request("GET", "/")
    assert f"traceparent: {traceparent_of(spans.one('call'))}\r\n" in server.heads[0]
    assert "x-own: 1\r\n" in server.heads[0]
    assert "baggage" not in server.heads[0]
    assert "traceparent" not in server.heads[1]


async def test_nothing_is_made_while_nobody_records(fanout: MakeFanout, scripted: type[Scripted]) -> None:
    with recorded() as spans:
        pass
    async with fanout(one=scripted.finding()) as fan:
        with TRACER.start_as_current_span("call"):
            await fan.ask(SERVICES, Deadline(5))
            assert trace_headers() == {}
    assert spans.get_finished_spans() == ()
