"""Series and services of the TimescaleDB source, from a real PostgreSQL without the extension."""

from __future__ import annotations

import re
import tomllib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import telemetry_mcp_timescaledb
from telemetry_mcp import BadQueryError, Context, NativeQuery, SeriesQuery, ServiceQuery, Window
from telemetry_mcp_timescaledb import TimescaleDB

if TYPE_CHECKING:
    from tests.real.postgres import PostgresServer

pytestmark = pytest.mark.real

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
CPU = {"table": "metrics.samples", "time": "ts", "where": {"metric": "cpu"}, "unit": "percent"}
SOME = Window(1_767_225_600_000, 1_767_225_600_000 + HOUR_MS)
"""An hour from 2026-01-01 00:00 UTC on: the tests' own tables begin there."""

Connect = Callable[..., TimescaleDB]
Making = Callable[[str, str], None]


@pytest.fixture
async def connect(postgres: PostgresServer) -> AsyncIterator[Connect]:
    opened = []

    def make(**settings: Any) -> TimescaleDB:
        table = {
            **{"plugin": "timescaledb", "host": "127.0.0.1", "port": postgres.port, "database": "postgres"},
            **{"username": postgres.reader, "password": postgres.password, "ca_file": postgres.ca_file},
            **{"metrics": {"cpu": CPU}, **settings},
        }
        opened.append(TimescaleDB(TimescaleDB.Settings.model_validate(table), Context("pg")))
        return opened[-1]

    yield make
    for source in opened:
        await source.close()


@pytest.fixture
def making(postgres: PostgresServer) -> Making:
    """Makes a table that the reader may read, and fills it."""

    def make(columns: str, rows: str) -> None:
        postgres.sql(
            f"DROP TABLE IF EXISTS public.made CASCADE; CREATE TABLE public.made ({columns});"
            f" INSERT INTO public.made VALUES {rows}; GRANT SELECT ON public.made TO {postgres.reader};"
        )

    return make


def last(server: PostgresServer, duration_ms: int) -> Window:
    return Window(server.now_ms - duration_ms, server.now_ms)


def asked(*services: str, metric: str = "cpu", window: Window = SOME, **more: Any) -> SeriesQuery:
    return SeriesQuery(services, (metric,), window, more.pop("step_ms", MINUTE_MS), **more)


async def test_numbers_are_those_of_sql_itself(postgres: PostgresServer, connect: Connect) -> None:
    window = last(postgres, DAY_MS)
    reply = await connect().fetch_series(asked(window=window, step_ms=5 * MINUTE_MS))
    expected: dict[str, list[tuple[int, float]]] = {}
    for line in postgres.sql(
        "SELECT service, extract(epoch FROM date_bin('5 minutes', ts, '2000-01-01'))::bigint * 1000, avg(value)"
        " FROM metrics.samples WHERE metric = 'cpu' GROUP BY 1, 2 ORDER BY 1, 2"
    ).splitlines():
        service, at, value = line.split("|")
        expected.setdefault(service, []).append((int(at), float(value)))

    assert {series.service for series in reply.items} == set(expected) == set(postgres.services)
    for series in reply.items:
        times, values = np.array(expected[series.service]).T
        np.testing.assert_array_equal(series.timestamps_ms, times)
        np.testing.assert_allclose(series.values, values, rtol=1e-12)
        assert (series.unit, len(series)) == ("percent", 288)
    assert (reply.warnings, reply.partial) == ([], None)
    assert "date_bin" in reply.queries[0]


async def test_the_latest_value_of_every_service_comes_in_one_reply(
    postgres: PostgresServer, connect: Connect
) -> None:
    window = Window(postgres.now_ms - 10 * MINUTE_MS - 1234, postgres.now_ms)
    reply = await connect().fetch_series(asked(*postgres.services, window=window, latest=True))
    assert [series.timestamps_ms.tolist() for series in reply.items] == [[postgres.now_ms - MINUTE_MS]] * 8


