"""The InfluxDB source over a server on loopback that speaks the wire of all three versions as it is told.

Version 1 is tried against a real server in test_influxdb_real.py; 2 and 3 are not to be had here.
"""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import anyio
import pytest

from telemetry_mcp import (
    AuthError,
    BadQueryError,
    Context,
    ForbiddenError,
    NativeQuery,
    NotFoundError,
    ProtocolError,
    RateLimitedError,
    SeriesQuery,
    ServiceQuery,
    SourceError,
    Threads,
    UpstreamError,
    Window,
    http_for,
)
from telemetry_mcp_influxdb import InfluxDB

T0 = 1_700_000_040_000
WINDOW = Window(T0, T0 + 600_000)
MINUTE = 60_000
TOKEN, PASSWORD = "token-of-test", "password-of-test"
PATHS = {1: "/query", 2: "/api/v2/query", 3: "/api/v3/query_sql"}
TABLES: dict[int, dict[str, Any]] = {
    1: {"database": "telegraf", "username": "reader", "password": PASSWORD},
    2: {"bucket": "telegraf", "org": "acme", "token": TOKEN},
    3: {"database": "telegraf", "token": TOKEN},
}
QUERIES = {
    1: 'SELECT mean("u") FROM "cpu" WHERE "service" = $service AND $timeFilter'
    ' GROUP BY time($__interval), "service"',
    2: "from(bucket: v.defaultBucket) |> range(start: v.timeRangeStart, stop: v.timeRangeStop)"
    " |> filter(fn: (r) => r.service == $service)"
    ' |> aggregateWindow(every: v.windowPeriod, fn: mean, timeSrc: "_start")',
    3: "SELECT $__dateBin(time) AS time, service, avg(u) AS u FROM cpu"
    " WHERE service IN ($service) AND $__timeFilter GROUP BY 1, 2",
}
CSV = (
    "#datatype,string,long,dateTime:RFC3339,dateTime:RFC3339,dateTime:RFC3339,double,string\r\n"
    "#group,false,false,true,true,false,false,true\r\n#default,_result,,,,,,\r\n"
    ",result,table,_start,_stop,_time,_value,service\r\n"
    ",,0,2023-11-14T22:14:00Z,2023-11-14T22:24:00Z,2023-11-14T22:14:00Z,1,a\r\n"
    ",,0,2023-11-14T22:14:00Z,2023-11-14T22:24:00Z,2023-11-14T22:15:00Z,2,a\r\n\r\n"
)
ANSWERS = {
    1: '{"results":[{"statement_id":0,"series":[{"name":"cpu","tags":{"service":"a"},"columns":["time","mean"],'
    f'"values":[[{T0},1],[{T0 + MINUTE},2]]}}]}}]}}',
    2: CSV,
    3: '{"time":"2023-11-14T22:14:00","service":"a","u":1.0}\n'
    '{"time":"2023-11-14T22:15:00","service":"a","u":2.0}\n',
}
VERSIONS = pytest.mark.parametrize("version", [1, 2, 3])


@dataclass
class Asked:
    method: str
    path: str
    params: dict[str, str]
    headers: dict[str, str]
    body: str

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def form(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(self.body).items()}


@dataclass
class Told:
    body: str | bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    promised: int | None = None
    """Content-Length, where it is not the body's."""


@dataclass
class Backend:
    """Answers by path and keeps what it was asked."""

    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    answers: dict[str, Callable[[Asked], Told]] = field(default_factory=dict)

    def on(self, path: str, body: str | bytes = b"", status: int = 200, **more: Any) -> None:
        self.answers[path] = lambda asked: Told(body, status, **more)

    def answer(self, asked: Asked) -> Told:
        self.asked.append(asked)
        told = self.answers.get(asked.path)
        return told(asked) if told else Told(b"404 page not found\n", 404)


