"""What reaches the MCP endpoint over HTTP: whole, small and well-formed, or it is answered here and at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import h11
import orjson
from anyio import move_on_after
from mcp.shared.inbound import MCP_PROTOCOL_VERSION_HEADER
from mcp.types import INVALID_REQUEST, PARSE_ERROR
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_S = 10.0
"""Within this the head of a request must have come, and what is left of a body that nobody reads any more."""
BODY_S = 10.0
"""Within this the body of a request must have come."""
MAX_HEAD_BYTES = 32 * 1024
CLOSING = {"connection": "close"}


class Patience(H11Protocol):
    """uvicorn's protocol, which would wait for ever for the rest of a request's head: a byte a minute is enough to
    hold a connection. Here it is closed after HEAD_S."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.timer = self.loop.call_later(HEAD_S, self.give_up, False)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.busy:
            self.timer.cancel()
        elif self.timer.cancelled():
            self.timer = self.loop.call_later(HEAD_S, self.give_up, True)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.conn.their_state is h11.SEND_BODY and not self.busy:
            self.timer = self.loop.call_later(HEAD_S, self.give_up, False)

    def connection_lost(self, exc: Exception | None) -> None:
        self.timer.cancel()
        super().connection_lost(exc)

    @property
    def busy(self) -> bool:
        """Whether a request is being answered."""
        return self.cycle is not None and not self.cycle.response_complete

    def give_up(self, begun: bool) -> None:
        if self.transport.is_closing():
            return
        if begun or self.conn.trailing_data[0]:
            self.transport.write(b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
        self.transport.close()

    def _unsupported_upgrade_warning(self) -> None:
        # It would advise, twice for each request, to install what is of no use here.
        pass


class Whole:
    """ASGI: hands on requests whose body has come whole, within BODY_S and `max_bytes`, and is a JSON-RPC message.

    What is wrong with others the SDK would find out as well, but only after it has waited without end, with words
    that quote what it was sent, or with a traceback in the log.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app = app
        self.max_bytes = max_bytes
        self.ids: set[tuple[str, Any]] = set()
        """Of the requests under way, by their session: a second one of the same id would take the first one's
        answer, and the first one would wait for ever."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if refusal := self.unfit(headers):
            await refusal(scope, receive, send)
        elif scope["method"] == "POST":
            await self.post(headers, scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def unfit(self, headers: Headers) -> Response | None:
        if sum(len(name) + len(value) for name, value in headers.raw) > MAX_HEAD_BYTES:
            return refused(431, f"the headers are larger than {MAX_HEAD_BYTES} bytes")
        if "transfer-encoding" in headers and "content-length" in headers:
            return refused(400, "the length of the body is given in two ways")
        length = headers.get("content-length", "")
        if length.isdigit() and int(length) > self.max_bytes:
            return refused(413, f"the body is larger than {self.max_bytes} bytes")
        return None

    async def post(self, headers: Headers, scope: Scope, receive: Receive, send: Send) -> None:
        body: bytes | None = None
        with move_on_after(BODY_S) as limit:
            body = await whole(receive, self.max_bytes)
        if limit.cancelled_caught:
            await refused(408, f"the body was not complete within {BODY_S:g} s")(scope, receive, send)
            return
        if body is None:  # the client has hung up
            return
        if len(body) > self.max_bytes:
            await refused(413, f"the body is larger than {self.max_bytes} bytes")(scope, receive, send)
            return
        answer: Response | None = None
        version = headers.get(MCP_PROTOCOL_VERSION_HEADER)
        if version is None or version in HANDSHAKE_PROTOCOL_VERSIONS:
            message, answer = examined(body)
            session = headers.get("mcp-session-id")
            if answer is None and session and "method" in message and "id" in message:
                await self.alone((session, message["id"]), body, scope, receive, send)
                return
        if answer is not None:
            await answer(scope, receive, send)
            return
        await self.app(scope, again(body, receive), send)

    async def alone(self, key: tuple[str, Any], body: bytes, scope: Scope, receive: Receive, send: Send) -> None:
        if key in self.ids:
            wrong = "a request of the same id is under way in this session"
            await fault(INVALID_REQUEST, wrong, key[1])(scope, receive, send)
            return
        self.ids.add(key)
        try:
            await self.app(scope, again(body, receive), send)
        finally:
            self.ids.discard(key)


def refused(status: int, why: str) -> Response:
    return Response(why, status, headers=CLOSING, media_type="text/plain")


def fault(code: int, why: str, request_id: Any = None) -> Response:
    error = {"code": code, "message": why}
    return JSONResponse({"jsonrpc": "2.0", "id": request_id, "error": error}, 400)


async def whole(receive: Receive, max_bytes: int) -> bytes | None:
    """The body, or its beginning when it is larger than `max_bytes`; None when the client leaves before."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if len(body) > max_bytes or not message.get("more_body"):
            return bytes(body)


def again(body: bytes, receive: Receive) -> Receive:
    """Gives the body once more, then whatever else comes."""
    told = False

    async def tell() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return tell


def examined(body: bytes) -> tuple[Mapping[str, Any], Response | None]:
    """The JSON-RPC message in a body of the eras before 2026-07-28, or the answer that there is none."""
    try:
        message = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}, fault(PARSE_ERROR, "the body is not JSON")
    if isinstance(message, list):
        return {}, fault(INVALID_REQUEST, "one message a request: batches are not taken")
    if not isinstance(message, dict) or message.get("jsonrpc") != "2.0":
        return {}, fault(INVALID_REQUEST, 'the body is no JSON-RPC message: an object with "jsonrpc": "2.0"')
    request_id = message.get("id")
    if "id" in message and (isinstance(request_id, bool) or not isinstance(request_id, int | str)):
        return {}, fault(INVALID_REQUEST, "the id is neither a string nor an integer")
    answers = "result" in message or "error" in message
    if not answers and not isinstance(message.get("method"), str):
        return {}, fault(INVALID_REQUEST, "the method is missing, or no string", request_id)
    if not isinstance(message.get("params", {}), dict):
        return {}, fault(INVALID_REQUEST, "params is no object", request_id)
    return message, None
