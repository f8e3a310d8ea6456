"""What the TimescaleDB source may do to a real PostgreSQL, and what it says when PostgreSQL refuses."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import anyio
import numpy as np
import pytest
import trustme

from telemetry_mcp import (
    AuthError,
    BadQueryError,
    Check,
    Context,
    ForbiddenError,
    NativeQuery,
    NotFoundError,
    RateLimitedError,
    SeriesQuery,
    SourceError,
    SourceTimeoutError,
    UpstreamError,
    Window,
)
from telemetry_mcp_timescaledb import TimescaleDB

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import StartPostgres
    from tests.real.postgres import PostgresServer

pytestmark = pytest.mark.real

HOUR_MS = 3_600_000
CPU = {"table": "metrics.samples", "time": "ts", "where": {"metric": "cpu"}}
ONE = "SELECT $__timeFrom AS time, 1 AS n"

Connect = Callable[..., TimescaleDB]


def settings(server: PostgresServer, **more: Any) -> dict[str, Any]:
    return {
        **{"plugin": "timescaledb", "host": "127.0.0.1", "port": server.port, "database": "postgres"},
        **{"username": server.reader, "password": server.password, "ca_file": server.ca_file},
        **{"metrics": {"cpu": CPU}, **more},
    }


@pytest.fixture
async def connect(postgres: PostgresServer) -> AsyncIterator[Connect]:
    """Makes sources of settings that differ from the usual ones; with `server`, of another server."""
    opened = []

    def make(server: PostgresServer = postgres, **more: Any) -> TimescaleDB:
        parsed = TimescaleDB.Settings.model_validate(settings(server, **more))
        opened.append(TimescaleDB(parsed, Context("pg")))
        return opened[-1]

    yield make
    for source in opened:
        await source.close()


async def run(source: TimescaleDB, sql: str) -> Any:
    return await source.run_native(NativeQuery(sql, Window(0, HOUR_MS), 60_000))


async def raised(source: TimescaleDB, sql: str) -> SourceError:
    with pytest.raises(SourceError) as caught:
        await run(source, sql)
    assert type(caught.value) is not SourceError
    assert caught.value.hint
    return caught.value


# ---- reading only, even as a superuser


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO kept VALUES (2)",
        "DELETE FROM kept RETURNING now() AS time, 1 AS n",
        "SET default_transaction_read_only = on; INSERT INTO kept VALUES (2)",
        "COMMIT; INSERT INTO kept VALUES (2)",
        "SELECT now() AS time, 1 AS n; DROP TABLE kept",
        "SELECT now() AS time, 1 AS n) AS asked; DROP TABLE kept; SELECT * FROM (SELECT 1",
        "SELECT now() AS time, 1 AS n) AS asked; COMMIT; DROP TABLE kept; --",
        "WITH gone AS (DELETE FROM kept RETURNING n) SELECT now() AS time, n FROM gone",
        "SELECT now() AS time, 1 AS n INTO more FROM kept",
        "SELECT now() AS time, n FROM kept FOR UPDATE",
        "SELECT $__timeFrom AS time, add_one() AS n",
        "SELECT $__timeFrom AS time, 1 AS n, set_config('transaction_read_only', 'off', true)",
        "SELECT $__timeFrom AS time, nextval('numbers') AS n",
        "EXPLAIN ANALYZE DELETE FROM kept",
        "TRUNCATE kept",
        "COPY kept TO PROGRAM 'true'",
        "DO $$ BEGIN DELETE FROM kept; END $$",
        "CALL wipe()",
        "VACUUM kept",
        "",
        ";",
        "-- nothing",
    ],
)
async def test_nothing_but_a_select_is_let_through_even_as_a_superuser(
    postgres: PostgresServer, connect: Connect, sql: str
) -> None:
    postgres.sql(
        """DROP TABLE IF EXISTS kept; CREATE TABLE kept (n int); INSERT INTO kept VALUES (1);
        CREATE SEQUENCE IF NOT EXISTS numbers;
        CREATE OR REPLACE FUNCTION add_one() RETURNS int LANGUAGE sql AS 'INSERT INTO kept VALUES (2) RETURNING n';
        CREATE OR REPLACE PROCEDURE wipe() LANGUAGE sql AS 'DELETE FROM kept'"""
    )
    source = connect(username="postgres", password=None)
    assert isinstance(await raised(source, sql), BadQueryError)
    assert postgres.sql("SELECT array_agg(n) FROM kept") == "{1}"
    assert postgres.sql("SELECT to_regclass('more')") == ""
    assert len((await run(source, ONE)).items) == 1


async def test_what_a_function_sets_or_locks_is_gone_with_the_next_question(
    postgres: PostgresServer, connect: Connect
) -> None:
    source = connect(pool_size=1)
    await run(
        source,
        """SELECT $__timeFrom AS time, 1 AS n, set_config('statement_timeout', '0', false) AS a,
        set_config('search_path', 'elsewhere', false) AS b, pg_advisory_lock(7)::text""",
    )
    reply = await run(
        source,
        """SELECT $__timeFrom AS time, 1 AS n, current_setting('statement_timeout') AS limited,
        current_setting('search_path') AS path, current_setting('transaction_read_only') AS only,
        current_setting('TimeZone') AS zone, current_setting('application_name') AS name""",
    )
    assert dict(reply.items[0].labels) == {
        **{"limited": "30s", "path": '"$user", public', "only": "on", "zone": "UTC", "name": "telemetry-mcp"}
    }
    assert postgres.sql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == "0"


# ---- what PostgreSQL refuses


@pytest.mark.parametrize(
    ("sql", "error", "state", "hint"),
    [
        ("SELECT * FROM nope", BadQueryError, "42P01", "tables: metrics.odd, metrics.samples"),
        ("SELECT nope FROM metrics.odd", BadQueryError, "42703", "tables:"),
        (
            "SELECT servise FROM metrics.odd",
            BadQueryError,
            "42703",
            'Perhaps you meant to reference the column "odd',
        ),
        ("SELECT * FROM nope.odd", BadQueryError, "42P01", "tables:"),
        ("SELEC 1", BadQueryError, "42601", "one SELECT"),
        ("SELECT now() AS time, 1/0 AS n", BadQueryError, "22012", "nullif"),
        ("SELECT now() AS time, 'x'::int AS n", BadQueryError, "22P02", ""),
        (
            "SELECT date_bin('1 month', time, '2000-01-01') AS time, value FROM metrics.odd",
            *(BadQueryError, "0A000", "months are no fixed time"),
        ),
        ("SELECT time_bucket('1 minute', time) AS time FROM metrics.odd", BadQueryError, "42883", "$__timeGroup"),
        ("SELECT now() AS time, nope(1) AS n", BadQueryError, "42883", "argument types"),
        (
            "SELECT now() AS time, 1 AS n, pg_read_file('/etc/hostname')",
            *(ForbiddenError, "42501", "leave the function pg_read_file out"),
        ),
        ("SELECT now() AS time, 1 AS n, rolpassword FROM pg_authid", ForbiddenError, "42501", "GRANT SELECT"),
        ("SELECT now() AS time, 1 AS n, n FROM q AS (x) JOIN", BadQueryError, "42601", "one SELECT"),
    ],
)
async def test_every_refusal_becomes_the_error_that_it_means(
    connect: Connect, sql: str, error: type[SourceError], state: str, hint: str
) -> None:
    found = await raised(connect(), sql)
    assert isinstance(found, error)
    assert str(found).startswith(f"{state}: ")
    assert hint in found.hint


async def test_an_unknown_table_or_column_of_a_metric_is_told_what_there_is(connect: Connect) -> None:
    hints = {}
    for metric in ({**CPU, "table": "metrics.sample"}, {**CPU, "time": "at"}, {**CPU, "where": {"metrik": "cpu"}}):
        with pytest.raises(BadQueryError) as caught:
            await connect(metrics={"cpu": metric}).fetch_series(SeriesQuery((), ("cpu",), Window(0, 1), 1))
        hints[str(caught.value).partition(":")[0]] = caught.value.hint
    assert "did you mean metrics.samples?" in hints["42P01"]
    assert 'columns of "metrics"."samples": ts, service, host, metric, value' in hints["42703"]


async def test_a_missing_permission_is_named_with_the_grant_that_gives_it(
    postgres: PostgresServer, connect: Connect
) -> None:
    postgres.sql(
        """CREATE SCHEMA IF NOT EXISTS "Closed"; DROP TABLE IF EXISTS "Closed".t, shut;
        CREATE TABLE "Closed".t (time timestamptz, service text, value int);
        CREATE TABLE shut (time timestamptz, service text, value int)"""
    )
    for table, grants in {
        "shut": 'GRANT SELECT ON "shut" TO "telemetry_reader";',
        "Closed.t": 'GRANT USAGE ON SCHEMA "Closed" TO "telemetry_reader"; '
        'GRANT SELECT ON "Closed"."t" TO "telemetry_reader";',
    }.items():
        source = connect(metrics={"cpu": {"table": table}})
        with pytest.raises(ForbiddenError, match="42501: permission denied for") as caught:
            await source.fetch_series(SeriesQuery((), ("cpu",), Window(0, 1), 1))
        assert caught.value.hint == grants
        postgres.sql(caught.value.hint)
        assert (await source.fetch_series(SeriesQuery((), ("cpu",), Window(0, 1), 1))).items == []


# ---- time limits, cancelling, servers that go away


async def test_a_statement_is_stopped_by_the_server_when_its_time_is_over(connect: Connect) -> None:
    source = connect(statement_timeout="100ms")
    found = await raised(source, "SELECT $__timeFrom AS time, 1 AS n FROM (SELECT pg_sleep(60)) AS slow")
    assert isinstance(found, SourceTimeoutError)
    assert "57014" in str(found)
    assert "statement_timeout" in found.hint
    assert len((await run(source, ONE)).items) == 1


async def test_a_timeout_of_the_source_shortens_that_of_the_statement(connect: Connect) -> None:
    found = await raised(connect(timeout="100ms"), "SELECT $__timeFrom AS time, 1 AS n, pg_sleep(60)::text")
    assert isinstance(found, SourceTimeoutError)


async def test_a_locked_table_is_not_waited_for_until_the_end(postgres: PostgresServer, connect: Connect) -> None:
    postgres.sql(
        "DROP TABLE IF EXISTS busy; CREATE TABLE busy (time timestamptz, n int); GRANT SELECT ON busy TO public"
    )
    holder = connect(username="postgres", password=None)
    async with holder.session.reading() as reader:
        await reader.link.execute("ROLLBACK; BEGIN; LOCK TABLE busy")
        found = await raised(connect(statement_timeout="200ms"), "SELECT * FROM busy")
    assert isinstance(found, SourceTimeoutError)
    assert "55P03" in str(found)


async def counted(server: PostgresServer, condition: str, wanted: int) -> None:
    """Waits until so many other sessions are in that condition."""
    sql = f"SELECT count(*) FROM pg_stat_activity WHERE {condition} AND pid <> pg_backend_pid()"
    with anyio.fail_after(10):
        while await anyio.to_thread.run_sync(server.sql, sql) != str(wanted):
            pass


@pytest.mark.parametrize("in_the_middle_of", ["the statement", "connecting"])
async def test_a_cancelled_question_ends_at_once_here_and_on_the_server(
    postgres: PostgresServer, connect: Connect, in_the_middle_of: str
) -> None:
    source = connect(pool_size=1)
    slow = "SELECT $__timeFrom AS time, 1 AS n, 'cancel me', pg_sleep(60)::text"
    running = "query LIKE '%cancel me%' AND state = 'active'"
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run, source, slow)
        if in_the_middle_of == "the statement":
            await counted(postgres, running, 1)
        else:
            await anyio.lowlevel.checkpoint()
        began = anyio.current_time()
        tasks.cancel_scope.cancel()
    assert anyio.current_time() - began < 0.1
    await counted(postgres, running, 0)
    # Of a pool of one, the same connection answers again: it was put in order, not left behind.
    assert len((await run(source, ONE)).items) == 1
    await counted(postgres, "state LIKE 'idle in transaction%'", 0)


async def test_many_questions_at_once_share_few_connections(postgres: PostgresServer, connect: Connect) -> None:
    source = connect(pool_size=2)
    counts = []

    async def ask() -> None:
        sql = """SELECT $__timeFrom AS time, count(*) AS n FROM pg_stat_activity
            WHERE application_name = 'telemetry-mcp'"""
        counts.append((await run(source, sql)).items[0].values[0])

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(ask)
    assert len(counts) == 20
    assert max(counts) <= 2


async def test_after_close_no_connection_is_left(postgres: PostgresServer, connect: Connect) -> None:
    source = connect()
    await run(source, ONE)
    await source.close()
    await counted(postgres, "application_name = 'telemetry-mcp'", 0)


async def test_a_terminated_connection_is_an_upstream_error_and_the_next_question_connects_anew(
    postgres: PostgresServer, connect: Connect
) -> None:
    source = connect(pool_size=1, username="postgres", password=None)
    found = await raised(source, "SELECT $__timeFrom AS time, 1 AS n, pg_terminate_backend(pg_backend_pid())")
    assert isinstance(found, UpstreamError)
    assert len((await run(source, ONE)).items) == 1
    assert found.retryable


async def test_a_server_that_is_gone_is_an_upstream_error_until_it_is_back(
    start_postgres: StartPostgres, connect: Connect
) -> None:
    server = start_postgres()
    source = connect(server, username="postgres", password=None)
    assert len((await run(source, ONE)).items) == 1
    server.kill()
    for _ in range(2):
        found = await raised(source, ONE)
        assert isinstance(found, UpstreamError)
    assert "could not be reached" in str(found)
    assert (await source.check()).items[0].ok is False
    server.start()
    assert len((await run(source, ONE)).items) == 1


async def test_a_hundred_thousand_points_do_not_hold_up_the_event_loop(connect: Connect) -> None:
    sql = """SELECT to_timestamp(n / 1000.0) AS time, 'a' AS service, sin(n) AS value, s::text AS host
        FROM generate_series(0, 99999) AS n, (VALUES (1), (2)) AS series (s)"""
    source, longest, done = connect(), 0.0, False

    async def watch() -> None:
        nonlocal longest
        while not done:
            before = time.perf_counter()
            await anyio.lowlevel.checkpoint()
            longest = max(longest, time.perf_counter() - before)

    await run(source, ONE)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch)
        reply = await source.run_native(NativeQuery(sql, Window(0, 100_000), 1))
        done = True
    assert [len(series) for series in reply.items] == [100_000, 100_000]
    np.testing.assert_allclose(reply.items[0].values, np.sin(np.arange(100_000)), atol=1e-12)
    assert longest < 0.05


# ---- being let in


async def test_a_wrong_password_an_unknown_role_and_a_role_that_is_refused_are_auth_errors(
    postgres: PostgresServer, connect: Connect
) -> None:
    postgres.sql("DROP ROLE IF EXISTS turned_away; CREATE ROLE turned_away LOGIN PASSWORD 'pg-secret-of-test'")
    cases: list[tuple[str, dict[str, Any]]] = [
        ("28P01", {"password": "wrong-secret-1"}),
        ("28P01", {"username": "nobody-knows-me"}),
        ("28P01", {"password": None}),
        ("28000", {"username": "turned_away"}),
    ]
    for state, more in cases:
        found = await raised(connect(**more), ONE)
        assert isinstance(found, AuthError), found
        assert str(found).startswith(state)
        assert "secret" not in f"{found!r} {found} {found.hint} {found.__cause__!r}"


async def test_an_unknown_database_is_not_found(connect: Connect) -> None:
    found = await raised(connect(database="nope"), ONE)
    assert isinstance(found, NotFoundError)
    assert "3D000" in str(found)
    assert "`database`" in found.hint


async def test_no_connection_left_makes_everybody_wait(postgres: PostgresServer, connect: Connect) -> None:
    postgres.sql("DROP ROLE IF EXISTS narrow; CREATE ROLE narrow LOGIN PASSWORD 'x-secret' CONNECTION LIMIT 1")
    narrow = {"username": "narrow", "password": "x-secret"}
    first = connect(**narrow)
    await run(first, ONE)
    found = await raised(connect(**narrow), ONE)
    assert isinstance(found, RateLimitedError)
    assert "53300" in str(found)
    assert "pool_size" in found.hint


async def test_nothing_from_the_environment_changes_who_is_asked_and_how(
    postgres: PostgresServer, connect: Connect, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "service.conf").write_text("[stray]\nhost=192.0.2.1\nuser=stray\nsslmode=disable\n")
    stray = {
        **{"PGHOST": "192.0.2.1", "PGPORT": "1", "PGUSER": "stray", "PGPASSWORD": "stray", "PGDATABASE": "stray"},
        **{"PGSSLMODE": "disable", "PGSERVICE": "stray", "PGSERVICEFILE": str(tmp_path / "service.conf")},
        **{"PGTARGETSESSIONATTRS": "read-write", "PGSSLNEGOTIATION": "direct", "PGOPTIONS": "-c work_mem=64"},
        **{"PGPASSFILE": str(tmp_path / "none"), "PGSSLROOTCERT": str(tmp_path / "none")},
    }
    for name, value in stray.items():
        monkeypatch.setenv(name, value)
    sql = """SELECT $__timeFrom AS time, 1 AS n, current_user::text AS who, version FROM pg_stat_ssl
        WHERE pid = pg_backend_pid()"""
    reply = await run(connect(), sql)
    assert dict(reply.items[0].labels) == {"who": postgres.reader, "version": "TLSv1.3"}
    monkeypatch.setenv("PGPASSWORD", postgres.password)
    assert isinstance(await raised(connect(password=None), ONE), AuthError)


async def test_tls_is_checked_as_far_as_sslmode_says(
    postgres: PostgresServer, connect: Connect, tmp_path: Path
) -> None:
    stranger = tmp_path / "stranger.pem"
    trustme.CA().cert_pem.write_to_path(stranger)
    enough: list[dict[str, Any]] = [
        {"sslmode": "verify-full"},
        {"sslmode": "verify-ca", "host": "localhost"},
        {"sslmode": "require", "ca_file": None},
        {"sslmode": "disable", "ca_file": None},
    ]
    too_little: list[dict[str, Any]] = [
        {"ca_file": stranger},
        {"ca_file": None},
        {"host": "localhost"},
        {"sslmode": "verify-ca", "ca_file": stranger},
    ]
    for more in enough:
        assert len((await run(connect(**more), ONE)).items) == 1
    for more in too_little:
        found = await raised(connect(**more), ONE)
        assert isinstance(found, UpstreamError)
        assert str(found).startswith("TLS: ")
        assert "ca_file" in found.hint


async def test_a_server_without_tls_says_so(start_postgres: StartPostgres, connect: Connect) -> None:
    server = start_postgres()
    server.sql("ALTER SYSTEM SET ssl = off")
    server.kill()
    server.start()
    found = await raised(connect(server, username="postgres"), ONE)
    assert isinstance(found, UpstreamError)
    assert 'sslmode = "disable"' in found.hint


async def test_a_unix_socket_needs_no_tls(postgres: PostgresServer, connect: Connect) -> None:
    source = connect(host=str(postgres.sockets), ca_file=None, username="postgres", password=None)
    assert len((await run(source, ONE)).items) == 1


# ---- doctor


def named(checks: Any) -> dict[str, Check]:
    return {check.name: check for check in checks}


async def test_a_sound_source_passes_its_check(connect: Connect) -> None:
    reply = await connect().check()
    checks = named(reply.items)
    assert [*checks] == ["connect", "tls", "clock", "timescaledb", "table metrics.samples", "read-only role"]
    assert [name for name, check in checks.items() if not check.ok] == ["timescaledb"]
    assert checks["timescaledb"].optional
    assert checks["timescaledb"].fix == "CREATE EXTENSION timescaledb;"
    assert checks["connect"].detail.startswith("as telemetry_reader to 1")
    assert checks["tls"].detail == "TLSv1.3"
    assert checks["table metrics.samples"].enables == "series of cpu"


async def test_each_table_that_may_not_be_read_comes_with_its_grant(
    postgres: PostgresServer, connect: Connect
) -> None:
    postgres.sql(
        """DROP TABLE IF EXISTS private, partly;
        CREATE TABLE private (time timestamptz, service text, value int, team text);
        CREATE TABLE partly (time timestamptz, service text, value int);
        GRANT SELECT (time, service, value) ON partly TO telemetry_reader"""
    )
    metrics = {
        "cpu": {"table": "private"},
        "memory": {"table": "private", "where": {"kind": "x"}},
        "disk": {"table": "partly"},
        "errors": {"table": "metrics.sampels"},
    }
    checks = named((await connect(metrics=metrics, inventory={"table": "metrics.odd"}).check()).items)
    private = checks["table private"]
    assert (private.detail, private.enables) == ("no column kind", "series of memory")
    assert private.fix == 'name columns that exist; "private" has: time, service, value, team'
    assert checks["table partly"].ok
    assert checks["table metrics.odd"].enables == "services"
    assert "did you mean metrics.samples?" in checks["table metrics.sampels"].fix
    checks = named((await connect(metrics={"cpu": metrics["cpu"]}).check()).items)
    private = checks["table private"]
    assert (private.ok, private.enables) == (False, "series of cpu")
    assert private.fix == 'GRANT SELECT ON "private" TO "telemetry_reader";'
    postgres.sql(private.fix)
    assert named((await connect(metrics={"cpu": metrics["cpu"]}).check()).items)["table private"].ok


async def test_a_role_that_may_write_is_advised_against(postgres: PostgresServer, connect: Connect) -> None:
    for user in ("postgres", "writer"):
        postgres.sql(
            "DROP OWNED BY writer; DROP ROLE writer"
            if "writer" in postgres.sql("SELECT rolname FROM pg_roles")
            else ""
        )
        postgres.sql(
            """CREATE ROLE writer LOGIN PASSWORD 'w-secret'; GRANT USAGE ON SCHEMA metrics TO writer;
            GRANT SELECT, INSERT ON metrics.samples TO writer"""
        )
        password = "w-secret" if user == "writer" else None
        role = named((await connect(username=user, password=password).check()).items)["read-only role"]
        assert (role.ok, role.optional) == (False, True)
        assert "it may write metrics.samples" in role.detail
        assert 'GRANT SELECT ON "metrics"."samples" TO telemetry_reader;' in role.fix


async def test_a_source_that_cannot_connect_has_one_check_that_says_why(connect: Connect) -> None:
    (check,) = (await connect(password="wrong-secret-2").check()).items
    assert (check.name, check.ok) == ("connect", False)
    assert "28P01" in check.detail
    assert "`password`" in check.fix
    assert "doctor" not in check.fix
    assert "wrong-secret-2" not in f"{check}"