@pytest.fixture
def backend() -> Iterator[Backend]:
    backend = Backend()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            parts = urlsplit(self.path)
            params = {name: values[0] for name, values in parse_qs(parts.query).items()}
            body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
            headers = {name.lower(): value for name, value in self.headers.items()}
            told = backend.answer(Asked(self.command, parts.path, params, headers, body))
            raw = told.body.encode() if isinstance(told.body, str) else told.body
            self.send_response(told.status)
            for name, value in told.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(raw) if told.promised is None else told.promised))
            self.end_headers()
            self.wfile.write(raw)

        do_GET = do_POST

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    backend.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield backend
    server.shutdown()
    thread.join()
    server.server_close()


Connect = Callable[..., InfluxDB]


@pytest.fixture
async def connect(backend: Backend) -> AsyncIterator[Connect]:
    """Makes sources of a version and of settings that differ from the usual ones; closed after the test."""
    opened = []

    def make(version: int, threads: Threads | None = None, **settings: Any) -> InfluxDB:
        metrics = {"cpu": {"query": QUERIES[version], "unit": "percent"}}
        table = {"plugin": "influxdb", "url": backend.url, "version": version, "metrics": metrics}
        parsed = InfluxDB.Settings.model_validate({**table, **TABLES[version], **settings})
        opened.append(http_for(parsed, InfluxDB.headers(parsed)))
        return InfluxDB(parsed, Context("influx", http=opened[-1], threads=threads or Threads()))

    yield make
    for http in opened:
        await http.close()


def asked(*services: str, latest: bool = False) -> SeriesQuery:
    return SeriesQuery(services, ("cpu", "unheard_of"), WINDOW, MINUTE, latest)


# What is asked


@VERSIONS
async def test_series_of_every_version_come_out_the_same(backend: Backend, connect: Connect, version: int) -> None:
    backend.on(PATHS[version], ANSWERS[version])
    reply = await connect(version).fetch_series(asked("a"))
    (series,) = reply.items
    assert (series.service, series.metric, series.unit, series.labels) == ("a", "cpu", "percent", {})
    assert (series.timestamps_ms.tolist(), series.values.tolist()) == ([T0, T0 + MINUTE], [1, 2])
    assert (reply.warnings, reply.partial, len(reply.queries)) == ([], None, 1)
    newest = (await connect(version).fetch_series(asked("a", latest=True))).items[0]
    assert (newest.timestamps_ms.tolist(), newest.values.tolist()) == ([T0 + MINUTE], [2])


async def test_version_one_gets_a_form_with_bound_values(backend: Backend, connect: Connect) -> None:
    backend.on("/query", ANSWERS[1])
    reply = await connect(1, retention_policy="a year").fetch_series(asked("a", "b'"))
    (request,) = backend.asked
    assert (request.method, request.headers["authorization"]) == ("POST", "Basic cmVhZGVyOnBhc3N3b3JkLW9mLXRlc3Q=")
    assert request.form["db"] == "telegraf"
    assert (request.form["rp"], request.form["epoch"]) == ("a year", "ms")
    assert json.loads(request.form["params"]) == {"s0": "a", "s1": "b'"}
    assert '("service" = $s0 OR "service" = $s1)' in request.form["q"]
    assert reply.queries == [f'{request.form["q"]} with {{"s0":"a","s1":"b\'"}}']


async def test_version_two_gets_json_and_asks_for_annotations(backend: Backend, connect: Connect) -> None:
    backend.on("/api/v2/query", CSV)
    await connect(2).fetch_series(asked("a"))
    (request,) = backend.asked
    assert (request.params, request.headers["authorization"]) == ({"org": "acme"}, f"Token {TOKEN}")
    assert request.json["dialect"] == {
        "header": True,
        "delimiter": ",",
        "annotations": ["datatype", "group", "default"],
    }
    assert '(r.service == "a")' in request.json["query"]


async def test_version_three_gets_json_and_asks_for_lines(backend: Backend, connect: Connect) -> None:
    backend.on("/api/v3/query_sql", ANSWERS[3])
    await connect(3).fetch_series(asked("a"))
    (request,) = backend.asked
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert {**request.json, "q": ""} == {"db": "telegraf", "q": "", "format": "jsonl", "params": {"s0": "a"}}
    assert "(service = $s0)" in request.json["q"]


