"""The TimescaleDB plugin passes the contract over a real PostgreSQL, as far as that can be made to fail."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from telemetry_mcp import Window
from telemetry_mcp.testing import SourceContract

if TYPE_CHECKING:
    from tests.real.postgres import PostgresServer

HOUR_MS = 3_600_000
EMPTY = """CREATE SCHEMA metrics;
CREATE TABLE metrics.samples (ts timestamptz NOT NULL, service text, host text, metric text, value float8);
GRANT USAGE ON SCHEMA metrics TO telemetry_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA metrics TO telemetry_reader;
"""


@pytest.fixture(scope="module")
def states(postgres: PostgresServer) -> Mapping[str, Mapping[str, Any]]:
    """What leads to the server in each state that it can be in."""
    postgres.sql(
        f"CREATE ROLE contract_stranger LOGIN PASSWORD '{postgres.password}';\nCREATE DATABASE contract_nothing;\n"
        f"\\connect contract_nothing\n{EMPTY}"
    )
    well = {
        "host": "127.0.0.1",
        "port": postgres.port,
        "database": "postgres",
        "username": postgres.reader,
        "ca_file": str(postgres.ca_file),
    }
    return {
        "healthy": well,
        "nothing": {**well, "database": "contract_nothing"},
        "401": {**well, "username": "turned_away"},
        "403": {**well, "username": "contract_stranger"},
        "404": {**well, "database": "contract_nowhere"},
    }


@pytest.mark.real
class TestTimescaleDB(SourceContract):
    plugin = "timescaledb"
    settings: ClassVar = {"password": "pg-secret-of-test"}
    metrics: ClassVar = {
        "cpu": {"table": "metrics.samples", "time": "ts", "where": {"metric": "cpu"}, "unit": "percent"}
    }
    services = ("api-gateway", "auth-service")
    native = "SELECT ts AS time, service, value FROM metrics.samples WHERE $__timeFilter(ts) AND host = 'a'"

    @pytest.fixture(autouse=True)
    def place(self, postgres: PostgresServer, states: Mapping[str, Mapping[str, Any]]) -> None:
        self.window = Window(postgres.now_ms - HOUR_MS, postgres.now_ms)
        self.states = states

    @contextmanager
    def backend(self, state: str) -> Iterator[Mapping[str, Any]]:
        if state in self.states:
            yield self.states[state]
        elif state in ("refused", "hang"):
            with socket.socket() as other:
                other.bind(("127.0.0.1", 0))
                if state == "hang":
                    other.listen()  # and never a word
                yield {**self.states["healthy"], "port": other.getsockname()[1]}
        else:
            self.cannot(state)
