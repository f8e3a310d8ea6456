"""The keys of a [sources.NAME] table: where the database is, and which columns a metric is made from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, FilePath, SecretStr, field_validator, model_validator

from telemetry_mcp import Duration, MetricQuery, SourceSettings
from telemetry_mcp_timescaledb.placeholder import check_template

HOST = r"^(/[^\s@]*|[^\s@/]+)$"
RELATION = re.compile(r'(?:"(?:[^"\0]|"")+"|[^".\s\0]+)(?:\.(?:"(?:[^"\0]|"")+"|[^".\s\0]+))?')
PART = re.compile(r'"(?:[^"]|"")+"|[^".]+')

Aggregate = Literal[
    "avg", "min", "max", "sum", "count", "first", "last",
    "p50", "p75", "p90", "p95", "p99", "sum_per_s", "count_per_s",
]  # fmt: skip
SslMode = Literal["disable", "require", "verify-ca", "verify-full"]


def relation(text: str) -> tuple[str, ...]:
    """`table` or `schema.table` in its parts; a name with a dot in it stands in double quotes.

    Raises ValueError where it is neither. Names are taken as they are written: nothing folds their case.
    """
    if not RELATION.fullmatch(text):
        raise ValueError('not a table; write schema.table, with "double quotes" around a name that has a dot')
    return tuple(part[1:-1].replace('""', '"') if part[0] == '"' else part for part in PART.findall(text))


class Table(BaseModel):
    """A table, view, hypertable or continuous aggregate."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    table: str = Field(description="table or schema.table")
    time: str | None = Field(None, description="its time column")
    service: str | None = Field(None, description="the column that holds a service's name")

    @field_validator("table")
    @classmethod
    def is_a_table(cls, text: str) -> str:
        relation(text)
        return text


class Inventory(Table):
    """The table that lists the services. Without `time` all of its rows count, however old."""

    team: str | None = Field(None, description="the column for the team")
    environment: str | None = Field(None, description="the column for the environment")


class SqlMetric(MetricQuery):
    """A metric: either the columns that it is made from, or a SELECT of the user's own as `query`."""

    query: str = Field("", description="a SELECT with a time, a number and the service; other columns are labels")
    table: str | None = Field(None, description="table or schema.table")
    time: str | None = Field(None, description="its time column (default: time_column)")
    value: str | None = Field(None, description="the column with the numbers (default: value_column)")
    service: str | None = Field(None, description="the column for the service (default: service_column)")
    labels: tuple[str, ...] = Field((), description="columns that tell series of one service apart")
    where: dict[str, str | tuple[str, ...]] = Field(default_factory=dict, description="column = value(s)")
    aggregate: Aggregate = Field("avg", description="how the rows of one interval become one number")

    @model_validator(mode="after")
    def columns_or_a_query(self) -> SqlMetric:
        if bool(self.query.strip()) == (self.table is not None):
            raise ValueError("give either `table` with its columns or `query` with a SELECT")
        if self.table is not None:
            relation(self.table)
            return self
        if self.model_fields_set - {"query", "unit"}:
            raise ValueError("columns belong to `table`; a `query` names its own")
        check_template(self.query)
        return self


class DatabaseSettings(SourceSettings):
    host: str = Field("localhost", pattern=HOST, description="host name, address, or directory of a Unix socket")
    port: int = Field(5432, ge=1, le=65535)
    database: str = Field(min_length=1, description="name of the database")
    username: str = Field(min_length=1, description="a role that may only SELECT: see Permissions")
    password: SecretStr | None = None
    sslmode: SslMode = Field("verify-full", description="`require` encrypts, but does not know to whom")
    ca_file: FilePath | None = Field(None, description="PEM of a private certificate authority")
    cert_file: FilePath | None = Field(None, description="PEM of a client certificate")
    key_file: FilePath | None = Field(None, description="PEM of the client certificate's key")
    pool_size: int = Field(4, ge=1, le=64, description="most connections at once")
    statement_timeout: Duration = Field(30.0, description="longest that the server may work on one statement")
    max_points: int = Field(500_000, ge=1, le=5_000_000, description="most points taken of one query")
    max_series: int = Field(1000, ge=1, le=100_000, description="most series taken of one query")
    time_column: str = Field("time", min_length=1, description="time column of the metrics that name none")
    value_column: str = Field("value", min_length=1, description="number column of those that name none")
    service_column: str = Field("service", min_length=1, description="service column of those that name none")
    inventory: Inventory | None = Field(None, description="table of the services (default: the metrics' own)")
    metrics: Mapping[str, SqlMetric] = Field(
        default_factory=dict, description="normalized name -> columns or a SELECT"
    )

    @model_validator(mode="after")
    def key_beside_its_certificate(self) -> DatabaseSettings:
        if self.key_file and not self.cert_file:
            raise ValueError("key_file needs cert_file beside it")
        return self