async def test_the_last_counted_interval_of_the_newest_values_is_a_whole_one(
    postgres: PostgresServer, connect: Connect
) -> None:
    metric = {**CPU, "aggregate": "count_per_s", "unit": "per_s"}
    window = Window(postgres.now_ms - 10 * MINUTE_MS - 1234, postgres.now_ms)
    reply = await connect(metrics={"cpu": metric}).fetch_series(asked("cache-redis", window=window, latest=True))
    np.testing.assert_allclose(reply.items[0].values, [2 / 60])


async def test_labels_tell_series_of_one_service_apart(postgres: PostgresServer, connect: Connect) -> None:
    source = connect(metrics={"cpu": {**CPU, "labels": ["host"]}})
    reply = await source.fetch_series(asked("x", "auth-service", window=last(postgres, HOUR_MS)))
    assert [(one.service, dict(one.labels)) for one in reply.items] == [
        ("auth-service", {"host": "a"}),
        ("auth-service", {"host": "b"}),
    ]
    np.testing.assert_allclose(reply.items[1].values - reply.items[0].values, 1.0)


async def test_every_odd_name_is_found_and_no_other(postgres: PostgresServer, connect: Connect) -> None:
    raw = "SELECT time, service, value FROM metrics.odd WHERE service = ANY($service)"
    source = connect(metrics={"mapped": {"table": "metrics.odd"}, "raw": raw})
    window = last(postgres, HOUR_MS)
    for metric in ("mapped", "raw"):
        for nth, name in enumerate(postgres.odd_names):
            reply = await source.fetch_series(asked(name, metric=metric, window=window))
            assert [(series.service, series.values.tolist()) for series in reply.items] == [(name, [nth])]
        together = await source.fetch_series(asked(*postgres.odd_names, metric=metric, window=window))
        everyone = await source.fetch_series(asked(metric=metric, window=window))
        for reply in (together, everyone):
            assert {series.service for series in reply.items} == set(postgres.odd_names)


@pytest.mark.parametrize(
    "name",
    [
        "x' OR '1'='1",
        "'; DROP TABLE metrics.samples; --",
        "%",
        "{a,b}",
        'x"}',
        "$1",
        "$service",
        "x') UNION SELECT now(), 'y', 1 --",
        "\\",
        "",
    ],
)
async def test_an_injected_name_is_only_a_name_that_nobody_has(
    postgres: PostgresServer, connect: Connect, name: str
) -> None:
    raw = "SELECT ts AS time, service, value FROM metrics.samples WHERE service = ANY($service)"
    source = connect(metrics={"cpu": CPU, "raw": raw})
    for metric in ("cpu", "raw"):
        reply = await source.fetch_series(asked(name, metric=metric, window=last(postgres, HOUR_MS)))
        assert (list(reply.items), reply.partial) == ([], None)
    assert postgres.sql("SELECT count(*) FROM metrics.samples") == str(2 * 8 * 1440)


@pytest.mark.parametrize("name", ["a\0b", "a\ud800b"])
async def test_a_name_that_no_text_column_can_hold_is_a_bad_query(connect: Connect, name: str) -> None:
    with pytest.raises(BadQueryError):
        await connect().fetch_series(asked(name))


async def test_names_of_tables_and_columns_are_quoted(postgres: PostgresServer, connect: Connect) -> None:
    odd = '''"Odd"" "".table"'''
    postgres.sql(
        f"""CREATE TABLE metrics.{odd} ("the ""time"" column" timestamptz, "Service; --" text, "max(value)" int);
        INSERT INTO metrics.{odd} VALUES ('2026-01-01 00:10+00', 'a', 7);
        GRANT SELECT ON metrics.{odd} TO {postgres.reader}"""
    )
    metric = {
        **{"table": f"metrics.{odd}", "time": 'the "time" column', "value": "max(value)"},
        **{"service": "Service; --", "where": {"Service; --": ["a", "b"]}},
    }
    reply = await connect(metrics={"cpu": metric}).fetch_series(asked())
    assert [(one.service, one.values.tolist()) for one in reply.items] == [("a", [7.0])]


# ---- numbers that are none, and times of every kind


