"""Who is asking, and whether for this caller there is what it asks for: middlewares before everything else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

from mcp import MCPError
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.types import INVALID_PARAMS, INVALID_REQUEST, CompleteResult, Completion, EmptyResult
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from starlette.requests import HTTPConnection

from telemetry_mcp.access.caller import LOCAL, Caller
from telemetry_mcp.access.policy import Policy
from telemetry_mcp.access.visit import VISIT, Visit
from telemetry_mcp.engine import Engine
from telemetry_mcp.fanout import Deadline
from telemetry_mcp.server import prompts
from telemetry_mcp.server.bus import LISTEN
from telemetry_mcp.server.call import Call
from telemetry_mcp.server.passage import passage_of
from telemetry_mcp.text import clean
from telemetry_mcp.view import view

TOOL_OF_PROMPT = {
    "investigate": "investigate_incident",
    "handover": "investigate_incident",
    "sli_report": "check_sli_compliance",
    "health_check": "list_services",
}
SERVICES = "telemetry://services/"
TOOL_OF_RESOURCE = {
    "telemetry://sli-report": "check_sli_compliance",
    "telemetry://sources": "list_sources",
    "telemetry://catalog": "list_services",
    SERVICES: "query_historical_metrics",
}
"""By how the address begins. Prompts and resources are as open to a role as the tool that they stand for."""
OPEN = {"initialize", "ping", "server/discover"}
LISTS = {
    "tools/list": ("tools", "name"),
    "prompts/list": ("prompts", "name"),
    "resources/list": ("resources", "uri"),
    "resources/templates/list": ("resourceTemplates", "uriTemplate"),
}
"""What a list is called in its result, and what tells its rows apart."""
NO_TOOL = "a tool that there is not"
NAMED = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
"""What is asked for by a name, and the parameter that holds it."""
SUBSCRIBING = {"resources/subscribe", "resources/unsubscribe"}

LONGEST_NAME = 1000

Running = Callable[[], Engine]


def tool_of(method: str, name: str) -> str:
    """The tool by whose right something is had; no tool at all for what does not exist."""
    if method.startswith("prompts/"):
        return TOOL_OF_PROMPT.get(name, "")
    if method.startswith("resources/"):
        return next((tool for start, tool in TOOL_OF_RESOURCE.items() if name.startswith(start)), "")
    return name


def roles_of(caller: Caller, policy: Policy, method: str, name: str) -> frozenset[str]:
    """Those of the caller's roles by which it has something; none for what does not exist."""
    tool = tool_of(method, name)
    # A role that has all tools would have that of no name, too.
    return policy.roles_for(caller.roles, tool) if tool else frozenset()


