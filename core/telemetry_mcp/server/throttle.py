"""Turns away what is one call too many: in the protocol so that the model reads why, in HTTP with Retry-After."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from mcp import MCPError
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.types import CallToolResult, TextContent
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from telemetry_mcp.access.caller import Caller
from telemetry_mcp.access.policy import Policy
from telemetry_mcp.access.visit import VISIT, Visit
from telemetry_mcp.errors import LimitedError
from telemetry_mcp.quota import LANE
from telemetry_mcp.server.bus import LISTEN
from telemetry_mcp.server.incidents import STATUSES
from telemetry_mcp.server.passage import passage_of

if TYPE_CHECKING:
    from telemetry_mcp.access.limit import Limits

METHODS = frozenset(
    ("tools/call", "resources/read", "completion/complete", "prompts/get", "resources/subscribe", LISTEN)
)
"""What is counted. What only says what there is, such as tools/list, is not."""
LIMITED = -32010
"""The JSON-RPC code of a request that is no tool call and was one too many; `data` says when to ask again."""


def limited(limits: Callable[[], Limits], policy: Callable[[], Policy]) -> Any:
    """A middleware that counts each call against its caller, and tells what comes after it by which lane it goes.
    Nobody counts what the local caller asks: `limits` is not even called for it."""

    async def throttle(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        if ctx.method not in METHODS:
            return await call_next(ctx)
        visit = VISIT.get()
        lane = has_lane(visit.caller, policy())
        async with AsyncExitStack() as stack:
            if visit.caller.kind != "local":
                admitted = limits().admitted(visit.caller, incident=lane, stream=ctx.method == LISTEN)
                try:
                    lane = await stack.enter_async_context(admitted)
                except LimitedError as error:
                    return refused(ctx, visit, error)
            stack.callback(LANE.reset, LANE.set(lane))
            result = await call_next(ctx)
        if visit.caller.kind != "local":
            await heed(limits(), visit.caller, ctx, result)
        return result

    return throttle


def has_lane(caller: Caller, policy: Policy) -> bool:
    return any(policy.roles[role].incident_lane for role in caller.roles if role in policy.roles)


def refused(ctx: ServerRequestContext[Any, Any], visit: Visit, error: LimitedError) -> CallToolResult:
    """The answer to a tool call that was one too many; for any other request MCPError."""
    visit.refusal, visit.reason = "limited", str(error)
    if ctx.request is not None and (passage := passage_of(ctx.request.scope)):
        passage.retry_after_s = error.retry_after_s
    again = {"retry_after_s": error.retry_after_s}
    if ctx.method != "tools/call":
        raise MCPError(LIMITED, str(error), again)
    return CallToolResult(is_error=True, content=[TextContent(type="text", text=str(error))], _meta=again)


# ---- who works on an incident


async def heed(limits: Limits, caller: Caller, ctx: ServerRequestContext[Any, Any], result: HandlerResult) -> None:
    """Learn from an answer which incident is open that its caller named, and which ones are resolved. What counts
    is what a source said of it: an id that nobody knows has no answer."""
    params = ctx.params or {}
    tool = params.get("name") if ctx.method == "tools/call" else None
    fields = result.get("structuredContent") if isinstance(result, Mapping) else None
    if tool not in ("investigate_incident", "list_incidents") or not isinstance(fields, Mapping):
        return
    page = fields.get("incident")
    told = [page] if isinstance(page, Mapping) else fields.get("incidents") or []
    for incident in told:
        if incident.get("id") and incident.get("status") == "resolved":
            await limits.resolved(incident["id"])
    named = tool == "investigate_incident" and (params.get("arguments") or {}).get("incident_id")
    if named and isinstance(page, Mapping) and page.get("id") and page.get("status") in STATUSES["open"]:
        await limits.vouch(caller, page["id"])


# ---- HTTP


class RetryAfter:
    """ASGI: `Retry-After` on an answer to one call too many, whose status stays 200.

    The head of an answer to a POST waits for the first of its body: an older client's stream would else have begun
    before anybody has looked at the call. Until then a balancer may also still put the request to another
    instance, should this one die.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        head: Message | None = None

        async def sending(message: Message) -> None:
            nonlocal head
            if message["type"] == "http.response.start":
                head = message
                return
            if head is not None:
                begun, head = head, None
                await send(dated(begun, scope))
            await send(message)

        await self.app(scope, receive, sending)
        if head is not None:
            await send(dated(head, scope))


def dated(head: Message, scope: Scope) -> Message:
    passage = passage_of(scope)
    if passage is None or passage.retry_after_s is None:
        return head
    return {**head, "headers": [*head.get("headers", ()), (b"retry-after", b"%d" % passage.retry_after_s)]}
