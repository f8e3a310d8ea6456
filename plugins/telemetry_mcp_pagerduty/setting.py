"""What a PagerDuty table in plugins.toml may say."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, HttpUrl, SecretStr

from telemetry_mcp import Duration, RemoteSettings

HOSTS = {"US": "https://api.pagerduty.com", "EU": "https://api.eu.pagerduty.com"}
LONGEST_S = 180 * 86_400
"""A little under the six months between since and until that PagerDuty takes."""
PATIENCE_S = 8.0


class Settings(RemoteSettings):
    region: Literal["US", "EU"] = Field("US", description="where the account lives")
    url: HttpUrl | None = Field(None, description="base URL instead of the region's")
    api_key: SecretStr = Field(min_length=1, description="REST API key; read-only is enough")
    urgencies: tuple[Literal["high", "low"], ...] = Field((), description="only incidents of these (default: all)")
    lookback: Duration = Field(
        "180d",
        validate_default=True,
        le=LONGEST_S,
        description="how long before a window an incident that was open in it may have begun",
    )
    max_body_mb: int = Field(16, ge=1, le=1024, description="largest answer taken, after decompression")

    @property
    def base_url(self) -> str:
        return str(self.url).rstrip("/") if self.url else HOSTS[self.region]

    @property
    def patience_s(self) -> float:
        """How long one answer may take."""
        return self.timeout or PATIENCE_S
