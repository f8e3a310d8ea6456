"""What a caller is told of one call too many, in the protocol and in HTTP, and how an incident gets it more."""

from __future__ import annotations

import signal
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest
from mcp import Client, MCPError
from mcp.types import ResourceTemplateReference, TextContent
from pydantic import SecretStr

from telemetry_mcp.access.caller import LOCAL, Caller
from telemetry_mcp.access.key import KeyFile
from telemetry_mcp.access.visit import VISIT, Visit
from telemetry_mcp.config import read
from telemetry_mcp.model import Incident, Service
from telemetry_mcp.server.metric import Metrics
from telemetry_mcp.server.passage import PASSAGE, Passage
from telemetry_mcp.server.throttle import LIMITED, RetryAfter
from telemetry_mcp.server.web import bound, run
from telemetry_mcp.source import now_ms
from telemetry_mcp.terminal.target import server_over
from tests.server.house import numbers, teller, written
from tests.server.test_web import BOTH, call, initialize, message

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from mcp.server import MCPServer
    from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
    from mcp.types import CallToolResult
    from starlette.types import Message

    from telemetry_mcp.config import Config

ALICE, BOB = Caller("alice", "user", ("viewer",)), Caller("bob", "user", ("viewer",))
ROBOT, RESPONDER = Caller("robot", "service_account", ("viewer",)), Caller("rita", "user", ("responder",))
SOLVER = Caller("sam", "user", ("solver",))
"""May investigate, without having the incident lane by its role."""
SECRET = "0123456789abcdef0123456789abcdef"
LIMITS = """
[limits]
user = "3/day"
service_account = "4/day"
incident = "6/day"
[access.roles.solver]
tools = ["*"]
services = ["*"]
sources = ["*"]
"""
OPENED_MS = now_ms() - 600_000
OPEN = Incident("P1", "checkout is slow", "triggered", OPENED_MS, "checkout")
OVER = Incident("P2", "cart was slow", "resolved", OPENED_MS, "cart", resolved_ms=OPENED_MS + 60_000)


@dataclass
class House:
    """A server under test: `caller` is who asks next, `visits` are what is known of each request."""

    server: MCPServer[Any]
    caller: Caller = ALICE
    visits: list[Visit] = field(default_factory=list)


