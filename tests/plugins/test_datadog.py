"""The Datadog plugin against a small server on loopback: what it asks, what it answers, what it survives."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import anyio
import numpy as np
import pytest
from pydantic import ValidationError

from telemetry_mcp import (
    AuthError,
    BadQueryError,
    Context,
    ForbiddenError,
    NativeQuery,
    ProtocolError,
    RateLimitedError,
    SeriesQuery,
    ServiceQuery,
    SourceError,
    SourceTimeoutError,
    UpstreamError,
    Window,
)
from telemetry_mcp_datadog import Datadog, telemetry_sources
from telemetry_mcp_datadog.wire import points, unit

CASES = Path(__file__).parents[3] / "shared" / "wire" / "datadog"
START = 1_700_000_040_000
WINDOW = Window(START, START + 600_000)
MINUTE = 60_000
CPU = "avg:system.cpu.total{service:$service} by {service}"
SECOND = {"family": "time", "name": "second", "scale_factor": 1.0}


@dataclass
class Asked:
    path: str
    params: dict[str, list[str]]
    headers: dict[str, str]


@dataclass
class Answer:
    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    promised: int | None = None
    """Content-Length, where it is not the body's."""
    drips: bool = False
    """Go on for ever, a byte at a time."""


def missing(asked: Asked) -> Answer:
    return Answer(b'{"errors":["Not found"]}', 404)


@dataclass
class Stub:
    """Answers by path and keeps what it was asked."""

    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    answers: dict[str, Callable[[Asked], Answer]] = field(default_factory=dict)

    def on(self, path: str, body: Any = None, status: int = 200, **more: Any) -> None:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.answers[path] = lambda asked: Answer(raw, status, **more)


@pytest.fixture
def stub() -> Iterator[Stub]:
    with serving() as one:
        yield one


@pytest.fixture
def stranger() -> Iterator[Stub]:
    with serving() as other:
        yield other


class serving:
    """A `with` block in which a stub is served."""

    def __enter__(self) -> Stub:
        stub = self.stub = Stub()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                lowered = {name.lower(): value for name, value in self.headers.items()}
                asked = Asked(parts.path, parse_qs(parts.query), lowered)
                stub.asked.append(asked)
                answer = stub.answers.get(parts.path, missing)(asked)
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                length = len(answer.body) if answer.promised is None else answer.promised
                self.send_header("Content-Length", str(length))
                self.end_headers()
                self.wfile.write(answer.body)
                pause = threading.Event()
                while answer.drips and not pause.wait(0.02):
                    self.wfile.write(b" ")

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, request: Any, client_address: Any) -> None:
                """A client that gave up is what some tests are about."""

        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        stub.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()
        return stub

    def __exit__(self, *error: object) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def source(url: str, **more: Any) -> Datadog:
    table = {"api_key": "api-key-1", "app_key": "app-key-1", "metrics": {"cpu": CPU}, **more}
    return Datadog(Datadog.Settings(plugin="datadog", url=url, **table), Context("dd"))


@pytest.fixture
async def datadog(stub: Stub) -> AsyncIterator[Datadog]:
    one = source(stub.url, timeout="500ms", max_body_mb=1)
    yield one
    await one.close()


def question(*services: str, latest: bool = False, metrics: tuple[str, ...] = ("cpu",)) -> SeriesQuery:
    return SeriesQuery(services, metrics, WINDOW, MINUTE, latest)


def row(service: str | None, pointlist: list[Any], **more: Any) -> dict[str, Any]:
    tags = [f"service:{service}"] if service else []
    return {"tag_set": tags, "scope": ",".join(tags) or "*", "interval": 60, "pointlist": pointlist, **more}


def ok(*rows: dict[str, Any]) -> dict[str, Any]:
    return {"status": "ok", "series": list(rows)}


async def failure(datadog: Datadog) -> SourceError:
    with pytest.raises(SourceError) as raised:
        await datadog.fetch_series(question("a"))
    return raised.value


