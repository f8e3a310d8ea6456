"""The TimescaleDB source without a server: settings, placeholders, SQLSTATEs, packed points."""

from __future__ import annotations

import re
import ssl
import struct
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from pydantic import ValidationError

import telemetry_mcp_timescaledb
from telemetry_mcp import (
    AuthError,
    BadQueryError,
    Context,
    ForbiddenError,
    NotFoundError,
    ProtocolError,
    RateLimitedError,
    SourceError,
    SourceTimeoutError,
    UpstreamError,
    Window,
)
from telemetry_mcp_timescaledb import TimescaleDB
from telemetry_mcp_timescaledb.error import broken, failure
from telemetry_mcp_timescaledb.mapping import AGGREGATES
from telemetry_mcp_timescaledb.placeholder import render
from telemetry_mcp_timescaledb.query import Ask, Binds, Server, Shape, Value, bucket
from telemetry_mcp_timescaledb.setting import Aggregate, relation
from telemetry_mcp_timescaledb.wire import Decoder

START_MS = 1_767_225_600_000
ASK = Ask(Window(START_MS, START_MS + 3_600_000), 60_000)
SERVER = Server(150_018)


def settings(**more: Any) -> Any:
    table = {"plugin": "timescaledb", "database": "metrics", "username": "reader", **more}
    return TimescaleDB.Settings.model_validate(table)


# ---- settings


def test_five_lines_and_one_for_each_metric_are_enough() -> None:
    made = settings(host="db", password="s3cret", metrics={"cpu": {"table": "cpu"}, "memory": "SELECT 1"})
    assert (made.port, made.sslmode, made.metrics["cpu"].aggregate) == (5432, "verify-full", "avg")
    assert made.metrics["memory"].query == "SELECT 1"
    assert "s3cret" not in f"{made!r} {made}"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"host": "postgres://user:hush@db/x"}, "host"),
        ({"host": "user:hush@db"}, "host"),
        ({"key_file": __file__}, "key_file needs cert_file"),
        ({"sslmode": "prefer"}, "sslmode"),
        ({"metrics": {"cpu": {}}}, "give either"),
        ({"metrics": {"cpu": " "}}, "give either"),
        ({"metrics": {"cpu": {"table": "a", "query": "SELECT 1"}}}, "give either"),
        ({"metrics": {"cpu": {"query": "SELECT 1", "labels": ["x"]}}}, "columns belong to"),
        ({"metrics": {"cpu": {"table": "a.b.c"}}}, "not a table"),
        ({"metrics": {"cpu": {"table": "a; DROP TABLE b"}}}, "not a table"),
        ({"metrics": {"cpu": {"table": "a", "aggregate": "pg_sleep"}}}, "aggregate"),
        ({"metrics": {"cpu": {"table": "a", "unit": "parsec"}}}, "not a unit"),
        ({"metrics": {"cpu": {"tabel": "a"}}}, "tabel"),
        ({"metrics": {"cpu": "SELECT $__nope"}}, "$__nope is no placeholder"),
        ({"metrics": {"cpu": "SELECT 1 WHERE s IN ($service)"}}, "= ANY($service)"),
        ({"metrics": {"cpu": "SELECT 1 WHERE s = '$service'"}}, "in quotes is plain text"),
        ({"metrics": {"cpu": "SELECT $1"}}, "parameters are numbered here"),
        ({"metrics": {"cpu": "SELECT $__timeFilter"}}, "needs a column"),
        ({"metrics": {"cpu": "SELECT $__timeFilter(now() - 1)"}}, "needs a column"),
        ({"metrics": {"cpu": "SELECT 'open"}}, "never closed"),
        ({"metrics": {"cpu": "SELECT 1 /* open"}}, "never closed"),
        ({"inventory": {"table": "a.b.c"}}, "not a table"),
    ],
)
def test_a_wrong_setting_is_refused_and_says_what_is_right(more: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        settings(**more)
    assert said in str(caught.value)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("cpu", ("cpu",)),
        ("metrics.cpu", ("metrics", "cpu")),
        ("Metrics.CPU", ("Metrics", "CPU")),
        ('"a.b"."c""d"', ("a.b", 'c"d')),
        ('public."テーブル"', ("public", "テーブル")),
    ],
)
def test_a_table_is_named_as_it_is_written(text: str, parts: tuple[str, ...]) -> None:
    assert relation(text) == parts