async def test_nan_and_infinity_are_left_out_and_counted_so_that_max_is_a_number(
    making: Making, connect: Connect
) -> None:
    making(
        "time timestamptz, service text, value float8",
        """('2026-01-01 00:00+00', 'a', 1), ('2026-01-01 00:00:10+00', 'a', 'NaN'),
        ('2026-01-01 00:00:20+00', 'a', 'Infinity'), ('2026-01-01 00:00:30+00', 'a', 5),
        ('2026-01-01 00:00:40+00', 'a', NULL), ('2026-01-01 00:02+00', 'a', '-Infinity')""",
    )
    for aggregate, value in (
        ("max", 5.0),
        ("avg", 3.0),
        ("min", 1.0),
        ("last", 5.0),
        ("first", 1.0),
        ("sum", 6.0),
    ):
        metric = {"table": "made", "aggregate": aggregate}
        reply = await connect(metrics={"cpu": metric}).fetch_series(asked())
        np.testing.assert_array_equal(reply.items[0].values, [value, np.nan])
        assert reply.warnings == ["3 values that are no numbers (NaN, infinite or NULL) left out"]


@pytest.mark.parametrize(
    ("aggregate", "value"),
    [("p50", 3.0), ("p99", 4.96), ("count", 5.0), ("sum_per_s", 15 / 60), ("count_per_s", 5 / 60)],
)
async def test_percentiles_and_rates_are_the_usual_ones(
    making: Making, connect: Connect, aggregate: str, value: float
) -> None:
    rows = ", ".join(f"('2026-01-01 00:00:{nth}0+00', 'a', {nth})" for nth in range(1, 6))
    making("time timestamptz, service text, value int", rows)
    source = connect(metrics={"cpu": {"table": "made", "aggregate": aggregate}})
    reply = await source.fetch_series(asked())
    np.testing.assert_allclose(reply.items[0].values, [value])


async def test_points_of_a_select_that_are_no_numbers_are_gaps_and_counted(connect: Connect) -> None:
    text = """SELECT '2026-01-01'::timestamptz + n * interval '1 minute' AS time, 'a' AS service, v AS value
        FROM unnest(ARRAY[1, 'NaN', 'Infinity', NULL, 5]::float8[]) WITH ORDINALITY AS u (v, n)"""
    (series,) = (reply := await connect(metrics={"cpu": text}).fetch_series(asked())).items
    np.testing.assert_array_equal(series.values, [1, np.nan, np.nan, np.nan, 5])
    assert reply.warnings == ["3 values that are no numbers (NaN, infinite or NULL) left out"]
    (newest,) = (await connect(metrics={"cpu": text}).fetch_series(asked(latest=True))).items
    assert newest.values.tolist() == [5.0]


async def test_a_column_of_nulls_is_a_series_without_a_number(making: Making, connect: Connect) -> None:
    making("time timestamptz, service text, value numeric", "('2026-01-01 00:00+00', 'a', NULL)")
    reply = await connect(metrics={"cpu": {"table": "made"}}).fetch_series(asked())
    np.testing.assert_array_equal(reply.items[0].values, [np.nan])


@pytest.mark.parametrize(
    "kind", ["numeric", "int", "bigint", "smallint", "real", "double precision", "numeric(9,3)"]
)
async def test_every_kind_of_number_is_a_number(making: Making, connect: Connect, kind: str) -> None:
    making(f"time timestamptz, service text, value {kind}", "('2026-01-01 00:01+00', 'a', 1234)")
    source = connect(metrics={"cpu": {"table": "made"}, "raw": "SELECT * FROM made"})
    for metric in ("cpu", "raw"):
        reply = await source.fetch_series(asked(metric=metric))
        assert reply.items[0].values.tolist() == [1234.0]


async def test_a_number_beyond_a_double_is_a_bad_query_that_says_so(making: Making, connect: Connect) -> None:
    making("time timestamptz, service text, value numeric", "('2026-01-01 00:01+00', 'a', 1e400)")
    with pytest.raises(BadQueryError, match="22003") as raised:
        await connect(metrics={"cpu": {"table": "made"}}).fetch_series(asked())
    assert "double" in raised.value.hint