async def test_seconds_go_out_and_milliseconds_come_back(stub: Stub, datadog: Datadog) -> None:
    stub.on("/api/v1/query", ok(row("a", [[START, 1.5], [START + MINUTE, 2]], unit=[SECOND, None])))
    reply = await datadog.fetch_series(question("a"))
    assert stub.asked[0].params["from"] == [str(START // 1000)]
    assert stub.asked[0].params["to"] == [str(START // 1000 + 600)]
    assert (stub.asked[0].headers["dd-api-key"], stub.asked[0].headers["dd-application-key"]) == (
        "api-key-1",
        "app-key-1",
    )
    (series,) = reply.items
    assert (series.service, series.metric, series.unit, dict(series.labels)) == ("a", "cpu", "s", {})
    assert series.timestamps_ms.tolist() == [START, START + MINUTE]
    assert series.timestamps_ms.dtype == np.int64
    assert series.values.tolist() == [1.5, 2.0]
    assert reply.queries == [series.query] == ["avg:system.cpu.total{service:a} by {service}"]


@pytest.mark.parametrize(
    ("services", "filtered"),
    [((), "service:*"), (("a",), "service:a"), (("a", "b/c.d:e-f"), "service IN (a,b/c.d:e-f)")],
)
async def test_the_service_filter_names_exactly_who_was_asked(
    stub: Stub, datadog: Datadog, services: tuple[str, ...], filtered: str
) -> None:
    stub.on("/api/v1/query", ok())
    await datadog.fetch_series(question(*services))
    assert stub.asked[0].params["query"] == [f"avg:system.cpu.total{{{filtered}}} by {{service}}"]


@pytest.mark.parametrize(
    "name", ["x} by {host", "a,b", "a b", "a*", "*", "a)", "!a", "-a", 'a"', "a'", "a\n", "", "OR", "a$__range"]
)
async def test_a_name_that_datadog_cannot_hold_never_reaches_a_query(
    stub: Stub, datadog: Datadog, name: str
) -> None:
    stub.on("/api/v1/query", ok(row("a", [[START, 1.0]])))
    alone = await datadog.fetch_series(question(name))
    assert (list(alone.items), stub.asked) == ([], [])
    beside = await datadog.fetch_series(question("a", name))
    assert stub.asked[0].params["query"] == ["avg:system.cpu.total{service:a} by {service}"]
    assert [series.service for series in beside.items] == ["a"]
    assert beside.warnings == alone.warnings == [f"no service can be called {name!r} at Datadog"]


async def test_services_that_were_not_asked_are_left_out_and_case_is_the_callers(
    stub: Stub, datadog: Datadog
) -> None:
    stub.on("/api/v1/query", ok(row("payments", [[START, 1.0]]), row("other", [[START, 1.0]])))
    reply = await datadog.fetch_series(question("Payments"))
    assert [series.service for series in reply.items] == ["Payments"]


async def test_with_very_many_names_all_are_asked_and_the_rest_left_out_here(stub: Stub, datadog: Datadog) -> None:
    stub.on("/api/v1/query", ok(row("service-number-7", [[START, 1.0]]), row("other", [[START, 1.0]])))
    reply = await datadog.fetch_series(question(*(f"service-number-{i}" for i in range(200))))
    assert stub.asked[0].params["query"] == ["avg:system.cpu.total{service:*} by {service}"]
    assert [series.service for series in reply.items] == ["service-number-7"]


async def test_interval_and_range_become_seconds(stub: Stub) -> None:
    one = source(
        stub.url, metrics={"cpu": "avg:x{service:$service} by {service}.rollup(avg, $__interval, $__range)"}
    )
    stub.on("/api/v1/query", ok())
    await one.fetch_series(question("a"))
    assert stub.asked[0].params["query"] == ["avg:x{service:a} by {service}.rollup(avg, 60, 600)"]
    await one.close()


async def test_a_service_placeholder_without_a_tag_is_refused_before_anything_is_sent(stub: Stub) -> None:
    one = source(stub.url, metrics={"cpu": "avg:x{$service}"})
    with pytest.raises(BadQueryError, match="behind a tag"):
        await one.fetch_series(question("a"))
    assert stub.asked == []


async def test_an_ungrouped_series_is_that_of_the_only_service_asked(stub: Stub, datadog: Datadog) -> None:
    stub.on("/api/v1/query", ok(row(None, [[START, 1.0]])))
    one = await datadog.fetch_series(question("a"))
    assert [series.service for series in one.items] == ["a"]
    every = await datadog.fetch_series(question())
    assert list(every.items) == []
    assert "group by it" in every.warnings[0]


async def test_other_tags_become_labels(stub: Stub, datadog: Datadog) -> None:
    tags = ["service:a", "host:h:1"]
    stub.on("/api/v1/query", ok({**row("a", [[START, 1.0]]), "tag_set": tags}))
    (series,) = (await datadog.fetch_series(question("a"))).items
    assert dict(series.labels) == {"host": "h:1"}


async def test_the_newest_number_is_given_even_where_the_last_buckets_are_null_or_unfinished(
    stub: Stub, datadog: Datadog
) -> None:
    end = WINDOW.end_ms
    pointlist = [[end - 180_000, 1.0], [end - 120_000, 2.0], [end - 60_000, None], [end - 30_000, 9.0]]
    stub.on("/api/v1/query", ok(row("a", pointlist)))
    (series,) = (await datadog.fetch_series(question("a", latest=True))).items
    assert (series.timestamps_ms.tolist(), series.values.tolist()) == ([end - 120_000], [2.0])
    assert int(stub.asked[0].params["from"][0]) == START // 1000 - 120


async def test_a_point_from_before_the_window_is_not_its_latest(stub: Stub, datadog: Datadog) -> None:
    stub.on("/api/v1/query", ok(row("a", [[START - 2 * MINUTE, 1.0]])))
    assert list((await datadog.fetch_series(question("a", latest=True))).items) == []


def test_points_are_sorted_unique_complete_and_null_is_nan() -> None:
    pointlist = [[START + MINUTE, "NaN"], [START, 1], [START, 2.0], [START + 2.0 * MINUTE, None]]
    pointlist += [[START - MINUTE, 7], [WINDOW.end_ms - 1000, 8], [WINDOW.end_ms, 9]]
    times, values = points(row("a", pointlist), WINDOW)
    assert times.tolist() == [START, START + MINUTE, START + 2 * MINUTE]
    np.testing.assert_array_equal(values, [2.0, np.nan, np.nan])


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (None, ("", 1.0)),
        ([None, None], ("", 1.0)),
        ([{"family": "time", "name": "microsecond", "scale_factor": 1e-06}, None], ("s", 1e-06)),
        ([{"family": "percentage", "name": "percent", "scale_factor": 1.0}, None], ("percent", 1.0)),
        ([{"family": "network", "name": "request"}, {"name": "second"}], ("per_s", 1.0)),
        ([{"family": "bytes", "name": "byte", "scale_factor": 1.0}, {"name": "second"}], ("bytes per_s", 1.0)),
        ([{"family": "bytes", "name": "kibibyte", "scale_factor": 1024.0}, None], ("bytes", 1024.0)),
    ],
)
def test_units_follow_the_scale_factor(given: Any, named: tuple[str, float]) -> None:
    assert unit({"unit": given}) == named


async def test_the_unit_of_the_settings_holds_over_datadogs(stub: Stub) -> None:
    one = source(stub.url, metrics={"cpu": {"query": CPU, "unit": "ms"}})
    unit = [{"family": "time", "name": "microsecond", "scale_factor": 1e-06}, None]
    stub.on("/api/v1/query", ok(row("a", [[START, 5]], unit=unit)))
    (series,) = (await one.fetch_series(question("a"))).items
    assert (series.unit, series.values.tolist()) == ("ms", [5.0])
    await one.close()


async def test_a_coarser_distance_of_points_is_said(stub: Stub, datadog: Datadog) -> None:
    stub.on("/api/v1/query", ok(row("a", [[START, 1]], interval=300)))
    reply = await datadog.fetch_series(question("a"))
    assert reply.warnings == ["a point every 300 s, not 60 s"]


async def test_nothing_found_is_an_empty_reply_and_no_error(stub: Stub, datadog: Datadog) -> None:
    stub.on("/api/v1/query", ok())
    reply = await datadog.fetch_series(question("a"))
    assert (list(reply.items), reply.partial) == ([], None)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (
            {"status": "ok", "series": None, "error": "Rate limit of 300 requests in 3600 seconds reached"},
            RateLimitedError,
        ),
        ({"status": "error", "error": "Error parsing query: x"}, BadQueryError),
        ({"status": "ok", "series": [], "error": "query timed out, try again"}, UpstreamError),
    ],
)
async def test_an_error_with_status_200_is_never_an_empty_answer(
    stub: Stub, datadog: Datadog, body: Any, error: type[SourceError]
) -> None:
    stub.on("/api/v1/query", body, headers={"X-RateLimit-Reset": "9"})
    raised = await failure(datadog)
    assert type(raised) is error
    assert body["error"] in str(raised)
    assert getattr(raised, "retry_after_s", 9.0) == 9.0


