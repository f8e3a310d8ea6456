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

from telemetry_mcp.access.caller import LOCAL, Caller
from telemetry_mcp.access.policy import Policy
from telemetry_mcp.access.visit import VISIT, Visit
from telemetry_mcp.engine import Engine
from telemetry_mcp.fanout import Deadline
from telemetry_mcp.server import prompts
from telemetry_mcp.server.call import Call
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
        peer = getattr(ctx.request, "client", None)
        visit = Visit(replace(caller, address=peer.host) if peer else caller)
        token = VISIT.set(visit)
        try:
            return await call_next(ctx)
        finally:
            VISIT.reset(token)

    return identify


def admitted(engine: Running) -> Any:
    """A middleware by which what a caller may not see does not exist: it is in no list, and asking for it is
    answered as asking for something unknown is."""

    async def admit(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        visit, policy = VISIT.get(), engine().policy
        params = ctx.params or {}

        def roles_for(method: str, name: str) -> frozenset[str]:
            return roles_of(visit.caller, policy, method, name)

        if ctx.method in OPEN or ctx.method.startswith("notifications/"):
            return await call_next(ctx)
        if not any(role in policy.roles for role in visit.caller.roles):
            visit.refusal, visit.reason = "denied", "no role"
            raise MCPError(
                INVALID_REQUEST, f"{visit.caller.subject} has no role here: ask whoever runs the server"
            )
        if ctx.method in LISTS:
            rows, key = LISTS[ctx.method]
            method = ctx.method
            return filtered(await call_next(ctx), rows, lambda row: bool(roles_for(method, str(row[key]))))
        if ctx.method in SUBSCRIBING and ctx.protocol_version in HANDSHAKE_PROTOCOL_VERSIONS:
            # As with a wish to listen: it is granted whatever it is for, and of what there is not nobody is told.
            if await known(engine(), visit, str(params.get("uri"))):
                return await call_next(ctx)
            visit.refusal, visit.reason = "denied", f"there is nothing of this for {visit.caller.subject}"
            return EmptyResult()
        if ctx.method in ("tools/call", "prompts/get", "resources/read"):
            name = str(params.get("uri" if ctx.method.startswith("resources/") else "name"))
            if not is_name(name):
                if ctx.method == "tools/call":
                    return await no_tool(ctx, call_next, clean(name, LONGEST_NAME))
                raise unknown(ctx.method, clean(name, LONGEST_NAME), ())
            visit.roles = roles_for(ctx.method, name)
            if not visit.roles:
                if tool_of(ctx.method, name):
                    visit.refusal, visit.reason = "denied", f"no role of {visit.caller.subject} has this"
                if ctx.method == "tools/call":
                    return await no_tool(ctx, call_next, name)
                raise unknown(ctx.method, name, [p for p in TOOL_OF_PROMPT if roles_for("prompts/get", p)])
        if ctx.method == "completion/complete":
            method, name = of_reference(params.get("ref") or {})
            visit.roles = roles_for(method, name)
            if not visit.roles:
                return CompleteResult(completion=Completion(values=[], total=0, has_more=False))
        if ctx.method == "subscriptions/listen":
            return await call_next(replace(ctx, params=await heard(engine(), visit, params)))
        return await call_next(ctx)

    return admit


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
    service, until = service_of(uri), Deadline.of_call(engine.config.defaults.deadline)
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