@pytest.mark.parametrize(
    ("kind", "written"),
    [
        ("timestamptz", "2026-01-01 00:30:00.123456+00"),
        ("timestamptz", "2025-12-31 19:30:00.123456 America/New_York"),
        ("timestamptz", "2026-01-01 09:30:00.123456 Asia/Tokyo"),
        ("timestamp", "2026-01-01 00:30:00.123456"),
    ],
)
async def test_a_time_without_a_zone_is_utc_whatever_zone_the_server_keeps(
    postgres: PostgresServer, making: Making, connect: Connect, kind: str, written: str
) -> None:
    assert postgres.sql("SHOW timezone") == "America/New_York"
    making(f"time {kind}, service text, value int", f"('{written}', 'a', 1)")
    source = connect(metrics={"cpu": {"table": "made"}, "raw": "SELECT * FROM made WHERE $__timeFilter(time)"})
    (binned,) = (await source.fetch_series(asked())).items
    (exact,) = (await source.fetch_series(asked(metric="raw"))).items
    assert binned.timestamps_ms.tolist() == [SOME.start_ms + 30 * MINUTE_MS]
    assert exact.timestamps_ms.tolist() == [SOME.start_ms + 30 * MINUTE_MS + 123]


async def test_a_date_is_its_midnight_in_utc(making: Making, connect: Connect) -> None:
    making("time date, service text, value int", "('2026-01-01', 'a', 3)")
    (series,) = (await connect(metrics={"cpu": {"table": "made"}}).fetch_series(asked())).items
    assert (series.timestamps_ms.tolist(), series.values.tolist()) == ([SOME.start_ms], [3.0])


async def test_rows_before_the_year_2000_and_infinite_times_do_no_harm(making: Making, connect: Connect) -> None:
    making(
        "time timestamptz, service text, value int",
        "('1999-12-31 23:59:59+00', 'a', 1), ('infinity', 'a', 2), ('-infinity', 'a', 3), (NULL, 'a', 4)",
    )
    window = Window(946_684_740_000, 946_684_860_000)
    source = connect(metrics={"cpu": {"table": "made"}, "raw": "SELECT * FROM made"})
    for metric, at in (("cpu", 946_684_740_000), ("raw", 946_684_799_000)):
        (series,) = (await source.fetch_series(asked(metric=metric, window=window))).items
        assert (series.timestamps_ms.tolist(), series.values.tolist()) == ([at], [1.0])


async def test_the_window_is_half_open_and_no_interval_begins_before_it(making: Making, connect: Connect) -> None:
    making(
        "time timestamptz, service text, value int",
        "('2025-12-31 23:59:59.999+00', 'a', 1), ('2026-01-01 00:00+00', 'a', 2), "
        "('2026-01-01 00:59:59+00', 'a', 3), ('2026-01-01 01:00+00', 'a', 4)",
    )
    source = connect(metrics={"cpu": {"table": "made"}})
    (series,) = (await source.fetch_series(asked(step_ms=7 * MINUTE_MS))).items
    assert series.timestamps_ms.tolist() == [SOME.start_ms, SOME.start_ms + 56 * MINUTE_MS]
    assert series.values.tolist() == [2.0, 3.0]


async def test_rows_of_one_series_and_time_become_their_mean_and_are_counted(connect: Connect) -> None:
    text = """SELECT '2026-01-01 00:01+00'::timestamptz AS time, 'a' AS service, v AS value
        FROM (VALUES (1.0), (3.0), ('NaN')) AS made (v)"""
    (series,) = (reply := await connect(metrics={"cpu": text}).fetch_series(asked())).items
    assert series.values.tolist() == [2.0]
    assert "2 rows share the time of another of their series: the mean is taken" in reply.warnings


async def test_rows_come_sorted_however_the_query_orders_them(connect: Connect) -> None:
    text = """SELECT '2026-01-01'::timestamptz + n * interval '1 minute' AS time, 'a' AS service, n AS value
        FROM unnest(ARRAY[3, 1, 2]) AS n ORDER BY n DESC"""
    (series,) = (await connect(metrics={"cpu": text}).fetch_series(asked())).items
    assert series.values.tolist() == [1.0, 2.0, 3.0]
    assert np.all(np.diff(series.timestamps_ms) > 0)


