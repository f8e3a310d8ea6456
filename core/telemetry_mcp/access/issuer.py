"""The keys that an authorization server publishes: where they are, and how long they are believed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import anyio
import jwt

from telemetry_mcp.access.setting import OAuth, trustworthy
from telemetry_mcp.access.token import Refused, Undecided
from telemetry_mcp.errors import ProtocolError, SourceError
from telemetry_mcp.http import Http

log = logging.getLogger(__name__)

FRESH_S = 600.0
"""Keys that are older are asked for again; until they are answered, they go on being used."""
STALE_S = 86_400.0
"""How long keys are used when their server cannot be reached."""
PAUSE_S = 10.0
"""Between two attempts: a token may name any key, and must not make us ask for each."""
DEADLINE_S = 5.0
FAMILIES = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}


class KeySet:
    """The signing keys of one issuer. One request at a time asks for them, and only who cannot do without waits.

    `http` must follow no redirect and cap what it reads.
    """

    def __init__(self, settings: OAuth, http: Http, clock: Callable[[], float] = monotonic) -> None:
        self.settings = settings
        self.http = http
        self.clock = clock
        self.keys: list[Mapping[str, Any]] = []
        self.built: dict[tuple[str | None, str], jwt.PyJWK] = {}
        self.fetched_at = self.tried_at = -float("inf")
        self.failed = True
        self.asking = anyio.Lock()

    async def find(self, kid: str | None, algorithm: str) -> jwt.PyJWK:
        """The key of this id for this algorithm, out of those that are published.

        Raises Refused where there is none, Undecided where its server cannot say.
        """
        key = self.pick(kid, algorithm)
        if key is None or (self.age > FRESH_S and not self.asking.locked()):
            await self.ask()
            key = self.pick(kid, algorithm)
        if key is not None:
            return key
        if self.failed:
            raise Undecided(f"the keys of {self.settings.issuer} cannot be had now")
        raise Refused("the token is signed with a key that the authorization server does not publish")

    @property
    def age(self) -> float:
        return self.clock() - self.fetched_at

    def pick(self, kid: str | None, algorithm: str) -> jwt.PyJWK | None:
        if self.age > STALE_S:
            return None
        if (kid, algorithm) not in self.built:
            fitting = [key for key in self.keys if fits(key, kid, algorithm)]
            # Without an id it must be clear which one is meant.
            made = key_of(fitting[0], algorithm) if fitting and (kid or len(fitting) == 1) else None
            if made is None:
                return None
            self.built[kid, algorithm] = made
        return self.built[kid, algorithm]

    async def ask(self) -> None:
        """Ask for the keys, unless somebody has just done so."""
        async with self.asking:
            if self.clock() - self.tried_at < PAUSE_S:
                return
            self.tried_at, self.failed = self.clock(), True
            try:
                with anyio.fail_after(DEADLINE_S):
                    self.keys = await self.published()
            except (SourceError, TimeoutError) as error:
                why = f"no answer within {DEADLINE_S:g} s" if isinstance(error, TimeoutError) else error
                log.warning("the keys of %s cannot be had: %s", self.settings.issuer, why)
                return
            self.built.clear()
            self.fetched_at, self.failed = self.clock(), False

    async def published(self) -> list[Mapping[str, Any]]:
        url = self.settings.jwks_url or await self.jwks_url()
        keys = (await self.document(url)).get("keys")
        if not isinstance(keys, list):
            raise ProtocolError(f"{url} is no JSON Web Key Set")
        return [key for key in keys if isinstance(key, dict)]

    async def jwks_url(self) -> str:
        """Where the keys are, as the issuer's metadata have it: the first that are there."""
        issuer, tried = self.settings.issuer, []
        for url in metadata_urls(issuer):
            try:
                metadata = await self.document(url)
            except SourceError as error:
                tried.append(f"{url}: {error}")
                continue
            if metadata.get("issuer") != issuer:
                raise ProtocolError(
                    f"{url} tells of another issuer: write it in [access.oauth] as it stands there"
                )
            try:
                return trustworthy(str(metadata.get("jwks_uri")))
            except ValueError:
                raise ProtocolError(f"{url} names no jwks_uri that can be trusted") from None
        raise ProtocolError(f"no metadata: {'; '.join(tried)}")

    async def document(self, url: str) -> Mapping[str, Any]:
        found = await self.http.json("GET", url, headers={"accept": "application/json"})
        if not isinstance(found, dict):
            raise ProtocolError(f"{url} is no JSON object")
        return found


def metadata_urls(issuer: str) -> Iterator[str]:
    """Where an issuer's metadata may be: RFC 8414, then OpenID Connect, whose own place is after the path."""
    url = urlsplit(issuer)
    root, path = f"{url.scheme}://{url.netloc}", url.path.rstrip("/")
    yield f"{root}/.well-known/oauth-authorization-server{path}"
    yield f"{root}/.well-known/openid-configuration{path}"
    if path:
        yield f"{root}{path}/.well-known/openid-configuration"


def fits(key: Mapping[str, Any], kid: str | None, algorithm: str) -> bool:
    operations = key.get("key_ops")
    return (
        (kid is None or key.get("kid") == kid)
        and key.get("kty") == FAMILIES[algorithm[:2]]
        and key.get("alg") in (None, algorithm)
        and key.get("use") in (None, "sig")
        and (operations is None or (isinstance(operations, list) and "verify" in operations))
    )


def key_of(key: Mapping[str, Any], algorithm: str) -> jwt.PyJWK | None:
    try:
        return jwt.PyJWK(dict(key), algorithm)
    except jwt.PyJWTError:
        return None