@pytest.mark.parametrize(
    ("headers", "wait"),
    [({}, None), ({"Retry-After": "3600"}, 3600.0), ({"x-ratelimit-reset": "1.5"}, 1.5)],
)
async def test_a_429_is_one_request_and_reports_the_wait(
    stub: Stub, datadog: Datadog, headers: dict[str, str], wait: float | None
) -> None:
    stub.on("/api/v1/query", b"", 429, headers={"Content-Type": "application/json", **headers})
    raised = await failure(datadog)
    assert isinstance(raised, RateLimitedError)
    assert raised.retry_after_s == wait
    assert len(stub.asked) == 1


async def test_a_redirect_is_not_followed_and_carries_no_key_along(
    stub: Stub, stranger: Stub, datadog: Datadog
) -> None:
    stub.on("/api/v1/query", b"", 302, headers={"Location": f"{stranger.url}/api/v1/query"})
    assert isinstance(await failure(datadog), ProtocolError)
    assert (len(stub.asked), stranger.asked) == (1, [])


async def test_a_gzip_bomb_stays_small(stub: Stub, datadog: Datadog) -> None:
    bomb = gzip.compress(b" " * 40 * 2**20)
    for status in (200, 500):
        stub.on("/api/v1/query", bomb, status, headers={"Content-Encoding": "gzip"})
        raised = await failure(datadog)
        assert isinstance(raised, ProtocolError)
        assert "larger than 1 MB after decompression" in str(raised)