def identified(engine: Running, other_end: Caller = LOCAL) -> Any:
    """A middleware that says who is asking. `other_end` is who it is where the transport has no authentication;
    over HTTP that asks for one it is never taken for that."""

    async def identify(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        caller: Caller | None = getattr(get_access_token(), "caller", None)
        if caller is None:
            if ctx.request is not None and engine().config.access.authenticates:
                raise MCPError(INVALID_REQUEST, "who is asking is not known: send an access token or a key")
            caller = other_end
        visit = Visit(caller) if ctx.request is None else visited(caller, ctx.request)
        token = VISIT.set(visit)
        try:
            return await call_next(ctx)
        finally:
            VISIT.reset(token)

    return identify


def visited(caller: Caller, request: HTTPConnection) -> Visit:
    """A visit over HTTP."""
    peer, passage = request.client, passage_of(request.scope)
    if peer is not None and peer.host != caller.address:
        caller = replace(caller, address=peer.host)
    return Visit(caller, since=passage.since if passage else None)


def admitted(engine: Running) -> Any:
    """A middleware by which what a caller may not see does not exist: it is in no list, and asking for it is
    answered as asking for something unknown is."""

    async def admit(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        return await Request(engine(), VISIT.get(), ctx, call_next).answered()

    return admit


class Request:
    """One request, and the visit on which it is made: that learns by which roles it is, or why it is refused."""

    def __init__(
        self, engine: Engine, visit: Visit, ctx: ServerRequestContext[Any, Any], call_next: CallNext
    ) -> None:
        self.engine = engine
        self.visit = visit
        self.ctx = ctx
        self.call_next = call_next
        self.method = ctx.method
        self.params = ctx.params or {}

    async def answered(self) -> HandlerResult:
        if self.method not in OPEN and not self.method.startswith("notifications/"):
            self.ask_for_a_role()
            if self.method in LISTS:
                return await self.listed()
            if self.method in SUBSCRIBING and self.ctx.protocol_version in HANDSHAKE_PROTOCOL_VERSIONS:
                return await self.subscribed()
            if self.method in NAMED:
                return await self.named(str(self.params.get(NAMED[self.method])))
            if self.method == "completion/complete":
                return await self.completed()
            if self.method == LISTEN:
                heard_of = await heard(self.engine, self.visit, self.params)
                return await self.call_next(replace(self.ctx, params=heard_of))
        return await self.call_next(self.ctx)

    def roles_for(self, method: str, name: str) -> frozenset[str]:
        return roles_of(self.visit.caller, self.engine.policy, method, name)

    def deny(self, why: str) -> None:
        self.visit.refusal, self.visit.reason = "denied", why

    def ask_for_a_role(self) -> None:
        caller = self.visit.caller
        if not any(role in self.engine.policy.roles for role in caller.roles):
            self.deny("no role")
            raise MCPError(INVALID_REQUEST, f"{caller.subject} has no role here: ask whoever runs the server")

    async def listed(self) -> HandlerResult:
        rows, key = LISTS[self.method]
        result = await self.call_next(self.ctx)
        return filtered(result, rows, lambda row: bool(self.roles_for(self.method, str(row[key]))))

    async def subscribed(self) -> HandlerResult:
        # As with a wish to listen: it is granted whatever it is for, and of what there is not nobody is told.
        if await known(self.engine, self.visit, str(self.params.get("uri"))):
            return await self.call_next(self.ctx)
        self.deny(f"there is nothing of this for {self.visit.caller.subject}")
        return EmptyResult()

    async def named(self, name: str) -> HandlerResult:
        """A call of a tool, or a reading of a prompt or resource."""
        if not is_name(name):
            return await self.none_such(clean(name, LONGEST_NAME), ())
        self.visit.roles = self.roles_for(self.method, name)
        if self.visit.roles:
            return await self.call_next(self.ctx)
        if tool_of(self.method, name):
            self.deny(f"no role of {self.visit.caller.subject} has this")
        return await self.none_such(name, [p for p in TOOL_OF_PROMPT if self.roles_for("prompts/get", p)])

    async def none_such(self, name: str, prompt_names: Iterable[str]) -> HandlerResult:
        if self.method == "tools/call":
            return await no_tool(self.ctx, self.call_next, name)
        raise unknown(self.method, name, prompt_names)

    async def completed(self) -> HandlerResult:
        self.visit.roles = self.roles_for(*of_reference(self.params.get("ref") or {}))
        if self.visit.roles:
            return await self.call_next(self.ctx)
        return CompleteResult(completion=Completion(values=[], total=0, has_more=False))


def is_name(text: str) -> bool:
    """Whether it can be the name of anything here, and may be repeated as it is."""
    return len(text) <= LONGEST_NAME and text.isprintable()


async def no_tool(ctx: ServerRequestContext[Any, Any], call_next: CallNext, name: str) -> HandlerResult:
    """What the SDK says of a tool that does not exist, to the letter: it is asked for one."""
    result = await call_next(replace(ctx, params={**(ctx.params or {}), "name": NO_TOOL}))
    if not isinstance(result, dict):
        raise TypeError(f"the result of a call is expected on the wire's form, not {type(result).__name__}")
    said = [{**block, "text": str(block.get("text")).replace(NO_TOOL, name)} for block in result["content"]]
    return {**result, "content": said}


def unknown(method: str, name: str, prompt_names: Iterable[str]) -> MCPError:
    """What is said of a resource or a prompt that does not exist."""
    if method == "prompts/get":
        return MCPError(INVALID_PARAMS, prompts.unknown(name, prompt_names))
    return MCPError(INVALID_PARAMS, f"Unknown resource: {name}", {"uri": name})


def filtered(result: HandlerResult, rows: str, keep: Callable[[Mapping[str, Any]], bool]) -> HandlerResult:
    if not isinstance(result, dict):
        raise TypeError(f"a list of {rows} is expected on the wire's form, not {type(result).__name__}")
    return {**result, rows: [row for row in result[rows] if keep(row)]}


def of_reference(reference: Mapping[str, Any]) -> tuple[str, str]:
    if reference.get("type") == "ref/prompt":
        return "prompts/get", str(reference.get("name"))
    return "resources/read", str(reference.get("uri"))


async def heard(engine: Engine, visit: Visit, params: Mapping[str, Any]) -> Mapping[str, Any]:
    """A wish to be told of updates, without those of what may not be seen."""
    wished = params.get("notifications") or {}
    uris = wished.get("resourceSubscriptions")
    if not isinstance(uris, list):
        return params
    kept = [uri for uri in uris if await known(engine, visit, str(uri))]
    return {**params, "notifications": {**wished, "resourceSubscriptions": kept}}


async def known(engine: Engine, visit: Visit, uri: str) -> bool:
    """Whether this caller may be told of a resource: its tool, and its service where it is one's."""
    roles = roles_of(visit.caller, engine.policy, "resources/read", uri)
    if not roles:
        return False
    service, until = service_of(uri), Deadline.of_call(engine.config.defaults.deadline, visit.since)
    seen = await view(engine, roles, visit.caller, until)
    if service is None or len(seen.registry.instances) == len(engine.registry.instances):
        return service is None or seen.shows(service)
    # That a service is there may be known of a hidden source only: then its updates tell of that source.
    services, _ = await Call(seen, until).services()
    return service in {each.name for each in services}


def service_of(uri: str) -> str | None:
    """The service of a metric's resource; None for a resource that is no service's."""
    rest = uri.removeprefix(SERVICES)
    return None if rest == uri else unquote(rest.split("/")[0])
