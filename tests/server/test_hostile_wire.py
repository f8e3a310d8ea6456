"""What nobody in good faith would send, to the real server: each has its answer, which tells nothing, and soon."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from mcp import Client

from telemetry_mcp.server.wire import BODY_S, HEAD_S
from tests.server.conftest import COMMAND, SECRETS
from tests.server.raw import MODERN, Heard, Raw, posted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.server.conftest import Serve, Served

KIB = 1024
GROWTH_MIB = 30
LONGEST_ANSWER = 20_000
"""The list of the tools is the longest; nothing that was sent comes back at length."""
ERAS = ("", f"mcp-protocol-version: {MODERN}")
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "t", "version": "1"},
    },
}


def request(method: str, request_id: Any = 1, **params: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}).encode()


CALL = request("tools/call", name="list_sources", arguments={})
DEEP = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list_services","arguments":{"query":%s}}}'
BODIES: dict[str, bytes] = {
    "nothing": b"",
    "no JSON": b"{nope",
    "cut off": CALL[:-9],
    "two messages": CALL + CALL,
    "a batch": b"[" + CALL + b"]",
    "an empty batch": b"[]",
    "a number": b"7",
    "null": b"null",
    "10,000 brackets": b"[" * 10_000 + b"]" * 10_000,
    "10,000 objects": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "arguments 10,000 deep": DEEP % (b"[" * 10_000 + b"]" * 10_000),
    "arguments 900 deep": DEEP % (b"[" * 900 + b"]" * 900),
    "invalid UTF-8": b'{"jsonrpc":"2.0","id":1,"method":"\xff\xfe"}',
    "UTF-16": CALL.decode().encode("utf-16"),
    "a NUL": CALL + b"\0",
    "half a surrogate for an id": b'{"jsonrpc":"2.0","id":"\\ud800","method":"ping"}',
    "an id of 5,000 digits": b'{"jsonrpc":"2.0","id":' + b"9" * 5000 + b',"method":"ping"}',
    "a float for an id": b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}',
    "an object for an id": b'{"jsonrpc":"2.0","id":{},"method":"ping"}',
    "NaN for an id": b'{"jsonrpc":"2.0","id":NaN,"method":"ping"}',
    "true for an id": b'{"jsonrpc":"2.0","id":true,"method":"ping"}',
    "no version": b'{"id":1,"method":"ping"}',
    "no method": b'{"jsonrpc":"2.0","id":1}',
    "a number for a method": b'{"jsonrpc":"2.0","id":1,"method":1}',
    "an unknown method": request("../../etc/passwd\n\x1b[31m"),
    "a list of parameters": b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":[1]}',
    "null for parameters": b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":null}',
    "an answer": b'{"jsonrpc":"2.0","id":1,"result":{}}',
    "an error": b'{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"x"}}',
    "an unknown notification": b'{"jsonrpc":"2.0","method":"notifications/evil","params":{"a":1}}',
    "a name that is an object": request("tools/call", name={"a": 1}, arguments={}),
    "arguments that are text": request("tools/call", name="list_sources", arguments="x"),
    "a meta that is text": request("tools/call", name="list_sources", arguments={}, _meta="x"),
    "a traceparent that is an object": request(
        "tools/call", name="list_sources", arguments={}, _meta={"traceparent": {}}
    ),
    "a progress token that is an object": request(
        "tools/call", name="list_sources", arguments={}, _meta={"progressToken": {}}
    ),
    "a cursor of 100,000 characters": request("tools/list", cursor="x" * 100_000),
}
HEADS: dict[str, bytes] = {
    "no HTTP": b"\x00\x01\x02\x03\r\n\r\n",
    "the beginning of TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "a line without end": b"GET /" + b"a" * 200_000,
    "no host": b"GET /readyz HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /readyz HTTP/1.1\r\nhost: 127.0.0.1\r\nhost: evil.example\r\n\r\n",
    "a proxy's request": b"CONNECT evil.example:443 HTTP/1.1\r\nhost: evil.example:443\r\n\r\n",
    "another host's address": b"GET http://evil.example/metrics HTTP/1.1\r\nhost: evil.example\r\n\r\n",
    "a NUL in a header": b"GET /readyz HTTP/1.1\r\nhost: 127.0.0.1\r\nx: a\0b\r\n\r\n",
    "a space in a header's name": b"GET /readyz HTTP/1.1\r\nhost: 127.0.0.1\r\nx y: z\r\n\r\n",
    "a bare CR": b"GET /readyz HTTP/1.1\r\nhost: 127.0.0.1\rx: evil\r\n\r\n",
    "an escaped CR and LF in the path": b"GET /mcp%0d%0aset-cookie:%20x=1 HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n",
    "dots in the path": b"GET /../../../../etc/passwd HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n",
    "escaped dots in the path": b"GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n",
    "a web socket": b"GET /mcp HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
    "two lengths": posted(b"{}", "content-length: 3").replace(b"\r\naccept", b"\r\ncontent-length: 2\r\naccept"),
    "a negative length": posted(b"{}", "content-length: -1"),
    "a length of many digits": posted(b"{}", "content-length: " + "9" * 400),
    "a length and chunks": posted(b"0\r\n\r\nGET /x", "transfer-encoding: chunked", "content-length: 5"),
    "a chunk of no size": posted(b"zz\r\n", "transfer-encoding: chunked"),
    "an unknown coding": posted(b"{}", "transfer-encoding: gzip"),
    "another method": posted(CALL).replace(b"POST", b"PATCH", 1),
    "no such session": posted(CALL, "mcp-session-id: ../../etc/passwd"),
    "a session of 20,000 characters": posted(CALL, "mcp-session-id: " + "x" * 20_000),
    "no such version": posted(CALL, "mcp-protocol-version: 9999-99-99"),
    "two versions": posted(CALL, "mcp-protocol-version: 2025-11-25", "mcp-protocol-version: 2026-07-28"),
    "an event that never was": b"GET /mcp HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: text/event-stream\r\n"
    b"last-event-id: ../../x\r\n\r\n",
}
HERE = "|".join(re.escape(folder) for folder in (str(Path(__file__).resolve().parents[2]), sys.prefix, "/core/"))
TELLTALE = re.compile(rf"Traceback|File \"|\.py\b|/site-packages|{HERE}|errors\.pydantic\.dev|object at 0x")


@pytest.fixture(scope="module")
def served(serve: Serve) -> Iterator[Served]:
    """The server. Whatever these tests send, its memory stays bounded."""
    served = serve("--demo", "--log-level", "error")
    # What is loaded with the first calls counts for none of them.
    anyio.run(every_tool, served.url)
    before = resident_mib(served)
    yield served
    assert resident_mib(served) - before < GROWTH_MIB


async def every_tool(url: str) -> None:
    async with Client(url) as client:
        for tool in ("list_services", "list_sources", "detect_anomalies"):
            await client.call_tool(tool, {})
        await client.read_resource("telemetry://sli-report")


@pytest.fixture
def raw(served: Served) -> Raw:
    return Raw.at(served.url)


def resident_mib(served: Served) -> float:
    status = Path(f"/proc/{served.process.pid}/status").read_text(encoding="ascii")
    return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) / 1024


def tells_nothing(heard: Heard) -> Heard:
    assert not TELLTALE.search(heard.head + heard.text), heard.text
    assert not [secret for secret in SECRETS if secret in heard.text]
    assert len(heard.body) < LONGEST_ANSWER
    return heard


async def session(raw: Raw) -> str:
    """The id of a session of an older client."""
    first = await raw.post(json.dumps(INITIALIZE).encode())
    (found,) = re.findall(r"mcp-session-id: (\w+)", first.head)
    return str(found)


async def answers(raw: Raw) -> None:
    """The server is as well as it was."""
    heard = await raw.modern("tools/call", {"name": "list_sources", "arguments": {}}, name="list_sources")
    assert heard.message["result"]["structuredContent"]["total"] == 4


@pytest.mark.parametrize("era", ERAS, ids=["legacy", "modern"])
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
async def test_a_body_that_is_no_request_is_refused(raw: Raw, body: bytes, era: str) -> None:
    heard = tells_nothing(await raw.post(body, *([era] if era else [])))
    assert heard.status in (400, 202 if b'"method":"notifications/' in body else 400)
    await answers(raw)


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
async def test_a_session_outlives_a_body_that_is_no_request(raw: Raw, body: bytes) -> None:
    own = f"mcp-session-id: {await session(raw)}"
    heard = tells_nothing(await raw.post(body, own))
    assert heard.status in (200, 202, 400)
    again = await raw.post(request("tools/call", 77, name="list_sources", arguments={}), own)
    assert again.message["id"] == 77


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS.keys())
async def test_a_head_that_is_no_request_is_refused_or_the_connection_closed(raw: Raw, head: bytes) -> None:
    heard = tells_nothing(await raw.say(head))
    assert heard.status is None or 400 <= heard.status < 500
    assert "set-cookie" not in heard.head.lower()
    await answers(raw)


@pytest.mark.parametrize("headers", [["x: " + "a" * 60_000], ["x: y"] * 10_000], ids=["a long one", "many"])
async def test_headers_beyond_all_measure_are_refused(raw: Raw, headers: list[str]) -> None:
    assert tells_nothing(await raw.post(CALL, *headers)).status in (400, 431)
    await answers(raw)


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1@evil.example", "127.0.0.1.evil.example", "", "["])
async def test_a_forged_host_is_refused(raw: Raw, host: str) -> None:
    assert tells_nothing(await raw.post(CALL, ERAS[1], host=host)).status in (400, 421)


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1.evil.example", "file://"])
async def test_a_forged_origin_is_refused(raw: Raw, origin: str) -> None:
    assert tells_nothing(await raw.post(CALL, ERAS[1], f"origin: {origin}")).status == 403


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "application/jsonp"]
)
@pytest.mark.parametrize("era", ERAS, ids=["legacy", "modern"])
async def test_another_content_type_is_refused(raw: Raw, kind: str, era: str) -> None:
    heard = await raw.post(CALL, f"content-type: {kind}", *([era] if era else []))
    assert tells_nothing(heard).status in (400, 415)


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "in chunks"])
@pytest.mark.parametrize("era", ERAS, ids=["legacy", "modern"])
async def test_a_body_beyond_the_limit_is_refused_before_it_has_come(raw: Raw, declared: bool, era: str) -> None:
    headers = [era] if era else []
    if declared:
        heard = await raw.say(posted(b"{", *headers, length=10**12))
    else:
        chunk = b"%x\r\n%s\r\n" % (64 * KIB, b" " * 64 * KIB)
        heard = await raw.say(posted(b"", "transfer-encoding: chunked", *headers), *[chunk] * 5)
    assert tells_nothing(heard).status == 413
    await answers(raw)


async def test_a_request_that_drips_is_given_up_while_others_are_answered(raw: Raw) -> None:
    whole = posted(CALL, *ERAS[1:])
    head, body = whole.split(b"\r\n\r\n", 1)
    drip = [bytes([byte]) for byte in body[:60]]
    dripping = [
        raw.say(head + b"\r\n\r\n", *drip, pause_s=0.5),
        raw.say(*[bytes([byte]) for byte in head[:60]], pause_s=0.5),
        raw.say(head + b"\r\n\r\n" + body[:5]),
        raw.say(b""),
        raw.say(posted(b"", "transfer-encoding: chunked"), *[b"1\r\n \r\n"] * 60, pause_s=0.5),
        raw.say(posted(b"ffffffffffffffff\r\n", "transfer-encoding: chunked"), *drip, pause_s=0.5),
        raw.say(posted(CALL, length=10**9), *drip, pause_s=0.5),
    ]
    held = [asyncio.ensure_future(each) for each in dripping]
    await answers(raw)
    ended = [heard.status for heard in await asyncio.gather(*held)]
    assert ended == [408, 408, 408, None, 408, 408, 413]
    assert max(BODY_S, HEAD_S) < 15


async def test_a_request_whose_sender_leaves_half_way_leaves_no_word_in_the_log(serve: Serve) -> None:
    served = serve("--demo")
    raw = Raw.at(served.url)
    for era in ERAS:
        _, writer = await asyncio.open_connection(raw.host, raw.port)
        writer.write(posted(CALL, *([era] if era else []))[:-20])
        await writer.drain()
        writer.close()
        await writer.wait_closed()
    await answers(raw)
    served.process.terminate()
    _, said = await asyncio.to_thread(served.process.communicate)
    assert said == ""


async def test_a_second_request_of_an_id_that_is_under_way_is_refused(raw: Raw) -> None:
    own = f"mcp-session-id: {await session(raw)}"
    asked = {"name": "detect_anomalies", "arguments": {"service": "*", "fresh": True}}
    heard = await asyncio.gather(*(raw.post(request("tools/call", nth, **asked), own) for nth in (5, "5", 5, "5")))
    assert {each.status for each in heard} == {200, 400}
    assert [each.message["id"] for each in heard] == [5, "5", 5, "5"]


async def test_many_garbled_openings_leave_no_session_behind(served: Served, raw: Raw) -> None:
    before = resident_mib(served)
    for _ in range(300):
        await raw.post(b"[]")
        await raw.post(request("tools/list"))
    assert resident_mib(served) - before < 10
    await answers(raw)


@pytest.mark.parametrize("options", [["--log-format", "json"], []], ids=["option", "variable"])
async def test_what_a_stranger_sends_stays_within_a_line_of_the_log(options: list[str]) -> None:
    environ = {**os.environ, **({} if options else {"TELEMETRY_MCP_LOG_FORMAT": "json"})}
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        "--demo",
        "--transport",
        "http",
        "--port",
        "0",
        *options,
        stderr=asyncio.subprocess.PIPE,
        env=environ,
    )
    assert process.stderr
    listening = json.loads(await process.stderr.readline())
    raw = Raw.at(listening["message"].removeprefix("listening on "))
    await raw.post(CALL, ERAS[1], host="evil\x85\xa0{}")
    warning = json.loads(await process.stderr.readline())
    process.terminate()
    await process.wait()
    assert warning["log.level"] == "warning"
    assert "evil" in warning["message"]
