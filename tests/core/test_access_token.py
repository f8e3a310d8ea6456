"""JWT access tokens: which let somebody in, as whom, and what each of the others is refused for."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from mcp.server.auth.provider import AccessToken

from telemetry_mcp.access.caller import LOCAL, Caller
from telemetry_mcp.access.claim import Reader
from telemetry_mcp.access.signed import SignedTokens
from telemetry_mcp.access.token import Refused, caller_of_token
from tests.core.mint import RESOURCE, RSA_KEY, Clock, Mint, access_of, verifier_of


@pytest.fixture
def mint() -> Iterator[Mint]:
    with Mint() as mint:
        yield mint


@pytest.fixture
async def verifier(mint: Mint) -> AsyncIterator[SignedTokens]:
    verifier = verifier_of(mint)
    yield verifier
    await verifier.close()


async def why_not(verifier: SignedTokens, token: str) -> str:
    with pytest.raises(Refused) as refused:
        await verifier.examine(token)
    assert token not in str(refused.value)
    return str(refused.value)


def part(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


# ---- let in


@pytest.mark.parametrize("kid", ["r1", "e1"])
async def test_a_good_token_lets_its_user_in(verifier: SignedTokens, mint: Mint, kid: str) -> None:
    token = await verifier.examine(mint.token(kid, roles=["viewer"], jti="1"))
    assert token.caller == Caller("alice", "user", ("viewer",), "cli")
    assert (token.client_id, token.subject, token.scopes) == ("cli", "alice", ["telemetry:read"])
    assert (token.resource, token.claims) == (RESOURCE, {"iss": mint.issuer})
    assert token.expires_at is not None
    assert token.token == ""


async def test_an_edwards_curve_is_understood(verifier: SignedTokens, mint: Mint) -> None:
    mint.add("o1", ed25519.Ed25519PrivateKey.generate(), "EdDSA")
    assert (await verifier.examine(mint.token("o1"))).subject == "alice"


@pytest.mark.parametrize("typ", ["at+jwt", "application/at+JWT", "JWT", None])
async def test_a_token_may_say_that_it_is_an_access_token_or_nothing(
    verifier: SignedTokens, mint: Mint, typ: str | None
) -> None:
    assert (await verifier.examine(mint.token(header_typ=typ))).subject == "alice"


async def test_the_audience_may_be_one_of_several_and_have_another_name(mint: Mint) -> None:
    verifier = verifier_of(mint, audience=["api://telemetry"])
    assert (await verifier.examine(mint.token(aud=["other", "api://telemetry"]))).subject == "alice"
    assert "another resource" in await why_not(verifier, mint.token())
    await verifier.close()


async def test_clocks_may_differ_a_little(verifier: SignedTokens, mint: Mint) -> None:
    now = int(time.time())
    assert await verifier.examine(mint.token(exp=now - 5, nbf=now + 5, iat=now + 5))


async def test_a_token_without_an_id_of_its_key_is_good_where_only_one_fits(
    verifier: SignedTokens, mint: Mint
) -> None:
    assert (await verifier.examine(mint.token(None))).subject == "alice"


async def test_without_an_id_it_is_not_guessed_which_key_is_meant(verifier: SignedTokens, mint: Mint) -> None:
    mint.add("r2", rsa.generate_private_key(public_exponent=65537, key_size=2048), "RS256")
    assert "does not publish" in await why_not(verifier, mint.token(None))


async def test_a_token_that_was_good_is_not_verified_again_but_does_expire(mint: Mint) -> None:
    access = access_of(mint, leeway="1s")
    assert access.oauth
    now = time.time()
    verifier = SignedTokens(Reader(access, access.oauth), verifier_of(mint).keys, lambda: now)
    token = mint.token(exp=int(now) + 20)
    first = await verifier.examine(token)
    assert await verifier.examine(token) is first
    now += 30
    assert "expired" in await why_not(verifier, token)
    await verifier.close()


# ---- refused


def wrong(**claims: Any) -> Any:
    return claims


NOW = int(time.time())


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        (wrong(aud="https://other.example.com/mcp"), "made out for another resource"),
        (wrong(aud=RESOURCE + "/"), "made out for another resource"),
        (wrong(aud=[]), "lacks exp, iss or aud"),
        (wrong(aud={RESOURCE: True}), "made out for another resource"),
        (wrong(aud=None), "lacks exp, iss or aud"),
        (wrong(iss="https://evil.example.com"), "from another issuer"),
        (wrong(iss=None), "lacks exp, iss or aud"),
        (wrong(exp=NOW - 60), "has expired"),
        (wrong(exp=None), "lacks exp, iss or aud"),
        (wrong(nbf=NOW + 3600), "not valid yet"),
        (wrong(iat=NOW + 3600), "not valid yet"),
        (wrong(sub=None, client_id=None), "neither a user nor a client"),
        (wrong(cnf={"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}), "bound to a key"),
    ],
    ids=str,
)
async def test_a_claim_that_is_not_right_refuses(
    verifier: SignedTokens, mint: Mint, claims: dict[str, Any], why: str
) -> None:
    assert why in await why_not(verifier, mint.token(**claims))


async def test_a_slash_more_makes_another_issuer(verifier: SignedTokens, mint: Mint) -> None:
    assert "another issuer" in await why_not(verifier, mint.token(iss=mint.issuer + "/"))


@pytest.mark.parametrize(
    ("typ", "claims"),
    [
        ("JWT", wrong(nonce="n")),
        ("JWT", wrong(at_hash="h")),
        (None, wrong(c_hash="h")),
        ("JWT", wrong(typ="ID")),
        ("JWT", wrong(typ="Refresh")),
        ("JWT", wrong(token_use="id")),
        ("logout+jwt", {}),
        ("JWT", wrong(events={})),
        ("dpop+jwt", {}),
    ],
)
async def test_a_token_of_another_kind_refuses(
    verifier: SignedTokens, mint: Mint, typ: str | None, claims: dict[str, Any]
) -> None:
    assert "not an access token" in await why_not(verifier, mint.token(header_typ=typ, **claims))


async def test_a_token_that_its_issuer_calls_a_bearer_token_may_have_a_nonce(
    verifier: SignedTokens, mint: Mint
) -> None:
    assert await verifier.examine(mint.token(header_typ="JWT", nonce="n", typ="Bearer"))


async def test_a_token_that_somebody_else_signed_refuses(verifier: SignedTokens, mint: Mint) -> None:
    forged = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    token = jwt.encode(mint.claims(), forged, "RS256", {"kid": "r1", "typ": "at+jwt"})
    assert "signature is wrong" in await why_not(verifier, token)


async def test_a_token_that_was_changed_refuses(verifier: SignedTokens, mint: Mint) -> None:
    head, _, signature = mint.token().split(".")
    token = f"{head}.{part(mint.claims(roles=['admin']))}.{signature}"
    assert "signature is wrong" in await why_not(verifier, token)


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "", None, 5])
async def test_a_token_that_is_not_signed_refuses(verifier: SignedTokens, mint: Mint, algorithm: Any) -> None:
    token = f"{part({'alg': algorithm, 'kid': 'r1', 'typ': 'at+jwt'})}.{part(mint.claims())}."
    assert "not allowed" in await why_not(verifier, token)
    assert mint.asked() == 0


@pytest.mark.parametrize("shared", ["pem", "der"])
async def test_a_public_key_is_never_taken_for_a_shared_secret(
    verifier: SignedTokens, mint: Mint, shared: str
) -> None:
    encoding = Encoding.PEM if shared == "pem" else Encoding.DER
    secret = RSA_KEY.public_key().public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo)
    text = f"{part({'alg': 'HS256', 'kid': 'r1', 'typ': 'at+jwt'})}.{part(mint.claims())}"
    signature = hmac.new(secret, text.encode(), hashlib.sha256).digest()
    assert "not allowed" in await why_not(verifier, f"{text}.{part(signature)}")


async def test_a_symmetric_key_that_is_published_signs_nothing(verifier: SignedTokens, mint: Mint) -> None:
    mint.published.append({"kty": "oct", "kid": "s1", "k": part(b"0" * 32)})
    token = jwt.encode(mint.claims(), b"0" * 32, "HS256", {"kid": "s1", "typ": "at+jwt"})
    assert "not allowed" in await why_not(verifier, token)


async def test_an_algorithm_that_is_not_on_the_list_refuses(mint: Mint) -> None:
    verifier = verifier_of(mint, algorithms=["ES256"])
    assert "not allowed" in await why_not(verifier, mint.token("r1"))
    assert await verifier.examine(mint.token("e1"))
    await verifier.close()


async def test_a_key_signs_with_its_own_algorithm_only(verifier: SignedTokens, mint: Mint) -> None:
    mint.published[0]["alg"] = "PS256"
    assert "does not publish" in await why_not(verifier, mint.token("r1"))


@pytest.mark.parametrize("said", [{"use": "enc"}, {"key_ops": ["encrypt"]}, {"key_ops": "verify"}])
async def test_a_key_for_something_else_signs_nothing(mint: Mint, verifier: SignedTokens, said: Any) -> None:
    mint.add("x1", ec.generate_private_key(ec.SECP256R1()), "ES256", **said)
    assert "does not publish" in await why_not(verifier, mint.token("x1"))


async def test_a_key_that_is_too_weak_refuses(verifier: SignedTokens, mint: Mint) -> None:
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    mint.add("w1", weak, "RS256")
    with pytest.warns(jwt.InsecureKeyLengthWarning):
        token = mint.token("w1")
    assert "too weak" in await why_not(verifier, token)


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "a.b.c",
        "x" * 5000,
        f"{part(b'[' * 20_000)}.{part({})}.",
        f"{part([1])}.e30.",
        f"{part(b'{')}..",
    ],
    ids=lambda token: token[:12],
)
async def test_what_is_no_token_refuses(verifier: SignedTokens, token: str) -> None:
    with pytest.raises(Refused, match="no token"):
        await verifier.examine(token)


@pytest.mark.parametrize(
    "header", [{"kid": ["r1"]}, {"kid": 7}, {"crit": ["exp"]}, {"b64": False, "crit": ["b64"]}]
)
async def test_a_header_that_means_something_else_refuses(verifier: SignedTokens, mint: Mint, header: Any) -> None:
    head = {"alg": "RS256", "typ": "at+jwt", "kid": "r1", **header}
    text = f"{part(head)}.{part(mint.claims())}"
    await why_not(verifier, f"{text}.{part(b'x')}")


async def test_the_sdk_is_told_that_a_token_is_not_good_and_the_log_why(
    verifier: SignedTokens, mint: Mint, caplog: pytest.LogCaptureFixture
) -> None:
    token = mint.token(exp=NOW - 60, sub="somebody-secret")
    with caplog.at_level(logging.DEBUG):
        assert await verifier.verify_token(token) is None
        assert await verifier.verify_token(mint.token()) is not None
    assert "has expired" in caplog.text
    assert not [piece for piece in (*token.split("."), "somebody-secret") if piece in caplog.text]


# ---- who it is


@pytest.mark.parametrize(
    ("claims", "kind", "subject"),
    [
        (wrong(sub="m2m", client_id="m2m"), "service_account", "m2m"),
        (wrong(sub=None, client_id="m2m"), "service_account", "m2m"),
        (wrong(sub="m2m", client_id=None, azp="m2m"), "service_account", "m2m"),
        (wrong(sub="m2m", client_id=None, cid="m2m"), "service_account", "m2m"),
        (wrong(sub="m2m@clients", client_id=None, azp="m2m", gty="client-credentials"), "service_account", None),
        (wrong(sub="0-1", client_id=None, azp="m2m", idtyp="app"), "service_account", "0-1"),
        (wrong(sub="0-1", client_id="m2m", preferred_username="service-account-m2m"), "service_account", "0-1"),
        (wrong(sub="0-1", client_id=None, azp="cli", preferred_username="service-account-cli"), "user", "0-1"),
        (wrong(sub="alice", client_id="cli"), "user", "alice"),
        (wrong(sub="alice", client_id=None), "user", "alice"),
    ],
    ids=str,
)
async def test_a_client_that_asks_for_itself_is_a_service_account(
    verifier: SignedTokens, mint: Mint, claims: dict[str, Any], kind: str, subject: str | None
) -> None:
    caller = (await verifier.examine(mint.token(**claims))).caller
    assert (caller.kind, caller.subject) == (kind, subject or claims["sub"])


@pytest.mark.parametrize(
    ("settings", "claims", "roles"),
    [
        ({}, {"roles": ["viewer", "responder"]}, ("viewer", "responder")),
        ({}, {"roles": "viewer admin"}, ("viewer", "admin")),
        ({}, {"roles": ["viewer", "root", 7, None, "viewer"]}, ("viewer",)),
        ({}, {"roles": {"admin": True}}, ()),
        ({}, {}, ()),
        ({"default_roles": ["viewer"]}, {}, ("viewer",)),
        ({"default_roles": ["viewer"]}, {"roles": ["nothing-known"]}, ("viewer",)),
        ({"default_roles": ["viewer"]}, {"roles": ["admin"]}, ("admin",)),
        ({"roles_claim": "realm_access.roles"}, {"realm_access": {"roles": ["viewer"]}}, ("viewer",)),
        ({"roles_claim": "realm_access.roles"}, {"realm_access": "roles"}, ()),
        ({"roles_claim": "https://example.com/roles"}, {"https://example.com/roles": ["viewer"]}, ("viewer",)),
        (
            {"roles_claim": "resource_access.tele.metry.roles"},
            {"resource_access": {"tele.metry": {"roles": ["viewer"]}}},
            ("viewer",),
        ),
        ({"roles_claim": "groups", "roles": {"sre": ["responder"]}}, {"groups": ["sre", "admin"]}, ("responder",)),
        ({"roles_claim": "scope", "roles": {"t:r": ["viewer"]}}, {"scope": "openid t:r"}, ("viewer",)),
    ],
    ids=str,
)
async def test_roles_are_found_where_the_settings_say(
    mint: Mint, settings: dict[str, Any], claims: dict[str, Any], roles: tuple[str, ...]
) -> None:
    verifier = verifier_of(mint, **settings)
    assert (await verifier.examine(mint.token(**claims))).caller.roles == roles
    await verifier.close()


async def test_a_role_of_ones_own_is_known(mint: Mint) -> None:
    access = access_of(mint, {"auditor": {"tools": ["list_*"]}})
    assert access.oauth
    verifier = SignedTokens(Reader(access, access.oauth), verifier_of(mint, Clock()).keys)
    assert (await verifier.examine(mint.token(roles=["auditor"]))).caller.roles == ("auditor",)
    await verifier.close()


@pytest.mark.parametrize(
    ("claims", "scopes"),
    [
        ({"scope": "a b a"}, ["a", "b"]),
        ({"scope": None, "scp": ["a"]}, ["a"]),
        ({"scope": None, "scp": "a b"}, ["a", "b"]),
    ],
    ids=str,
)
async def test_scopes_are_read_in_either_spelling(
    verifier: SignedTokens, mint: Mint, claims: dict[str, Any], scopes: list[str]
) -> None:
    assert (await verifier.examine(mint.token(**claims))).scopes == scopes


async def test_the_rest_asks_the_token_who_it_is(verifier: SignedTokens, mint: Mint) -> None:
    token = (await verifier.examine(mint.token())).seen_from("10.0.0.7")
    assert caller_of_token(token) == Caller("alice", "user", (), "cli", "10.0.0.7")
    assert caller_of_token(None) is LOCAL
    with pytest.raises(TypeError):
        caller_of_token(AccessToken(token="x", client_id="c", scopes=[]))
