"""What reaches the MCP endpoint over HTTP: whole, small and well-formed, or it is answered here and at once."""

from __future__ import annotations

from asyncio import AbstractEventLoop
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

Key = tuple[str, str]
"""A session and the id of a request."""


class Joining:
    """A transport that sends what is written in one turn of the loop as one piece: the head and the body of an
    answer would be two, and wake its reader twice."""

    def __init__(self, transport: Any, loop: AbstractEventLoop) -> None:
        self.transport = transport
        self.loop = loop
        self.pieces: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)

    def write(self, data: bytes) -> None:
        if not self.pieces:
            self.loop.call_soon(self.flush)
        self.pieces.append(data)

    def flush(self) -> None:
        data = b"".join(self.pieces)
        self.pieces.clear()
        if data and not self.transport.is_closing():
            self.transport.write(data)

    def close(self) -> None:
        self.flush()
        self.transport.close()


class Patience(H11Protocol):
    """uvicorn's protocol, which would wait for ever for the rest of a request's head: a byte a minute is enough to
    hold a connection. Here it is closed after HEAD_S."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(Joining(transport, self.loop))  # type: ignore[arg-type]
        self.timer = self.loop.call_later(HEAD_S, self.give_up)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.busy:
            self.timer.cancel()
        elif self.timer.cancelled():
            self.timer = self.loop.call_later(HEAD_S, self.give_up)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.conn.their_state is h11.SEND_BODY and not self.busy:
            self.timer = self.loop.call_later(HEAD_S, self.give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        self.timer.cancel()
        super().connection_lost(exc)

    @property
    def busy(self) -> bool:
        """Whether a request is being answered."""
        return self.cycle is not None and not self.cycle.response_complete

    def give_up(self) -> None:
        if self.transport.is_closing():
            return
        if self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]:
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
        self.ids: set[Key] = set()
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
        if length.isdecimal() and int(length) > self.max_bytes:
            return self.too_large()
        return None

    def too_large(self) -> Response:
        # The connection stays open for a while: a client reads no answer before it has written all that it has.
        return Response(f"the body is larger than {self.max_bytes} bytes", 413, media_type="text/plain")

    async def post(self, headers: Headers, scope: Scope, receive: Receive, send: Send) -> None:
        body = await self.read(receive)
        if body is None:  # the client has hung up
            return
        if isinstance(body, Response):
            await body(scope, receive, send)
            return
        key = self.key_of(headers, body)
        if isinstance(key, Response):
            await key(scope, receive, send)
            return
        self.ids |= {key} if key else set()
        try:
            await self.app(scope, again(body, receive), send)
        finally:
            self.ids -= {key}

    async def read(self, receive: Receive) -> bytes | Response | None:
        """The whole body, or the answer to one that is too slow or too large; None for one that never ends."""
        with move_on_after(BODY_S):
            body = await whole(receive, self.max_bytes)
            return self.too_large() if body is not None and len(body) > self.max_bytes else body
        return refused(408, f"the body was not complete within {BODY_S:g} s")

    def key_of(self, headers: Headers, body: bytes) -> Key | Response | None:
        """What tells a request apart while it is under way, or the answer to one that cannot be handed on."""
        version = headers.get(MCP_PROTOCOL_VERSION_HEADER)
        if version is not None and version not in HANDSHAKE_PROTOCOL_VERSIONS:
            return None  # the SDK's own words will do, and such a request belongs to no session
        message = examined(body)
        session = headers.get("mcp-session-id")
        if isinstance(message, Response) or session is None or not {"method", "id"} <= message.keys():
            return message if isinstance(message, Response) else None
        key = session, str(message["id"])  # the SDK takes 5 and "5" for the same
        if key in self.ids:
            why = "a request of the same id is under way in this session"
            return fault(INVALID_REQUEST, why, message["id"])
        return key


def refused(status: int, why: str) -> Response:
    return Response(why, status, headers={"connection": "close"}, media_type="text/plain")


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


def examined(body: bytes) -> Mapping[str, Any] | Response:
    """The JSON-RPC message in a body of the eras before 2026-07-28, or the answer that there is none."""
    try:
        message = orjson.loads(body)
    except orjson.JSONDecodeError:
        return fault(PARSE_ERROR, "the body is not JSON")
    if isinstance(message, list):
        return fault(INVALID_REQUEST, "one message a request: batches are not taken")
    if not isinstance(message, dict) or message.get("jsonrpc") != "2.0":
        return fault(INVALID_REQUEST, 'the body is no JSON-RPC message: an object with "jsonrpc": "2.0"')
    request_id = message.get("id")
    if "id" in message and (isinstance(request_id, bool) or not isinstance(request_id, int | str)):
        return fault(INVALID_REQUEST, "the id is neither a string nor an integer")
    answers = "result" in message or "error" in message
    if not answers and not isinstance(message.get("method"), str):
        return fault(INVALID_REQUEST, "the method is missing, or no string", request_id)
    if not isinstance(message.get("params", {}), dict):
        return fault(INVALID_REQUEST, "params is no object", request_id)
    return message
