"""The Prometheus source over a transport that answers from memory: what it asks, and how it reads the answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import parse_qs

import anyio
import httpx
import orjson
import pytest
from pydantic import ValidationError

from telemetry_mcp import (
    AuthError,
    BadQueryError,
    Context,
    Http,
    NativeQuery,
    ProtocolError,
    SeriesQuery,
    ServiceQuery,
    Window,
    http_for,
)
from telemetry_mcp_prometheus import Prometheus

T0 = 1_795_340_000_000
WINDOW = Window(T0, T0 + 3_600_000)
CPU = {"cpu": 'avg by (service) (cpu_percent{service=~"$service"})'}

Handler = Callable[[httpx.Request], httpx.Response]


def source(handler: Handler, **settings: Any) -> Prometheus:
    """A source whose every request is answered by `handler`, with the headers a real one would send."""
    table = {"plugin": "prometheus", "url": "http://prometheus.test", "metrics": CPU, **settings}
    parsed = Prometheus.Settings.model_validate(table)
    client = partial(
        httpx.AsyncClient,
        transport=httpx.MockTransport(handler),
        base_url=parsed.base_url,
        headers=Prometheus.headers(parsed),
    )
    return Prometheus(parsed, Context("prometheus", http=Http(client)))


def answered(content: bytes, status: int = 200, headers: dict[str, str] | None = None) -> httpx.Response:
    # A stream, since Http reads raw bytes: `content=` would be taken as read already.
    return httpx.Response(status, stream=httpx.ByteStream(content), headers=headers)


class Recorder:
    """Answers every request with one body and keeps what was asked."""

    def __init__(self, body: Any, status: int = 200, **headers: str) -> None:
        self.content = body if isinstance(body, bytes) else orjson.dumps(body)
        self.status, self.headers = status, headers
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return answered(self.content, self.status, self.headers)

    @property
    def forms(self) -> list[dict[str, str]]:
        return [{k: v[0] for k, v in parse_qs(r.content.decode()).items()} for r in self.requests]


def matrix(*series: tuple[dict[str, str], list[list[Any]]], **envelope: Any) -> dict[str, Any]:
    result = [{"metric": labels, "values": values} for labels, values in series]
    return {"status": "success", "data": {"resultType": "matrix", "result": result}, **envelope}


def vector(*series: tuple[dict[str, str], list[Any]]) -> dict[str, Any]:
    result = [{"metric": labels, "value": value} for labels, value in series]
    return {"status": "success", "data": {"resultType": "vector", "result": result}}


def at(seconds: float) -> float:
    return T0 / 1000 + seconds


def asked(*services: str, window: Window = WINDOW, step_ms: int = 60_000, latest: bool = False) -> SeriesQuery:
    return SeriesQuery(services, ("cpu",), window, step_ms, latest)


def error_body(kind: str, words: str) -> bytes:
    return orjson.dumps({"status": "error", "errorType": kind, "error": words})


# What is asked


async def test_many_services_are_asked_for_in_one_posted_form_per_metric() -> None:
    backend = Recorder(matrix())
    prometheus = source(backend, metrics={**CPU, "memory": 'mem{service=~"$service"}', "unasked": "up"})
    query = SeriesQuery(("a", "b.c"), ("cpu", "memory", "unheard_of"), WINDOW, 60_000)

    reply = await prometheus.fetch_series(query)

    assert [(r.method, r.url.path) for r in backend.requests] == [("POST", "/api/v1/query_range")] * 2
    assert backend.requests[0].headers["content-type"] == "application/x-www-form-urlencoded"
    forms = {form["query"]: form for form in backend.forms}
    assert set(forms) == {
        r'avg by (service) (cpu_percent{service=~"(?:a|b\\.c)"})',
        r'mem{service=~"(?:a|b\\.c)"}',
    }
    form = next(iter(forms.values()))
    assert (form["start"], form["end"], form["step"]) == ("1795340000.000", "1795343600.000", "60.000")
    assert sorted(reply.queries) == sorted(forms)
    assert list(reply.items) == []
    assert reply.partial is None


@pytest.mark.parametrize("name", ["", "\ud800"])
async def test_a_name_that_cannot_be_written_is_refused_before_anything_is_sent(name: str) -> None:
    backend = Recorder(matrix())
    with pytest.raises(BadQueryError):
        await source(backend).fetch_series(asked(name))
    assert backend.requests == []


@pytest.mark.parametrize(
    "template",
    ['cpu{service="$service"}', "cpu{service=~$service}", 'cpu{service!~"$service"}', 'cpu{a=~"$service}'],
)
def test_a_template_in_which_a_name_could_go_wrong_is_refused_with_the_settings(template: str) -> None:
    with pytest.raises(ValidationError, match=r"\$service in the query of cpu: write it as a regular expression"):
        source(Recorder(matrix()), metrics={"cpu": template})


async def test_a_step_too_small_for_the_window_is_widened_and_said() -> None:
    backend = Recorder(matrix())
    month = Window(T0, T0 + 30 * 86_400_000)

    reply = await source(backend).fetch_series(asked(window=month, step_ms=15_000))

    assert backend.forms[0]["step"] == "240.000"
    assert reply.warnings == ["step widened from 15 s to 240 s: 11,000 points at most"]


async def test_a_step_that_just_fits_is_left_as_it_is() -> None:
    backend = Recorder(matrix())
    window = Window(T0, T0 + 11_000 * 15_000)

    reply = await source(backend).fetch_series(asked(window=window, step_ms=15_000))

    assert (backend.forms[0]["step"], reply.warnings) == ("15.000", [])


async def test_the_latest_value_is_that_of_the_windows_last_millisecond() -> None:
    end = (WINDOW.end_ms - 1) / 1000
    backend = Recorder(vector(({"service": "b"}, [end, "2"]), ({"service": "a"}, [end, "1"])))

    reply = await source(backend, lookback="10m").fetch_series(asked("a", "b", latest=True))

    assert backend.requests[0].url.path == "/api/v1/query"
    assert (backend.forms[0]["time"], backend.forms[0]["lookback_delta"]) == ("1795343599.999", "600")
    assert {s.service: s.values.tolist() for s in reply.items} == {"a": [1.0], "b": [2.0]}
    assert reply.items[0].timestamps_ms.tolist() == [WINDOW.end_ms - 1]


async def test_tenant_parameters_and_a_path_in_the_url_go_with_every_request() -> None:
    backend = Recorder({"status": "success", "data": []})
    prometheus = source(backend, url="http://mimir.test/prometheus/", org_id="a|b", params={"dedup": "true"})

    await prometheus.list_services(ServiceQuery(WINDOW))
    with pytest.raises(ProtocolError):
        await prometheus.fetch_series(asked())

    listing, query = backend.requests
    assert listing.url.path == "/prometheus/api/v1/label/service/values"
    assert query.url.path == "/prometheus/api/v1/query_range"
    assert listing.url.params["dedup"] == backend.forms[1]["dedup"] == "true"
    assert [r.headers["x-scope-orgid"] for r in backend.requests] == ["a|b"] * 2


@pytest.mark.parametrize(
    ("settings", "authorization"),
    [
        ({"username": "reader", "password": "secret-of-test"}, "Basic cmVhZGVyOnNlY3JldC1vZi10ZXN0"),
        ({"bearer_token": "token-of-test"}, "Bearer token-of-test"),
    ],
)
async def test_credentials_reach_the_server_that_was_named(settings: dict[str, str], authorization: str) -> None:
    table = {"plugin": "prometheus", "url": "http://127.0.0.1:1", "metrics": CPU, "org_id": "team", **settings}
    parsed = Prometheus.Settings.model_validate(table)
    seen: list[bytes] = []

    async def answer(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            seen.append(await stream.receive())
            await stream.send(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 12\r\n\r\nUnauthorized")

    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, answer)
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        parsed = Prometheus.Settings.model_validate({**table, "url": f"http://127.0.0.1:{port}"})
        http = http_for(parsed, Prometheus.headers(parsed))
        with pytest.raises(AuthError, match="401: Unauthorized"):
            await Prometheus(parsed, Context("prometheus", http=http)).fetch_series(asked())
        await http.close()
        tasks.cancel_scope.cancel()
    head = seen[0].decode().lower()
    assert f"authorization: {authorization}".lower() in head
    assert "x-scope-orgid: team" in head


async def test_two_instances_keep_their_settings_apart() -> None:
    east, west = Recorder(matrix()), Recorder(matrix())
    sources = [
        source(east, url="http://east.test", org_id="east"),
        source(west, url="http://west.test", metrics={"cpu": 'other{svc=~"$service"}'}, service_label="svc"),
    ]
    for one in sources:
        await one.fetch_series(asked("a"))
    assert east.requests[0].url.host == "east.test"
    assert east.requests[0].headers["x-scope-orgid"] == "east"
    assert "x-scope-orgid" not in west.requests[0].headers
    assert west.forms[0]["query"] == 'other{svc=~"a"}'


async def test_one_bad_query_of_two_leaves_the_other_answered() -> None:
    words = 'invalid parameter "query": 1:5: parse error: unexpected end of input'

    def backend(request: httpx.Request) -> httpx.Response:
        if b"broken" in request.content:
            return answered(error_body("bad_data", words), 400)
        return answered(orjson.dumps(matrix(({"service": "a"}, [[at(0), "1"]]))))

    prometheus = source(backend, metrics={**CPU, "memory": "broken("})
    reply = await prometheus.fetch_series(SeriesQuery(("a",), ("cpu", "memory"), WINDOW, 60_000))

    assert [series.metric for series in reply.items] == ["cpu"]
    assert reply.partial == f"memory: bad_data: {words}"


async def test_a_redirect_is_not_followed() -> None:
    backend = Recorder(b"", 307, location="http://elsewhere.test/")
    with pytest.raises(ProtocolError):
        await source(backend, org_id="team").fetch_series(asked("a"))
    assert len(backend.requests) == 1


async def test_series_above_the_limit_are_not_even_asked_for() -> None:
    backend = Recorder(matrix())
    await source(backend, max_series=2).fetch_series(asked("a"))
    assert backend.forms[0]["limit"] == "2"


async def worst_stall(prometheus: Prometheus) -> float:
    """The longest that another task had to wait while one answer was fetched, in seconds."""
    gaps: list[float] = []

    async def tick() -> None:
        last = time.perf_counter()
        while True:
            await anyio.lowlevel.checkpoint()
            now = time.perf_counter()
            gaps.append(now - last)
            last = now

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(tick)
        await prometheus.fetch_series(asked(step_ms=1000))
        tasks.cancel_scope.cancel()
    return max(gaps)


async def test_reading_fifteen_megabytes_leaves_the_event_loop_free() -> None:
    values = [[at(second), repr(second / 7)] for second in range(4320)]
    prometheus = source(Recorder(matrix(*(({"service": f"svc-{n}"}, values) for n in range(100)))))
    await prometheus.http.opened()  # imports the transport, which is not what is measured
    assert min([await worst_stall(prometheus) for _ in range(3)]) < 0.05


# Services, native queries


async def test_services_are_the_values_of_the_label_within_the_window() -> None:
    backend = Recorder({"status": "success", "data": ["b", "", "a"]})
    reply = await source(backend, service_metric="up", environment="prod").list_services(ServiceQuery(WINDOW))

    assert [(s.name, s.team, s.environment) for s in reply.items] == [("a", None, "prod"), ("b", None, "prod")]
    params = backend.requests[0].url.params
    assert (params["match[]"], params["start"], params["end"]) == ("up", "1795340000.000", "1795343600.000")


async def test_team_and_environment_come_from_the_labels_of_the_series() -> None:
    data = [
        {"__name__": "up", "service": "b", "squad": "blue", "env": ""},
        {"__name__": "up", "service": "a", "env": "test"},
        {"__name__": "up", "service": "a", "squad": "red"},
        {"__name__": "up"},
    ]
    backend = Recorder({"status": "success", "data": data, "warnings": ["results truncated due to limit"]})
    prometheus = source(backend, team_label="squad", environment_label="env", environment="prod")

    reply = await prometheus.list_services(ServiceQuery(WINDOW))

    assert [(s.name, s.team, s.environment) for s in reply.items] == [("a", "red", "test"), ("b", "blue", "prod")]
    assert reply.partial == "results truncated due to limit"
    assert (backend.requests[0].url.path, backend.forms[0]["match[]"]) == ("/api/v1/series", '{service!=""}')


@pytest.mark.parametrize("data", [{}, [1], ["a", ["b"]], None])
async def test_a_listing_that_is_none_is_a_protocol_error(data: object) -> None:
    prometheus = source(Recorder({"status": "success", "data": data}), team_label="team")
    with pytest.raises(ProtocolError):
        await prometheus.list_services(ServiceQuery(WINDOW))


async def test_a_native_query_keeps_names_and_labels_and_its_limit() -> None:
    body = matrix(
        ({"__name__": "up", "service": "a", "job": "x"}, [[at(0), "1"]]),
        ({}, [[at(0), "2"]]),
        ({"job": "z"}, [[at(0), "3"]]),
    )
    backend = Recorder(body)
    reply = await source(backend).run_native(NativeQuery("up[$__range]", WINDOW, 60_000, limit=2))

    assert [(s.metric, s.service, dict(s.labels)) for s in reply.items] == [
        ("up", "a", {"job": "x"}),
        ("", "", {}),
    ]
    assert backend.forms[0]["query"] == "up[3600s]"
    assert reply.partial == "2 of 3 series taken: aggregate by (service)"
