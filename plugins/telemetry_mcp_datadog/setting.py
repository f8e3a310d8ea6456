"""What a Datadog table in plugins.toml may say."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, HttpUrl, SecretStr

from telemetry_mcp import RemoteSettings

Site = Literal[
    "datadoghq.com",
    "us3.datadoghq.com",
    "us5.datadoghq.com",
    "ap1.datadoghq.com",
    "ap2.datadoghq.com",
    "uk1.datadoghq.com",
    "datadoghq.eu",
    "ddog-gov.com",
    "us2.ddog-gov.com",
]


class Settings(RemoteSettings):
    site: Site = Field("datadoghq.com", description="which Datadog: the host behind app. in your browser")
    url: HttpUrl | None = Field(None, description="base URL instead of https://api.<site>, for a proxy")
    api_key: SecretStr = Field(min_length=1, description="API key")
    app_key: SecretStr = Field(min_length=1, description="application key; its scopes are what can be asked")
    api: Literal["v1", "v2"] = Field("v1", description="which of the two APIs answers metric queries")
    env: str | None = Field(None, description="environment whose APM services are listed; * for all")
    service_tag: str = Field("service", pattern=r"^[\w.-]+$", description="tag that names the service")
    change_query: str = Field(
        "@evt.category:change OR source:deployment",
        min_length=1,
        description="which events are changes, as typed into the Events Explorer",
    )

    @property
    def base_url(self) -> str:
        """Where the API is, without a trailing slash. The environment's DD_SITE has no say."""
        return str(self.url).rstrip("/") if self.url else f"https://api.{self.site}"

    @property
    def app_url(self) -> str:
        """Where a person looks at it: a site that is a host of its own has no `app.` before it."""
        return f"https://{self.site if self.site.count('.') > 1 else f'app.{self.site}'}"
