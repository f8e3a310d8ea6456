"""What a source's table in plugins.toml may say: durations, metric queries, and how a backend is reached."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FilePath,
    HttpUrl,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from telemetry_mcp.unit import canonical, known

UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


def seconds(text: object) -> float:
    """`"500ms"`, `"8s"`, `"5m"`, `"1h30m"`, `"30d"` or a plain number of seconds. ValueError otherwise."""
    if isinstance(text, int | float) and not isinstance(text, bool):
        return float(text)
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|[smhdw])", str(text))
    if not parts or "".join(number + unit for number, unit in parts) != str(text).strip():
        raise ValueError('not a duration; write a number and a unit, such as "500ms", "8s", "5m" or "30d"')
    return sum(float(number) * UNITS_S[unit] for number, unit in parts)


Duration = Annotated[float, BeforeValidator(seconds), Field(gt=0, allow_inf_nan=False)]
"""Seconds, written as `"8s"` in plugins.toml; always positive."""


RATE = re.compile(r"\s*([1-9]\d*)\s*/\s*(?:([1-9]\d*)\s*)?(second|minute|hour|day)s?\s*")


def rate(text: str) -> str:
    """`text`, when it says how many in how long; else ValueError."""
    if not RATE.fullmatch(text):
        raise ValueError(
            'not a rate; write how many in how long, such as "100/minute", "10/second" or "500/5 minutes"'
        )
    return text


Rate = Annotated[str, AfterValidator(rate)]
"""So many in so long, written as `100/minute`; never none at all."""


def spelt(unit: str) -> str:
    """The unit in its short spelling; ValueError where nobody knows it. None at all is fine."""
    if unit and not known(unit):
        raise ValueError("not a unit that is known; see docs/configuration.md for the list")
    return canonical(unit)


Unit = Annotated[str, AfterValidator(spelt)]


FOLDER = "folder"
"""In the validation's context: where plugins.toml is."""


def is_path(annotation: Any) -> bool:
    return annotation is Path or any(is_path(part) for part in get_args(annotation))


class Strict(BaseModel):
    """A table of plugins.toml: a key that nobody knows is refused, so that a misspelt one is noticed.

    A `Path` (or `FilePath`) that is relative begins beside plugins.toml, and `~` is the user's home.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    @field_validator("*", mode="before")
    @classmethod
    def beside(cls, value: Any, info: ValidationInfo) -> Any:
        if not info.context or not isinstance(value, str | Path) or not info.field_name:
            return value
        if not is_path(cls.model_fields[info.field_name].annotation):
            return value
        return info.context[FOLDER] / Path(value).expanduser()


class MetricQuery(Strict):
    """How one normalized metric is asked of one backend: a native query with `$placeholders`, and its unit."""

    query: str = Field(min_length=1)
    unit: Unit = ""

    @model_validator(mode="before")
    @classmethod
    def from_text(cls, value: Any) -> Any:
        return {"query": value} if isinstance(value, str) else value

    def render(self, **placeholders: str) -> str:
        """The query with `$name` and `${name}` replaced; what is put in must be escaped already."""

        def put(match: re.Match[str]) -> str:
            return placeholders.get(match[1] or match[2], match[0])

        return re.sub(r"\$(?:\{(\w+)\}|(\w+))", put, self.query)


class PluginSettings(Strict):
    """The keys of every table that a plugin serves. A plugin adds its own by subclassing; secrets: `SecretStr`."""

    plugin: str = Field(description="entry point of an installed plugin, or a path such as ./acme.py")
    optional: bool = Field(False, description="off, not wrong, while its variables are not set")


class SourceSettings(PluginSettings):
    """The keys that every source has."""

    timeout: Duration | None = Field(None, description="longest wait for one answer (default: [defaults])")
    max_concurrency: int = Field(16, ge=1, le=256, description="calls of this source under way at once")
    rate: Rate | None = Field(None, description="questions put to it at most, by all callers together")
    incident_share: float = Field(0.2, ge=0, le=0.9, description="share of rate that is kept for open incidents")
    allow_native: bool = Field(False, description="let query_source pass native queries through")
    preset: tuple[str, ...] = Field((), description="sets of queries for common metrics, by name")
    metrics: Mapping[str, MetricQuery] = Field(default_factory=dict, description="normalized name -> query")


class RemoteSettings(SourceSettings):
    """For a source somewhere on the network, over whatever client: how it is reached safely."""

    ca_file: FilePath | None = Field(None, description="PEM of a private certificate authority")
    verify_tls: bool = Field(True, description="check the server's certificate")
    proxy: HttpUrl | None = Field(None, description="HTTP proxy; the environment's proxies are not used")
    max_body_mb: int = Field(64, ge=1, le=1024, description="most that is read at once, after decompression")

    @property
    def base_url(self) -> str:
        """Where the API is, without a trailing slash, ready for a path to follow."""
        raise NotImplementedError


class HttpSettings(RemoteSettings):
    """For a source behind HTTP: where it is, and how to be let in."""

    url: HttpUrl = Field(description="base URL of the API")
    username: str | None = Field(None, description="basic authentication")
    password: SecretStr | None = Field(None, description="basic authentication")
    bearer_token: SecretStr | None = Field(None, description="sent as Authorization: Bearer")
    headers: dict[str, SecretStr] = Field(default_factory=dict, description="more headers for every request")
    cert_file: FilePath | None = Field(None, description="PEM of a client certificate")
    key_file: FilePath | None = Field(None, description="PEM of the client certificate's key")

    @field_validator("url")
    @classmethod
    def without_credentials(cls, url: HttpUrl) -> HttpUrl:
        if url.username or url.password:
            raise ValueError("credentials do not belong into the url: use username and password")
        return url

    @model_validator(mode="after")
    def one_way_in(self) -> HttpSettings:
        if self.username and self.bearer_token:
            raise ValueError("either username and password or bearer_token, not both")
        if self.key_file and not self.cert_file:
            raise ValueError("key_file needs cert_file beside it")
        return self

    @property
    def base_url(self) -> str:
        return str(self.url).rstrip("/")
