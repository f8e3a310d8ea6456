"""The verifiers that `[access]` asks for."""

from __future__ import annotations

import re
from urllib.parse import quote_plus

from pydantic import SecretStr

from telemetry_mcp.access.claim import Reader
from telemetry_mcp.access.introspection import Introspection
from telemetry_mcp.access.issuer import KeySet
from telemetry_mcp.access.key import PREFIX, KeyFile
from telemetry_mcp.access.keyring import Keyring
from telemetry_mcp.access.setting import AccessSettings, OAuth
from telemetry_mcp.access.signed import SignedTokens
from telemetry_mcp.access.token import CallerToken, Refused, Verifier
from telemetry_mcp.http import Http, http_for
from telemetry_mcp.setting import HttpSettings

LONGEST = 16 * 1024
SHAPE = re.compile(r"[A-Za-z0-9\-._~+/]+=*")
"""RFC 6750: anything else is no token, and is not asked about anywhere."""
MAX_BODY_MB = 1


class EitherVerifier(Verifier):
    """Keys, which show by how they begin, and tokens of the authorization server. A key is never sent there."""

    def __init__(self, keys: Verifier | None, oauth: Verifier | None) -> None:
        self.keys = keys
        self.oauth = oauth

    async def examine(self, token: str) -> CallerToken:
        if len(token) > LONGEST or not SHAPE.fullmatch(token):
            raise Refused("it is no token that can be read")
        verifier = self.keys if token.startswith(PREFIX) else self.oauth
        if verifier is None:
            raise Refused("tokens of this kind are not accepted here")
        return await verifier.examine(token)

    async def close(self) -> None:
        for verifier in (self.keys, self.oauth):
            if verifier is not None:
                await verifier.close()


def verifier_for(access: AccessSettings) -> Verifier | None:
    """What the configuration asks for; None where nobody is asked who they are.

    Raises KeyFault when the file of keys cannot be used. To be closed.
    """
    if not access.authenticates:
        return None
    scopes = access.oauth.scopes if access.oauth else ()
    keys = Keyring(file, access.role_names, scopes) if (file := key_file(access)) else None
    return EitherVerifier(keys, oauth_verifier(access, access.oauth) if access.oauth else None)


def key_file(access: AccessSettings) -> KeyFile | None:
    return KeyFile(access.keys, access.secret) if access.keys and access.secret else None


def oauth_verifier(access: AccessSettings, settings: OAuth) -> Verifier:
    reader = Reader(access, settings)
    if settings.introspection_url is not None:
        return Introspection(reader, settings.introspection_url, http_of(settings, settings.introspection_url))
    return SignedTokens(reader, KeySet(settings, http_of(settings, settings.jwks_url or settings.issuer)))


def http_of(settings: OAuth, url: str) -> Http:
    """How the authorization server is reached: as every source is; our credentials go to introspection only."""
    username = password = None
    if settings.introspection_url is not None and settings.client_id and settings.client_secret:
        # RFC 6749, 2.3.1: both are encoded like the fields of a form.
        username = quote_plus(settings.client_id)
        password = SecretStr(quote_plus(settings.client_secret.get_secret_value()))
    return http_for(
        HttpSettings.model_validate(
            {
                "plugin": "oauth",
                "url": url,
                "username": username,
                "password": password,
                "ca_file": settings.ca_file,
                "max_body_mb": MAX_BODY_MB,
            }
        )
    )