async def test_gzip_is_asked_for_and_understood(stub: Stub, datadog: Datadog) -> None:
    body = gzip.compress(json.dumps(ok(row("a", [[START, 1]]))).encode())
    stub.on("/api/v1/query", body, headers={"Content-Encoding": "gzip"})
    assert len((await datadog.fetch_series(question("a"))).items) == 1
    assert stub.asked[0].headers["accept-encoding"] == "gzip"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Answer(b'{"status": "ok"', promised=100), UpstreamError),
        (Answer(b"not gzip", headers={"Content-Encoding": "gzip"}), ProtocolError),
        (Answer(b"<html>Log in, caf\xe9</html>", headers={"Content-Type": "text/html"}), ProtocolError),
        (Answer(b"<html><h1>Bad caf\xe9</h1></html>", 502), UpstreamError),
        (Answer(b""), ProtocolError),
        (Answer(b"[]"), ProtocolError),
        (Answer(b'{"series": 5}'), ProtocolError),
        (Answer(b'{"series": [{"pointlist": [[1, {}]]}]}'), ProtocolError),
        (Answer(b'{"errors":["Unauthorized"]}', 401), AuthError),
        (Answer(b"Request forbidden by administrative rules.", 403), ForbiddenError),
    ],
)
async def test_every_kind_of_bad_answer_is_its_own_error_after_one_request(
    stub: Stub, datadog: Datadog, answer: Answer, error: type[SourceError]
) -> None:
    stub.answers["/api/v1/query"] = lambda _: answer
    raised = await failure(datadog)
    assert type(raised) is error
    assert len(stub.asked) == 1
    assert "key-1" not in f"{raised} {raised.hint}"
    assert "<" not in str(raised) or answer.status == 200


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"errors": ["one", "two"]}, "one; two"),
        ({"errors": [{"title": "T", "detail": "D", "source": {"pointer": "/data"}}]}, "T: D (at /data)"),
        ({"errors": [{"title": None, "detail": None, "code": "c1", "source": None}]}, "c1"),
        ({"errors": ["Not Found"], "error_details": [{}]}, "Not Found"),
        ({"error": {"code": "x", "message": "M", "details": []}}, "M"),
        ({"status": "error", "error": "E"}, "E"),
        (
            {"errors": ["{'errors': [u\"input_validation_error(Field 'a')\"]}"]},
            "input_validation_error(Field 'a')",
        ),
        ("just text", "just text"),
        ({}, "HTTP 400"),
    ],
)
async def test_the_vendors_words_are_kept_in_whichever_shape(
    stub: Stub, datadog: Datadog, body: Any, said: str
) -> None:
    stub.on("/api/v1/query", body, 400)
    assert said in str(await failure(datadog))


