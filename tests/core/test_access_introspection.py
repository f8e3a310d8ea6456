"""Tokens about which the authorization server is asked: what it says of them decides, and for how long."""

from __future__ import annotations

import asyncio
import base64
import logging
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from telemetry_mcp.access.caller import Caller
from telemetry_mcp.access.claim import Reader
from telemetry_mcp.access.introspection import REMEMBER_S, Introspection
from telemetry_mcp.access.token import Refused, Undecided
from telemetry_mcp.access.verifier import http_of
from telemetry_mcp.testing.backend import Response
from tests.core.mint import RESOURCE, Clock, Mint, access_of

NOW = int(time.time())
TOKEN = "opaque-0123456789"


@pytest.fixture
def mint() -> Iterator[Mint]:
    with Mint() as mint:
        mint.introspected = good(mint)
        yield mint


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def verifier(mint: Mint, clock: Clock) -> AsyncIterator[Introspection]:
    url = mint.backend.url + "/introspect"
    access = access_of(mint, introspection_url=url, client_id="mcp server", client_secret="s3cret&more")
    assert access.oauth
    verifier = Introspection(Reader(access, access.oauth), url, http_of(access.oauth, url), clock=clock)
    yield verifier
    await verifier.close()


def good(mint: Mint, **claims: Any) -> dict[str, Any]:
    usual = {"active": True, "token_type": "Bearer", "roles": ["responder"]}
    return mint.claims(**(usual | claims))


async def test_an_active_token_lets_its_user_in(verifier: Introspection, mint: Mint) -> None:
    token = await verifier.examine(TOKEN)
    assert token.caller == Caller("alice", "user", ("responder",), "cli")
    (request,) = mint.backend.requests
    assert request.method == "POST"
    assert request.form == {"token": TOKEN, "token_type_hint": "access_token"}
    assert request.target == "/introspect"
    user = base64.b64decode(request.headers["authorization"].removeprefix("Basic ")).decode()
    assert user == "mcp+server:s3cret%26more"


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"active": False}, "was revoked"),
        ({"active": "true"}, "was revoked"),
        ({"active": None}, "was revoked"),
        ({"exp": NOW - 60}, "has expired"),
        ({"nbf": NOW + 3600}, "not valid yet"),
        ({"exp": "soon"}, "is no number"),
        ({"iss": "https://evil.example.com"}, "another issuer"),
        ({"aud": None}, "another resource"),
        ({"aud": "https://other.example.com"}, "another resource"),
        ({"aud": ["https://other.example.com"]}, "another resource"),
        ({"token_type": "Refresh"}, "another kind"),
        ({"cnf": {"x5t#S256": "h"}}, "bound to a key"),
        ({"sub": None, "client_id": None}, "neither a user nor a client"),
    ],
    ids=str,
)
async def test_whatever_is_not_right_refuses(
    verifier: Introspection, mint: Mint, claims: dict[str, Any], why: str
) -> None:
    mint.introspected = good(mint, **claims)
    with pytest.raises(Refused, match=why):
        await verifier.examine(TOKEN)


async def test_a_token_that_cannot_be_asked_about_is_refused(verifier: Introspection, mint: Mint) -> None:
    mint.introspected = Response(400, b'{"error": "invalid_request"}')
    with pytest.raises(Refused):
        await verifier.examine(TOKEN)


async def test_what_need_not_be_said_need_not_be_said(verifier: Introspection, mint: Mint) -> None:
    mint.introspected = good(mint, exp=None, iat=None, iss=None, token_type=None, aud=[RESOURCE, "other"])
    assert (await verifier.examine(TOKEN)).expires_at is None


async def test_a_revoked_token_is_refused_before_a_minute_is_over(
    verifier: Introspection, mint: Mint, clock: Clock
) -> None:
    assert REMEMBER_S <= 60
    assert await verifier.examine(TOKEN)
    mint.introspected = {"active": False}
    assert await verifier.examine(TOKEN)
    assert mint.asked("/introspect") == 1
    clock.now += REMEMBER_S + 1
    with pytest.raises(Refused):
        await verifier.examine(TOKEN)


async def test_a_token_that_expires_meanwhile_is_refused_at_once(mint: Mint, verifier: Introspection) -> None:
    mint.introspected = good(mint, exp=int(time.time()) + 10)
    assert await verifier.examine(TOKEN)
    verifier.now = lambda: time.time() + 100.0
    with pytest.raises(Refused, match="has expired"):
        await verifier.examine(TOKEN)
    assert mint.asked("/introspect") == 1


async def test_it_is_asked_once_for_many_at_once_and_for_each_token(verifier: Introspection, mint: Mint) -> None:
    await asyncio.gather(*(verifier.examine(TOKEN) for _ in range(20)))
    assert mint.asked("/introspect") == 1
    await verifier.examine(TOKEN + "-2")
    assert mint.asked("/introspect") == 2
    assert TOKEN.encode() not in b"".join(verifier.told)


@pytest.mark.parametrize(
    "answer",
    [Response(401, TOKEN.encode()), Response(500), Response(200, b"[]"), Response(200, b"<html>")],
    ids=str,
)
async def test_without_an_answer_nothing_is_decided_and_nothing_of_the_token_is_said(
    verifier: Introspection, mint: Mint, caplog: pytest.LogCaptureFixture, answer: Response
) -> None:
    mint.introspected = answer
    with caplog.at_level(logging.DEBUG, "telemetry_mcp"), pytest.raises(Undecided) as undecided:
        await verifier.examine(TOKEN)
    assert "cannot be asked" in caplog.text
    assert TOKEN not in caplog.text + str(undecided.value)
    mint.introspected = good(mint)
    assert await verifier.examine(TOKEN)
