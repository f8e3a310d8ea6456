"""Fault switches in front of an emulator: what networks, proxies and vendors do to their callers, on the wire.

faults.set("/api/v1/query_range", Fault("delay", seconds=3))
faults.set("/", Fault("status", code=503, times=2))      # twice, then well again
faults.clear()
"""

import asyncio
import math
import socket
import struct
import zlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import parse_qsl, urlencode

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

Kind = Literal[
    "delay",  # answers after `seconds`
    "hang",  # never answers
    "drip",  # headers, then one byte every `seconds`, for ever
    "status",  # answers `code` with `body`
    "reset",  # drops the connection with an RST instead of an answer
    "truncate",  # half of the true body, then the end of the connection
    "gzip_bomb",  # a small gzip body which is `size` bytes of zeros
    "html",  # 200 with a page of a proxy
    "wrong_content_type",  # the true body as text/plain
    "empty",  # 200 without a body
    "rate_limit",  # 429 with `headers`, which may be none, and `body`, which may be empty
    "redirect",  # 302 to `url` and the same path
    "endless_pages",  # a list that never ends; with `blank`, of pages without entries
    "partial",  # the true answer with the members of `extra` added
]

_PAGE = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body><h1>Sign in to continue</h1></body></html>"
_ZEROS = bytes(1 << 20)


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to a request. `times` ends it after that many requests; which fields count, `Kind` says."""

    kind: Kind
    seconds: float = 1.0
    code: int = 500
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    size: int = 64 << 20
    url: str = ""
    chunked: bool = False
    blank: bool = False
    extra: Mapping[str, object] = field(default_factory=lambda: {"warnings": ["one shard did not answer"]})
    times: int | None = None

    def __post_init__(self) -> None:
        """ValueError, in a sentence, for what cannot be done on the wire."""
        if not 200 <= self.code <= 599:
            raise ValueError(f"{self.code} is no status code of an answer: 200 to 599")
        if not 0 <= self.seconds < math.inf:
            raise ValueError(f"{self.seconds:g} is no time to wait: seconds, 0 or more")
        if self.size < 0:
            raise ValueError(f"{self.size} is no size: bytes, 0 or more")


class Faults:
    """The faults of one emulator by the beginning of the path; the longest one that fits is taken.

    Safe to switch from another thread while requests are under way.
    """

    def __init__(self) -> None:
        self._routes: dict[str, Fault] = {}
        self._left: dict[str, int] = {}

    def set(self, route_prefix: str, fault: Fault) -> None:
        """From now on `fault` befalls every request whose path begins with `route_prefix`."""
        if fault.kind == "redirect" and not fault.url:
            raise ValueError("a redirect needs the url it leads to")
        if fault.times is not None:
            self._left[route_prefix] = fault.times
        self._routes = {**self._routes, route_prefix: fault}

    def clear(self) -> None:
        """All is well again, for requests which come from now on."""
        self._routes, self._left = {}, {}

    def take(self, path: str) -> Fault | None:
        """The fault that befalls a request for `path`, counted down."""
        fits = [prefix for prefix in self._routes if path.startswith(prefix)]
        if not fits:
            return None
        prefix = max(fits, key=len)
        fault = self._routes[prefix]
        if fault.times is not None:
            left = self._left.get(prefix, 0)
            self._left[prefix] = left - 1
            return fault if left > 0 else None
        return fault


@dataclass(frozen=True, slots=True)
class Call:
    """A request on its way through the switch."""

    app: ASGIApp
    scope: Scope
    receive: Receive
    send: Send

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        """Sends status and headers."""
        pairs = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        await self.send({"type": "http.response.start", "status": status, "headers": pairs})

    async def write(self, body: bytes, *, more: bool = False) -> None:
        """Sends a part of the body; leaving without a last part closes the connection."""
        await self.send({"type": "http.response.body", "body": body, "more_body": more})

    async def reply(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        """A whole answer of a known length."""
        await self.start(status, {"content-length": str(len(body)), **headers})
        await self.write(body)

    async def true_answer(self) -> tuple[int, dict[str, str], bytes]:
        """What the application itself would have answered, headers without content-length."""
        messages: list[Message] = []

        async def keep(message: Message) -> None:
            messages.append(dict(message))

        await self.app(self.scope, self.receive, keep)
        headers = {n.decode("latin-1"): v.decode("latin-1") for n, v in messages[0]["headers"]}
        headers.pop("content-length", None)
        return messages[0]["status"], headers, b"".join(m.get("body", b"") for m in messages[1:])

    async def gone(self) -> None:
        """Returns when the client has hung up."""
        while (await self.receive())["type"] != "http.disconnect":
            pass


class FaultSwitch:
    """ASGI middleware: a request meets the fault of its route, or the application."""

    def __init__(self, app: ASGIApp, faults: Faults) -> None:
        self._app = app
        self._faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        fault = self._faults.take(scope["path"]) if scope["type"] == "http" else None
        if fault is None:
            await self._app(scope, receive, send)
        else:
            await _BEFALL[fault.kind](fault, Call(self._app, scope, receive, send))


async def _delay(fault: Fault, call: Call) -> None:
    await asyncio.sleep(fault.seconds)
    await call.app(call.scope, call.receive, call.send)


async def _hang(fault: Fault, call: Call) -> None:
    await call.gone()


async def _drip(fault: Fault, call: Call) -> None:
    await call.start(200, {"content-type": "application/json"})
    gone = asyncio.ensure_future(call.gone())
    try:
        while not gone.done():
            await call.write(b" ", more=True)
            await asyncio.wait([gone], timeout=fault.seconds)
    finally:
        gone.cancel()


async def _status(fault: Fault, call: Call) -> None:
    await call.reply(fault.code, fault.body, {"content-type": "application/json", **fault.headers})


async def _reset(fault: Fault, call: Call) -> None:
    transport = call.scope.get("extensions", {}).get("transport")
    if transport is None:
        raise ConnectionResetError("this server does not hand its transport to the application")
    # A lingering time of zero turns the close into an RST.
    linger = struct.pack("ii", 1, 0)
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    transport.abort()
    await call.gone()


async def _truncate(fault: Fault, call: Call) -> None:
    status, headers, body = await call.true_answer()
    promise = {} if fault.chunked else {"content-length": str(len(body))}
    await call.start(status, {**headers, **promise})
    await call.write(body[: len(body) // 2], more=True)


async def _gzip_bomb(fault: Fault, call: Call) -> None:
    await call.start(200, {"content-type": "application/json", "content-encoding": "gzip"})
    for part in zeros(fault.size):
        await call.write(part, more=True)
        await asyncio.sleep(0)
    await call.write(b"")


async def _html(fault: Fault, call: Call) -> None:
    await call.reply(200, _PAGE, {"content-type": "text/html; charset=utf-8"})


async def _wrong_content_type(fault: Fault, call: Call) -> None:
    status, headers, body = await call.true_answer()
    await call.reply(status, body, {**headers, "content-type": "text/plain; charset=utf-8"})


async def _empty(fault: Fault, call: Call) -> None:
    await call.reply(200, b"", {"content-type": "application/json"})


async def _rate_limit(fault: Fault, call: Call) -> None:
    await call.reply(429, fault.body, {"content-type": "application/json", **fault.headers})


async def _redirect(fault: Fault, call: Call) -> None:
    query = call.scope["query_string"].decode("latin-1")
    path = call.scope["path"] + (f"?{query}" if query else "")
    await call.reply(302, b"", {"location": fault.url.rstrip("/") + path})


async def _endless_pages(fault: Fault, call: Call) -> None:
    asked = parse_qsl(call.scope["query_string"].decode("latin-1"), keep_blank_values=True)
    first = [(name, value) for name, value in asked if name not in ("offset", "page[offset]", "page[number]")]
    scope = {**call.scope, "query_string": urlencode(first).encode()}
    status, headers, body = await Call(call.app, scope, call.receive, call.send).true_answer()
    document = orjson.loads(body)
    _go_on(document, blank=fault.blank)
    if "offset" in document:
        document["offset"] = int(dict(asked).get("offset", 0))
    await call.reply(status, orjson.dumps(document), headers)


def _go_on(node: Any, *, blank: bool) -> None:
    """Makes every list in a JSON document say that there is more of it."""
    if not isinstance(node, dict):
        return
    paged = False
    for key, more in (("more", True), ("nextCursor", "again")):
        if key in node:
            node[key], paged = more, True
    if "links" in node:
        node["links"] = {"next": "/again"}
        paged = True
    for key, value in node.items():
        if paged and blank and isinstance(value, list):
            node[key] = []
        else:
            _go_on(value, blank=blank)


async def _partial(fault: Fault, call: Call) -> None:
    status, headers, body = await call.true_answer()
    await call.reply(status, orjson.dumps({**orjson.loads(body), **fault.extra}), headers)


def zeros(size: int) -> Iterator[bytes]:
    """`size` zero bytes, rounded up to whole MiB, as one valid gzip stream of about a thousandth of that.

    After a full flush a deflate block leans on nothing before it, so one compressed block serves for all.
    """
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(_ZEROS) + packer.flush(zlib.Z_FULL_FLUSH)
    count = -(-size // len(_ZEROS))
    check = 0
    yield b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff"
    for _ in range(count):
        check = zlib.crc32(_ZEROS, check)
        yield block
    yield b"\x03\x00" + struct.pack("<II", check, count * len(_ZEROS) & 0xFFFFFFFF)


_BEFALL: dict[Kind, Callable[[Fault, Call], Awaitable[None]]] = {
    "delay": _delay,
    "hang": _hang,
    "drip": _drip,
    "status": _status,
    "reset": _reset,
    "truncate": _truncate,
    "gzip_bomb": _gzip_bomb,
    "html": _html,
    "wrong_content_type": _wrong_content_type,
    "empty": _empty,
    "rate_limit": _rate_limit,
    "redirect": _redirect,
    "endless_pages": _endless_pages,
    "partial": _partial,
}