async def test_a_403_names_the_scope_that_is_missing(stub: Stub, datadog: Datadog) -> None:
    stub.on("/api/v1/query", {"errors": ["Forbidden"]}, 403)
    raised = await failure(datadog)
    assert "timeseries_query" in str(raised)
    assert "timeseries_query" in raised.hint


async def test_nobody_listening_is_an_upstream_error() -> None:
    one = source("http://127.0.0.1:1")
    with pytest.raises(UpstreamError, match="could not be reached"):
        await one.fetch_series(question("a"))
    await one.close()


async def test_silence_ends_at_the_sources_timeout_with_one_request(stub: Stub) -> None:
    gate = threading.Event()
    stub.answers["/api/v1/query"] = lambda _: Answer(b"{}") if gate.wait(5) else Answer()
    one = source(stub.url, timeout="50ms")
    with pytest.raises(SourceTimeoutError):
        await one.fetch_series(question("a"))
    assert len(stub.asked) == 1
    gate.set()
    await one.close()


async def test_a_body_that_drips_ends_at_the_sources_timeout(stub: Stub) -> None:
    stub.answers["/api/v1/query"] = lambda _: Answer(promised=10**9, drips=True)
    one = source(stub.url, timeout="100ms")
    with pytest.raises(SourceTimeoutError, match=r"not complete within 0\.1 s"):
        await one.fetch_series(question("a"))
    await one.close()


async def test_a_cancelled_call_returns_at_once_and_its_thread_is_counted(stub: Stub) -> None:
    arrived, gate = threading.Event(), threading.Event()

    def hang(asked: Asked) -> Answer:
        arrived.set()
        gate.wait(5)
        return Answer(b'{"status":"ok","series":[]}')

    stub.answers["/api/v1/query"] = hang
    one = source(stub.url)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one.fetch_series, question("a"))
        assert await anyio.to_thread.run_sync(arrived.wait, 5)
        tasks.cancel_scope.cancel()
    assert one.context.threads.abandoned == 1
    assert not gate.is_set()
    gate.set()
    await one.close()


