"""An authorization server on loopback, as far as a resource server sees of one, and the tokens that it signs."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any, Self

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from telemetry_mcp.access.claim import Reader
from telemetry_mcp.access.issuer import KeySet
from telemetry_mcp.access.setting import AccessSettings
from telemetry_mcp.access.signed import SignedTokens
from telemetry_mcp.access.verifier import http_of
from telemetry_mcp.testing.backend import Backend, Request, Response

RESOURCE = "https://telemetry.example.com/mcp"
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
METADATA = "/.well-known/oauth-authorization-server"
OF_OPENID = "/.well-known/openid-configuration"
JWKS = "/keys"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Mint:
    """`keys` are the private ones by id, `published` the public ones as its JWKS has them, `metadata` what is told
    of it by place; `backend.state` may be any of the states of a Backend."""

    def __init__(self, path: str = "") -> None:
        self.backend = Backend(self.respond)
        self.path = path
        self.keys: dict[str, tuple[Any, str]] = {}
        self.published: list[dict[str, Any]] = []
        self.metadata: dict[str, dict[str, Any]] = {}
        self.introspected: Mapping[str, Any] | Response = {"active": False}
        self.jwks: bytes | None = None

    def __enter__(self) -> Self:
        self.backend.__enter__()
        self.add("r1", RSA_KEY, "RS256")
        self.add("e1", ec.generate_private_key(ec.SECP256R1()), "ES256")
        self.metadata = {METADATA + self.path: {"issuer": self.issuer, "jwks_uri": self.backend.url + JWKS}}
        return self

    def __exit__(self, *error: object) -> None:
        self.backend.__exit__(*error)

    @property
    def issuer(self) -> str:
        return self.backend.url + self.path

    def add(self, kid: str, key: Any, algorithm: str, **more: Any) -> None:
        self.keys[kid] = key, algorithm
        family: Any = {"R": RSAAlgorithm, "E": ECAlgorithm}.get(algorithm[0], OKPAlgorithm)
        family = OKPAlgorithm if isinstance(key, ed25519.Ed25519PrivateKey) else family
        public = json.loads(family.to_jwk(key.public_key()))
        self.published.append({**public, "kid": kid, "use": "sig", **more})

    def respond(self, request: Request) -> object:
        if request.path == JWKS:
            return self.jwks or {"keys": self.published}
        if request.path == "/introspect":
            return self.introspected
        return self.metadata.get(request.path) or Response(404)

    def asked(self, path: str = JWKS) -> int:
        return sum(request.path == path for request in self.backend.requests)

    def token(self, kid: str | None = "r1", *, header_typ: str | None = "at+jwt", **claims: Any) -> str:
        """A good token, but for what is said here; a claim of None is left out."""
        key, algorithm = self.keys[kid or "r1"]
        headers = {name: value for name, value in (("kid", kid), ("typ", header_typ)) if value is not None}
        return jwt.encode(self.claims(**claims), key, algorithm, {"typ": None, **headers})

    def claims(self, **claims: Any) -> dict[str, Any]:
        now = int(time.time())
        usual = {
            "iss": self.issuer,
            "aud": RESOURCE,
            "sub": "alice",
            "client_id": "cli",
            "iat": now,
            "exp": now + 300,
            "scope": "telemetry:read",
        }
        return {name: value for name, value in (usual | claims).items() if value is not None}


def access_of(mint: Mint, own_roles: Mapping[str, Any] | None = None, **oauth: Any) -> AccessSettings:
    settings = {"issuer": mint.issuer, **oauth}
    return AccessSettings.model_validate({"resource": RESOURCE, "oauth": settings, "roles": own_roles or {}})


def verifier_of(mint: Mint, clock: Clock | None = None, **oauth: Any) -> SignedTokens:
    """To be closed."""
    access = access_of(mint, **oauth)
    assert access.oauth
    http = http_of(access.oauth, access.oauth.jwks_url or access.oauth.issuer)
    return SignedTokens(Reader(access, access.oauth), KeySet(access.oauth, http, clock or Clock()))
