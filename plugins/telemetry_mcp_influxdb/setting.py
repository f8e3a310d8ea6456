"""The keys of the source's table in plugins.toml."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, SecretStr, model_validator

from telemetry_mcp import BadQueryError, HttpSettings
from telemetry_mcp_influxdb.flux import Flux
from telemetry_mcp_influxdb.influxql import InfluxQL
from telemetry_mcp_influxdb.language import Language
from telemetry_mcp_influxdb.sql import SQL

LANGUAGES: Mapping[int, type[Language]] = {1: InfluxQL, 2: Flux, 3: SQL}
"""Version -> language."""

NEEDED = {1: ("database",), 2: ("bucket", "org", "token"), 3: ("database",)}
FOREIGN = {
    1: ("bucket", "org", "token"),
    2: ("database", "retention_policy"),
    3: ("bucket", "org", "retention_policy"),
}


class InfluxSettings(HttpSettings):
    version: Literal[1, 2, 3] = Field(description="major version: 1 is asked in InfluxQL, 2 in Flux, 3 in SQL")
    database: str = Field("", description="1 and 3: where the measurements are")
    retention_policy: str = Field("", description="1: another than the database's default one")
    bucket: str = Field("", description="2: where the measurements are")
    org: str = Field("", description="2: name or id of the organization")
    token: SecretStr | None = Field(None, description="2 and 3: API token with the right to read")
    service_tag: str = Field("service", pattern=r"^[\w .:/@-]+$", description="tag that holds a service's name")
    service_measurement: str = Field("", description="measurement whose services are the inventory (default: all)")
    time_column: str = Field("time", pattern=r"^[^\"]+$", description="3: column that says when")
    max_series: int = Field(1000, ge=1, le=100_000, description="most series taken of one query")

    @model_validator(mode="after")
    def whole(self) -> InfluxSettings:
        """What the version needs is there, and nothing that it does not have."""
        missing = [key for key in NEEDED[self.version] if not getattr(self, key)]
        if missing:
            raise ValueError(f"version {self.version} needs {', '.join(missing)}")
        surplus = [key for key in FOREIGN[self.version] if getattr(self, key)]
        if surplus:
            raise ValueError(f"version {self.version} has no {', '.join(surplus)}")
        if self.token and (self.username or self.bearer_token):
            raise ValueError("either token or another way in, not both")
        return self

    @model_validator(mode="after")
    def metrics_are_sound(self) -> InfluxSettings:
        language = LANGUAGES[self.version]
        for name, metric in self.metrics.items():
            try:
                language.check(metric.query)
            except BadQueryError as error:
                raise ValueError(f"the {language.name} of {name}: {error}") from None
        return self

    @property
    def place(self) -> str:
        """The database or the bucket."""
        return self.database or self.bucket
