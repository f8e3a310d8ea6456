"""What the server records: every request, who made it, what came of it; and what it refuses when it cannot."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from mcp import Client, MCPError
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.types import PromptReference
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from telemetry_mcp.access.caller import LOCAL, Caller
from telemetry_mcp.access.setting import AccessSettings
from telemetry_mcp.access.visit import VISIT
from telemetry_mcp.audit import AuditRecord, AuditSink
from telemetry_mcp.audit.setting import SpoolSettings
from telemetry_mcp.audit.verify import verify
from telemetry_mcp.config import Config, read
from telemetry_mcp.demo.fault import Fault
from telemetry_mcp.engine import Engine, opened
from telemetry_mcp.registry import load
from telemetry_mcp.server.announce import announce_key
from telemetry_mcp.server.app import build
from telemetry_mcp.server.record import turned_away
from telemetry_mcp.setting import PluginSettings
from tests.real.moment import until
from tests.server.conftest import NOW_MS

if TYPE_CHECKING:
    from pathlib import Path

    from telemetry_mcp.demo.emulator import Emulators
    from tests.server.conftest import Gate

LIMIT_S = 10
ALICE = Caller("alice", "user", ("admin",), client="claude", address="192.0.2.7")
METRICS = {"service": "payment-processor", "metrics": ["cpu"]}
TRACE = 0x0AF7651916CD43DD8448EB211C80319C


class Kept(AuditSink):
    def __init__(self) -> None:
        super().__init__(PluginSettings(plugin="kept"))
        self.got: list[AuditRecord] = []

    async def write_batch(self, records: Sequence[AuditRecord]) -> None:
        self.got += records


class Audited:
    """A client of a server with one sink, which may turn requests away as the access gate does."""

    def __init__(self, client: Client, engine: Engine, sink: Kept, visit: dict[str, Any]) -> None:
        self.client = client
        self.engine = engine
        self.sink = sink
        self.visit = visit

    async def records(self) -> list[AuditRecord]:
        """What was recorded of requests, once all is delivered."""
        standing = self.engine.auditor.standing
        await until(lambda: not ((now := standing()).pending or now.sinks["kept"].waiting))
        return [record for record in self.sink.got if "/" in record.action]


def configured(config: Config, folder: Path, *, required: bool = False) -> Config:
    access = AccessSettings(audit="required" if required else "best_effort")
    return replace(config, access=access, spool=SpoolSettings(path=folder / "spool"))


@asynccontextmanager
async def audited(config: Config, *, known: bool = False) -> AsyncIterator[Audited]:
    """`known`: Alice asks, over HTTP; else whoever is at the other end of stdio."""
    sink, engines, visit = Kept(), [], dict[str, Any]()
    registry = replace(load(config), sinks={"kept": sink})

    @asynccontextmanager
    async def remembered() -> AsyncIterator[Engine]:
        async with opened(config, registry=registry, clock_ms=lambda: NOW_MS) as engine:
            engines.append(engine)
            yield engine

    async def identify(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        span = NonRecordingSpan(SpanContext(TRACE, 1, is_remote=True, trace_flags=TraceFlags(1)))
        with trace.use_span(span):
            return await call_next(ctx)

    async def gate(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        if visit:
            VISIT.get().refusal, VISIT.get().reason = visit["refusal"], visit["reason"]
            raise MCPError(-32602, "no such thing")
        return await call_next(ctx)

    server = build(remembered, caller=ALICE if known else LOCAL)
    if known:
        server.middleware.insert(0, identify)
        server.middleware.append(gate)
    async with Client(server) as client:
        yield Audited(client, engines[0], sink, visit)


async def test_every_kind_of_request_has_its_record_and_completion_has_none(
    config: Config, tmp_path: Path
) -> None:
    async with audited(configured(config, tmp_path), known=True) as desk:
        client = desk.client
        await client.call_tool("get_current_metrics", METRICS)
        await client.read_resource("telemetry://catalog")
        await client.get_prompt("investigate", {"incident_id": "Q1"})
        await client.complete(PromptReference(name="investigate"), {"name": "incident_id", "value": "Q"})
        async with client.listen(resource_subscriptions=["telemetry://catalog"]):
            records = await desk.records()
    called, resource, prompt, listened = records
    assert (called.action, called.name, called.outcome) == ("tools/call", "get_current_metrics", "answered")
    assert called.arguments == METRICS
    assert called.sources["prometheus"] == "ok"
    assert called.items >= 2
    assert 0 < called.duration_ms < 10_000
    assert (resource.action, resource.name) == ("resources/read", "telemetry://catalog")
    assert resource.sources["prometheus"] == "ok"
    assert resource.items > 4
    assert (prompt.action, prompt.name) == ("prompts/get", "investigate")
    assert prompt.arguments == {"incident_id": "Q1"}
    assert (listened.action, listened.name) == ("subscriptions/listen", "telemetry://catalog")
    for record in records:
        assert (record.subject, record.kind, record.roles) == ("alice", "user", ("admin",))
        assert (record.client, record.address) == ("claude", "192.0.2.7")
        assert record.trace_id == f"{TRACE:032x}"
    assert len(desk.sink.got) == len({record.id for record in desk.sink.got})


async def test_who_runs_the_process_is_local_and_the_client_says_what_it_is(
    config: Config, tmp_path: Path
) -> None:
    async with audited(configured(config, tmp_path)) as desk:
        await desk.client.call_tool("get_current_metrics", METRICS)
        (record,) = await desk.records()
    assert (record.subject, record.kind, record.client, record.address) == ("local", "local", None, None)
    assert record.user_agent is not None
    assert record.user_agent.startswith("mcp/")


@pytest.mark.parametrize("refusal", ["denied", "limited"])
async def test_what_the_server_turns_away_is_recorded_as_that_with_its_reason(
    config: Config, tmp_path: Path, refusal: str
) -> None:
    async with audited(configured(config, tmp_path), known=True) as desk:
        desk.visit |= {"refusal": refusal, "reason": "viewer may not"}
        with pytest.raises(MCPError):
            await desk.client.call_tool("query_source", {"source": "prometheus", "query": "up"})
        with pytest.raises(MCPError):
            await desk.client.read_resource("telemetry://catalog")
        records = await desk.records()
    assert [(each.outcome, each.reason) for each in records] == [(refusal, "viewer may not")] * 2
    assert [each.name for each in records] == ["query_source", "telemetry://catalog"]


async def test_what_could_not_be_answered_says_why(config: Config, tmp_path: Path, world: Emulators) -> None:
    async with audited(configured(config, tmp_path)) as desk:
        await desk.client.call_tool("list_services", {"no_such_argument": 1})
        with pytest.raises(MCPError):
            await desk.client.read_resource("telemetry://no-such")
        for faults in world.faults.values():
            faults.set("/", Fault("status", code=503))
        await desk.client.call_tool("get_current_metrics", {**METRICS, "fresh": True})
        argument, resource, failed = await desk.records()
    assert argument.outcome == resource.outcome == failed.outcome == "refused"
    assert argument.reason is not None
    assert "no_such_argument" in argument.reason
    assert resource.reason
    assert failed.sources["prometheus"] == "failed"


async def test_a_cancelled_call_has_its_record(gate: Gate, tmp_path: Path) -> None:
    async with audited(configured(read(gate.config), tmp_path)) as desk:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(desk.client.call_tool, "list_services", {})
            await gate.asked.wait()
            tasks.cancel_scope.cancel()
        await gate.left.wait()
        (record,) = await desk.records()
    assert (record.name, record.outcome, record.reason) == ("list_services", "refused", "cancelled")


async def test_arguments_are_masked_and_cut(config: Config, tmp_path: Path) -> None:
    async with audited(configured(config, tmp_path)) as desk:
        secret = {"service": "Bearer abcdef0123456789", "api_key": "hunter2hunter2", "metrics": ["x" * 1000]}
        await desk.client.call_tool("get_current_metrics", secret)
        (record,) = await desk.records()
    assert record.arguments["api_key"] == "***"
    assert record.arguments["service"] == "Bearer ***"
    assert len(record.arguments["metrics"][0]) == 300
    assert b"hunter2" not in record.line
    assert b"abcdef0123456789" not in record.line


async def test_start_configuration_and_end_are_recorded_in_one_sound_chain(config: Config, tmp_path: Path) -> None:
    async with audited(configured(config, tmp_path)) as desk:
        await desk.client.call_tool("get_current_metrics", METRICS)
    start, *_ = got = [each for each in desk.sink.got if each.action != "chain.start"]
    assert [each.action for each in got] == ["server.start", "config.load", "tools/call", "server.stop"]
    content = await anyio.Path(config.path).read_bytes()
    assert got[1].name == str(config.path)
    assert got[1].arguments == {"sha256": sha256(content).hexdigest(), "sources": 4}
    assert start.at_ms == NOW_MS
    report = verify([each.line for each in desk.sink.got])
    assert report.ok
    assert report.chains[0].ended


# ---- required


async def test_where_records_are_required_an_answer_has_its_record_on_disk_already(
    config: Config, tmp_path: Path
) -> None:
    async with audited(configured(config, tmp_path, required=True)) as desk:
        for _ in range(3):
            answer = await desk.client.call_tool("get_current_metrics", METRICS)
            assert not answer.is_error
            assert desk.engine.auditor.standing().pending == 0
        spooled = [path async for path in anyio.Path(tmp_path / "spool").glob("*.jsonl")]
        text = b"".join([await path.read_bytes() for path in spooled])
        assert text.count(b'"tools/call"') == 3


async def test_what_cannot_be_recorded_is_not_asked_nor_answered_until_it_can(
    config: Config, tmp_path: Path, world: Emulators
) -> None:
    (tmp_path / "spool").write_text("a file, where a directory should be")
    async with audited(configured(config, tmp_path, required=True)) as desk:
        answer = await desk.client.call_tool("get_current_metrics", METRICS)
        assert answer.is_error
        assert answer.structured_content is None
        said = answer.content[0].text  # type: ignore[union-attr]
        assert said.startswith("this call cannot be recorded and was not answered: ")
        assert "tell whoever runs the server" in said
        with pytest.raises(MCPError, match="cannot be recorded and was not answered"):
            await desk.client.read_resource("telemetry://catalog")
        with pytest.raises(MCPError, match="cannot be recorded and was not answered"):
            await desk.client.get_prompt("sli_report")
        assert not any(world.requests.values())
        (tmp_path / "spool").unlink()
        with anyio.fail_after(LIMIT_S):
            while desk.engine.auditor.fault:  # noqa: ASYNC110 - it tells nobody
                await anyio.sleep(0.01)
        assert not (await desk.client.call_tool("get_current_metrics", METRICS)).is_error
        records = await desk.records()
    assert [each.outcome for each in records] == ["refused", "refused", "refused", "answered"]
    assert {each.reason for each in records[:3]} == {"not answered: it could not be recorded"}


async def test_where_records_are_required_a_trouble_of_an_unexpected_kind_refuses_too(
    config: Config, tmp_path: Path, world: Emulators
) -> None:
    async with audited(configured(config, tmp_path / "no\0path", required=True)) as desk:
        answer = await desk.client.call_tool("get_current_metrics", METRICS)
    assert answer.is_error
    assert "was not answered: an unexpected ValueError; tell whoever" in answer.content[0].text  # type: ignore[union-attr]
    assert not any(world.requests.values())


async def test_a_spool_that_breaks_while_a_call_is_under_way_withholds_its_answer(
    gate: Gate, tmp_path: Path
) -> None:
    answers: list[Any] = []
    async with audited(configured(read(gate.config), tmp_path, required=True)) as desk:

        async def ask() -> None:
            answers.append(await desk.client.call_tool("list_services", {}))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await gate.asked.wait()
            await broken(tmp_path / "spool")
            gate.may_answer.set()
    assert answers[0].is_error
    assert "checkout" not in str(answers[0])
    assert "cannot be recorded" in answers[0].content[0].text


async def broken(spool: Path) -> None:
    """The directory gives way to a file."""
    folder = anyio.Path(spool)
    async for path in folder.iterdir():
        await path.unlink()
    await folder.rmdir()
    await folder.write_text("a file")


# ---- what comes from elsewhere


async def test_whoever_is_turned_away_at_the_door_is_recorded_and_a_flood_of_them_counted(
    config: Config, tmp_path: Path
) -> None:
    async with audited(configured(config, tmp_path)) as desk:
        for _ in range(1000):
            turned_away(
                desk.engine.auditor,
                name="/mcp",
                reason="the token is expired: Bearer abcdef123456",
                address="198.51.100.9",
                user_agent="curl/8",
            )
        await desk.records()
    got = [each for each in desk.sink.got if each.action == "authentication"]
    assert len(got) == 20
    assert (got[0].name, got[0].outcome, got[0].subject) == ("/mcp", "denied", "unknown")
    assert (got[0].address, got[0].user_agent) == ("198.51.100.9", "curl/8")
    assert got[0].reason == "the token is expired: Bearer ***"


async def test_what_a_command_did_to_a_key_reaches_the_sinks_of_the_server(config: Config, tmp_path: Path) -> None:
    chosen = replace(configured(config, tmp_path, required=True))
    announce_key(chosen, "key.create", "ci-bot", {"roles": ["viewer"], "expires": "2027-01-01"})
    async with audited(chosen) as desk:
        await desk.records()
        announce_key(chosen, "key.revoke", "ci-bot")
    async with audited(chosen) as later:
        await later.records()
        with anyio.fail_after(LIMIT_S):
            while not any(each.action == "key.revoke" for each in later.sink.got):  # noqa: ASYNC110
                await anyio.sleep(0.01)
    created = next(each for each in desk.sink.got if each.action == "key.create")
    assert (created.name, created.arguments) == ("ci-bot", {"roles": ["viewer"], "expires": "2027-01-01"})
    assert b'"iam"' in created.line
    report = verify([each.line for each in (*desk.sink.got, *later.sink.got)])
    assert report.ok
    assert len(report.chains) == 2


def test_where_a_key_cannot_be_recorded_it_is_an_error(config: Config, tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("a file, where a directory should be")
    with pytest.raises(OSError, match="spool"):
        announce_key(configured(config, tmp_path, required=True), "key.create", "ci-bot")


def test_without_sinks_no_key_is_recorded_anywhere(config: Config, tmp_path: Path) -> None:
    announce_key(configured(config, tmp_path), "key.create", "ci-bot")
    assert list(tmp_path.iterdir()) == []