async def test_the_environment_cannot_turn_a_source_elsewhere(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DD_SITE", "datadoghq.eu")
    monkeypatch.setenv("DD_API_KEY", "of-the-environment")
    monkeypatch.setenv("DD_APP_KEY", "of-the-environment")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    stub.on("/api/v1/query", ok(row("a", [[START, 1]])))
    one = source(stub.url)
    assert len((await one.fetch_series(question("a"))).items) == 1
    assert "of-the-environment" not in stub.asked[0].headers.values()
    assert one.client is not None
    assert one.client.api.configuration.host == stub.url
    await one.close()
    assert source_of_site("us5.datadoghq.com") == "https://api.us5.datadoghq.com"


def source_of_site(site: str) -> str:
    table = {"site": site, "api_key": "a", "app_key": "b"}
    return Datadog.Settings.model_validate({"plugin": "datadog", **table}).base_url


def test_a_site_that_does_not_exist_is_refused_by_the_settings() -> None:
    with pytest.raises(ValidationError, match=r"us5\.datadoghq\.com"):
        source_of_site("datadoghq.org")


async def test_two_tenants_in_one_process_keep_their_keys_apart(stub: Stub, stranger: Stub) -> None:
    one, other = source(stub.url), source(stranger.url, api_key="api-key-2", app_key="app-key-2")
    for server in (stub, stranger):
        server.on("/api/v1/query", ok())
    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(one.fetch_series, question("a"))
            tasks.start_soon(other.fetch_series, question("a"))
    assert {asked.headers["dd-api-key"] for asked in stub.asked} == {"api-key-1"}
    assert {asked.headers["dd-application-key"] for asked in stranger.asked} == {"app-key-2"}
    await one.close()
    await other.close()


async def test_one_bad_metric_makes_the_reply_partial_and_names_it(stub: Stub) -> None:
    def by_query(asked: Asked) -> Answer:
        if "memory" in asked.params["query"][0]:
            return Answer(b'{"status":"error","error":"no such metric"}', 400)
        return Answer(json.dumps(ok(row("a", [[START, 1]]))).encode())

    stub.answers["/api/v1/query"] = by_query
    one = source(stub.url, metrics={"cpu": CPU, "memory": "avg:memory{service:$service} by {service}"})
    reply = await one.fetch_series(question("a", metrics=("cpu", "memory", "unknown")))
    assert [series.metric for series in reply.items] == ["cpu"]
    assert reply.partial == "memory: HTTP 400: no such metric"
    await one.close()


def catalog(*names: str) -> dict[str, Any]:
    rows = [{"name": name, "owner": f"team-{name}", "tags": ["env:prod", "tier:1", "bare"]} for name in names]
    return {"data": [{"type": "entity", "attributes": row} for row in rows]}


def apm(*names: str) -> dict[str, Any]:
    return {"data": {"id": "1", "type": "services_list", "attributes": {"services": list(names)}}}


async def test_services_are_united_from_apm_and_the_catalog(stub: Stub) -> None:
    stub.on("/api/v2/apm/services", apm("b", "c"))
    stub.on("/api/v2/catalog/entity", catalog("a", "b"))
    one = source(stub.url, env="staging")
    reply = await one.list_services(ServiceQuery(WINDOW))
    assert [(item.name, item.team, item.environment) for item in reply.items] == [
        ("a", "team-a", "prod"),
        ("b", "team-b", "prod"),
        ("c", None, "staging"),
    ]
    assert reply.items[0].tags == {"env": "prod", "tier": "1", "bare": ""}
    asked = {request.path: request.params for request in stub.asked}
    assert asked["/api/v2/apm/services"] == {"filter[env]": ["staging"]}
    assert asked["/api/v2/catalog/entity"]["filter[kind]"] == ["service"]
    assert asked["/api/v2/catalog/entity"]["includeDiscovered"] == ["true"]
    await one.close()


@pytest.mark.parametrize(
    ("path", "scope"),
    [("/api/v2/apm/services", "apm_read"), ("/api/v2/catalog/entity", "apm_service_catalog_read")],
)
async def test_a_missing_scope_thins_the_inventory_audibly(stub: Stub, path: str, scope: str) -> None:
    stub.on("/api/v2/apm/services", apm("b"))
    stub.on("/api/v2/catalog/entity", catalog("a"))
    stub.on(path, {"errors": ["Forbidden"]}, 403)
    one = source(stub.url, env="prod")
    reply = await one.list_services(ServiceQuery(WINDOW))
    assert len(reply.items) == 1
    assert scope in (reply.partial or "")
    await one.close()


async def test_the_catalogs_paging_ends_on_a_page_that_repeats(stub: Stub, datadog: Datadog) -> None:
    stub.on("/api/v2/catalog/entity", catalog(*(f"s{i}" for i in range(100))))
    reply = await datadog.list_services(ServiceQuery(WINDOW))
    assert (len(reply.items), len(stub.asked)) == (100, 2)


async def test_the_catalogs_paging_has_a_cap_that_is_said(stub: Stub, datadog: Datadog) -> None:
    def endless(asked: Asked) -> Answer:
        first = int(asked.params["page[offset]"][0])
        return Answer(json.dumps(catalog(*(f"s{first + i}" for i in range(100)))).encode())

    stub.answers["/api/v2/catalog/entity"] = endless
    reply = await datadog.list_services(ServiceQuery(WINDOW))
    assert (len(reply.items), len(stub.asked)) == (5000, 50)
    assert "more than 5000" in (reply.partial or "")


async def test_a_native_query_goes_out_as_it_stands(stub: Stub, datadog: Datadog) -> None:
    rows = [row("a", [[START, 1]], expression="max:x{*}"), row(None, [[START, 2]], metric="y"), row("c", [])]
    stub.on("/api/v1/query", ok(*rows))
    reply = await datadog.run_native(NativeQuery("max:x{*} by {service}", WINDOW, MINUTE, limit=2))
    assert stub.asked[0].params["query"] == ["max:x{*} by {service}"]
    assert [(item.service, item.metric) for item in reply.items] == [("a", "max:x{*}"), ("*", "y")]
    assert reply.partial == "1 more series were left out"


async def test_the_check_looks_at_the_key_and_at_each_scope(stub: Stub, datadog: Datadog) -> None:
    stub.on("/api/v1/validate", {"valid": True})
    stub.on("/api/v1/query", ok())
    stub.on("/api/v2/catalog/entity", {"errors": ["Forbidden"]}, 403)
    checks = (await datadog.check()).items
    assert [(check.name, check.ok) for check in checks] == [
        ("api key", True),
        ("timeseries_query", True),
        ("apm_service_catalog_read", False),
    ]
    assert "apm_service_catalog_read" in checks[2].fix
    assert "dd-application-key" not in stub.asked[0].headers


async def test_the_check_stops_at_a_refused_key(stub: Stub, datadog: Datadog) -> None:
    stub.on("/api/v1/validate", {"errors": ["API key required"]}, 403)
    (check,) = (await datadog.check()).items
    assert not check.ok
    assert "api_key" in check.fix


async def test_a_recorded_query_answer_is_read_in_full(stub: Stub) -> None:
    interaction = recorded("v1_query_ok")[0]
    stub.on("/api/v1/query", interaction["response"]["body"].encode())
    asked = parse_qs(urlsplit(interaction["request"]["url"]).query)
    start_ms, end_ms = int(asked["from"][0]) * 1000, int(asked["to"][0]) * 1000
    one = source(stub.url, metrics={"cpu": "system.cpu.idle{*}"})
    reply = await one.fetch_series(SeriesQuery(("a",), ("cpu",), Window(start_ms, end_ms), 300_000))
    (series,) = reply.items
    # 288 buckets of 5 minutes, the last of which goes beyond the asked end.
    assert (len(series), series.timestamps_ms[0]) == (287, 1641344100000)
    assert 90.4 < series.values.min() <= series.values.max() < 93
    await one.close()


async def test_the_recorded_catalog_is_read_in_full(stub: Stub, datadog: Datadog) -> None:
    body = recorded("catalog_entities")[0]["response"]["body"]
    stub.on("/api/v2/catalog/entity", body.encode())
    names = {entity["attributes"]["name"] for entity in json.loads(body)["data"]}
    reply = await datadog.list_services(ServiceQuery(WINDOW))
    assert {item.name for item in reply.items} == names
    assert any(item.team for item in reply.items)


@pytest.mark.parametrize(("case", "good"), [("validate_ok", True), ("validate_403", False)])
async def test_recorded_key_checks_are_told_apart(stub: Stub, datadog: Datadog, case: str, good: bool) -> None:
    response = recorded(case)[0]["response"]
    stub.on("/api/v1/validate", response["body"].encode(), response["status"])
    assert (await datadog.check()).items[0].ok is good


def recorded_errors() -> list[tuple[str, int, str]]:
    if not CASES.is_dir():
        return []
    found = [(path.stem, json.loads(path.read_text())) for path in sorted(CASES.glob("*.json"))]
    responses = [(name, part["response"]) for name, case in found for part in case["interactions"]]
    return [(name, each["status"], each["body"]) for name, each in responses if each["status"] >= 400]


async def test_every_recorded_error_becomes_a_typed_error_with_words(stub: Stub, datadog: Datadog) -> None:
    errors = recorded_errors()
    if not errors:
        pytest.skip("the recorded payloads are not beside the repository")
    for name, status, body in errors:
        stub.on("/api/v1/query", body.encode(), status)
        raised = await failure(datadog)
        assert f"HTTP {status}" in str(raised), name
        assert "{" not in str(raised), name


def recorded(case: str) -> list[dict[str, Any]]:
    path = CASES / f"{case}.json"
    if not path.is_file():
        pytest.skip("the recorded payloads are not beside the repository")
    interactions: list[dict[str, Any]] = json.loads(path.read_text())["interactions"]
    return interactions


def test_the_hook_hands_over_the_class() -> None:
    assert telemetry_sources() == [Datadog]
