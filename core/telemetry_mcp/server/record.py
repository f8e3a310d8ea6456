"""Records what was asked, by whom, and what came of it; and what whoever runs the server did."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from time import perf_counter
from typing import Any

import orjson
from anyio import get_cancelled_exc_class
from mcp import MCPError
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.types import INTERNAL_ERROR, CallToolResult, TextContent
from opentelemetry import trace
from pydantic import BaseModel

from telemetry_mcp.access.caller import Caller
from telemetry_mcp.access.visit import VISIT, Visit
from telemetry_mcp.audit import AuditRecord
from telemetry_mcp.audit.auditor import Auditor
from telemetry_mcp.audit.journal import SpoolError
from telemetry_mcp.engine import Engine
from telemetry_mcp.server.bus import LISTEN
from telemetry_mcp.text import clean

NAMES = {
    "tools/call": "name",
    "resources/read": "uri",
    "resources/subscribe": "uri",
    "resources/unsubscribe": "uri",
    "prompts/get": "name",
    LISTEN: "",
}
"""What is recorded, and the parameter that says what it was about."""
TURNED_AWAY = ("denied", "limited")
CANCELLED = "cancelled"
UNSEEN = Visit(Caller("local", "local"))
"""Whose request it is where nobody has said so."""
LONGEST_BODY = 4 * 2**20
"""Bytes of a resource's text that is read for its ledger."""


@asynccontextmanager
async def recording(engine: Engine) -> AsyncIterator[None]:
    """The engine's auditor at work for as long as a server runs; the records of its start and its end."""
    auditor, config = engine.auditor, engine.config
    async with auditor:
        auditor.record(act(auditor, "server.start", "telemetry-mcp"))
        said = {"sha256": config.digest, "sources": len(engine.registry.instances)}
        auditor.record(act(auditor, "config.load", str(config.path), said))
        try:
            yield
        finally:
            auditor.record(act(auditor, "server.stop", "telemetry-mcp"))


def act(auditor: Auditor, action: str, name: str, arguments: Mapping[str, Any] | None = None) -> AuditRecord:
    """What whoever runs the server did, or had done by starting it."""
    return AuditRecord(auditor.clock_ms(), action, name, "answered", 0.0, arguments or {}, roles=("admin",))


