"""A real authorization server, the SDK's own OAuth clients, and the product as the command starts it."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import anyio
import httpx
import httpx2
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from mcp import Client
from mcp.client.auth import OAuthClientProvider, TokenStorage
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from pydantic import AnyUrl

from telemetry_mcp.access.caller import Caller
from telemetry_mcp.access.claim import Reader
from telemetry_mcp.access.introspection import REMEMBER_S, Introspection
from telemetry_mcp.access.setting import AccessSettings
from telemetry_mcp.access.token import Refused
from telemetry_mcp.access.verifier import http_of, verifier_for
from tests.core.mint import Clock
from tests.real.oidc import REDIRECT, SECRET, OidcServer
from tests.real.program import free_port
from tests.server.conftest import Serve

pytestmark = pytest.mark.real

ROLES = {"alice": ["responder"], "m2m": ["viewer"]}
BOTH = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
BEGIN = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
ASK = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": BEGIN}


@dataclass(frozen=True, slots=True)
class House:
    """The authorization server, and two servers of ours that trust it: one reads tokens, the other asks about
    them."""

    oidc: OidcServer
    reads: str
    asks: str

    def settings(self, resource: str) -> dict[str, Any]:
        oauth: dict[str, Any] = {"issuer": self.oidc.issuer, "scopes": ["telemetry:read"], "leeway": "1s"}
        if resource == self.asks:
            where = f"{self.oidc.issuer}/token/introspection"
            oauth |= {"introspection_url": where, "client_id": "mcp", "client_secret": SECRET}
        return {"resource": resource, "oauth": oauth}

    def access(self, resource: str) -> AccessSettings:
        return AccessSettings.model_validate(self.settings(resource))


@pytest.fixture(scope="module")
def house(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    ports = free_port(), free_port()
    reads, asks = (f"http://127.0.0.1:{port}/mcp" for port in ports)
    oidc = OidcServer(ROLES, [asks, asks + "/other"])
    house = House(oidc, reads, asks)
    oidc.start()
    try:
        for port, resource in zip(ports, (reads, asks), strict=True):
            config = tmp_path_factory.mktemp("oauth") / "plugins.toml"
            write(config, house.settings(resource))
            assert serve("--config", str(config), "--port", str(port)).url == resource
        yield house
    finally:
        oidc.kill()


def write(config: Path, access: dict[str, Any]) -> None:
    lines = [f"{name} = {json.dumps(value)}" for name, value in access["oauth"].items()]
    config.write_text(f'[access]\nresource = "{access["resource"]}"\n[access.oauth]\n' + "\n".join(lines) + "\n")


# ---- clients


@dataclass(slots=True)
class Memory(TokenStorage):
    tokens: OAuthToken | None = None
    client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


@dataclass(slots=True)
class Browser:
    """Follows an authorization server's redirects, with its cookies, until it is sent back with a code."""

    asked: str = ""
    told: dict[str, str] = field(default_factory=dict)

    async def open(self, url: str) -> None:
        self.asked = url
        async with httpx2.AsyncClient(follow_redirects=False, timeout=10) as client:
            while not url.startswith(REDIRECT):
                answer = await client.get(url)
                assert answer.is_redirect, answer.text
                url = urljoin(url, answer.headers["location"])
        self.told = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}

    async def result(self) -> AuthorizationCodeResult:
        return AuthorizationCodeResult(
            code=self.told["code"], state=self.told.get("state"), iss=self.told.get("iss")
        )


async def call(url: str, auth: httpx2.Auth | None = None, token: str | None = None) -> tuple[Any, list[str]]:
    """What a tool answers a client of the SDK, and what the client asked on the way."""
    asked: list[str] = []

    async def note(response: httpx2.Response) -> None:
        asked.append(f"{response.request.method} {response.request.url.path} {response.status_code}")

    headers = {"authorization": f"Bearer {token}"} if token else {}
    async with (
        httpx2.AsyncClient(auth=auth, headers=headers, timeout=20, event_hooks={"response": [note]}) as inner,
        Client(streamable_http_client(url, http_client=inner)) as client,
    ):
        result = await client.call_tool("list_sources", {})
    assert not result.is_error
    return result.structured_content, asked


def post(url: str, token: str | None) -> httpx.Response:
    headers = {**BOTH, **({"authorization": f"Bearer {token}"} if token else {})}
    return httpx.post(url, json=ASK, headers=headers, timeout=10, trust_env=False)


async def caller_of(house: House, url: str, token: str) -> Caller:
    verifier = verifier_for(house.access(url))
    assert verifier
    found = await verifier.examine(token)
    await verifier.close()
    return found.caller


def by_code(url: str, memory: Memory, browser: Browser) -> OAuthClientProvider:
    metadata = OAuthClientMetadata(
        client_name="test",
        redirect_uris=[AnyUrl(REDIRECT)],
        grant_types=["authorization_code", "refresh_token"],
        response_types=["code"],
        token_endpoint_auth_method="none",
        application_type="native",
    )
    return OAuthClientProvider(
        url, metadata, memory, redirect_handler=browser.open, callback_handler=browser.result
    )


Which = Callable[[House], str]
EITHER = pytest.mark.parametrize(
    "which", [lambda house: house.reads, lambda house: house.asks], ids=["reads", "asks"]
)


# ---- let in


