"""The InfluxDB source, version 1, against a real InfluxDB 1.6 with a day of data."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from telemetry_mcp import (
    AuthError,
    BadQueryError,
    Context,
    ForbiddenError,
    NativeQuery,
    NotFoundError,
    SeriesQuery,
    ServiceQuery,
    SourceError,
    UpstreamError,
    Window,
    http_for,
)
from telemetry_mcp_influxdb import InfluxDB
from telemetry_mcp_influxdb.preset import PRESETS

if TYPE_CHECKING:
    from tests.conftest import StartInflux
    from tests.real.influx import InfluxServer

pytestmark = pytest.mark.real

MINUTE = 60_000
HOUR = 60 * MINUTE
PER_SERVICE = 'WHERE "service" = $service AND $timeFilter GROUP BY time($__interval), "service"'
METRICS = {"cpu": {"query": f'SELECT mean("usage") FROM "cpu" {PER_SERVICE}', "unit": "percent"}}
ODD = {"odd": 'SELECT last("value") FROM "odd" WHERE "name" =~ /^$service$/ AND $timeFilter GROUP BY "name"'}
ADMIN, READER, WRITER = ("admin", "admin-of-test"), ("reader", "reader-of-test"), ("writer", "writer-of-test")

Connect = Callable[..., InfluxDB]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Makes sources with a real HTTP client, which are closed after the test."""
    opened = []

    def make(url: str, **settings: Any) -> InfluxDB:
        table = {"plugin": "influxdb", "url": url, "version": 1, "database": "telemetry", "metrics": METRICS}
        parsed = InfluxDB.Settings.model_validate({**table, **settings})
        opened.append(http_for(parsed, InfluxDB.headers(parsed)))
        return InfluxDB(parsed, Context("influx", http=opened[-1]))

    yield make
    for http in opened:
        await http.close()


@pytest.fixture(scope="session")
def guarded(start_influx: StartInflux) -> InfluxServer:
    """An InfluxDB that asks for a password, with a user each who may do all, read, and read and write."""
    server = start_influx(HTTP_AUTH_ENABLED="true")
    server.query(f"CREATE USER admin WITH PASSWORD '{ADMIN[1]}' WITH ALL PRIVILEGES")
    server.query("CREATE DATABASE telemetry; CREATE DATABASE secret", auth=ADMIN)
    for name, password in (READER, WRITER):
        server.query(f"CREATE USER {name} WITH PASSWORD '{password}'", auth=ADMIN)
    server.query("GRANT READ ON telemetry TO reader; GRANT ALL ON telemetry TO writer", auth=ADMIN)
    server.write(["cpu,service=a usage=1 1700000000"], auth=ADMIN)
    return server


def last(server: InfluxServer, duration_ms: int) -> Window:
    return Window(server.now_ms - duration_ms, server.now_ms)


# Numbers


