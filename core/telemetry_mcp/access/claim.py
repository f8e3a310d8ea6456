"""What an access token claims: for whom it was made out, to whom, and with which roles."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from telemetry_mcp.access.caller import Caller, Kind
from telemetry_mcp.access.setting import AccessSettings, OAuth
from telemetry_mcp.access.token import CallerToken, Refused

ACCESS_TYPES = ("at+jwt", "application/at+jwt")
PLAIN_TYPES = ("jwt", "application/jwt", "")
OF_AN_ID_TOKEN = ("nonce", "at_hash", "c_hash", "s_hash")


class Reader:
    """Reads claims that were proven to come from the authorization server."""

    def __init__(self, access: AccessSettings, settings: OAuth) -> None:
        self.settings = settings
        self.known = access.role_names
        self.audience = settings.audience or ((access.resource,) if access.resource else ())

    def token(self, claims: Mapping[str, Any]) -> CallerToken:
        """Whose token it is. Raises Refused where it is nobody's, or bound to a key that is not asked for here."""
        if claims.get("cnf"):
            raise Refused("the token is bound to a key (DPoP or mutual TLS), which cannot be proven here")
        caller = self.caller(claims)
        expires = claims.get("exp")
        return CallerToken(
            token="",
            client_id=caller.client or caller.subject,
            scopes=scopes_of(claims),
            expires_at=int(expires) if expires is not None else None,
            resource=next(iter(self.audience), None),
            subject=caller.subject,
            claims={"iss": self.settings.issuer},
            caller=caller,
        )

    def caller(self, claims: Mapping[str, Any]) -> Caller:
        client = first_text(claims, ("client_id", "azp", "appid", "cid"))
        subject = first_text(claims, ("sub",)) or client
        if subject is None:
            raise Refused("the token names neither a user nor a client")
        return Caller(subject, kind_of(claims, client), self.roles(claims), client)

    def roles(self, claims: Mapping[str, Any]) -> tuple[str, ...]:
        """The roles by the claim; those by default where it names none that is known here."""
        named = words(reach(claims, self.settings.roles_claim))
        if self.settings.roles:
            named = [role for value in named for role in self.settings.roles.get(value, ())]
        found = dict.fromkeys(role for role in named if role in self.known)
        return tuple(found) or self.settings.default_roles


def check_access_token(header: Mapping[str, Any], claims: Mapping[str, Any]) -> None:
    """Raises Refused for what is signed by the authorization server but is no access token: an ID token above all,
    which is made out to say who somebody is, not to be shown around."""
    kind = str(header.get("typ") or "").lower()
    if kind in ACCESS_TYPES:
        return
    if kind not in PLAIN_TYPES:
        raise Refused("it is a token of another kind, not an access token")
    said = str(claims.get("typ") or claims.get("token_use") or "").lower()
    if said in ("bearer", "access"):
        return
    if said or "events" in claims or any(claim in claims for claim in OF_AN_ID_TOKEN):
        raise Refused("it is an ID token or one of another kind, not an access token")


def kind_of(claims: Mapping[str, Any], client: str | None) -> Kind:
    """A token that a client got for itself is a service account's. How that shows depends on who made it out: by
    the subject (RFC 9068), or by a claim of Auth0, Entra ID or Keycloak."""
    subject = claims.get("sub")
    itself = (
        subject is None
        or subject == client
        or claims.get("gty") == "client-credentials"
        or claims.get("idtyp") == "app"
        or claims.get("preferred_username") == f"service-account-{claims.get('client_id')}"
    )
    return "service_account" if itself else "user"


def reach(claims: object, path: str) -> object:
    """What stands at a dotted path. Names of claims may hold dots themselves: the longest that fits goes first."""
    if not isinstance(claims, Mapping):
        return None
    if path in claims:
        return claims[path]
    for at in reversed([place for place, letter in enumerate(path) if letter == "."]):
        if path[:at] in claims:
            return reach(claims[path[:at]], path[at + 1 :])
    return None


def words(value: object) -> list[str]:
    """A list of texts, or the words of one text; nothing for anything else."""
    if isinstance(value, str):
        return value.split()
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def scopes_of(claims: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys([*words(claims.get("scope")), *words(claims.get("scp"))]))


def first_text(claims: Mapping[str, Any], names: Iterable[str]) -> str | None:
    return next(texts(claims, names), None)


def texts(claims: Mapping[str, Any], names: Iterable[str]) -> Iterator[str]:
    return (value for name in names if isinstance(value := claims.get(name), str) and value)
