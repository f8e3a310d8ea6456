"""Every recorded session with PostgreSQL: its statements asked of a real server, its SQLSTATEs translated."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import numpy as np
import pytest

from telemetry_mcp import Context, NativeQuery, Reply, Series, SourceError, Window
from telemetry_mcp_timescaledb import TimescaleDB
from telemetry_mcp_timescaledb.error import failure

if TYPE_CHECKING:
    from tests.plugins.conftest import Replayed, WireCase
    from tests.real.postgres import PostgresServer

pytestmark = pytest.mark.real

REFUSED = re.compile(r"(?:ERROR|FATAL|PANIC):\s+([0-9A-Z]{5}):\s*(.+)")
ASKED = re.compile(r"^=== (.+)$", re.MULTILINE)
JANUARY = Window(1_767_225_600_000, 1_769_904_000_000)
TABLE = """DROP TABLE IF EXISTS public.metrics;
CREATE TABLE public.metrics (ts timestamptz, service text, host text, metric text, value float8);
INSERT INTO public.metrics SELECT '2026-01-15 10:00+00'::timestamptz + n * interval '10 seconds', s, 'h', 'cpu', v
FROM generate_series(0, 29) AS n,
  (VALUES ('api-gateway', 57.5), ('pay''ment"\\proc', 'NaN'),
          ('サービス', 'Infinity'), ('サービス', NULL)) AS rows (s, v);
GRANT SELECT ON public.metrics TO telemetry_reader"""


async def answered(source: TimescaleDB, sql: str) -> Reply[Series] | SourceError:
    try:
        return await source.run_native(NativeQuery(sql, JANUARY, 60_000))
    except SourceError as error:
        return error


@pytest.mark.wire("postgres")
async def test_every_recorded_payload_ends_as_items_a_typed_error_or_not_for_us(
    wire_case: WireCase, replayed: Replayed, postgres: PostgresServer
) -> None:
    postgres.sql(TABLE)
    settings = {
        **{"plugin": "timescaledb", "host": "127.0.0.1", "port": postgres.port, "database": "postgres"},
        **{"username": postgres.reader, "password": postgres.password, "ca_file": postgres.ca_file},
        "statement_timeout": "2s",
    }
    source = TimescaleDB(TimescaleDB.Settings.model_validate(settings), Context("pg"))
    text = wire_case.text or json.dumps(wire_case.document, ensure_ascii=False)
    states = {state: failure(state, words) for state, words in REFUSED.findall(text)}
    endings = [await answered(source, sql) for sql in ASKED.findall(wire_case.text)]
    await source.close()

    assert all(type(error) is not SourceError and error.hint for error in states.values())
    series = [one for ending in endings if isinstance(ending, Reply) for one in ending.items]
    assert not any(np.isinf(one.values).any() for one in series)
    refused = [ending for ending in endings if isinstance(ending, SourceError)]
    assert all(type(error) is not SourceError for error in refused)
    assert postgres.sql("SELECT count(*) FROM public.metrics") == "120"
    told = ", ".join(f"{state} {type(error).__name__}" for state, error in sorted(states.items()))
    again = f"{len(endings)} statements again: {len(refused)} refused, {len(series)} series"
    if not states and not endings:
        replayed(wire_case, "not for us", "neither a statement nor an SQLSTATE in it")
    else:
        replayed(wire_case, "items" if series and not states else "error", f"{again}; {told}")
