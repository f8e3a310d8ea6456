"""The door of the HTTP endpoint: who shows a valid bearer token is let in, everybody else is told how to get one
(RFC 6750, RFC 9728)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from time import time
from typing import Any
from urllib.parse import urlsplit

from anyio import create_task_group, current_time, sleep
from mcp.server.auth.middleware.auth_context import AuthContextMiddleware
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.transport_security import TransportSecurityMiddleware
from starlette.authentication import AuthCredentials
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from telemetry_mcp.access.setting import AccessSettings, is_loopback
from telemetry_mcp.access.token import CallerToken, Refused, Undecided, Verifier
from telemetry_mcp.server.bus import LISTEN
from telemetry_mcp.server.passage import Passage, passage_of

log = logging.getLogger(__name__)

WELL_KNOWN = "/.well-known/oauth-protected-resource"
OUTLIVES_S = 60.0
"""How long a request may go on when its token has expired: a call is finished, a stream is not left open."""
LOOK_S = 15.0
"""How often the token of an open stream is looked at again: it may have been revoked."""
RETRY_AFTER_S = 10
FORWARDED = ("forwarded", "via", "x-forwarded-for", "x-real-ip")

Told = Callable[[str | None, str], None]


def tell(address: str | None, why: str) -> None:
    """What is done about somebody who is not let in: the address, and why not, without anything of the token."""
    log.info("%s was not let in: %s", address or "somebody", why)


class Door:
    """ASGI: lets in whoever shows a valid token. Behind it the token itself is gone; who it is that asks is found
    by `get_access_token()`, and is a CallerToken."""

    def __init__(
        self,
        app: ASGIApp,
        verifier: Verifier,
        access: AccessSettings,
        check: TransportSecurityMiddleware,
        *,
        tell: Told = tell,
        outlives_s: float = OUTLIVES_S,
        look_s: float = LOOK_S,
    ) -> None:
        self.app = AuthContextMiddleware(app)
        self.verifier = verifier
        self.scopes: Sequence[str] = access.oauth.scopes if access.oauth else ()
        self.metadata = metadata_url(access.resource) if access.oauth and access.resource else None
        self.check = check
        self.tell = tell
        self.outlives_s = outlives_s
        self.look_s = look_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        token = await self.check.validate_request(request) or await self.admitted(request)
        if isinstance(token, Response):
            await token(scope, receive, send)
            return
        passage = passage_of(scope)
        self.end_with(token, passage)
        inside = {
            **scope,
            "headers": [(name, value) for name, value in scope["headers"] if name != b"authorization"],
            "auth": AuthCredentials(token.scopes),
            "user": AuthenticatedUser(token),
        }
        if passage is None or not lasts(request):
            await self.app(inside, receive, send)
            return
        async with create_task_group() as tasks:
            tasks.start_soon(self.watch, shown(request) or "", address_of(request), passage)
            await self.app(inside, receive, send)
            tasks.cancel_scope.cancel()

    async def watch(self, token: str, address: str | None, passage: Passage) -> None:
        """End a stream whose token or key was revoked meanwhile. Where that cannot be found out, it goes on."""
        while True:
            await sleep(self.look_s)
            try:
                await self.verifier.examine(token)
            except Undecided:
                continue
            except Refused as refused:
                self.tell(address, f"a stream is ended: {refused}")
                passage.request.cancel()

    async def admitted(self, request: Request) -> CallerToken | Response:
        """The token that the request shows, or what it is answered in place of being let in."""
        address = address_of(request)
        headers = request.headers.getlist("authorization")
        if "access_token" in request.query_params:
            # Addresses are written down on the way, by proxies above all.
            why = "a token does not belong into the address: send it as Authorization: Bearer, and get a new one"
            return self.refusal(address, 400, "invalid_request", why)
        if len(headers) > 1:
            return self.refusal(address, 400, "invalid_request", "there is more than one Authorization header")
        if (token := shown(request)) is None:
            return self.refusal(address, 401, None, "a token is needed: Authorization: Bearer")
        try:
            found = await self.verifier.examine(token)
        except Refused as refused:
            return self.refusal(address, 401, "invalid_token", str(refused))
        except Undecided as undecided:
            return self.refusal(address, 503, "temporarily_unavailable", str(undecided))
        if missing := [scope for scope in self.scopes if scope not in found.scopes]:
            why = f"the token lacks the scope {' '.join(missing)}"
            return self.refusal(address, 403, "insufficient_scope", why)
        return found.seen_from(address)

    def refusal(self, address: str | None, status: int, error: str | None, why: str) -> Response:
        self.tell(address, why)
        headers = {"cache-control": "no-store"}
        if status == 503:
            headers["retry-after"] = str(RETRY_AFTER_S)
        elif status != 400:
            headers["www-authenticate"] = self.challenge(error, why)
        return JSONResponse({"error": error or "unauthorized", "error_description": why}, status, headers)

    def challenge(self, error: str | None, why: str) -> str:
        """What lets a client find the authorization server, and what to ask it for. Who showed no token at all has
        made no error."""
        parts = {"error": error, "error_description": why if error else None}
        if self.metadata is None:
            parts = {"realm": "telemetry-mcp", **parts}
        parts |= {"scope": " ".join(self.scopes) or None, "resource_metadata": self.metadata}
        return "Bearer " + ", ".join(f'{name}="{value}"' for name, value in parts.items() if value)

    def end_with(self, token: CallerToken, passage: Passage | None) -> None:
        """A stream that listens for updates must not go on for ever by a token that has expired."""
        if passage is not None and token.expires_at is not None:
            passage.until = current_time() + token.expires_at - time() + self.outlives_s


def shown(request: Request) -> str | None:
    """The token in a request's header."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def address_of(request: Request) -> str | None:
    return request.client.host if request.client else None


