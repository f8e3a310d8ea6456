"""Tells the audit sinks what was asked and what came of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any

import anyio
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.types import CallToolResult

from telemetry_mcp.audit import AuditRecord, AuditSink
from telemetry_mcp.boundary import contain
from telemetry_mcp.engine import Engine
from telemetry_mcp.text import clean

LOG = logging.getLogger(__name__)

WRITE_S = 1.0
NAMES = {"tools/call": "name", "resources/read": "uri"}
"""What is recorded, and the parameter that says what it was about."""


def recorded(engine: Callable[[], Engine]) -> Any:
    """A middleware that hands every sink one record a call; refusals and cancelled calls have theirs too."""

    async def record(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        sinks = engine().registry.sinks if ctx.method in NAMES else {}
        if not sinks:
            return await call_next(ctx)
        at_ms, started = engine().clock_ms(), perf_counter()
        result: HandlerResult = None
        try:
            result = await call_next(ctx)
            return result
        finally:
            made = record_of(ctx.method, ctx.params or {}, result, at_ms, (perf_counter() - started) * 1000)
            await write(sinks, made)

    return record


def record_of(method: str, params: Mapping[str, Any], result: Any, at_ms: int, duration_ms: float) -> AuditRecord:
    # As the handler made it, it is on the wire's form already; a refusal of ours is not.
    wire = result.model_dump(by_alias=True) if isinstance(result, CallToolResult) else (result or {})
    fields = wire.get("structuredContent") or {}
    arguments = params.get("arguments")
    return AuditRecord(
        at_ms=at_ms,
        action=method,
        name=clean(str(params.get(NAMES[method]))),
        outcome="refused" if result is None or wire.get("isError") else "answered",
        duration_ms=round(duration_ms, 3),
        arguments=arguments if isinstance(arguments, Mapping) else {},
        sources={line["name"]: line["status"] for line in fields.get("sources", []) if "status" in line},
    )


async def write(sinks: Mapping[str, AuditSink], record: AuditRecord) -> None:
    """Also for a call that is being cancelled: what was asked was asked."""
    for name, sink in sinks.items():
        with anyio.move_on_after(WRITE_S, shield=True) as scope, contain() as kept:
            await sink.write(record)
        if kept.error is not None:
            LOG.error("the audit sink %s failed: %s", name, clean(f"{type(kept.error).__name__}: {kept.error}"))
        elif scope.cancelled_caught:
            LOG.error("the audit sink %s did not take a record within %g s", name, WRITE_S)