def house(config: Config) -> House:
    made = House(server_over(config))

    async def is_asked(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """In place of authentication: the caller of `house`, or over HTTP whoever the request says."""
        named = ctx.request.headers.get("x-caller") if ctx.request is not None else None
        made.visits.append(Visit(Caller(named, "user", ("viewer",)) if named else made.caller))
        VISIT.set(made.visits[-1])
        return await call_next(ctx)

    names = [getattr(middleware, "__name__", "") for middleware in made.server.middleware]
    made.server.middleware.insert(names.index("identify") + 1, is_asked)
    return made


@pytest.fixture
def config(tmp_path: Path) -> Config:
    telling = teller(list_services=[Service("checkout"), Service("cart")], list_incidents=[OPEN, OVER])
    return written(tmp_path, LIMITS, teller=telling, numbers=numbers(["checkout"]))


def said(result: CallToolResult) -> str:
    (block,) = result.content
    assert isinstance(block, TextContent)
    return block.text


async def let_through(client: Client, tries: int = 20, tool: str = "list_sources", **arguments: Any) -> int:
    results = [await client.call_tool(tool, arguments) for _ in range(tries)]
    return sum(not result.is_error for result in results)


# ---- in the protocol


async def test_a_tool_call_too_many_is_answered_with_a_sentence_for_the_model(config: Config) -> None:
    one = house(config)
    async with Client(one.server) as client:
        assert await let_through(client, 3) == 3
        result = await client.call_tool("list_sources", {})
        seconds = (result.meta or {})["retry_after_s"]
        assert result.is_error
        assert said(result) == f"limit of 3 calls a day for alice is used up; ask again in {seconds} s"
        assert 0 < seconds <= 2 * 86_400
        assert (one.visits[-1].refusal, one.visits[-1].reason) == ("limited", said(result))
        one.caller = BOB
        assert await let_through(client) == 3
        one.caller = ROBOT
        assert await let_through(client) == 4


COUNTED: dict[str, Callable[[Client], Awaitable[object]]] = {
    "resources/read": lambda client: client.read_resource("telemetry://sources", cache_mode="bypass"),
    "prompts/get": lambda client: client.get_prompt("sli_report"),
    "completion/complete": lambda client: client.complete(
        ResourceTemplateReference(
            type="ref/resource", uri="telemetry://services/{service}/metrics/{metric}{?hours}"
        ),
        {"name": "metric", "value": "c"},
    ),
    "subscriptions/listen": lambda client: client.listen(
        resource_subscriptions=["telemetry://sources"]
    ).__aenter__(),
}


@pytest.mark.parametrize("method", COUNTED)
async def test_every_other_request_too_many_is_answered_with_an_error_that_says_the_same(
    config: Config, method: str
) -> None:
    one = house(config)
    async with Client(one.server) as client:
        assert await let_through(client, 3) == 3
        with pytest.raises(MCPError, match=r"limit of 3 calls a day for alice is used up") as caught:
            await COUNTED[method](client)
    assert caught.value.error.code == LIMITED
    assert caught.value.error.data["retry_after_s"] > 0
    assert one.visits[-1].refusal == "limited"


@pytest.mark.parametrize("method", [name for name in COUNTED if name != "subscriptions/listen"])
async def test_every_other_request_counts(config: Config, method: str) -> None:
    async with Client(house(config).server) as client:
        for _ in range(2):
            await COUNTED[method](client)
        assert await let_through(client) == 1


async def test_a_subscription_counts_once_and_takes_no_place_while_it_is_open(tmp_path: Path) -> None:
    one = house(written(tmp_path, '[limits]\nuser = "3/day"\nconcurrency = 1\n', numbers=numbers(["checkout"])))
    async with Client(one.server) as client:
        async with client.listen(resource_subscriptions=["telemetry://sources"]):
            assert await let_through(client) == 2
        one.caller = BOB
        assert await let_through(client) == 3


async def test_what_there_is_may_be_listed_without_being_counted(config: Config) -> None:
    async with Client(house(config).server) as client:
        assert await let_through(client) == 3
        for _ in range(5):
            assert await client.list_tools(cache_mode="bypass")
            assert await client.list_resources(cache_mode="bypass")


async def test_whoever_runs_the_process_is_not_limited(config: Config) -> None:
    one = house(config)
    one.caller = LOCAL
    async with Client(one.server) as client:
        assert await let_through(client, 30) == 30


# ---- an open incident


async def test_who_investigates_an_open_incident_gets_the_larger_bucket(config: Config) -> None:
    one = house(config)
    one.caller = SOLVER
    async with Client(one.server) as client:
        assert await let_through(client, 1, "investigate_incident", incident_id="P1") == 1
        assert await let_through(client) == 6
        one.caller = ALICE
        assert await let_through(client) == 3


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("investigate_incident", {"incident_id": "P-made-up"}),
        ("investigate_incident", {"incident_id": "P2"}),
        ("investigate_incident", {"service": "checkout", "start": "now-10m"}),
        ("list_incidents", {"service": "checkout"}),
        ("list_sources", {"incident_id": "P1"}),
    ],
    ids=["made up", "resolved", "no incident", "a list names none", "another tool"],
)
async def test_anything_less_gives_nothing(config: Config, tool: str, arguments: dict[str, str]) -> None:
    one = house(config)
    one.caller = SOLVER
    async with Client(one.server) as client:
        await client.call_tool(tool, arguments)
        assert await let_through(client) == 2


async def test_it_ends_when_a_source_says_that_the_incident_is_resolved(tmp_path: Path) -> None:
    config = written(tmp_path, LIMITS, turning=TURNING, numbers=numbers(["checkout"]))
    one = house(config)
    one.caller = SOLVER
    async with Client(one.server) as client:
        assert await let_through(client, 1, "investigate_incident", incident_id="P1") == 1
        one.caller = ALICE
        await client.call_tool("list_incidents", {"status": "all", "fresh": True})
        one.caller = SOLVER
        assert await let_through(client) == 2


TURNING = """\
from dataclasses import replace
from telemetry_mcp import Reply, Service, Source, hookimpl, now_ms
from telemetry_mcp.model import Incident

class Turning(Source):
    asked = 0

    async def list_services(self, query):
        return Reply([Service("checkout")])

    async def list_incidents(self, query):
        if query.statuses or query.services:
            return Reply([])
        self.asked += 1
        open = Incident("P1", "slow", "triggered", now_ms() - 600_000, "checkout")
        return Reply([open if self.asked == 1 else replace(open, status="resolved", resolved_ms=now_ms())])

@hookimpl
def telemetry_sources():
    return [Turning]
"""