async def test_a_day_of_every_service_equals_what_was_written(influx: InfluxServer, connect: Connect) -> None:
    window = last(influx, 24 * HOUR)
    reply = await connect(influx.url).fetch_series(SeriesQuery((), ("cpu",), window, MINUTE))

    assert [series.service for series in reply.items] == sorted(influx.services)
    for series in reply.items:
        times = np.arange(window.start_ms, window.end_ms, MINUTE)
        np.testing.assert_array_equal(series.timestamps_ms, times)
        base = 20 + influx.services.index(series.service)
        np.testing.assert_allclose(series.values, base + times // 1000 % 600 / 60)
        assert (series.metric, series.unit, series.labels) == ("cpu", "percent", {})
    assert (reply.warnings, reply.partial) == ([], None)


async def test_buckets_are_those_that_influxdb_computes_and_lie_whole_in_the_window(
    influx: InfluxServer, connect: Connect
) -> None:
    # Neither end is on a boundary of ten minutes: the outermost buckets reach beyond the window.
    window = Window(influx.now_ms - 3 * HOUR + 90_000, influx.now_ms - 30_000)
    query = SeriesQuery(("api-gateway", "cache-redis"), ("cpu",), window, 10 * MINUTE)
    reply = await connect(influx.url).fetch_series(query)

    within = f"time >= {window.start_ms}ms AND time < {window.end_ms}ms"
    text = f"SELECT mean(usage) FROM cpu WHERE service = 'api-gateway' AND {within} GROUP BY time(10m)"
    (direct,) = influx.query(text, db="telemetry")["results"][0]["series"]
    whole = [at for at in direct["values"] if window.start_ms <= at[0] <= window.end_ms - 10 * MINUTE]
    series = {one.service: one for one in reply.items}["api-gateway"]
    assert len(direct["values"]) > len(whole) == len(series)
    assert series.timestamps_ms.tolist() == [at for at, _ in whole]
    np.testing.assert_allclose(series.values, [value for _, value in whole])


async def test_the_latest_value_is_of_the_newest_whole_bucket(influx: InfluxServer, connect: Connect) -> None:
    window = Window(influx.now_ms - HOUR, influx.now_ms + 30_000)
    query = SeriesQuery(("api-gateway",), ("cpu",), window, MINUTE, latest=True)
    (series,) = (await connect(influx.url).fetch_series(query)).items
    assert series.timestamps_ms.tolist() == [influx.now_ms - MINUTE]
    assert series.values.tolist() == [20 + (influx.now_ms - MINUTE) // 1000 % 600 / 60]


async def test_buckets_without_samples_are_not_numbers_and_a_window_without_any_is_empty(
    influx: InfluxServer, connect: Connect
) -> None:
    source = connect(influx.url)
    sparse = SeriesQuery(("api-gateway",), ("cpu",), last(influx, HOUR), 30_000)
    (series,) = (await source.fetch_series(sparse)).items
    assert (len(series), int(np.isnan(series.values).sum())) == (120, 60)
    before = Window(influx.now_ms - 48 * HOUR, influx.now_ms - 47 * HOUR)
    reply = await source.fetch_series(SeriesQuery((), ("cpu",), before, MINUTE))
    assert (list(reply.items), reply.warnings, reply.partial) == ([], [], None)


async def test_a_step_too_small_for_the_window_is_widened_and_said(influx: InfluxServer, connect: Connect) -> None:
    window = last(influx, 24 * HOUR)
    query = SeriesQuery(("api-gateway",), ("cpu",), window, 1000)
    reply = await connect(influx.url).fetch_series(query)
    assert reply.warnings == ["step widened from 1 s to 8 s: 11,000 points at most"]
    whole = range(-(-window.start_ms // 8000) * 8000, window.end_ms - 8000 + 1, 8000)
    assert reply.items[0].timestamps_ms.tolist() == list(whole)


async def test_a_large_integer_and_a_second_mean_are_read(start_influx: StartInflux, connect: Connect) -> None:
    server = start_influx()
    server.query("CREATE DATABASE telemetry")
    server.write([f"m,service=a big={2**63 - 1}i,small=1 1700000000", "m,service=a big=1i,small=3 1700000001"])
    window = Window(1_700_000_000_000, 1_700_000_010_000)
    source = connect(server.url)
    text = "SELECT big FROM m WHERE $timeFilter GROUP BY service"
    (series,) = (await source.run_native(NativeQuery(text, window, MINUTE))).items
    assert series.values.tolist() == [float(2**63 - 1), 1.0]
    text = "SELECT mean(small), mean(big) FROM m WHERE $timeFilter GROUP BY service"
    reply = await source.run_native(NativeQuery(text, window, MINUTE))
    assert [(one.metric, one.service, one.timestamps_ms.tolist()) for one in reply.items] == [
        ("m.mean", "a", [window.start_ms]),
        ("m.mean_1", "a", [window.start_ms]),
    ]


# Names


async def test_every_odd_name_is_found_and_no_other(influx: InfluxServer, connect: Connect) -> None:
    source = connect(influx.url, service_tag="name", metrics=ODD)
    for number, name in enumerate(influx.odd_names):
        reply = await source.fetch_series(SeriesQuery((name,), ("odd",), last(influx, HOUR), MINUTE))
        assert [(one.service, one.values.tolist()) for one in reply.items] == [(name, [number])]
    together = await source.fetch_series(SeriesQuery(influx.odd_names, ("odd",), last(influx, HOUR), MINUTE))
    assert {one.service for one in together.items} == set(influx.odd_names)


@pytest.mark.parametrize(
    "name",
    [
        "x' OR service != '",
        '" OR "name" != "',
        "x/ OR name =~ /.*",
        ".*",
        "x\\",
        "$s0",
        "$service",
        "line\nbreak",
        "';DROP",
    ],
)
async def test_an_injected_expression_is_only_a_name_that_nobody_has(
    influx: InfluxServer, connect: Connect, name: str
) -> None:
    source = connect(influx.url, service_tag="name", metrics=ODD)
    reply = await source.fetch_series(SeriesQuery((name,), ("odd",), last(influx, HOUR), MINUTE))
    assert (list(reply.items), reply.partial) == ([], None)
    both = await source.fetch_series(SeriesQuery((name, "x"), ("odd",), last(influx, HOUR), MINUTE))
    assert [one.service for one in both.items] == ["x"]


async def test_services_are_those_of_the_window_and_of_the_tag(influx: InfluxServer, connect: Connect) -> None:
    source = connect(influx.url)
    reply = await source.list_services(ServiceQuery(last(influx, HOUR)))
    assert [one.name for one in reply.items] == sorted(influx.services)
    long_ago = Window(1_000_000_000_000, 1_000_000_060_000)
    assert list((await source.list_services(ServiceQuery(long_ago))).items) == []
    odd = connect(influx.url, service_tag="name", service_measurement="odd")
    names = [one.name for one in (await odd.list_services(ServiceQuery(last(influx, HOUR)))).items]
    assert names == sorted(influx.odd_names)
    nowhere = connect(influx.url, service_measurement='no"where')
    assert list((await nowhere.list_services(ServiceQuery(last(influx, HOUR)))).items) == []


# Refusals


async def test_what_writes_is_refused_before_it_is_sent_and_nothing_is_lost(
    influx: InfluxServer, connect: Connect
) -> None:
    source = connect(influx.url)
    for text in (
        'DROP MEASUREMENT "cpu"',
        "SELECT * INTO copy FROM cpu WHERE $timeFilter",
        "SELECT * FROM cpu WHERE $timeFilter; DROP MEASUREMENT cpu",
        "SELECT * FROM cpu WHERE $timeFilter -- comment",
        "SELECT * /* comment */ FROM cpu WHERE $timeFilter",
        "DELETE FROM cpu WHERE $timeFilter",
        "SHOW DATABASES",
    ):
        with pytest.raises(BadQueryError):
            await source.run_native(NativeQuery(text, last(influx, HOUR), MINUTE))
    (found,) = influx.query("SHOW MEASUREMENTS", db="telemetry")["results"]
    assert found["series"][0]["values"] == [["cpu"], ["odd"]]


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("SELECT foo(usage) FROM cpu WHERE $timeFilter", BadQueryError, "undefined function"),
        ("SELECT usage FROM cpu WHERE $timeFilter GROUP", BadQueryError, "error parsing query"),
        ("SELECT usage FROM cpu WHERE $timeFilter AND a = $b", BadQueryError, "missing parameter"),
        ("SELECT usage FROM no..cpu WHERE $timeFilter", NotFoundError, "database not found"),
        ("SELECT usage FROM telemetry.no.cpu WHERE $timeFilter", NotFoundError, "retention policy not found"),
    ],
)
async def test_an_error_inside_an_answer_is_typed_and_never_an_empty_success(
    influx: InfluxServer, connect: Connect, text: str, kind: type[SourceError], words: str
) -> None:
    with pytest.raises(kind, match=words):
        await connect(influx.url).run_native(NativeQuery(text, last(influx, HOUR), MINUTE))


async def test_limits_of_the_server_are_told_and_cut_rows_make_the_answer_partial(
    start_influx: StartInflux, connect: Connect
) -> None:
    server = start_influx(COORDINATOR_MAX_SELECT_BUCKETS="100", HTTP_MAX_ROW_LIMIT="10")
    server.query("CREATE DATABASE telemetry")
    server.write(f"cpu,service=a usage={at % 7} {1_700_000_000 + at}" for at in range(100))
    window = Window(1_700_000_000_000, 1_700_000_600_000)
    source = connect(server.url)
    with pytest.raises(BadQueryError, match="max-select-buckets") as raised:
        await source.fetch_series(SeriesQuery((), ("cpu",), window, 1000))
    assert "shorter window" in raised.value.hint
    text = "SELECT usage FROM cpu WHERE $timeFilter GROUP BY service"
    reply = await source.run_native(NativeQuery(text, window, MINUTE))
    assert (len(reply.items[0]), reply.partial) == (10, "the server cut rows off: its max-row-limit")


async def test_a_server_that_is_gone_is_an_upstream_error(start_influx: StartInflux, connect: Connect) -> None:
    server = start_influx()
    server.kill()
    with pytest.raises(UpstreamError, match="could not be reached"):
        await connect(server.url).fetch_series(SeriesQuery((), ("cpu",), Window(0, HOUR), MINUTE))


async def test_version_two_asked_of_a_version_one_names_the_fault(influx: InfluxServer, connect: Connect) -> None:
    source = connect(influx.url, version=2, database="", bucket="b", org="o", token="t0ken", metrics={})
    text = "from(bucket: v.defaultBucket) |> range(start: v.timeRangeStart)"
    with pytest.raises(NotFoundError) as raised:
        await source.run_native(NativeQuery(text, last(influx, HOUR), MINUTE))
    assert "is `version` that of the server?" in raised.value.hint
    version = {check.name: check for check in (await source.check()).items}["version"]
    assert (version.ok, version.fix) == (False, "set version = 1")


# Users


async def test_a_reader_reads_its_database_and_no_other(guarded: InfluxServer, connect: Connect) -> None:
    user = {"username": READER[0], "password": READER[1]}
    window = Window(1_700_000_000_000, 1_700_000_600_000)
    text = "SELECT usage FROM cpu WHERE $timeFilter GROUP BY service"
    (series,) = (await connect(guarded.url, **user).run_native(NativeQuery(text, window, MINUTE))).items
    assert (series.service, series.values.tolist()) == ("a", [1.0])
    with pytest.raises(ForbiddenError, match="requires READ on secret"):
        await connect(guarded.url, **user, database="secret").run_native(NativeQuery(text, window, MINUTE))


@pytest.mark.parametrize("user", [{}, {"username": "reader", "password": "wrong-of-test"}])
async def test_wrong_and_missing_credentials_are_refused_without_being_told(
    guarded: InfluxServer, connect: Connect, user: dict[str, str]
) -> None:
    source = connect(guarded.url, **user)
    with pytest.raises(AuthError) as raised:
        await source.list_services(ServiceQuery(Window(0, HOUR)))
    assert "wrong-of-test" not in str(raised.value)
    checks = {check.name: check for check in (await source.check()).items}
    assert (checks["credentials"].ok, checks["credentials"].fix) == (False, "correct username and password")
    assert checks["reachable"].ok


async def test_a_sound_source_passes_its_check(influx: InfluxServer, connect: Connect) -> None:
    checks = (await connect(influx.url).check()).items
    assert [check.name for check in checks] == [
        *("reachable", "version", "clock", "credentials", "database telemetry"),
        "permission READ on database telemetry",
    ]
    assert all(check.ok for check in checks)
    assert "1.6.7" in checks[1].detail


async def test_the_check_names_a_missing_database_a_missing_right_and_too_many_rights(
    guarded: InfluxServer, connect: Connect
) -> None:
    async def failed(user: tuple[str, str], database: str) -> list[tuple[str, str, bool]]:
        source = connect(guarded.url, username=user[0], password=user[1], database=database)
        return [(c.name, c.fix, c.optional) for c in (await source.check()).items if not c.ok]

    assert await failed(READER, "telemetry") == []
    assert await failed(READER, "secret") == [
        ("permission READ on database secret", 'GRANT READ ON "secret" TO "reader"', False)
    ]
    fix = 'use a user of its own: GRANT READ ON "telemetry" TO "admin"'
    assert await failed(ADMIN, "telemetry") == [("reads only", fix, True)]
    names = [name for name, _, _ in await failed(ADMIN, "nowhere")]
    assert names == ["database nowhere", "reads only"]


# Telegraf


async def test_the_telegraf_preset_gives_percent_and_the_sum_of_the_interfaces_rates(
    start_influx: StartInflux, connect: Connect
) -> None:
    server = start_influx()
    server.query("CREATE DATABASE telemetry")
    start = 1_700_000_040
    for at in range(start, start + 600, 10):
        tags = "host=h1,service=shop"
        passed = at - start
        server.write(
            [
                f"cpu,{tags},cpu=cpu-total usage_idle=80 {at}",
                f"cpu,{tags},cpu=cpu0 usage_idle=10 {at}",
                f"mem,{tags} used_percent=40 {at}",
                f"disk,{tags},path=/ used_percent=50 {at}",
                f"disk,{tags},path=/data used_percent=70 {at}",
                *(
                    f"net,{tags},interface={name} bytes_recv={passed * 100}i,bytes_sent={passed}i {at}"
                    for name in ("e0", "e1")
                ),
                f"net,{tags},interface=lo bytes_recv={passed * 999}i,bytes_sent={passed}i {at}",
            ]
        )
    window = Window(start * 1000, (start + 600) * 1000)
    wanted = {"cpu": 20.0, "memory": 40.0, "disk": 70.0, "network_receive": 200.0, "network_transmit": 2.0}
    for tag, service in (("service", "shop"), ("host", "h1")):
        source = connect(server.url, service_tag=tag, metrics=PRESETS["telegraf"])
        for services in ((), (service,)):
            reply = await source.fetch_series(SeriesQuery(services, tuple(wanted), window, MINUTE))
            assert {(one.service, one.metric): set(one.values.tolist()) for one in reply.items} == {
                (service, name): {value} for name, value in wanted.items()
            }
            assert (reply.warnings, reply.partial) == ([], None)