def test_every_aggregate_that_may_be_named_has_its_sql() -> None:
    assert set(AGGREGATES) == set(get_args(Aggregate))


def test_the_driver_is_not_imported_before_something_is_asked() -> None:
    code = """import sys, telemetry_mcp_timescaledb as plugin
from telemetry_mcp import Context
plugin.TimescaleDB(plugin.TimescaleDB.Settings(plugin="t", database="d", username="u"), Context("t"))
sys.exit("asyncpg" in sys.modules)"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


async def test_a_source_that_was_never_asked_can_be_closed() -> None:
    await TimescaleDB(settings(), Context("t")).close()


# ---- placeholders


def rendered(sql: str, *services: str, server: Server = SERVER) -> tuple[str, list[object]]:
    binds = Binds()
    return render(sql, Ask(ASK.window, ASK.step_ms, services), server, binds), binds.values


def test_service_becomes_a_parameter_and_for_all_services_any_name() -> None:
    sql = "SELECT * FROM t WHERE service =  any ( ${service} ) AND x"
    assert rendered(sql, "it's", "b") == ("SELECT * FROM t WHERE service = ANY($1::text[]) AND x", [["it's", "b"]])
    assert rendered(sql) == ("SELECT * FROM t WHERE service IS NOT NULL AND x", [])


def test_what_is_text_comment_or_a_quoted_name_is_no_placeholder() -> None:
    sql = """SELECT '$__interval ''$1', E'\\'$__interval', "$__interval", $x$ $__interval ' $x$, $$'$$ -- $nope '
        /* $nope ' */ FROM t;  """
    assert rendered(sql) == (
        """SELECT '$__interval ''$1', E'\\'$__interval', "$__interval", $x$ $__interval ' $x$, $$'$$  """
        "\n          FROM t",
        [],
    )


def test_times_are_parameters_with_or_without_brackets() -> None:
    sql, values = rendered('SELECT $__timeFrom, $__timeTo(), ${__interval} WHERE $__timeFilter(m."at")')
    assert sql == (
        "SELECT $1::timestamptz, $2::timestamptz, $3::interval"
        ' WHERE (m."at" >= $4::timestamptz AND m."at" < $5::timestamptz)'
    )
    assert [str(value) for value in values[:3]] == [
        "2026-01-01 00:00:00+00:00",
        "2026-01-01 01:00:00+00:00",
        "0:01:00",
    ]


def test_a_bucket_is_made_by_what_the_server_has() -> None:
    assert rendered("$__timeGroup(t)")[0] == "date_bin($1::interval, (t)::timestamptz, $2::timestamptz)"
    with_extension = Server(130_000, "ext")
    assert rendered("$__timeGroup(t, $__interval)", server=with_extension)[0] == (
        '"ext".time_bucket($1::interval, (t)::timestamptz, $2::timestamptz)'
    )
    with pytest.raises(BadQueryError, match="PostgreSQL 13 has neither") as caught:
        bucket("t", ASK, Server(130_011), Binds())
    assert "CREATE EXTENSION timescaledb" in caught.value.hint


def test_a_native_query_with_an_unknown_placeholder_is_told_the_valid_ones() -> None:
    with pytest.raises(BadQueryError, match=r"\$__from is no placeholder") as caught:
        rendered("SELECT $__from")
    assert "$__timeFrom" in caught.value.hint


# ---- errors


@pytest.mark.parametrize(
    ("state", "error"),
    [
        ("57014", SourceTimeoutError),
        ("55P03", SourceTimeoutError),
        ("25006", BadQueryError),
        ("42P01", BadQueryError),
        ("42703", BadQueryError),
        ("42601", BadQueryError),
        ("42883", BadQueryError),
        ("0A000", BadQueryError),
        ("22012", BadQueryError),
        ("22021", BadQueryError),
        ("54001", BadQueryError),
        ("P0001", BadQueryError),
        ("42501", ForbiddenError),
        ("28000", AuthError),
        ("28P01", AuthError),
        ("3D000", NotFoundError),
        ("53300", RateLimitedError),
        ("53100", UpstreamError),
        ("53200", UpstreamError),
        ("57P01", UpstreamError),
        ("57P02", UpstreamError),
        ("57P03", UpstreamError),
        ("40001", UpstreamError),
        ("40P01", UpstreamError),
        ("08000", UpstreamError),
        ("08006", UpstreamError),
        ("08P01", UpstreamError),
        ("58030", UpstreamError),
        ("XX000", UpstreamError),
        ("HV000", UpstreamError),
        ("TS001", UpstreamError),
        ("", UpstreamError),
    ],
)
def test_every_sqlstate_has_its_error(state: str, error: type[SourceError]) -> None:
    found = failure(state, "the server's\nown words")
    assert isinstance(found, error)
    assert str(found) == f"{state}: the server's own words"
    assert found.hint