def recorded(engine: Callable[[], Engine]) -> Any:
    """A middleware that records every request that tells or changes something; refusals and cancelled ones too.

    Where the configuration has `audit = "required"`, nothing is answered before its record is on disk.
    """

    async def record(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        auditor = engine().auditor
        if ctx.method not in NAMES or not auditor.active:
            return await call_next(ctx)
        request = Request(ctx, auditor)
        if auditor.required and auditor.fault is not None:
            auditor.record(request.record("refused", "not answered: it could not be recorded"))
            return unrecorded(ctx.method, auditor.fault)
        if ctx.method == LISTEN:
            return await request.listened(call_next)
        return await request.answered(call_next)

    return record


class Request:
    """One request under way."""

    def __init__(self, ctx: ServerRequestContext[Any, Any], auditor: Auditor) -> None:
        self.ctx = ctx
        self.auditor = auditor
        self.at_ms, self.started = auditor.clock_ms(), perf_counter()

    async def answered(self, call_next: CallNext) -> HandlerResult:
        """The answer, once it may be given."""
        try:
            result = await call_next(self.ctx)
        except get_cancelled_exc_class():
            self.auditor.record(self.record("refused", CANCELLED))
            raise
        except Exception as error:
            if refused := await self.settled(self.record("refused", words(error))):
                return refused
            raise
        return await self.settled(self.told(result)) or result

    async def listened(self, call_next: CallNext) -> HandlerResult:
        """A stream lasts: it is recorded as it begins, and once more where it was turned away."""
        await self.settled(self.record("answered", None))
        try:
            result = await call_next(self.ctx)
        except Exception as error:
            await self.settled(self.record("refused", words(error)))
            raise
        made = self.record("answered", None)
        if made.outcome in TURNED_AWAY:
            await self.settled(made)
        return result

    def told(self, result: HandlerResult) -> AuditRecord:
        """The record of what was answered."""
        # As the handler made it, it is on the wire's form already; a refusal of ours is not.
        wire = result.model_dump(by_alias=True) if isinstance(result, BaseModel) else (result or {})
        if wire.get("isError"):
            return self.record("refused", text_of(wire), ledger_of(wire))
        return self.record("answered", None, ledger_of(wire))

    def record(self, outcome: str, reason: str | None, ledger: Sequence[Mapping[str, Any]] = ()) -> AuditRecord:
        params, method = self.ctx.params or {}, self.ctx.method
        visit = VISIT.get(UNSEEN)
        if visit.refusal in TURNED_AWAY:
            outcome, reason = visit.refusal, visit.reason or reason
        caller = visit.caller
        return AuditRecord(
            at_ms=self.at_ms,
            action=method,
            name=subscribed(params) if method == LISTEN else str(params.get(NAMES[method])),
            outcome=outcome,
            duration_ms=round((perf_counter() - self.started) * 1000, 3),
            arguments=found if isinstance(found := params.get("arguments"), Mapping) else {},
            sources={line["name"]: line["status"] for line in ledger},
            subject=caller.subject,
            kind=caller.kind,
            roles=caller.roles,
            client=caller.client,
            address=caller.address,
            reason=clean(reason) if reason else None,
            items=sum(line["items"] for line in ledger if isinstance(line.get("items"), int)),
            trace_id=trace_id(),
            user_agent=user_agent(self.ctx),
        )

    async def settled(self, record: AuditRecord) -> HandlerResult:
        """None when the answer may be given; else what is answered in its place."""
        entry = self.auditor.record(record)
        if not self.auditor.required:
            return None
        try:
            await self.auditor.settled(entry)
        except SpoolError as error:
            return unrecorded(self.ctx.method, str(error))
        return None


def words(error: Exception) -> str:
    return error.message if isinstance(error, MCPError) else type(error).__name__


def unrecorded(method: str, fault: str) -> CallToolResult:
    """The refusal of a call that cannot be recorded. Raises MCPError with it where it was no tool's."""
    said = (
        f"this call cannot be recorded and was not answered: {clean(fault)}; tell whoever runs the server, "
        "who has configured that nothing is answered without a record"
    )
    if method != "tools/call":
        raise MCPError(INTERNAL_ERROR, said)
    return CallToolResult(is_error=True, content=[TextContent(type="text", text=said)])


def turned_away(
    auditor: Auditor, *, name: str, reason: str, address: str | None = None, user_agent: str | None = None
) -> None:
    """Record that a request was refused before anybody was known: for whatever stands before MCP. `name` is what
    was asked for, such as the path. More than a few of them a second are counted, not written one by one."""
    if auditor.active and (count := auditor.strangers.admitted()):
        made = AuditRecord(
            auditor.clock_ms(),
            *("authentication", name, "denied", 0.0),
            arguments={"attempts": count} if count > 1 else {},
            subject="unknown",
            kind="unknown",
            address=address,
            reason=reason,
            user_agent=user_agent,
        )
        auditor.record(made)


def ledger_of(wire: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The lines of the ledger in an answer: a tool's is among its fields, a resource's in its text."""
    fields = wire.get("structuredContent") or {}
    for content in wire.get("contents") or ():
        text = content.get("text") if isinstance(content, Mapping) else None
        if isinstance(text, str) and text.startswith("{") and len(text) <= LONGEST_BODY:
            fields = parsed(text)
    lines = fields.get("sources") if isinstance(fields, Mapping) else None
    if not isinstance(lines, list):
        return []
    return [line for line in lines if isinstance(line, Mapping) and "status" in line and "name" in line]


def parsed(text: str) -> Any:
    try:
        return orjson.loads(text)
    except ValueError:
        return {}


def text_of(wire: Mapping[str, Any]) -> str | None:
    """Why a tool refused, in its own words."""
    for content in wire.get("content") or ():
        text = content.get("text") if isinstance(content, Mapping) else None
        if isinstance(text, str) and not text.startswith("{"):
            return text
    return None


def subscribed(params: Mapping[str, Any]) -> str:
    """What a stream listens to."""
    wanted = params.get("notifications")
    if not isinstance(wanted, Mapping):
        return ""
    uris = wanted.get("resourceSubscriptions")
    listed = [str(uri) for uri in uris] if isinstance(uris, list) else []
    return " ".join([*listed, *(str(name) for name, on in wanted.items() if on is True)])


def trace_id() -> str | None:
    span = trace.get_current_span().get_span_context()
    return trace.format_trace_id(span.trace_id) if span.is_valid else None


def user_agent(ctx: ServerRequestContext[Any, Any]) -> str | None:
    """What the client says it is: in its request's header, or when it introduced itself."""
    headers = getattr(ctx.request, "headers", None)
    said = headers.get("user-agent") if isinstance(headers, Mapping) else None
    if isinstance(said, str):
        return said
    params = ctx.session.client_params
    info = params.client_info if params else None
    return f"{info.name}/{info.version}" if info else None