async def test_rows_without_a_service_are_left_out_and_counted(making: Making, connect: Connect) -> None:
    making(
        "time timestamptz, service text, value int",
        "('2026-01-01 00:00+00', NULL, 1), ('2026-01-01 00:01+00', NULL, 1), ('2026-01-01 00:00+00', 'a', 2)",
    )
    source = connect(metrics={"cpu": {"table": "made"}, "raw": "SELECT * FROM made"})
    for metric in ("cpu", "raw"):
        reply = await source.fetch_series(asked(metric=metric))
        assert [one.service for one in reply.items] == ["a"]
        assert reply.warnings == ["2 points without a service left out"]
    alone = await source.fetch_series(asked("a"))
    assert alone.warnings == []


async def test_an_empty_window_is_looked_at_and_nothing_found(connect: Connect) -> None:
    reply = await connect().fetch_series(asked(window=Window(0, HOUR_MS)))
    assert (list(reply.items), reply.partial, reply.warnings) == ([], None, [])


# ---- limits


async def test_more_points_than_allowed_make_the_answer_partial_and_keep_the_newest(
    postgres: PostgresServer, connect: Connect
) -> None:
    window = last(postgres, HOUR_MS)
    reply = await connect(max_points=79).fetch_series(asked(window=window))
    assert reply.partial == "the newest 79 points taken, there are more: ask for a longer step"
    assert all(series.timestamps_ms[-1] == postgres.now_ms - MINUTE_MS for series in reply.items)
    whole = await connect(max_points=480).fetch_series(asked(window=window))
    assert (sum(map(len, whole.items)), whole.partial) == (480, None)


async def test_more_series_than_allowed_make_the_answer_partial(
    postgres: PostgresServer, connect: Connect
) -> None:
    window = last(postgres, HOUR_MS)
    reply = await connect(max_series=7).fetch_series(asked(window=window))
    assert (len(reply.items), reply.partial) == (
        7,
        "the first 7 series taken, there are more: ask for fewer services or labels",
    )
    assert (await connect(max_series=8).fetch_series(asked(window=window))).partial is None


async def test_one_wrong_metric_of_two_leaves_the_other_whole(postgres: PostgresServer, connect: Connect) -> None:
    source = connect(metrics={"cpu": CPU, "memory": {"table": "metrics.sample"}})
    reply = await source.fetch_series(SeriesQuery((), ("cpu", "memory"), last(postgres, HOUR_MS), MINUTE_MS))
    assert len(reply.items) == 8
    assert reply.partial is not None
    assert reply.partial.startswith('memory: 42P01: relation "metrics.sample" does not exist')


# ---- services


async def test_services_are_those_seen_in_the_window(postgres: PostgresServer, connect: Connect) -> None:
    source = connect(metrics={"cpu": CPU, "memory": CPU, "odd": {"table": "metrics.odd"}})
    reply = await source.list_services(ServiceQuery(last(postgres, HOUR_MS)))
    assert [one.name for one in reply.items] == sorted({*postgres.services, *postgres.odd_names})
    assert len(reply.queries) == 2
    assert list((await source.list_services(ServiceQuery(Window(0, HOUR_MS)))).items) == []


async def test_an_inventory_tells_team_and_environment(making: Making, connect: Connect) -> None:
    making(
        "name text, squad text, stage text",
        "('b', 'search', 'prod'), ('a', NULL, NULL), ('a', 'pay', 'prod'), (NULL, 'x', 'x'), ('', 'x', 'x')",
    )
    table = {"table": "made", "service": "name", "team": "squad", "environment": "stage"}
    reply = await connect(inventory=table).list_services(ServiceQuery(SOME))
    told = [(one.name, one.team, one.environment) for one in reply.items]
    assert told == [("a", "pay", "prod"), ("b", "search", "prod")]
    few = await connect(inventory=table, max_series=2).list_services(ServiceQuery(SOME))
    assert few.partial == "the first 2 services taken, there are more"