@EITHER
async def test_a_user_gets_in_by_authorization_code_and_pkce_knowing_nothing_but_the_address(
    house: House, which: Which
) -> None:
    url, memory, browser = which(house), Memory(), Browser()
    answer, asked = await call(url, by_code(url, memory, browser))
    assert answer["sources"] == []
    wanted = parse_qs(urlsplit(browser.asked).query)
    assert wanted["code_challenge_method"] == ["S256"]
    assert wanted["resource"] == [url]
    assert "telemetry:read" in wanted["scope"][0].split()
    assert asked[:2] == ["POST /mcp 401", "GET /.well-known/oauth-protected-resource/mcp 200"]
    assert "POST /token 200" in asked
    assert memory.tokens
    caller = await caller_of(house, url, memory.tokens.access_token)
    assert (caller.subject, caller.kind, caller.roles) == ("alice", "user", ("responder",))


@EITHER
async def test_a_service_account_gets_in_by_client_credentials(house: House, which: Which) -> None:
    url, memory = which(house), Memory()
    auth = ClientCredentialsOAuthProvider(
        url, memory, client_id="m2m", client_secret=SECRET, scope="telemetry:read", issuer=house.oidc.issuer
    )
    answer, _ = await call(url, auth)
    assert answer["sources"] == []
    assert memory.tokens
    caller = await caller_of(house, url, memory.tokens.access_token)
    assert caller == Caller("m2m", "service_account", ("viewer",), "m2m")


# ---- refused


@EITHER
async def test_a_token_for_another_resource_is_refused(house: House, which: Which) -> None:
    url = which(house)
    assert post(url, house.oidc.token("m2m", url)).status_code == 200
    answer = post(url, house.oidc.token("m2m", url + "/other"))
    assert answer.status_code == 401
    assert answer.json()["error_description"] == "the token is made out for another resource"


@EITHER
async def test_a_token_without_the_scope_is_refused(house: House, which: Which) -> None:
    url = which(house)
    answer = post(url, house.oidc.token("m2m", url, "telemetry:more"))
    assert answer.status_code == 403
    assert 'scope="telemetry:read"' in answer.headers["www-authenticate"]
    assert post(url, house.oidc.token("m2m", url, "telemetry:more telemetry:read")).status_code == 200


@EITHER
async def test_a_token_expires(house: House, which: Which) -> None:
    url = which(house)
    token = house.oidc.token("brief", url)
    assert post(url, token).status_code == 200
    with anyio.fail_after(20):
        while (answer := post(url, token)).status_code == 200:  # noqa: ASYNC110 - time is what it waits for
            await anyio.sleep(0.2)
    assert answer.status_code == 401
    assert "has expired" in answer.json()["error_description"]


async def test_a_revoked_token_is_refused(house: House) -> None:
    token = house.oidc.token("m2m", house.asks)
    house.oidc.revoke("m2m", token)
    answer = post(house.asks, token)
    assert answer.status_code == 401
    assert "was revoked" in answer.json()["error_description"]


async def test_a_token_that_is_revoked_while_it_is_used_is_refused_soon(house: House) -> None:
    access, clock = house.access(house.asks), Clock()
    assert access.oauth
    url = access.oauth.introspection_url
    assert url
    verifier = Introspection(Reader(access, access.oauth), url, http_of(access.oauth, url), clock=clock)
    token = house.oidc.token("m2m", house.asks)
    assert await verifier.examine(token)
    house.oidc.revoke("m2m", token)
    clock.now += REMEMBER_S + 1
    with pytest.raises(Refused):
        await verifier.examine(token)
    await verifier.close()


async def test_a_forged_token_is_refused(house: House) -> None:
    token = house.oidc.token("m2m", house.reads)
    head, body, signature = token.split(".")
    claims = jwt.decode(token, options={"verify_signature": False})
    header = jwt.get_unverified_header(token)
    own_key = ec.generate_private_key(ec.SECP256R1())
    none = base64.urlsafe_b64encode(json.dumps({**header, "alg": "none"}).encode()).rstrip(b"=").decode()
    admin = jwt.encode({**claims, "roles": ["admin"]}, own_key, "ES256", header).split(".")[1]
    assert header["typ"] == "at+jwt"
    assert claims["exp"] > time.time()
    forged = {
        "by another key": jwt.encode(claims, own_key, "ES256", header),
        "changed": f"{head}.{admin}.{signature}",
        "not signed": f"{none}.{body}.",
        "cut": token[:-4],
    }
    assert {name: post(house.reads, each).status_code for name, each in forged.items()} == dict.fromkeys(
        forged, 401
    )


@EITHER
async def test_a_token_in_the_address_is_refused(house: House, which: Which) -> None:
    url = which(house)
    answer = post(f"{url}?access_token={house.oidc.token('m2m', url)}", None)
    assert answer.status_code == 400
    assert "does not belong into the address" in answer.json()["error_description"]


async def test_a_token_of_the_other_resource_opens_neither(house: House) -> None:
    assert post(house.reads, house.oidc.token("m2m", house.asks)).status_code == 401
    assert post(house.asks, house.oidc.token("m2m", house.reads)).status_code == 401


async def test_known_keys_outlive_the_authorization_server_and_new_ones_are_found(house: House) -> None:
    token, other = house.oidc.token("m2m", house.reads), house.oidc.token("m2m", house.asks)
    assert post(house.reads, token).status_code == 200
    house.oidc.kill()
    try:
        assert post(house.reads, token).status_code == 200
        answer = post(house.asks, other)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")
    finally:
        house.oidc.start()
    new = house.oidc.token("m2m", house.reads)
    assert jwt.get_unverified_header(new)["kid"] != jwt.get_unverified_header(token)["kid"]
    with anyio.fail_after(20):
        while post(house.reads, new).status_code != 200:  # noqa: ASYNC110 - time is what it waits for
            await anyio.sleep(0.2)