def lasts(request: Request) -> bool:
    """Whether it is answered by a stream that stays open: those of clients of before 2026-07-28, and listening."""
    return request.method == "GET" or request.headers.get("mcp-method") == LISTEN


def metadata_url(resource: str) -> str:
    """Where a resource's metadata are (RFC 9728, 3.1)."""
    url = urlsplit(resource)
    return f"{url.scheme}://{url.netloc}{metadata_path(resource)}"


def metadata_path(resource: str) -> str:
    return WELL_KNOWN + urlsplit(resource).path.rstrip("/")


def metadata_route(access: AccessSettings) -> list[Route]:
    """The resource's metadata, for whoever asks; none where there is no authorization server to name."""
    if access.oauth is None or access.resource is None:
        return []
    metadata: dict[str, Any] = {
        # Just as they were written: clients compare them letter by letter.
        "resource": access.resource,
        "authorization_servers": [access.oauth.issuer],
        "bearer_methods_supported": ["header"],
        "resource_name": "telemetry-mcp",
    }
    if access.oauth.scopes:
        metadata["scopes_supported"] = list(access.oauth.scopes)

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        headers = {"cache-control": "public, max-age=3600"}
        await JSONResponse(metadata, headers=headers)(scope, receive, send)

    open_to_all = CORSMiddleware(answer, allow_origins=["*"], allow_methods=["GET"], allow_headers=["*"])
    return [Route(metadata_path(access.resource), open_to_all, methods=["GET", "OPTIONS"])]


def is_at_home(request: Request) -> bool:
    """Whether a request comes from this machine itself, and not through a proxy on it that says so."""
    own = request.client is not None and is_loopback(request.client.host)
    return own and not any(name in request.headers for name in FORWARDED)


def host_of(resource: str | None) -> list[str]:
    """The host of a URL, as it stands in a Host header, without the port."""
    host = urlsplit(resource).hostname if resource else None
    return [f"[{host}]" if ":" in host else host] if host else []
