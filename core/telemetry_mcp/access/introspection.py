"""Access tokens about which the authorization server itself is asked (RFC 7662): opaque ones, and those that must
stop to work as soon as they are revoked."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from hashlib import sha256
from math import isfinite
from time import monotonic, time
from typing import Any
from weakref import WeakValueDictionary

import anyio
from cachetools import TTLCache

from telemetry_mcp.access.claim import Reader, words
from telemetry_mcp.access.token import CallerToken, Refused, Undecided, Verifier
from telemetry_mcp.errors import SourceError
from telemetry_mcp.http import Http, decode_json

log = logging.getLogger(__name__)

REMEMBER_S = 30.0
"""How long an answer is believed: so much later is a revoked token refused, at the most."""
REMEMBER = 10_000
DEADLINE_S = 5.0
NOT_ACTIVE: Mapping[str, Any] = {"active": False}


class Introspection(Verifier):
    """Asks about every token that it has not just asked about. `http` brings this server's own credentials."""

    def __init__(
        self,
        reader: Reader,
        url: str,
        http: Http,
        now: Callable[[], float] = time,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.reader = reader
        self.url = url
        self.http = http
        self.now = now
        self.told: TTLCache[bytes, Mapping[str, Any]] = TTLCache(REMEMBER, REMEMBER_S, clock)
        self.asking: WeakValueDictionary[bytes, anyio.Lock] = WeakValueDictionary()

    async def examine(self, token: str) -> CallerToken:
        digest = sha256(token.encode()).digest()
        claims = self.told.get(digest)
        if claims is None:
            async with self.asking.setdefault(digest, anyio.Lock()):
                claims = self.told.get(digest)
                if claims is None:
                    claims = self.told[digest] = await self.asked(token)
        self.check(claims)
        return self.reader.token(claims)

    async def asked(self, token: str) -> Mapping[str, Any]:
        form = {"token": token, "token_type_hint": "access_token"}
        try:
            with anyio.fail_after(DEADLINE_S):
                reply = await self.http.request(
                    "POST", self.url, form=form, headers={"accept": "application/json"}
                )
                # What else it says might quote the token.
                told = await decode_json(reply.body) if reply.status == 200 else f"HTTP {reply.status}"
                if reply.status == 400:
                    # To some a token that they do not keep, such as a JWT, is a mistake of whoever asks about it.
                    return NOT_ACTIVE
        except (SourceError, TimeoutError) as error:
            self.complain(f"no answer within {DEADLINE_S:g} s" if isinstance(error, TimeoutError) else "no answer")
            raise Undecided(f"{self.reader.settings.issuer} cannot be asked about the token now") from None
        if not isinstance(told, dict):
            self.complain(told if isinstance(told, str) else "no JSON object")
            raise Undecided(f"{self.reader.settings.issuer} does not answer about the token now")
        return told

    def complain(self, why: str) -> None:
        log.warning("%s cannot be asked about a token: %s; see client_id and client_secret", self.url, why)

    def check(self, claims: Mapping[str, Any]) -> None:
        """Raises Refused unless the token is an access token for us, and is in force."""
        if claims.get("active") is not True:
            raise Refused("the token has expired, was revoked, or is from somebody else")
        if claims.get("iss") not in (None, self.reader.settings.issuer):
            raise Refused("the token is from another issuer")
        audience = claims.get("aud")
        if not {*([audience] if isinstance(audience, str) else words(audience))} & {*self.reader.audience}:
            raise Refused("the token is made out for another resource")
        if str(claims.get("token_type") or "Bearer").lower() not in ("bearer", "access_token"):
            raise Refused("it is a token of another kind, not an access token")
        leeway, now = self.reader.settings.leeway, self.now()
        if number(claims, "exp", now + 1) + leeway <= now:
            raise Refused("the token has expired")
        if number(claims, "nbf", now) - leeway > now:
            raise Refused("the token is not valid yet")

    async def close(self) -> None:
        await self.http.close()


def number(claims: Mapping[str, Any], name: str, default: float) -> float:
    """A time in epoch seconds; Refused for what is none."""
    value = claims.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise Refused(f"the token's {name} is no number")
    return float(value)