@pytest.mark.parametrize(
    ("message", "fix"),
    [
        ("permission denied for table cpu", "GRANT SELECT ON cpu TO r;"),
        ("permission denied for materialized view cpu", "GRANT SELECT ON cpu TO r;"),
        ("permission denied for schema metrics", "GRANT USAGE ON SCHEMA metrics TO r;"),
        ("permission denied for function pg_read_file", "leave the function pg_read_file out of the query"),
        ("keine Berechtigung für Tabelle cpu", "GRANT SELECT ON ... and GRANT USAGE ON SCHEMA ..."),
    ],
)
def test_a_missing_permission_comes_with_its_fix(message: str, fix: str) -> None:
    assert fix in failure("42501", message, role="r").hint


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (TimeoutError(), SourceTimeoutError, "in time"),
        (ConnectionRefusedError(111, "refused"), UpstreamError, "could not be reached"),
        (ConnectionError('PostgreSQL server at "h:1" rejected SSL upgrade'), UpstreamError, "rejected SSL"),
        (ssl.SSLError(1, "[SSL] wrong version number"), UpstreamError, "TLS: "),
        (OSError(), UpstreamError, "OSError"),
    ],
)
def test_a_connection_that_cannot_be_made_says_why(error: OSError, kind: type[SourceError], words: str) -> None:
    found = broken(error)
    assert isinstance(found, kind)
    assert words in str(found)
    assert found.hint


# ---- packed points


def decoder(*, labels: tuple[str, ...] = (), odd: bool = False, latest: bool = False) -> Decoder:
    shape = Shape(
        "t", (Value("v", "cpu", "percent"),), "s", tuple((each, each) for each in labels), "odd" if odd else None
    )
    return Decoder(shape, Ask(ASK.window, ASK.step_ms, latest=latest), "SELECT")


def points(*pairs: tuple[float, ...]) -> bytes:
    micros = [(round((START_MS / 1000 + at) * 1e6) - 946_684_800_000_000, *values) for at, *values in pairs]
    return b"".join(struct.pack(f">q{len(values)}d", at, *values) for at, *values in micros)


def test_labels_that_are_null_are_left_out() -> None:
    reply = decoder(labels=("host", "zone")).reply([("a", "h", None, points((0, 1)))], 10, 10)
    assert dict(reply.items[0].labels) == {"host": "h"}


def test_odd_rows_of_an_interval_are_counted_and_its_value_is_a_gap() -> None:
    reply = decoder(odd=True).reply([("a", points((0, np.nan, 2), (60, 5, 1)))], 10, 10)
    np.testing.assert_array_equal(reply.items[0].values, [np.nan, 5])
    assert reply.warnings == ["3 values that are no numbers (NaN, infinite or NULL) left out"]


def test_the_newest_number_counts_and_not_the_gap_after_it() -> None:
    rows = [("a", points((60, 5), (0, 1), (120, np.inf))), ("b", points((0, np.nan)))]
    reply = decoder(latest=True).reply(rows, 10, 10)
    assert [(one.service, one.timestamps_ms.tolist(), one.values.tolist()) for one in reply.items] == [
        ("a", [START_MS + 60_000], [5.0])
    ]


@pytest.mark.parametrize("raw", [None, b"x", b"x" * 17, 7, "text"])
def test_bytes_that_nobody_asked_for_are_a_protocol_error(raw: Any) -> None:
    with pytest.raises(ProtocolError):
        decoder().reply([("a", raw)], 10, 10)


def test_the_example_of_the_readme_is_valid() -> None:
    readme = Path(telemetry_mcp_timescaledb.__file__).with_name("README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```toml\n(.*?)```", readme, re.DOTALL)
    table = tomllib.loads(example)["sources"]["timescale"]
    made = TimescaleDB.Settings.model_validate(table)
    assert list(made.metrics) == ["cpu", "request_rate", "latency_p95", "error_rate"]
    assert "$__timeGroup" in made.metrics["error_rate"].query
