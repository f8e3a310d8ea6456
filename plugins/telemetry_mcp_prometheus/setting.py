"""What a table of plugins.toml may say about a Prometheus, and where its API is by that."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, field_validator, model_validator

from telemetry_mcp import Duration, HttpSettings, MetricQuery
from telemetry_mcp_prometheus.dependency import SERVICE_GRAPHS
from telemetry_mcp_prometheus.flavor import FLAVORS, Flavor
from telemetry_mcp_prometheus.query import LABEL, METRIC, check_template

Label = Annotated[str, StringConstraints(pattern=LABEL)]
Metric = Annotated[str, StringConstraints(pattern=METRIC)]
TENANT = r"\d+(:\d+)?"


class Settings(HttpSettings):
    flavor: Literal["prometheus", "mimir", "thanos", "victoriametrics"] = Field(
        "prometheus", description="which member of the family it is"
    )
    service_label: Label = Field("service", description="label that holds a service's name")
    service_metric: str = Field("", description="selector whose services are the inventory, such as `up`")
    team_label: Label | None = Field(None, description="the inventory's label for the team")
    environment_label: Label | None = Field(None, description="the one for the environment")
    environment: str | None = Field(None, description="environment of services without that label")
    org_id: str | None = Field(None, description="tenant; several as `a|b` where the backend can")
    params: dict[str, str] = Field(default_factory=dict, description="more parameters for every request")
    lookback: Duration | None = Field(None, description="oldest sample that is current (default: 5 m)")
    scrape_interval: Duration = Field(15.0, description="what `$__rate_interval` is made from")
    max_series: int = Field(1000, ge=1, le=100_000, description="most series taken of one query")
    dependencies: dict[Metric, tuple[Label, Label]] = Field(
        default_factory=lambda: dict(SERVICE_GRAPHS),
        description="counter of calls -> its labels of caller and callee",
    )

    @field_validator("metrics")
    @classmethod
    def service_is_quoted(cls, metrics: dict[str, MetricQuery]) -> dict[str, MetricQuery]:
        for name, metric in metrics.items():
            try:
                check_template(metric.query)
            except ValueError as error:
                raise ValueError(f"$service in the query of {name}: {error}") from None
        return metrics

    @model_validator(mode="after")
    def tenant_has_a_place(self) -> Settings:
        if not (self.org_id and self.kind.tenant_path):
            return self
        if self.has_path:
            raise ValueError("the url has a path already: write the tenant into it, or leave the path out")
        if not re.fullmatch(TENANT, self.org_id):
            raise ValueError("a VictoriaMetrics tenant is a number, or two as `account:project`")
        return self

    @property
    def kind(self) -> Flavor:
        return FLAVORS[self.flavor]

    @property
    def has_path(self) -> bool:
        return (self.url.path or "/") != "/"

    @property
    def base_url(self) -> str:
        """What stands before /api/v1: the url as it is, or with the path that the flavor is known by."""
        return super().base_url + self.added_path

    @property
    def added_path(self) -> str:
        """What the flavor adds to a url without a path."""
        if self.has_path:
            return ""
        tenant = self.kind.tenant_path if self.org_id else ""
        return tenant.format(org_id=self.org_id) or self.kind.path

    @property
    def tenant(self) -> dict[str, str]:
        """The header that names the tenant."""
        header = self.kind.tenant_header
        return {header: self.org_id} if self.org_id and header else {}