@pytest.mark.parametrize(("caller", "through"), [(ALICE, 3), (RESPONDER, 6)])
async def test_a_role_may_have_the_larger_bucket_at_all_times(
    config: Config, caller: Caller, through: int
) -> None:
    one = house(config)
    one.caller = caller
    async with Client(one.server) as client:
        assert await let_through(client) == through


async def test_an_incident_gets_through_to_a_source_whose_quota_is_used_up_but_for_that(tmp_path: Path) -> None:
    (tmp_path / "teller.py").write_text(teller(list_incidents=[OPEN]))
    (tmp_path / "plugins.toml").write_text(
        '[sources.teller]\nplugin = "./teller.py"\nrate = "5/day"\nincident_share = 0.4\n'
    )
    one = house(read(tmp_path / "plugins.toml", {}))

    async def failures(caller: Caller, tries: int) -> list[str | None]:
        one.caller = caller
        answers = [await client.call_tool("list_incidents", {"fresh": True}) for _ in range(tries)]
        lines = [(answer.structured_content or {})["sources"][0] for answer in answers]
        return [line["error"] and line["error"]["kind"] for line in lines]

    async with Client(one.server) as client:
        assert await failures(ALICE, 2) == [None, None]
        assert await failures(BOB, 2) == [None, "rate_limited"]
        assert await failures(RESPONDER, 3) == [None, None, "rate_limited"]
        sources = (await client.call_tool("list_sources", {})).structured_content
    assert sources
    (row,) = sources["sources"]
    assert row["status"] == "ready"
    assert row["breaker"]["state"] == "closed"
    assert row["quota"].startswith("ours: 5 questions a day, 2 of them for incidents; used up, room again in ")


# ---- the size of an answer


@pytest.mark.parametrize(
    ("caller", "asked", "cut_to"),
    [
        (ALICE, None, 1000),
        (ALICE, 5000, 1000),
        (ALICE, 800, 800),
        (LOCAL, None, None),
        (LOCAL, 5000, 5000),
    ],
)
async def test_an_answer_is_as_long_as_its_caller_asks_and_may_have(
    tmp_path: Path, caller: Caller, asked: int | None, cut_to: int | None
) -> None:
    one = house(written(tmp_path, "[limits]\nmax_tokens = 1000\n", numbers=numbers(["checkout"])))
    one.caller = caller
    arguments = {"service": "checkout", "metric_type": "cpu", "hours": 24, "max_points": 2000}
    async with Client(one.server) as client:
        wished = {} if asked is None else {"max_tokens": asked}
        result = await client.call_tool("query_historical_metrics", {**arguments, **wished})
    assert result.structured_content
    cut = [warning for warning in result.structured_content["warnings"] if "max_tokens" in warning]
    assert len(cut) == (cut_to is not None)
    assert all(f"to stay within max_tokens={cut_to}; " in warning for warning in cut)
    if caller is ALICE:
        (told,) = cut
        assert ("larger max_tokens, 1000 at most" in told) is (cut_to == 800)
        assert ("one caller gets no more" in told) is (cut_to == 1000)


# ---- over HTTP


@asynccontextmanager
async def serving(server: MCPServer[Any], config: Config) -> AsyncIterator[str]:
    """The server on a port of this machine while the block lasts; its URL."""
    ready = anyio.Event()
    with bound("127.0.0.1", 0) as sock:

        async def serve() -> None:
            await run(server, Metrics(), config.server, sock, ready.set, grace_s=1, access=config.access)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(serve)
            await ready.wait()
            yield f"http://127.0.0.1:{sock.getsockname()[1]}/mcp"
            signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_over_http_the_sentence_reaches_the_model_of_either_era(config: Config, mode: str) -> None:
    async with serving(house(config).server, config) as url, Client(url, mode=mode) as client:
        assert await let_through(client, 3) == 3
        result = await client.call_tool("list_sources", {})
        assert result.is_error
        assert "for alice is used up" in said(result)
        with pytest.raises(MCPError, match="for alice is used up"):
            await client.get_prompt("sli_report")