@VERSIONS
@pytest.mark.parametrize("name", ["", "\ud800"])
async def test_a_name_that_cannot_be_asked_for_is_refused_before_anything_is_sent(
    backend: Backend, connect: Connect, version: int, name: str
) -> None:
    with pytest.raises(BadQueryError):
        await connect(version).fetch_series(asked("a", name))
    assert backend.asked == []


@VERSIONS
async def test_a_native_query_runs_inside_its_window_and_its_series_have_their_own_names(
    backend: Backend, connect: Connect, version: int
) -> None:
    backend.on(PATHS[version], ANSWERS[version])
    reply = await connect(version).run_native(NativeQuery(QUERIES[version], WINDOW, MINUTE, limit=1))
    assert [(s.service, s.metric) for s in reply.items] == [("a", {1: "cpu.mean", 2: "_value", 3: "u"}[version])]


@VERSIONS
async def test_a_native_query_that_does_not_only_read_is_never_sent(
    backend: Backend, connect: Connect, version: int
) -> None:
    for text in (f"{QUERIES[version]}; DROP x", f"{QUERIES[version]} |> to(bucket: x) -- INSERT", "DELETE x"):
        with pytest.raises(BadQueryError):
            await connect(version).run_native(NativeQuery(text, WINDOW, MINUTE))
    assert backend.asked == []


async def test_one_bad_query_of_two_leaves_the_other_answered(backend: Backend, connect: Connect) -> None:
    def answer(request: Asked) -> Told:
        broken = "foo(" in request.form["q"]
        return Told('{"results":[{"error":"undefined function foo()"}]}' if broken else ANSWERS[1])

    backend.answers["/query"] = answer
    metrics = {"cpu": QUERIES[1], "memory": QUERIES[1].replace("mean(", "foo(")}
    reply = await connect(1, metrics=metrics).fetch_series(SeriesQuery((), ("cpu", "memory"), WINDOW, MINUTE))
    assert [series.metric for series in reply.items] == ["cpu"]
    assert reply.partial == "memory: undefined function foo()"


# Services


async def test_services_of_version_two_are_the_tags_values(backend: Backend, connect: Connect) -> None:
    body = CSV.splitlines()[0].replace("dateTime:RFC3339,dateTime:RFC3339,dateTime:RFC3339,double,", "")
    backend.on("/api/v2/query", f"{body}\r\n,result,table,_value\r\n,,0,b\r\n,,0,a\r\n,,0,b\r\n\r\n")
    reply = await connect(2, service_measurement='c"pu').list_services(ServiceQuery(WINDOW))
    assert [one.name for one in reply.items] == ["a", "b"]
    assert backend.asked[0].json["query"] == (
        'import "influxdata/influxdb/schema"\nschema.tagValues(bucket: "telegraf", tag: "service",'
        ' predicate: (r) => r._measurement == "c\\"pu",'
        " start: 2023-11-14T22:14:00.000Z, stop: 2023-11-14T22:24:00.000Z)"
    )


async def test_services_of_version_three_are_looked_for_in_every_table_that_has_the_tag(
    backend: Backend, connect: Connect
) -> None:
    def answer(request: Asked) -> Told:
        tables = "information_schema" in request.json["q"]
        return Told('{"value":"cpu"}\n{"value":"me\\"m"}\n' if tables else '{"value":"b"}\n{"value":"a"}\n{}\n')

    backend.answers["/api/v3/query_sql"] = answer
    reply = await connect(3, service_tag="app").list_services(ServiceQuery(WINDOW))
    assert [one.name for one in reply.items] == ["a", "b"]
    first, second = (request.json["q"] for request in backend.asked)
    assert "column_name = 'app'" in first
    within = "\"time\" >= '2023-11-14T22:14:00.000Z' AND \"time\" < '2023-11-14T22:24:00.000Z'"
    assert second == (
        f'SELECT "app" AS value FROM "cpu" WHERE {within} UNION SELECT "app" AS value FROM "me""m" WHERE {within}'
    )


