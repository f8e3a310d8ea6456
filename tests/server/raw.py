"""A client of raw sockets, which writes whatever it likes and tells what came back within its patience."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

PATIENCE_S = 15.0
ACCEPT = "application/json, text/event-stream"
MODERN = "2026-07-28"


@dataclass(frozen=True, slots=True)
class Heard:
    """`status` is None where the connection was closed without an answer. A `stream` was still open at the end."""

    status: int | None
    head: str
    body: bytes
    stream: bool = False

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    @property
    def message(self) -> Any:
        """The JSON-RPC message, whether it came as JSON or as the first event of a stream."""
        lines = [line[6:] for line in self.text.splitlines() if line.startswith("data: {")]
        return json.loads(lines[0] if lines else self.text)


@dataclass(frozen=True, slots=True)
class Raw:
    host: str
    port: int

    @classmethod
    def at(cls, url: str) -> Raw:
        address = urlsplit(url)
        assert address.hostname
        assert address.port
        return cls(address.hostname, address.port)

    async def say(self, *pieces: bytes, pause_s: float = 0.0, patience_s: float = PATIENCE_S) -> Heard:
        """Write the pieces, with pauses between them, and read until the answer is whole or the other end closes.

        TimeoutError when neither has happened within the patience: nothing may hang.
        """
        reader, writer = await asyncio.open_connection(self.host, self.port)
        sending = asyncio.ensure_future(write(writer, pieces, pause_s))
        try:
            async with asyncio.timeout(patience_s):
                return await heard(reader)
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            writer.close()
            await asyncio.gather(writer.wait_closed(), return_exceptions=True)

    async def post(self, body: bytes, *headers: str, host: str = "127.0.0.1", length: int | None = None) -> Heard:
        return await self.say(posted(body, *headers, host=host, length=length))

    async def modern(self, method: str, params: dict[str, Any], *, name: str | None = None) -> Heard:
        """A request of the newest revision, with the headers that it wants."""
        about = {
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientCapabilities": {},
        }
        message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": about}}
        named = [f"mcp-name: {name}"] if name is not None else []
        return await self.post(
            json.dumps(message).encode(), f"mcp-protocol-version: {MODERN}", f"mcp-method: {method}", *named
        )


def posted(body: bytes, *headers: str, host: str = "127.0.0.1", length: int | None = None) -> bytes:
    own = {line.partition(":")[0].lower() for line in headers}
    usual = {"accept": ACCEPT, "content-type": "application/json"}
    if "transfer-encoding" not in own:
        usual["content-length"] = str(len(body) if length is None else length)
    lines = [f"{name}: {value}" for name, value in usual.items() if name not in own]
    head = "\r\n".join(["POST /mcp HTTP/1.1", f"host: {host}", *lines, *headers, "", ""])
    return head.encode("latin-1") + body


async def write(writer: asyncio.StreamWriter, pieces: Sequence[bytes], pause_s: float) -> None:
    for nth, piece in enumerate(pieces):
        if nth and pause_s:
            await asyncio.sleep(pause_s)
        writer.write(piece)
        await writer.drain()


async def heard(reader: asyncio.StreamReader) -> Heard:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except (asyncio.IncompleteReadError, ConnectionError):
        return Heard(None, "", b"")
    status = int(head.split(" ", 2)[1])
    fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
    try:
        if "content-length" in fields:
            return Heard(status, head, await reader.readexactly(int(fields["content-length"])))
        if fields.get("transfer-encoding") == "chunked":
            return Heard(status, head, await chunks(reader))
        return Heard(status, head, await reader.read())
    except (asyncio.IncompleteReadError, ConnectionError):
        return Heard(status, head, b"")


async def chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int(await reader.readline(), 16):
        body += (await reader.readexactly(size + 2))[:-2]
    return body
