"""The keys of an authorization server: where they are, how they turn over, and what holds when it is down."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from telemetry_mcp.access.issuer import FRESH_S, PAUSE_S, STALE_S
from telemetry_mcp.access.signed import SignedTokens
from telemetry_mcp.access.token import Refused, Undecided
from telemetry_mcp.testing.backend import Response
from tests.core.mint import JWKS, METADATA, OF_OPENID, Clock, Mint, verifier_of

Verify = Callable[..., SignedTokens]


@pytest.fixture
def mint() -> Iterator[Mint]:
    with Mint() as mint:
        yield mint


@pytest.fixture(autouse=True)
def _heard(caplog: pytest.LogCaptureFixture) -> None:
    """Warnings, however quiet the tests that ran before made the log."""
    caplog.set_level(logging.WARNING, "telemetry_mcp")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def verify(mint: Mint, clock: Clock) -> AsyncIterator[Verify]:
    """Makes verifiers over the mint, or another one."""
    made: list[SignedTokens] = []

    def make(of: Mint = mint, **oauth: Any) -> SignedTokens:
        made.append(verifier_of(of, clock, **oauth))
        return made[-1]

    yield make
    for verifier in made:
        await verifier.close()


def turn_over(mint: Mint, kid: str = "e2") -> None:
    """The authorization server has a new key, and no longer publishes the old ones."""
    mint.published.clear()
    mint.add(kid, ec.generate_private_key(ec.SECP256R1()), "ES256")


# ---- where they are


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("", METADATA),
        ("", OF_OPENID),
        ("/realms/ops", METADATA + "/realms/ops"),
        ("/realms/ops", OF_OPENID + "/realms/ops"),
        ("/realms/ops", "/realms/ops" + OF_OPENID),
    ],
)
async def test_metadata_are_found_wherever_they_may_be(verify: Verify, path: str, place: str) -> None:
    with Mint(path) as mint:
        mint.metadata = {place: {"issuer": mint.issuer, "jwks_uri": mint.backend.url + JWKS}}
        assert await verify(mint).examine(mint.token())


async def test_an_address_of_the_keys_needs_no_metadata(verify: Verify, mint: Mint) -> None:
    assert await verify(jwks_url=mint.backend.url + JWKS).examine(mint.token())
    assert [request.path for request in mint.backend.requests] == [JWKS]


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://evil.example.com"},
        {"issuer": None},
        {"jwks_uri": "http://keys.example.com/keys"},
        {"jwks_uri": None},
        {"jwks_uri": "file:///etc/passwd"},
    ],
    ids=str,
)
async def test_metadata_that_cannot_be_trusted_decide_nothing(
    verify: Verify, mint: Mint, caplog: pytest.LogCaptureFixture, metadata: dict[str, Any]
) -> None:
    mint.metadata[METADATA] |= metadata
    with pytest.raises(Undecided):
        await verify().examine(mint.token())
    assert mint.asked() == 0
    assert "cannot be had" in caplog.text


@pytest.mark.parametrize(
    "answer",
    [
        Response(404),
        Response(200, b"<html>"),
        Response(200, b"[]"),
        Response(200, b'{"keys": 7}'),
        Response(302, b"", {"location": "http://127.0.0.1:1/"}),
        Response(200, b'{"keys": [' + b'{"kty": "RSA"},' * 200_000 + b"{}]}"),
    ],
    ids=["missing", "html", "list", "number", "redirect", "huge"],
)
async def test_keys_that_cannot_be_had_decide_nothing(
    verify: Verify, mint: Mint, caplog: pytest.LogCaptureFixture, answer: Response
) -> None:
    mint.backend.change = lambda response: answer if b'"kty"' in response.body else response
    with pytest.raises(Undecided):
        await verify().examine(mint.token())
    assert "cannot be had" in caplog.text


async def test_keys_that_cannot_be_understood_do_not_harm_the_others(verify: Verify, mint: Mint) -> None:
    odd: list[Any] = [
        7,
        {},
        {"kty": "RSA", "kid": "r1"},
        {"kty": "EC", "kid": "b", "crv": "P-9", "x": "", "y": ""},
    ]
    mint.published[:0] = odd[:2]
    mint.published += odd[2:]
    verifier = verify()
    assert await verifier.examine(mint.token())
    mint.keys["b"] = mint.keys["e1"]
    with pytest.raises(Refused):
        await verifier.examine(mint.token("b"))


# ---- how they turn over


async def test_keys_are_asked_for_once_by_however_many_at_once(verify: Verify, mint: Mint) -> None:
    verifier = verify()
    tokens = [mint.token(sub=str(number)) for number in range(20)]
    assert len(await asyncio.gather(*map(verifier.examine, tokens))) == 20
    assert mint.asked() == 1


async def test_a_new_key_is_found_and_an_old_one_forgotten(verify: Verify, mint: Mint, clock: Clock) -> None:
    verifier = verify()
    old = mint.token()
    assert await verifier.examine(old)
    turn_over(mint)
    clock.now += PAUSE_S
    assert await verifier.examine(mint.token("e2"))
    assert mint.asked() == 2
    with pytest.raises(Refused, match="does not publish"):
        await verifier.examine(mint.token("r1", sub="bob"))


async def test_unknown_keys_make_us_ask_once_in_a_while_only(verify: Verify, mint: Mint, clock: Clock) -> None:
    verifier = verify()
    assert await verifier.examine(mint.token())
    for number in range(50):
        mint.keys[f"x{number}"] = mint.keys["r1"]
        with pytest.raises(Refused, match="does not publish"):
            await verifier.examine(mint.token(f"x{number}"))
    assert mint.asked() == 1
    clock.now += PAUSE_S
    with pytest.raises(Refused, match="does not publish"):
        await verifier.examine(mint.token("x0"))
    assert mint.asked() == 2


async def test_old_keys_are_asked_for_again(verify: Verify, mint: Mint, clock: Clock) -> None:
    verifier = verify()
    for at, asked in ((0, 1), (FRESH_S, 1), (1, 2)):
        clock.now += at
        assert await verifier.examine(mint.token(jti=str(clock.now)))
        assert mint.asked() == asked


# ---- when it is down


@pytest.mark.parametrize("state", ["503", "reset", "html"])
async def test_known_keys_go_on_working_for_a_day(
    verify: Verify, mint: Mint, clock: Clock, caplog: pytest.LogCaptureFixture, state: str
) -> None:
    verifier = verify()
    assert await verifier.examine(mint.token())
    mint.backend.state = state
    clock.now += STALE_S - 1
    assert await verifier.examine(mint.token(sub="bob"))
    assert "cannot be had" in caplog.text
    clock.now += 2
    with pytest.raises(Undecided):
        await verifier.examine(mint.token(sub="carol"))
    mint.backend.state = "healthy"
    clock.now += PAUSE_S
    assert await verifier.examine(mint.token(sub="carol"))


async def test_a_hanging_server_delays_one_request_and_no_other(verify: Verify, mint: Mint, clock: Clock) -> None:
    verifier = verify()
    assert await verifier.examine(mint.token())
    mint.backend.state = "hang"
    clock.now += FRESH_S + 1
    asked = len(mint.backend.requests)
    waits = asyncio.create_task(verifier.examine(mint.token(sub="first")))
    while len(mint.backend.requests) == asked:  # noqa: ASYNC110 - the server is on another thread
        await asyncio.sleep(0.01)
    others = asyncio.gather(*(verifier.examine(mint.token(sub=str(number))) for number in range(10)))
    assert len(await asyncio.wait_for(others, 2)) == 10
    assert not waits.done()
    waits.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waits
    assert await verifier.examine(mint.token(sub="after"))


async def test_a_server_that_never_answered_is_not_waited_for_by_everybody(
    verify: Verify, mint: Mint, caplog: pytest.LogCaptureFixture
) -> None:
    mint.backend.state = "503"
    verifier = verify()
    for number in range(20):
        with pytest.raises(Undecided):
            await verifier.examine(mint.token(sub=str(number)))
    assert len([record for record in caplog.records if record.levelno == logging.WARNING]) == 1