def modern(method: str, **params: Any) -> dict[str, Any]:
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
    }
    return call(method, **params, _meta=meta)


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_over_http_the_answer_says_retry_after_with_the_status_of_every_answer(
    config: Config, era: str
) -> None:
    headers = {**BOTH, "x-caller": "carol"}
    asking = {"name": "list_sources", "arguments": {}}
    async with (
        serving(house(config).server, config) as url,
        httpx.AsyncClient(trust_env=False, timeout=10) as http,
    ):
        if era == "modern":
            headers |= MODERN
            question = modern("tools/call", **asking)
        else:
            first = await http.post(url, json=initialize("2025-11-25"), headers=headers)
            headers |= {"mcp-session-id": first.headers["mcp-session-id"], "mcp-protocol-version": "2025-11-25"}
            ready = {"jsonrpc": "2.0", "method": "notifications/initialized"}
            await http.post(url, json=ready, headers=headers)
            question = call("tools/call", **asking)
        for _ in range(3):
            answer = await http.post(url, json=question, headers=headers)
            assert answer.status_code == 200
            assert "retry-after" not in answer.headers
            assert not message(answer)["result"].get("isError")
        answer = await http.post(url, json=question, headers=headers)
        result = message(answer)["result"]
        assert result["isError"] is True
        assert (answer.status_code, answer.headers["retry-after"]) == (200, str(result["_meta"]["retry_after_s"]))
        other = await http.post(url, json=question, headers={**headers, "x-caller": "dave"})
        assert "retry-after" not in other.headers


MODERN = {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": "list_sources"}
KEYS = f"""
[access]
secret = "{SECRET}"
keys = "keys.json"
"""


async def test_who_showed_a_key_is_told_retry_after_as_well(tmp_path: Path) -> None:
    config = written(tmp_path, KEYS + LIMITS, numbers=numbers(["checkout"]))
    _, key = KeyFile(tmp_path / "keys.json", SecretStr(SECRET)).create("robot", ["viewer"])
    headers = {**BOTH, **MODERN, "authorization": f"Bearer {key}"}
    question = modern("tools/call", name="list_sources", arguments={})
    async with (
        serving(server_over(config), config) as url,
        httpx.AsyncClient(trust_env=False, timeout=10, headers=headers) as http,
    ):
        answers = [await http.post(url, json=question) for _ in range(5)]
    again = [answer.headers.get("retry-after") for answer in answers]
    assert again[:4] == [None] * 4
    assert again[4] == str(message(answers[4])["result"]["_meta"]["retry_after_s"])


async def test_a_call_over_http_knows_since_when_it_waits(config: Config) -> None:
    server, visits = server_over(config), list[tuple[float, float | None]]()

    async def look(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        visits.append((anyio.current_time(), VISIT.get().since))
        return await call_next(ctx)

    server.middleware.append(look)
    async with serving(server, config) as url, Client(url) as client:
        before = anyio.current_time()
        await client.call_tool("list_sources", {})
    now, since = visits[-1]
    assert since is not None
    assert before < since < now


# ---- what puts the header there


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_the_head_waits_for_the_body_only_where_a_call_may_be_one_too_many(method: str) -> None:
    sent: list[Message] = []

    async def app(scope: Any, receive: Any, send: Callable[[Message], Awaitable[None]]) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]})
        assert len(sent) == (method == "GET")
        scope[PASSAGE].retry_after_s = 12
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        await send({"type": "http.response.body", "body": b"y"})

    await asked_of(app, method, sent)
    assert [each.get("body") for each in sent] == [None, b"x", b"y"]
    added = [(b"retry-after", b"12")] if method == "POST" else []
    assert sent[0]["headers"] == [(b"a", b"b"), *added]


async def test_an_answer_without_a_body_has_its_head_all_the_same() -> None:
    sent: list[Message] = []

    async def app(scope: Any, receive: Any, send: Callable[[Message], Awaitable[None]]) -> None:
        await send({"type": "http.response.start", "status": 204})

    await asked_of(app, "POST", sent)
    assert sent == [{"type": "http.response.start", "status": 204}]


async def asked_of(app: Any, method: str, sent: list[Message]) -> None:
    async def send(each: Message) -> None:
        sent.append(each)

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    passage = Passage(anyio.CancelScope(), anyio.current_time())
    await RetryAfter(app)({"type": "http", "method": method, PASSAGE: passage}, receive, send)
