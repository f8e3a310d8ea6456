"""The door of the HTTP endpoint: who gets in, what the others are told, and what becomes of the token."""

from __future__ import annotations

import logging
import re
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.server import MCPServer
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.mcpserver import Context
from mcp.server.transport_security import TransportSecurityMiddleware
from mcp.types import TextContent
from pydantic import SecretStr
from starlette.types import Message, Receive, Scope, Send

from telemetry_mcp.access.caller import Caller
from telemetry_mcp.access.key import KeyFile
from telemetry_mcp.access.setting import AccessSettings
from telemetry_mcp.access.token import CallerToken, Undecided, Verifier, caller_of_token
from telemetry_mcp.access.verifier import verifier_for
from telemetry_mcp.config import ServerSettings
from telemetry_mcp.server.bearer import Door
from telemetry_mcp.server.metric import Metrics
from telemetry_mcp.server.web import Life, Mortal, application, bound, run
from telemetry_mcp.testing.backend import Backend
from tests.core.mint import RESOURCE, Mint, access_of
from tests.server.conftest import COMMAND

BOTH = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
VERSION = "2025-11-25"
BEGIN = {"protocolVersion": VERSION, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
ASK = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": BEGIN}
METADATA = "https://telemetry.example.com/.well-known/oauth-protected-resource/mcp"
SECRET = "0123456789abcdef0123456789abcdef"

Http = httpx.AsyncClient


@pytest.fixture
def mint() -> Iterator[Mint]:
    with Mint() as mint:
        yield mint


def whoami() -> MCPServer[Any]:
    """A server whose only tool tells who asks, and everything about the request that could be found."""
    server: MCPServer[Any] = MCPServer("test")

    @server.tool()
    async def who(ctx: Context[Any]) -> list[str]:
        caller = caller_of_token(get_access_token())
        rest = f"{get_access_token()!r} {dict(ctx.headers or {})}"
        return [caller.subject, caller.kind, " ".join(caller.roles), str(caller.address), rest]

    return server


@asynccontextmanager
async def opened(access: AccessSettings, settings: ServerSettings | None = None) -> AsyncIterator[Http]:
    """The product's own HTTP server over the tool that tells who asks, and a client without a token."""
    ready = anyio.Event()
    with bound("127.0.0.1", 0) as sock:
        host, port = sock.getsockname()
        async with anyio.create_task_group() as tasks:

            async def serve() -> None:
                await run(whoami(), Metrics(), settings or ServerSettings(), sock, ready.set, access=access)

            tasks.start_soon(serve)
            await ready.wait()
            try:
                async with Http(base_url=f"http://{host}:{port}", trust_env=False, timeout=10) as client:
                    yield client
            finally:
                signal.raise_signal(signal.SIGTERM)


def bearer(token: str, **headers: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}", **headers}


async def ask(client: Http, *tokens: str, path: str = "/mcp", **headers: str) -> httpx.Response:
    shown = [("authorization", f"Bearer {token}") for token in tokens]
    return await client.post(path, json=ASK, headers=[*BOTH.items(), *headers.items(), *shown])


async def who(client: Http, token: str, **headers: str) -> list[str]:
    """What a legacy client and one of today are told of who they are, which must be the same."""
    told = []
    for mode in ("legacy", "auto"):
        sent = bearer(token, **headers)
        async with (
            httpx2.AsyncClient(headers=sent) as inner,
            Client(streamable_http_client(str(client.base_url.join("/mcp")), http_client=inner), mode=mode) as mcp,
        ):
            content = (await mcp.call_tool("who", {})).content
            told.append([block.text for block in content if isinstance(block, TextContent)])
    assert told[0][:4] == told[1][:4]
    assert not [text for answer in told for text in answer if token in text or token.split(".")[-1] in text]
    return told[0][:4]


# ---- let in


async def test_a_token_is_a_caller_to_whoever_answers(mint: Mint) -> None:
    async with opened(access_of(mint)) as client:
        assert await who(client, mint.token(roles=["viewer"])) == ["alice", "user", "viewer", "127.0.0.1"]


async def test_without_access_settings_nobody_is_asked(mint: Mint) -> None:
    async with opened(AccessSettings()) as client:
        assert (await ask(client)).status_code == 200
        assert (await client.get("/.well-known/oauth-protected-resource/mcp")).status_code == 404


async def test_a_session_belongs_to_whoever_opened_it(mint: Mint) -> None:
    async with opened(access_of(mint)) as client:
        alice, bob = bearer(mint.token()), bearer(mint.token(sub="bob"))
        opening = await client.post("/mcp", json=ASK, headers={**BOTH, **alice})
        session = {"mcp-session-id": opening.headers["mcp-session-id"], "mcp-protocol-version": VERSION}
        ping = {"jsonrpc": "2.0", "id": 2, "method": "ping"}
        assert (await client.post("/mcp", json=ping, headers={**BOTH, **bob, **session})).status_code == 404
        later = bearer(mint.token(jti="2"))
        assert (await client.post("/mcp", json=ping, headers={**BOTH, **later, **session})).status_code == 200


async def test_only_a_proxy_that_is_named_says_where_a_caller_is(mint: Mint) -> None:
    token, from_afar = mint.token(), {"x-forwarded-for": "203.0.113.9"}
    async with opened(access_of(mint)) as client:
        assert (await who(client, token, **from_afar))[3] == "127.0.0.1"
    async with opened(access_of(mint), ServerSettings(trusted_proxies=("127.0.0.0/8",))) as client:
        assert (await who(client, token, **from_afar))[3] == "203.0.113.9"
        assert (await who(client, token, **{"x-forwarded-for": "127.0.0.9, 203.0.113.9"}))[3] == "203.0.113.9"


# ---- refused


async def test_who_shows_nothing_is_told_where_tokens_are_made_out(mint: Mint) -> None:
    async with opened(access_of(mint, scopes=["telemetry:read", "b"])) as client:
        answer = await ask(client)
        assert answer.status_code == 401
        challenge = answer.headers["www-authenticate"]
        assert challenge == f'Bearer scope="telemetry:read b", resource_metadata="{METADATA}"'
        told = await client.get(httpx.URL(METADATA).path, headers={"origin": "https://inspector.example.com"})
        assert told.headers["access-control-allow-origin"] == "*"
        assert told.json() == {
            "resource": RESOURCE,
            "authorization_servers": [mint.issuer],
            "scopes_supported": ["telemetry:read", "b"],
            "bearer_methods_supported": ["header"],
            "resource_name": "telemetry-mcp",
        }


async def test_a_token_that_is_not_good_is_told_why(mint: Mint) -> None:
    async with opened(access_of(mint)) as client:
        answer = await ask(client, mint.token(exp=int(time.time()) - 60))
        assert answer.status_code == 401
        why = 'error="invalid_token", error_description="the token has expired"'
        assert answer.headers["www-authenticate"] == f'Bearer {why}, resource_metadata="{METADATA}"'
        assert answer.headers["cache-control"] == "no-store"
        assert answer.json() == {"error": "invalid_token", "error_description": "the token has expired"}


async def test_a_token_without_the_scope_is_told_which(mint: Mint) -> None:
    async with opened(access_of(mint, scopes=["telemetry:read", "telemetry:more"])) as client:
        answer = await ask(client, mint.token())
        assert answer.status_code == 403
        told = answer.headers["www-authenticate"]
        assert 'error="insufficient_scope"' in told
        assert 'scope="telemetry:read telemetry:more"' in told
        assert f'resource_metadata="{METADATA}"' in told
        assert "telemetry:more" in answer.json()["error_description"]
        assert (await ask(client, mint.token(scope="telemetry:more telemetry:read"))).status_code == 200


@pytest.mark.parametrize(
    ("path", "tokens", "status"),
    [
        ("/mcp?access_token={}", 0, 400),
        ("/mcp?access_token={}", 1, 400),
        ("/mcp?a=b&access%5Ftoken={}", 1, 400),
        ("/mcp?access_token=", 1, 400),
        ("/mcp", 2, 400),
        ("/mcp/?access_token={}", 1, 400),
        ("/other", 0, 401),
    ],
)
async def test_a_token_where_it_does_not_belong_is_refused_and_not_written_down(
    mint: Mint, caplog: pytest.LogCaptureFixture, path: str, tokens: int, status: int
) -> None:
    token = mint.token()
    with caplog.at_level(logging.DEBUG):
        async with opened(access_of(mint)) as client:
            logging.getLogger("httpx").setLevel(logging.WARNING)
            logging.getLogger("httpcore").setLevel(logging.WARNING)
            answer = await ask(client, *[token] * tokens, path=path.format(token))
    assert answer.status_code == status
    assert token not in caplog.text + answer.text + str(answer.headers)
    if "?" in path:
        assert "does not belong into the address" in answer.json()["error_description"]


@pytest.mark.parametrize("shown", ["Basic YTpi", "Bearer", "bearer a b", "Bearer\t{}", "{}", "DPoP {}"])
async def test_what_is_no_bearer_token_is_refused(mint: Mint, shown: str) -> None:
    async with opened(access_of(mint)) as client:
        headers = {**BOTH, "authorization": shown.format(mint.token())}
        assert (await client.post("/mcp", json=ASK, headers=headers)).status_code == 401


async def test_without_the_authorization_server_it_is_said_to_come_back(mint: Mint) -> None:
    mint.backend.state = "503"
    async with opened(access_of(mint)) as client:
        answer = await ask(client, mint.token())
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")
        assert "www-authenticate" not in answer.headers


async def test_with_keys_only_there_is_no_authorization_server_to_name(tmp_path: Path) -> None:
    access = AccessSettings(keys=tmp_path / "keys.json", secret=SecretStr(SECRET))
    _, key = KeyFile(tmp_path / "keys.json", SecretStr(SECRET)).create("ci", ["viewer"])
    async with opened(access) as client:
        answer = await ask(client)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Bearer realm="telemetry-mcp"')
        assert await who(client, key) == ["ci", "service_account", "viewer", "127.0.0.1"]
        assert (await ask(client, key[:-1])).status_code == 401
        assert (await client.get("/.well-known/oauth-protected-resource/mcp")).status_code == 404


async def test_the_host_of_the_resource_is_let_in_and_a_foreign_one_is_not(mint: Mint) -> None:
    async with opened(access_of(mint)) as client:
        for host in ("telemetry.example.com", "telemetry.example.com:8443"):
            assert (await ask(client, mint.token(), host=host)).status_code == 200
        for tokens in ([mint.token()], []):
            assert (await ask(client, *tokens, host="evil.example.com")).status_code == 421
        assert (await ask(client, mint.token(), origin="https://evil.example.com")).status_code == 403


# ---- beside it


async def test_health_is_told_to_everybody(mint: Mint) -> None:
    async with opened(access_of(mint)) as client:
        assert (await client.get("/healthz")).text == "ok"
        assert (await client.get("/readyz")).json() == {"ready": True}


async def test_the_servers_metrics_are_told_to_this_machine_and_to_callers(mint: Mint) -> None:
    access = access_of(mint)
    settings = ServerSettings(trusted_proxies=("127.0.0.1",))
    async with opened(access) as client:
        assert (await client.get("/metrics")).status_code == 200
        for header in ("x-forwarded-for", "forwarded", "via", "x-real-ip"):
            assert (await client.get("/metrics", headers={header: "127.0.0.1"})).status_code == 401
        through = bearer(mint.token(), via="1.1 proxy")
        assert (await client.get("/metrics", headers=through)).status_code == 200
    async with opened(access, settings) as client:
        assert (await client.get("/metrics", headers={"x-forwarded-for": "10.0.0.7"})).status_code == 401
        assert (await client.get("/metrics", headers={"x-forwarded-for": "127.0.0.1"})).status_code == 401
    app = application(whoami(), Metrics(), ServerSettings(), Life(), access)
    for address, status in (("10.0.0.7", 401), ("127.0.0.2", 200), ("::1", 200)):
        transport = httpx.ASGITransport(app, client=(address, 1))
        async with Http(transport=transport, base_url="http://127.0.0.1") as client:
            assert (await client.get("/metrics")).status_code == status


STREAM = [(b"content-type", b"text/event-stream")]


async def endless(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": STREAM})
    await send({"type": "http.response.body", "body": b"begun", "more_body": True})
    await anyio.sleep_forever()


async def test_a_stream_does_not_outlive_its_token(mint: Mint) -> None:
    access = access_of(mint)
    verifier = verifier_for(access)
    assert verifier
    door = Door(endless, verifier, access, TransportSecurityMiddleware(), outlives_s=-299.0)
    transport = httpx.ASGITransport(Mortal(door, Life()))
    async with Http(transport=transport, base_url="http://127.0.0.1") as client:
        with anyio.fail_after(10):
            assert (await client.get("/mcp", headers=bearer(mint.token()))).text == "begun"
    await verifier.close()


async def endless_wait() -> Message:
    await anyio.sleep_forever()
    raise AssertionError("unreachable")


@asynccontextmanager
async def streamed(verifier: Verifier, access: AccessSettings, token: str) -> AsyncIterator[anyio.Event]:
    """A stream that is open while the block lasts, and the event that it has ended."""
    begun, ended = anyio.Event(), anyio.Event()

    async def send(message: Message) -> None:
        last = message["type"] == "http.response.body" and not message.get("more_body")
        (ended if last else begun).set()

    door = Door(endless, verifier, access, TransportSecurityMiddleware(), look_s=0.01)
    scope: Scope = {"type": "http", "method": "GET", "query_string": b"", "client": ("127.0.0.1", 1)}
    scope["headers"] = [(b"host", b"127.0.0.1"), (b"authorization", f"Bearer {token}".encode())]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Mortal(door, Life()).__call__, scope, endless_wait, send)
        await begun.wait()
        yield ended
        tasks.cancel_scope.cancel()


async def test_a_stream_ends_when_its_key_is_revoked(tmp_path: Path) -> None:
    access = AccessSettings(secret=SecretStr(SECRET), keys=tmp_path / "keys.json")
    file = KeyFile(tmp_path / "keys.json", SecretStr(SECRET))
    _, key = file.create("ci", ["viewer"])
    verifier = verifier_for(access)
    assert verifier
    with anyio.fail_after(10):
        async with streamed(verifier, access, key) as ended:
            assert not ended.is_set()
            file.revoke("ci")
            await ended.wait()
    await verifier.close()


class Unsure(Verifier):
    """Knows the token when it comes, and cannot be reached from then on."""

    def __init__(self) -> None:
        self.asked = 0
        self.asked_again = anyio.Event()

    async def examine(self, token: str) -> CallerToken:
        self.asked += 1
        if self.asked > 3:
            self.asked_again.set()
        if self.asked > 1:
            raise Undecided("nobody answers")
        return CallerToken(token="", client_id="c", scopes=[], caller=Caller("alice", "user"))


async def test_a_stream_goes_on_while_nobody_can_tell_whether_its_token_still_holds() -> None:
    verifier = Unsure()
    with anyio.fail_after(10):
        async with streamed(verifier, AccessSettings(), "abc") as ended:
            await verifier.asked_again.wait()
            assert not ended.is_set()


# ---- the token itself


async def test_a_callers_token_reaches_no_source_and_no_log(mint: Mint, tmp_path: Path) -> None:
    def prometheus(request: Any) -> object:
        return {"status": "success", "data": []}

    with Backend(prometheus) as source:
        _, key = KeyFile(tmp_path / "keys.json", SecretStr(SECRET)).create("ci", ["viewer"])
        path = tmp_path / "plugins.toml"
        path.write_text(
            f'[access]\nresource = "{RESOURCE}"\nsecret = "{SECRET}"\nkeys = "keys.json"\n'
            f'[access.oauth]\nissuer = "{mint.issuer}"\n'
            f'[sources.prometheus]\nplugin = "prometheus"\nurl = "{source.url}"\n'
        )
        token = mint.token(roles=["admin"])
        with served(path, tmp_path / "log") as url:
            for shown in (token, key):
                sent = {**bearer(shown), "cookie": f"token={shown}", "x-token": shown}
                async with (
                    httpx2.AsyncClient(headers=sent) as inner,
                    Client(streamable_http_client(url, http_client=inner)) as mcp,
                ):
                    answer = await mcp.call_tool("list_services", {})
                    assert answer.structured_content
                async with Http(trust_env=False, timeout=20) as client:
                    assert (await client.get(f"{url}?access_token={shown}")).status_code == 400
        asked = [f"{request.target} {request.headers} {request.body!r}" for request in source.requests]
    log = (tmp_path / "log").read_text()
    assert asked
    assert "was not let in" in log
    assert not [text for text in (*asked, log) for shown in (token[-20:], key[-20:]) if shown in text]


@contextmanager
def served(config: Path, log: Path) -> Iterator[str]:
    """The address of the command in a process of its own, which says all there is to say into the file `log`."""
    command = [*COMMAND, "--transport", "http", "--port", "0", "--config", str(config), "--log-level", "debug"]
    with log.open("w") as stderr, subprocess.Popen(command, stderr=stderr) as process:
        try:
            end = time.monotonic() + 30
            while not (found := re.search(r"listening on (\S+)\n", log.read_text())):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < end
                time.sleep(0.02)
            yield found[1]
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)
