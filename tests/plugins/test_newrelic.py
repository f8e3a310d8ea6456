"""The New Relic plugin over a mock transport: the NRQL it sends, and how NerdGraph's answers are read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from telemetry_mcp import (
    AuthError,
    BadQueryError,
    Context,
    ForbiddenError,
    Http,
    HttpSettings,
    NativeQuery,
    PlanError,
    ProtocolError,
    RateLimitedError,
    SeriesQuery,
    ServiceQuery,
    SourceError,
    SourceTimeoutError,
    UpstreamError,
    Window,
)
from telemetry_mcp_newrelic import MAX_PAGES, NewRelic, telemetry_sources
from telemetry_mcp_newrelic.query import check
from telemetry_mcp_newrelic.wire import has_rest

CASES = Path(__file__).parents[3] / "shared" / "wire" / "newrelic"
START_S = 1_700_000_040
START = START_S * 1000
WINDOW = Window(START, START + 600_000)
MINUTE = 60_000
RATE = "SELECT rate(count(*), 1 minute) FROM Transaction WHERE appName IN ($service) FACET appName"


def answer(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> httpx.Response:
    """A response that is read from a stream, as a real one is."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return httpx.Response(status, stream=httpx.ByteStream(raw), headers=headers)


class NerdGraph:
    """Answers every POST with what `answer` makes of its body, and keeps the requests."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.answer: Callable[[dict[str, Any]], httpx.Response] = lambda asked: httpx.Response(404)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self.answer(json.loads(request.content))

    def says(self, body: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.answer = lambda asked: answer(body, status, headers)

    def sent(self, number: int = 0) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(self.requests[number].content)
        return body

    @property
    def nrql(self) -> str:
        return str(self.sent()["variables"]["q"])


@pytest.fixture
def nerdgraph() -> NerdGraph:
    return NerdGraph()


def source(nerdgraph: NerdGraph, **more: Any) -> NewRelic:
    table = {"api_key": "NRAK-1", "account_id": 7, "metrics": {"rate": RATE}, **more}
    settings = NewRelic.Settings(plugin="newrelic", **table)

    def client() -> httpx.AsyncClient:
        return httpx.AsyncClient(
            transport=httpx.MockTransport(nerdgraph),
            base_url=settings.base_url,
            headers=NewRelic.headers(settings),
        )

    return NewRelic(settings, Context("nr", Http(client, max_body_mb=settings.max_body_mb)))


@pytest.fixture
def newrelic(nerdgraph: NerdGraph) -> NewRelic:
    return source(nerdgraph)


def question(*services: str, latest: bool = False, window: Window = WINDOW) -> SeriesQuery:
    return SeriesQuery(services, ("rate",), window, MINUTE, latest)


def nrql(results: Any, **more: Any) -> dict[str, Any]:
    metadata = {"facets": ["appName"], "messages": []}
    return {"data": {"actor": {"account": {"nrql": {"results": results, "metadata": metadata, **more}}}}}


def bucket(at: int, value: Any, service: Any = "a", key: str = "rate.count", **more: Any) -> dict[str, Any]:
    begin = START_S + at
    times = {"beginTimeSeconds": begin, "endTimeSeconds": begin + 60}
    return {"facet": service, "appName": service, **times, key: value, **more}


async def failure(newrelic: NewRelic) -> SourceError:
    with pytest.raises(SourceError) as raised:
        await newrelic.fetch_series(question("a"))
    return raised.value


@pytest.mark.parametrize(
    ("more", "url"),
    [
        ({}, "https://api.newrelic.com/graphql"),
        ({"region": "EU"}, "https://api.eu.newrelic.com/graphql"),
        ({"region": "JP"}, "https://api.jp.newrelic.com/graphql"),
        ({"region": "GOV"}, "https://gov-api.newrelic.com/graphql"),
        ({"url": "http://127.0.0.1:9/graphql"}, "http://127.0.0.1:9/graphql"),
        ({"url": "http://127.0.0.1:9/nr/", "region": "EU"}, "http://127.0.0.1:9/nr/graphql"),
    ],
)
async def test_the_region_or_the_url_says_where_to_ask(nerdgraph: NerdGraph, more: Any, url: str) -> None:
    nerdgraph.says(nrql([]))
    await source(nerdgraph, **more).fetch_series(question("a"))
    (request,) = nerdgraph.requests
    assert (str(request.url), request.headers["api-key"]) == (url, "NRAK-1")


async def test_account_and_nrql_travel_as_variables(nerdgraph: NerdGraph, newrelic: NewRelic) -> None:
    nerdgraph.says(nrql([bucket(0, 1.5), bucket(60, 2)]))
    reply = await newrelic.fetch_series(question("a"))
    sent = nerdgraph.sent()
    assert sent["variables"] == {"id": 7, "q": reply.queries[0]}
    assert "appName" not in sent["query"]
    assert reply.queries == [
        "SELECT rate(count(*), 1 minute) FROM Transaction WHERE appName IN ('a') FACET appName"
        f" SINCE {START} UNTIL {START + 600_000} TIMESERIES 60 seconds LIMIT MAX"
    ]
    (series,) = reply.items
    assert (series.service, series.metric, dict(series.labels)) == ("a", "rate", {})
    assert series.timestamps_ms.tolist() == [START, START + MINUTE]
    assert series.timestamps_ms.dtype == np.int64
    assert series.values.tolist() == [1.5, 2.0]


@pytest.mark.parametrize("template", ["appName IN ($service)", "appName = '$service'", "appName=${service}"])
@pytest.mark.parametrize(
    ("services", "condition"),
    [
        ((), "IS NOT NULL"),
        (("a", "b c"), "IN ('a', 'b c')"),
        (("it's", "back\\slash", "\\' OR 1=1"), r"IN ('it\'s', 'back\\slash', '\\\' OR 1=1')"),
        (("a') OR appName IN ('b", "$__interval", "a -- b; LIMIT"), None),
    ],
)
async def test_a_service_name_stays_inside_its_quotes(
    nerdgraph: NerdGraph, template: str, services: tuple[str, ...], condition: str | None
) -> None:
    nerdgraph.says(nrql([]))
    query = f"SELECT count(*) FROM Transaction WHERE {template} FACET appName"
    await source(nerdgraph, metrics={"rate": query}).fetch_series(question(*services))
    expected = condition or r"IN ('a\') OR appName IN (\'b', '$__interval', 'a -- b; LIMIT')"
    said = nerdgraph.nrql.replace("appNameIN", "appName IN").replace("appNameIS", "appName IS")
    assert said.startswith(f"SELECT count(*) FROM Transaction WHERE appName {expected} FACET appName SINCE ")
    assert said.endswith(" TIMESERIES 60 seconds LIMIT MAX")


@pytest.mark.parametrize("name", ["a\nb", "a\x00", "a‮b", ""])
async def test_a_name_with_control_characters_is_left_out_with_a_warning(
    nerdgraph: NerdGraph, newrelic: NewRelic, name: str
) -> None:
    nerdgraph.says(nrql([bucket(0, 1)]))
    alone = await newrelic.fetch_series(question(name))
    assert (list(alone.items), nerdgraph.requests) == ([], [])
    beside = await newrelic.fetch_series(question("a", name))
    assert "IN ('a')" in nerdgraph.nrql
    assert beside.warnings == alone.warnings == [f"no service can be called {name!r} at New Relic"]


@pytest.mark.parametrize(
    "text",
    [
        "DELETE FROM Log",
        "SHOW EVENT TYPES",
        "FROM Log DELETE",
        "SELECT 1 FROM a; SELECT 2 FROM b",
        "SELECT 1 FROM a -- more",
        "SELECT 1 FROM a // more",
        "SELECT 1 /* x */ FROM a",
        "SELECT 1\nFROM a",
        "SELECT 'open FROM a",
        "FROM a",
        "",
    ],
)
async def test_only_one_reading_statement_is_sent(nerdgraph: NerdGraph, newrelic: NewRelic, text: str) -> None:
    with pytest.raises(BadQueryError):
        await newrelic.run_native(NativeQuery(text, WINDOW, MINUTE))
    assert nerdgraph.requests == []


@pytest.mark.parametrize(
    "text", ["select 1 from a", "FROM a SELECT x", "SELECT 'a; -- /* delete' FROM b WHERE `c;d` = 'http://x'"]
)
def test_what_only_reads_is_let_through(text: str) -> None:
    check(text)


@pytest.mark.parametrize(
    "query", ["SELECT count(*) FROM T WHERE a LIKE $service FACET a", "SELECT $service FROM T"]
)
async def test_a_service_placeholder_elsewhere_is_refused(nerdgraph: NerdGraph, query: str) -> None:
    assert isinstance(await failure(source(nerdgraph, metrics={"rate": query})), BadQueryError)
    assert nerdgraph.requests == []


async def test_without_a_facet_one_service_is_the_one_and_several_are_refused(nerdgraph: NerdGraph) -> None:
    one = source(nerdgraph, metrics={"rate": "SELECT count(*) FROM T WHERE appName IN ($service)"})
    row = {"beginTimeSeconds": START_S, "endTimeSeconds": START_S + 60, "count": 5}
    nerdgraph.says(nrql([row], metadata={"facets": None}))
    (series,) = (await one.fetch_series(question("a"))).items
    assert (series.service, series.values.tolist()) == ("a", [5.0])
    with pytest.raises(BadQueryError, match="FACET"):
        await one.fetch_series(question("a", "b"))


async def test_a_long_window_is_asked_in_wider_buckets_and_says_so(
    nerdgraph: NerdGraph, newrelic: NewRelic
) -> None:
    nerdgraph.says(nrql([]))
    reply = await newrelic.fetch_series(question("a", window=Window(START - 7 * 86_400_000, START)))
    assert "TIMESERIES 1653 seconds" in nerdgraph.nrql
    assert reply.warnings == ["a point every 1653 s, not 60 s: at most 366"]


async def test_unfinished_buckets_are_dropped_and_null_is_nan(nerdgraph: NerdGraph, newrelic: NewRelic) -> None:
    cut = {**bucket(570, 9), "endTimeSeconds": START_S + 600}
    nerdgraph.says(nrql([bucket(480, None), bucket(420, 1), cut, bucket(420, 2), bucket(600, 9)]))
    (series,) = (await newrelic.fetch_series(question("a"))).items
    assert series.timestamps_ms.tolist() == [START + 420_000, START + 480_000]
    np.testing.assert_array_equal(series.values, [2, np.nan])
    (newest,) = (await newrelic.fetch_series(question("a", latest=True))).items
    assert (newest.timestamps_ms.tolist(), newest.values.tolist()) == ([START + 420_000], [2.0])


async def test_percentiles_come_out_of_their_object(nerdgraph: NerdGraph, newrelic: NewRelic) -> None:
    nerdgraph.says(nrql([bucket(0, {"95": 0.24}, key="percentile.duration")]))
    (single,) = (await newrelic.fetch_series(question("a"))).items
    assert (dict(single.labels), single.values.tolist()) == ({}, [0.24])
    nerdgraph.says(nrql([bucket(0, {"50.0": 0.1, "95": None}, key="percentile.duration")]))
    several = (await newrelic.fetch_series(question("a"))).items
    assert [dict(series.labels) for series in several] == [{"percentile": "50"}, {"percentile": "95"}]


async def test_facets_come_as_text_or_list_and_null_has_no_service(
    nerdgraph: NerdGraph, newrelic: NewRelic
) -> None:
    listed = {"beginTimeSeconds": START_S, "endTimeSeconds": START_S + 60, "rate.count": 3}
    rows = [{"facet": ["a", "h1"], "appName": "a", "host": "h1", **listed}, {"facet": [None, "h2"], **listed}]
    nerdgraph.says(nrql(rows, metadata={"facets": ["appName", "host"], "messages": ["rewritten\nquietly"]}))
    reply = await newrelic.fetch_series(question())
    assert [(series.service, dict(series.labels)) for series in reply.items] == [("a", {"host": "h1"})]
    assert reply.warnings == ["rewritten quietly", "1 rows have no appName: add FACET appName to the query"]


async def test_services_that_were_not_asked_are_left_out(nerdgraph: NerdGraph, newrelic: NewRelic) -> None:
    nerdgraph.says(nrql([bucket(0, 1), bucket(0, 1, "other")]))
    assert [series.service for series in (await newrelic.fetch_series(question("a"))).items] == ["a"]


@pytest.mark.parametrize(
    ("other", "rest"),
    [
        (None, False),
        ({}, False),
        ([], False),
        ({"count": 0}, False),
        ({"count": 42}, True),
        ([{"beginTimeSeconds": 1, "count": 0}, {"beginTimeSeconds": 2, "count": 3}], True),
        ({"percentile.duration": {"95": 0.1}}, True),
    ],
)
async def test_what_lies_beyond_the_limit_makes_the_reply_partial(
    nerdgraph: NerdGraph, newrelic: NewRelic, other: Any, rest: bool
) -> None:
    assert has_rest(other) is rest
    nerdgraph.says(nrql([bucket(0, 1)], otherResult=other))
    assert bool((await newrelic.fetch_series(question("a"))).partial) is rest


def error(message: str, **extensions: str) -> dict[str, Any]:
    return {"message": message, "path": ["actor"], "extensions": extensions}


async def test_a_deprecation_beside_full_data_is_a_warning(nerdgraph: NerdGraph, newrelic: NewRelic) -> None:
    nerdgraph.says({**nrql([bucket(0, 1)]), "errors": [error("This field is deprecated! Use another.")]})
    reply = await newrelic.fetch_series(question("a"))
    assert (len(reply.items), reply.partial) == (1, None)
    assert reply.warnings == ["This field is deprecated! Use another."]


async def test_another_error_beside_data_makes_it_partial(nerdgraph: NerdGraph, newrelic: NewRelic) -> None:
    nerdgraph.says({**nrql([bucket(0, 1)]), "errors": [error("a part is missing", errorClass="SERVER_ERROR")]})
    reply = await newrelic.fetch_series(question("a"))
    assert (len(reply.items), reply.partial) == (1, "a part is missing")


@pytest.mark.parametrize(
    ("extensions", "expected"),
    [
        ({"errorClass": "ACCESS_DENIED"}, ForbiddenError),
        ({"errorClass": "ACCESS_DENIED", "error_code": "BAD_API_KEY"}, AuthError),
        ({"errorClass": "TOO_MANY_REQUESTS"}, RateLimitedError),
        ({"errorClass": "TIMEOUT"}, SourceTimeoutError),
        ({"errorClass": "INVALID_INPUT"}, BadQueryError),
        ({"errorClass": "SERVER_ERROR", "errorCode": "NRDB:1101002"}, BadQueryError),
        ({"errorClass": "SERVER_ERROR"}, UpstreamError),
        ({}, UpstreamError),
    ],
)
@pytest.mark.parametrize("data", [None, {"actor": {"account": None}}, {"actor": {"account": {"nrql": None}}}])
async def test_a_200_without_the_data_is_the_error_that_its_class_says(
    nerdgraph: NerdGraph, newrelic: NewRelic, data: Any, extensions: dict[str, str], expected: type[SourceError]
) -> None:
    nerdgraph.says({"data": data, "errors": [error("the words", **extensions)]})
    raised = await failure(newrelic)
    assert (type(raised), str(raised)) == (expected, "the words")
    assert len(nerdgraph.requests) == 1


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (401, {"errors": [error("Api key is invalid.", error_code="BAD_API_KEY")]}, AuthError),
        (403, {"errors": [error("Api key is invalid.", error_code="BAD_API_KEY")]}, AuthError),
        (403, {"errors": [error("no", errorClass="ACCESS_DENIED")]}, ForbiddenError),
        (402, {"errors": [error("not in the plan")]}, PlanError),
        (400, {"errors": [{"message": "bad"}]}, BadQueryError),
        (500, {"errors": [{"message": "Internal Server Error"}]}, UpstreamError),
        (502, b"<html>caf\xe9</html>", UpstreamError),
        (302, b"", ProtocolError),
        (200, b"<html>caf\xe9</html>", ProtocolError),
        (200, b"", ProtocolError),
        (200, b"[]", ProtocolError),
        (200, {"data": {"actor": {"account": {"nrql": {"results": None}}}}}, ProtocolError),
        (200, {"data": {"actor": {"account": {"nrql": {"results": {}}}}}}, ProtocolError),
        (200, {"data": None}, ProtocolError),
    ],
)
async def test_every_kind_of_bad_answer_is_its_own_error(
    nerdgraph: NerdGraph, newrelic: NewRelic, status: int, body: Any, expected: type[SourceError]
) -> None:
    nerdgraph.says(body, status, {"location": "http://elsewhere.invalid/"} if status == 302 else None)
    raised = await failure(newrelic)
    assert type(raised) is expected
    assert "NRAK" not in f"{raised} {raised.hint}"
    assert len(nerdgraph.requests) == 1


@pytest.mark.parametrize(("headers", "wait"), [(None, None), ({"retry-after": "30"}, 30.0)])
async def test_a_429_is_one_request(
    nerdgraph: NerdGraph, newrelic: NewRelic, headers: dict[str, str] | None, wait: float | None
) -> None:
    nerdgraph.says(b"", 429, headers)
    raised = await failure(newrelic)
    assert isinstance(raised, RateLimitedError)
    assert (raised.retry_after_s, len(nerdgraph.requests)) == (wait, 1)


async def test_one_bad_metric_makes_the_reply_partial_and_names_it(nerdgraph: NerdGraph) -> None:
    bad = {"data": {"actor": {"account": {"nrql": None}}}, "errors": [error("syntax", errorCode="NRDB:1")]}
    nerdgraph.answer = lambda asked: httpx.Response(
        200, json=bad if "Broken" in asked["variables"]["q"] else nrql([bucket(0, 1)])
    )
    one = source(nerdgraph, metrics={"rate": RATE, "other": RATE.replace("Transaction", "Broken")})
    reply = await one.fetch_series(SeriesQuery(("a",), ("rate", "other", "unknown"), WINDOW, MINUTE))
    assert [series.metric for series in reply.items] == ["rate"]
    assert reply.partial == "other: syntax"


def entities(*names: str, cursor: str | None = None) -> dict[str, Any]:
    tags = [
        {"key": "team", "values": ["t"]},
        {"key": "environment", "values": ["prod"]},
        {"key": "x", "values": []},
    ]
    rows = [
        {"name": name, "alertSeverity": "CRITICAL", "permalink": "https://nr/x", "tags": tags} for name in names
    ]
    return {"data": {"actor": {"entitySearch": {"results": {"nextCursor": cursor, "entities": rows}}}}}


async def test_services_come_with_team_environment_and_status(nerdgraph: NerdGraph, newrelic: NewRelic) -> None:
    pages = {None: entities("a", cursor="2"), "2": entities("b")}
    nerdgraph.answer = lambda asked: answer(pages[asked["variables"]["cursor"]])
    reply = await newrelic.list_services(ServiceQuery(WINDOW))
    assert [(item.name, item.team, item.environment, item.status, item.url) for item in reply.items] == [
        ("a", "t", "prod", "CRITICAL", "https://nr/x"),
        ("b", "t", "prod", "CRITICAL", "https://nr/x"),
    ]
    assert reply.partial is None
    assert "accountId = 7" in nerdgraph.sent()["variables"]["q"]


async def test_a_repeating_cursor_ends_the_paging_and_is_said(nerdgraph: NerdGraph, newrelic: NewRelic) -> None:
    nerdgraph.says(entities("a", cursor="same"))
    reply = await newrelic.list_services(ServiceQuery(WINDOW))
    assert len(nerdgraph.requests) == 2
    assert "more services" in (reply.partial or "")


async def test_endless_pages_end_at_a_cap(nerdgraph: NerdGraph, newrelic: NewRelic) -> None:
    nerdgraph.answer = lambda asked: httpx.Response(
        200, json=entities("a", cursor=f"{asked['variables']['cursor']}+")
    )
    reply = await newrelic.list_services(ServiceQuery(WINDOW))
    assert len(nerdgraph.requests) == MAX_PAGES
    assert reply.partial == f"New Relic has more services than the {MAX_PAGES} pages that were read"


async def test_the_check_tells_a_bad_key_from_a_closed_account(nerdgraph: NerdGraph, newrelic: NewRelic) -> None:
    denied = {
        "data": {"actor": {"account": None}},
        "errors": [error("Access denied.", errorClass="ACCESS_DENIED")],
    }
    user = {"data": {"actor": {"user": {"name": "U"}}}}
    nerdgraph.answer = lambda asked: answer(denied if asked["variables"] else user)
    checks = (await newrelic.check()).items
    assert [(one.name, one.ok, one.detail) for one in checks] == [
        ("api key", True, "U"),
        ("account 7", False, "Access denied."),
    ]
    nerdgraph.says({"errors": [error("invalid", error_code="BAD_API_KEY")]}, 401)
    (key,) = (await newrelic.check()).items
    assert not key.ok
    assert "credentials" in key.fix


async def test_a_native_query_gets_its_window_but_keeps_its_own_clauses(
    nerdgraph: NerdGraph, newrelic: NewRelic
) -> None:
    nerdgraph.says(nrql([{"facet": "a", "appName": "a", "count": 3, "average.duration": 0.5}]))
    reply = await newrelic.run_native(
        NativeQuery("FROM T SELECT count(*), 'LIMIT' since 1 day ago", WINDOW, MINUTE)
    )
    assert nerdgraph.nrql == f"FROM T SELECT count(*), 'LIMIT' since 1 day ago UNTIL {WINDOW.end_ms} LIMIT 50"
    assert [(item.service, dict(item.labels), item.values.tolist()) for item in reply.items] == [
        ("a", {"column": "count"}, [3.0]),
        ("a", {"column": "average.duration"}, [0.5]),
    ]
    assert reply.items[0].timestamps_ms.tolist() == [WINDOW.end_ms - 1]


def test_the_settings_are_http_settings_with_the_key_as_a_header() -> None:
    settings = NewRelic.Settings.model_validate({"plugin": "newrelic", "api_key": "NRAK-1", "account_id": 7})
    assert isinstance(settings, HttpSettings)
    assert NewRelic.headers(settings) == {"api-key": "NRAK-1"}
    assert "NRAK" not in repr(settings)


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("error_200_timeout", SourceTimeoutError),
        ("error_200_too_many_requests", RateLimitedError),
        ("error_500_errors_message_only", UpstreamError),
    ],
)
async def test_kept_error_payloads_are_typed(
    nerdgraph: NerdGraph, newrelic: NewRelic, case: str, expected: type[SourceError]
) -> None:
    response = kept(case)
    nerdgraph.says(response["body"].encode(), response["status"])
    assert type(await failure(newrelic)) is expected


async def test_kept_results_are_read(nerdgraph: NerdGraph, newrelic: NewRelic) -> None:
    nerdgraph.says(kept("nrql_facet_other_total_object")["body"].encode())
    reply = await newrelic.run_native(NativeQuery("SELECT count(*) FROM T FACET appName", WINDOW, MINUTE))
    assert [(item.service, item.values.tolist()) for item in reply.items] == [
        ("App1", [1000.0]),
        ("App2", [500.0]),
    ]
    assert "LIMIT" in (reply.partial or "")
    nerdgraph.says(kept("nrql_count_null_other_total")["body"].encode())
    plain = await newrelic.run_native(NativeQuery("SELECT count(*) FROM T", WINDOW, MINUTE))
    assert [(item.service, item.values.tolist()) for item in plain.items] == [("*", [1542.0])]
    assert plain.partial is None


def kept(case: str) -> dict[str, Any]:
    path = CASES / f"{case}.json"
    if not path.is_file():
        pytest.skip("the kept payloads are not beside the repository")
    response: dict[str, Any] = json.loads(path.read_text())["interactions"][0]["response"]
    return response


def test_the_hook_hands_over_the_class() -> None:
    assert telemetry_sources() == [NewRelic]
