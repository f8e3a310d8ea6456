"""JWT access tokens, verified by the keys that their issuer publishes (RFC 9068, RFC 8725)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import sha256
from time import time
from typing import Any

import jwt
from cachetools import TTLCache

from telemetry_mcp.access.claim import Reader, check_access_token
from telemetry_mcp.access.issuer import KeySet
from telemetry_mcp.access.setting import OAuth
from telemetry_mcp.access.token import CallerToken, Refused, Verifier

REMEMBER_S = 60.0
"""A token that was found good is not verified again for so long."""
REMEMBER = 10_000

REASONS: tuple[tuple[type[jwt.PyJWTError], str], ...] = (
    (jwt.ExpiredSignatureError, "the token has expired"),
    (jwt.ImmatureSignatureError, "the token is not valid yet"),
    (jwt.InvalidIssuerError, "the token is from another issuer"),
    (jwt.InvalidAudienceError, "the token is made out for another resource"),
    (jwt.MissingRequiredClaimError, "the token lacks exp, iss or aud"),
    (jwt.InvalidSignatureError, "the token's signature is wrong"),
    (jwt.InvalidAlgorithmError, "the token is signed in a way that is not allowed here"),
    (jwt.InvalidKeyError, "the token is signed with a key that is too weak"),
)
"""In our words, for PyJWT's may quote the token."""


class SignedTokens(Verifier):
    """Verifies the JWTs of one issuer."""

    def __init__(self, reader: Reader, keys: KeySet, now: Callable[[], float] = time) -> None:
        self.reader = reader
        self.settings: OAuth = reader.settings
        self.keys = keys
        self.now = now
        self.seen: TTLCache[bytes, CallerToken] = TTLCache(REMEMBER, REMEMBER_S)

    async def examine(self, token: str) -> CallerToken:
        digest = sha256(token.encode()).digest()
        known = self.seen.get(digest)
        if known is None:
            header = self.header(token)
            key = await self.keys.find(header.get("kid"), header["alg"])
            known = self.seen[digest] = self.proven(token, header, key)
        elif (known.expires_at or 0) + self.settings.leeway <= self.now():
            raise Refused("the token has expired")
        return known

    def header(self, token: str) -> Mapping[str, Any]:
        """What the token says of itself, of which nothing is believed but that the algorithm is one of ours."""
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError:
            raise Refused("it is no token that can be read: neither a key of this server nor a JWT") from None
        if header.get("alg") not in self.settings.algorithms:
            raise Refused("the token is signed in a way that is not allowed here")
        return header

    def proven(self, token: str, header: Mapping[str, Any], key: jwt.PyJWK) -> CallerToken:
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=list(self.settings.algorithms),
                audience=self.reader.audience,
                issuer=self.settings.issuer,
                leeway=self.settings.leeway,
                options={"require": ["exp", "iss", "aud"], "enforce_minimum_key_length": True},
            )
        except jwt.PyJWTError as error:
            why = next((words for kind, words in REASONS if isinstance(error, kind)), "the token cannot be read")
            raise Refused(why) from None
        check_access_token(header, claims)
        return self.reader.token(claims)

    async def close(self) -> None:
        await self.keys.http.close()
