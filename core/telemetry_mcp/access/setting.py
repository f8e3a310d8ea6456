"""`[access]` and `[limits]` in plugins.toml."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, FilePath, SecretStr, field_validator, model_validator

from telemetry_mcp.setting import Duration, Rate, Strict

Patterns = tuple[str, ...]
"""Names, in which `*` stands for any text and `?` for one character. None at all: nothing."""

EVERYTHING: Patterns = ("*",)
LEAST_SECRET = 32

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Signatures by a key that only the issuer has. HMAC and `none` can never be allowed."""


def is_loopback(host: str) -> bool:
    """Whether a host, by name or address, is this machine itself."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def address(text: str) -> str:
    """`text`, where it is a URL to which tokens may be sent; it is kept as it is written, for it is compared with
    what others say letter by letter. ValueError otherwise."""
    try:
        url = urlsplit(text)
        good = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0 and text.isascii()
    except ValueError:
        good = False
    if not good or any(letter.isspace() or letter in '"\\' for letter in text):
        raise ValueError("is no URL that begins with https://")
    if url.username is not None or url.query or url.fragment:
        raise ValueError("must have neither user nor query nor fragment")
    return text


def trustworthy(text: str) -> str:
    """An address whose answers decide who is let in."""
    url = urlsplit(address(text))
    if url.scheme != "https" and not is_loopback(url.hostname or ""):
        raise ValueError("must begin with https://, for whoever is in between could let anybody in")
    return text


Address = Annotated[str, AfterValidator(address)]
Trusted = Annotated[str, AfterValidator(trustworthy)]


class Role(Strict):
    """What one role may see: every list that is not written down is empty, and what is in no list does not exist.

    `teams` and `environments` narrow `services` further, by what the sources say of a service; a service of which
    no source says it is not seen by a role that names any.
    """

    tools: Patterns = ()
    services: Patterns = ()
    sources: Patterns = ()
    teams: Patterns = EVERYTHING
    environments: Patterns = EVERYTHING
    native: bool = Field(False, description="query_source, on sources that allow it")
    lookback: Duration | None = Field(None, description="how far back it may ask (default: [defaults])")
    emails: bool = Field(False, description="sees the e-mail addresses in what sources wrote")
    incident_lane: bool = Field(False, description="gets the larger bucket of [limits] at all times")

    @model_validator(mode="after")
    def native_sees_everything(self) -> Role:
        if self.native and any(set(names) != {"*"} for names in (self.services, self.teams, self.environments)):
            raise ValueError(
                'native = true needs services, teams and environments of "*": a query names any service'
            )
        return self


READING = (
    *("list_services", "get_current_metrics", "query_historical_metrics", "check_sli_compliance"),
    *("detect_anomalies", "list_incidents", "list_changes", "list_sources"),
)
BUILT_IN: Mapping[str, Role] = {
    "viewer": Role(tools=READING, services=EVERYTHING, sources=EVERYTHING, lookback=30 * 86_400.0),
    "responder": Role(
        tools=(*READING, "investigate_incident"), services=EVERYTHING, sources=EVERYTHING, incident_lane=True
    ),
    "admin": Role(
        tools=EVERYTHING, services=EVERYTHING, sources=EVERYTHING, native=True, emails=True, incident_lane=True
    ),
}
"""Overwritten by a table `[access.roles.<name>]` of the same name."""


class OAuth(Strict):
    """The authorization server whose access tokens are accepted. Tokens are verified by its published keys, or
    with `introspection_url` by asking it."""

    issuer: Trusted = Field(description="exactly as the tokens and its metadata have it")
    audience: tuple[str, ...] = Field((), description="accepted in aud (default: [access] resource)")
    jwks_url: Trusted | None = Field(None, description="default: as its metadata say")
    algorithms: tuple[str, ...] = ("RS256", "ES256", "PS256", "EdDSA")
    scopes: tuple[str, ...] = Field((), description="every token must have these")
    introspection_url: Trusted | None = Field(None, description="ask this of every token (RFC 7662)")
    client_id: str | None = Field(None, description="of this server, for introspection")
    client_secret: SecretStr | None = None
    roles_claim: str = Field("roles", description="where the roles are in the token; a dot goes one level down")
    roles: Mapping[str, tuple[str, ...]] = Field(
        default_factory=dict, description="value of the claim -> roles (default: the roles of the same names)"
    )
    default_roles: tuple[str, ...] = Field((), description="roles of a valid token that names none")
    leeway: Duration = Field(30.0, description="how far clocks may differ")
    ca_file: FilePath | None = None

    @field_validator("algorithms")
    @classmethod
    def asymmetric(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        unsafe = [name for name in names if name not in ALGORITHMS]
        if unsafe or not names:
            raise ValueError(f"{', '.join(unsafe) or 'none'} cannot be allowed; valid: {', '.join(ALGORITHMS)}")
        return names

    @field_validator("scopes")
    @classmethod
    def single_words(cls, scopes: tuple[str, ...]) -> tuple[str, ...]:
        if any(not scope.isascii() or not scope.isprintable() or set(scope) & set(' "\\') for scope in scopes):
            raise ValueError("a scope is one word, without quotes")
        return scopes

    @model_validator(mode="after")
    def introspected_with_credentials(self) -> OAuth:
        if self.introspection_url is not None and not (self.client_id and self.client_secret):
            raise ValueError("introspection_url needs client_id and client_secret beside it")
        return self


Action = Literal["hide", "round", "bucket", "hash", "pseudonymise"]
NUMERIC: tuple[Action, ...] = ("round", "bucket")
TEXTUAL: tuple[Action, ...] = ("hash", "pseudonymise")
FIELDS: Mapping[str, tuple[str, ...]] = {
    "incident": ("title", "severity", "url"),
    "change": ("title", "author", "version", "url"),
    "entry": ("title", "author", "url"),
    "oncall": ("person", "policy", "schedule", "url"),
    "slo": ("title", "reason", "url"),
    "service": ("team", "environment", "tags", "url"),
}
"""What a mask's `fields` may name: `incident.title`, or `title` for that of everything. A service's name is not
among them: it is in the queries and in the words of the sources, too."""


class Mask(Strict):
    """What is shown in place of what. `metrics` are time series (numbers: hide, round, bucket), `labels` labels of
    native series and tags of services, `fields` text beside them (see FIELDS; text: hide, hash, pseudonymise).

    It holds for the services and environments that match; where a service's environment is not known, it holds.
    Whoever sees a thing by a role that is exempt, or not among `roles`, sees it as it is.
    """

    metrics: Patterns = ()
    labels: Patterns = ()
    fields: Patterns = ()
    action: Action
    digits: int = Field(1, ge=1, le=6, description="round: significant digits that are kept")
    width: float = Field(
        10.0, gt=0, allow_inf_nan=False, description="bucket: values become multiples of it, in the metric's unit"
    )
    services: Patterns = EVERYTHING
    environments: Patterns = EVERYTHING
    roles: Patterns = EVERYTHING
    exempt: Patterns = ("admin",)

    @model_validator(mode="after")
    def means_something(self) -> Mask:
        if not (self.metrics or self.labels or self.fields):
            raise ValueError("name what it masks: metrics, labels or fields")
        if self.metrics and self.action in TEXTUAL:
            raise ValueError(
                f"action = {self.action!r} is for text, and metrics are numbers: hide, round or bucket"
            )
        if (self.labels or self.fields) and self.action in NUMERIC:
            text = "labels and fields are text: hide, hash or pseudonymise"
            raise ValueError(f"action = {self.action!r} is for numbers, and {text}")
        idle = [
            key
            for key, action in (("digits", "round"), ("width", "bucket"))
            if key in self.model_fields_set and self.action != action
        ]
        if idle:
            raise ValueError(f"{idle[0]} has no meaning for action = {self.action!r}")
        return self


class AccessSettings(Strict):
    """Who is let in over HTTP, and what they may see. Without `oauth` and `keys` nobody is asked who they are."""

    resource: Address | None = Field(None, description="URL of this endpoint as clients know it, with /mcp")
    secret: SecretStr | None = Field(None, description="for hashes of keys, pseudonyms and sealed state")
    keys: Path | None = Field(None, description="file of the service accounts' keys")
    oauth: OAuth | None = None
    roles: Mapping[str, Role] = Field(default_factory=dict)
    masks: Mapping[str, Mask] = Field(default_factory=dict)
    detect: bool = Field(True, description="take secrets and e-mail addresses out of what sources wrote")
    audit: Literal["best_effort", "required"] = "best_effort"

    @field_validator("secret")
    @classmethod
    def long_enough(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None and len(secret.get_secret_value().encode()) < LEAST_SECRET:
            raise ValueError(f"is shorter than {LEAST_SECRET} bytes; make one with: openssl rand -base64 32")
        return secret

    @model_validator(mode="after")
    def whole(self) -> AccessSettings:
        if self.oauth is not None and self.resource is None:
            raise ValueError("oauth needs resource: the URL of this endpoint, for which tokens are made out")
        if self.keys is not None and self.secret is None:
            raise ValueError("keys needs secret: what is kept of a key is a hash made with it")
        unsafe = [name for name, mask in self.masks.items() if mask.action in TEXTUAL]
        if unsafe and self.secret is None:
            raise ValueError(f"masks.{unsafe[0]} needs secret: without one, anybody could undo what it does")
        return self

    @property
    def role_names(self) -> frozenset[str]:
        return frozenset((*BUILT_IN, *self.roles))

    @property
    def authenticates(self) -> bool:
        return self.oauth is not None or self.keys is not None


class LimitSettings(Strict):
    """How much one caller may ask. Rates are written as `100/minute`."""

    user: Rate = "100/minute"
    service_account: Rate = "1000/minute"
    incident: Rate = Field("600/minute", description="for whoever works on an open incident")
    concurrency: int = Field(16, ge=1, description="calls of one caller under way at once")
    max_tokens: int | None = Field(None, ge=100, description="tokens of one answer at most")