# ---- native queries


async def test_every_number_column_of_a_native_query_is_a_metric_and_the_rest_are_labels(
    postgres: PostgresServer, connect: Connect
) -> None:
    text = """SELECT $__timeGroup(ts) AS time, service, host, avg(value) AS mean, count(*) AS n
        FROM metrics.samples WHERE $__timeFilter(ts) AND service = 'cache-redis' GROUP BY 1, 2, 3;"""
    query = NativeQuery(text, last(postgres, HOUR_MS), 10 * MINUTE_MS)
    reply = await connect().run_native(query)
    found = [(one.metric, one.service, dict(one.labels), len(one)) for one in reply.items]
    assert found == [
        ("mean", "cache-redis", {"host": "a"}, 6),
        ("n", "cache-redis", {"host": "a"}, 6),
        ("mean", "cache-redis", {"host": "b"}, 6),
        ("n", "cache-redis", {"host": "b"}, 6),
    ]
    assert reply.items[1].values.tolist() == [10.0] * 6


async def test_a_native_query_may_do_without_a_service(postgres: PostgresServer, connect: Connect) -> None:
    text = "SELECT ts, max(value) FROM metrics.samples GROUP BY ts -- the newest"
    reply = await connect().run_native(NativeQuery(text, last(postgres, HOUR_MS), MINUTE_MS))
    assert [(one.service, one.metric, len(one)) for one in reply.items] == [("", "max", 60)]


async def test_a_native_answer_says_that_it_was_cut(postgres: PostgresServer, connect: Connect) -> None:
    text = "SELECT ts, service, value FROM metrics.samples"
    reply = await connect().run_native(NativeQuery(text, last(postgres, HOUR_MS), MINUTE_MS, limit=3))
    assert len(reply.items) == 3
    assert reply.partial == "the first 3 series taken, there are more: ask for fewer services or labels"


@pytest.mark.parametrize(
    ("text", "lacks"),
    [
        ("SELECT 1 AS n", "no time column"),
        ("SELECT now() AS time", "no number column"),
        ("SELECT now() AS time, 'a' AS service", "no number column"),
        ("SELECT extract(epoch FROM now()) AS time, 1 AS n", "no time column"),
    ],
)
async def test_a_query_without_time_or_number_is_told_what_its_columns_are(
    connect: Connect, text: str, lacks: str
) -> None:
    with pytest.raises(BadQueryError, match=lacks):
        await connect().run_native(NativeQuery(text, SOME, MINUTE_MS))


async def test_every_metric_of_the_readmes_example_answers(postgres: PostgresServer, connect: Connect) -> None:
    postgres.sql(
        f"""CREATE TABLE metrics.cpu (time timestamptz, service text, host text, usage real);
        CREATE TABLE metrics.http_requests (time timestamptz, service text, status int, duration_ms numeric);
        INSERT INTO metrics.cpu VALUES ('2026-01-01 00:00:30+00', 'a', 'h', 50);
        INSERT INTO metrics.http_requests SELECT '2026-01-01 00:00+00'::timestamptz + n * interval '1 second', 'a',
          CASE WHEN n % 4 = 0 THEN 503 ELSE 200 END, n FROM generate_series(0, 59) AS n;
        GRANT SELECT ON metrics.cpu, metrics.http_requests TO {postgres.reader}"""
    )
    readme = Path(telemetry_mcp_timescaledb.__file__).with_name("README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```toml\n(.*?)```", readme, re.DOTALL)
    metrics = tomllib.loads(example)["sources"]["timescale"]["metrics"]
    reply = await connect(metrics=metrics).fetch_series(SeriesQuery(("a",), tuple(metrics), SOME, MINUTE_MS))
    assert reply.partial is None
    assert {one.metric: (one.values.tolist(), one.unit) for one in reply.items} == {
        "cpu": ([50.0], "percent"),
        "request_rate": ([1.0], "per_s"),
        "latency_p95": ([56.05], "ms"),
        "error_rate": ([0.25], "ratio"),
    }