async def test_a_database_without_the_tag_has_no_services(backend: Backend, connect: Connect) -> None:
    backend.on("/api/v3/query_sql", "")
    assert list((await connect(3).list_services(ServiceQuery(WINDOW))).items) == []
    assert len(backend.asked) == 1


# Faults


@VERSIONS
@pytest.mark.parametrize(
    ("told", "kind"),
    [
        (Told('{"error":"authorization failed"}', 401), AuthError),
        (Told("", 403), ForbiddenError),
        (Told("404 page not found\n", 404), NotFoundError),
        (Told("", 429, {"Retry-After": "3600"}), RateLimitedError),
        (Told("<html>bad gateway</html>", 502), UpstreamError),
        (Told("<html>login</html>"), ProtocolError),
        (Told("", 302, {"Location": "http://elsewhere.test/"}), ProtocolError),
        (Told(b"\xff\xfe\xff"), ProtocolError),
        (Told(b"\x1f\x8bnot gzip", headers={"Content-Encoding": "gzip"}), ProtocolError),
        (Told(gzip.compress(b"x" * 2_000_000), headers={"Content-Encoding": "gzip"}), ProtocolError),
        (Told('{"results":[', promised=9999), UpstreamError),
        (Told("#datatype,str", promised=9999), UpstreamError),
    ],
)
async def test_a_fault_is_a_typed_error_after_one_request_and_tells_no_credential(
    backend: Backend, connect: Connect, version: int, told: Told, kind: type[SourceError]
) -> None:
    backend.answers[PATHS[version]] = lambda request: told
    source = connect(version, max_body_mb=1)
    with pytest.raises(kind) as raised:
        await source.fetch_series(asked("a"))
    assert len(backend.asked) == 1
    said = f"{raised.value!r} {raised.value.hint} {source.settings!r}"
    assert TOKEN not in said
    assert PASSWORD not in said


@VERSIONS
async def test_a_large_answer_is_read_in_a_thread_and_a_small_one_is_not(
    backend: Backend, connect: Connect, version: int
) -> None:
    class Counted(Threads):
        calls = 0

        async def run(self, call: Callable[[], Any]) -> Any:
            Counted.calls += 1
            return await super().run(call)

    rows = "".join(f'{{"time":"2023-11-14T22:14:00","service":"a","u":{n}}}\n' for n in range(3000))
    cells = [[T0, n] for n in range(9000)]
    large = {
        1: ANSWERS[1].replace(f"[[{T0},1],[{T0 + MINUTE},2]]", json.dumps(cells)),
        2: CSV.rstrip() + "\r\n" + CSV.splitlines()[-2].join(["", "\r\n"]) * 2500,
        3: rows,
    }
    for body, calls in ((ANSWERS[version], 0), (large[version], 1)):
        backend.on(PATHS[version], body)
        Counted.calls = 0
        assert (await connect(version, threads=Counted()).fetch_series(asked("a"))).items
        assert Counted.calls == calls


@VERSIONS
async def test_a_question_that_is_given_up_ends_at_once(connect: Connect, version: int) -> None:
    async def silent(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await anyio.sleep_forever()

    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, silent)
        url = f"http://127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}"
        start = anyio.current_time()
        with anyio.move_on_after(0.1) as scope:
            await connect(version, url=url).fetch_series(asked("a"))
        assert scope.cancelled_caught
        assert anyio.current_time() - start < 1
        tasks.cancel_scope.cancel()


async def test_a_ping_that_needs_a_token_still_tells_that_the_server_is_there(
    backend: Backend, connect: Connect
) -> None:
    backend.on("/api/v3/query_sql", '{"one":1}\n')
    for status, there in ((401, True), (404, False)):
        backend.on("/ping", "", status)
        checks = {check.name: check.ok for check in (await connect(3).check()).items}
        assert (checks["reachable"], checks["credentials"]) == (there, True)
