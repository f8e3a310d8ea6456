"""What the SDK's own spans lack: the caller's trace as HTTP has it, and names that a caller cannot make up."""

from __future__ import annotations

from typing import Any

from mcp.server import MCPServer
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp_types.methods import SPEC_CLIENT_METHODS, SPEC_CLIENT_NOTIFICATION_METHODS
from opentelemetry import context, trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from telemetry_mcp.text import clean

METHODS = SPEC_CLIENT_METHODS | SPEC_CLIENT_NOTIFICATION_METHODS
HEADERS = ("traceparent", "tracestate")
LONGEST_NAME = 64
PROPAGATOR = TraceContextTextMapPropagator()


def install(server: MCPServer[Any]) -> None:
    """Put the middlewares around the one of the SDK that makes a span of every message."""
    server.middleware.insert(0, joined)
    server.middleware.append(named(server))


async def joined(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    """The header `traceparent` says which trace a request is part of, unless its `_meta` does."""
    headers = getattr(ctx.request, "headers", None)
    if not headers or "traceparent" not in headers:
        return await call_next(ctx)
    carrier = {name: headers[name] for name in HEADERS if name in headers}
    token = context.attach(PROPAGATOR.extract(carrier))
    try:
        return await call_next(ctx)
    finally:
        context.detach(token)


def named(server: MCPServer[Any]) -> Any:
    """The SDK calls a span by the method and the name that were asked for. What does not exist is not repeated: it
    could be anything, and of any length."""
    exists = {"tools/call": server._tool_manager.get_tool, "prompts/get": server._prompt_manager.get_prompt}
    attributes = {"tools/call": "gen_ai.tool.name", "prompts/get": "gen_ai.prompt.name"}

    async def name(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        span = trace.get_current_span()
        if span.is_recording():
            known = ctx.method if ctx.method in METHODS else "unknown method"
            asked = (ctx.params or {}).get("name")
            if known != ctx.method:
                span.set_attribute("mcp.method.name", clean(ctx.method, LONGEST_NAME))
            if isinstance(asked, str) and ctx.method in exists and exists[ctx.method](asked) is not None:
                known = f"{known} {asked}"
            elif isinstance(asked, str) and ctx.method in attributes:
                span.set_attribute(attributes[ctx.method], clean(asked, LONGEST_NAME))
            span.update_name(known)
        return await call_next(ctx)

    return name
