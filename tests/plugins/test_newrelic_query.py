"""The NRQL that is sent to New Relic: where it goes, what is put in, what is let through."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from telemetry_mcp import BadQueryError, MetricQuery, NativeQuery, SeriesQuery, Window
from telemetry_mcp_newrelic import NewRelic
from telemetry_mcp_newrelic.query import attribute_of, boxed, must_read

if TYPE_CHECKING:
    from tests.plugins.conftest import Bucket, ConnectNewRelic, Failure, NerdGraph

START_S = 1_700_000_040
START = START_S * 1000
WINDOW = Window(START, START + 600_000)
MINUTE = 60_000


def question(*services: str, latest: bool = False, window: Window = WINDOW) -> SeriesQuery:
    return SeriesQuery(services, ("rate",), window, MINUTE, latest)


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
async def test_the_region_or_the_url_says_where_to_ask(
    nerdgraph: NerdGraph, more: Any, url: str, connect_newrelic: ConnectNewRelic
) -> None:
    nerdgraph.finds([])
    await connect_newrelic(**more).fetch_series(question("a"))
    (request,) = nerdgraph.requests
    assert (str(request.url), request.headers["api-key"]) == (url, "NRAK-1")


async def test_account_and_nrql_travel_as_variables(
    nerdgraph: NerdGraph, newrelic: NewRelic, bucket: Bucket
) -> None:
    nerdgraph.finds([bucket(0, 1.5), bucket(60, 2)])
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
    nerdgraph: NerdGraph,
    template: str,
    services: tuple[str, ...],
    condition: str | None,
    connect_newrelic: ConnectNewRelic,
) -> None:
    nerdgraph.finds([])
    query = f"SELECT count(*) FROM Transaction WHERE {template} FACET appName"
    await connect_newrelic(metrics={"rate": query}).fetch_series(question(*services))
    expected = condition or r"IN ('a\') OR appName IN (\'b', '$__interval', 'a -- b; LIMIT')"
    said = nerdgraph.nrql.replace("appNameIN", "appName IN").replace("appNameIS", "appName IS")
    assert said.startswith(f"SELECT count(*) FROM Transaction WHERE appName {expected} FACET appName SINCE ")
    assert said.endswith(" TIMESERIES 60 seconds LIMIT MAX")


@pytest.mark.parametrize("name", ["a\nb", "a\x00", "a‮b", ""])
async def test_a_name_with_control_characters_is_left_out_with_a_warning(
    nerdgraph: NerdGraph, newrelic: NewRelic, name: str, bucket: Bucket
) -> None:
    nerdgraph.finds([bucket(0, 1)])
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
    must_read(text)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT count(*) FROM T WHERE a LIKE $service FACET a",
        "SELECT count(*) FROM T WHERE a NOT IN ($service) FACET a",
        "SELECT count(*) FROM T WHERE a != '$service' FACET a",
        "SELECT $service FROM T",
    ],
)
async def test_a_service_placeholder_elsewhere_is_refused(
    nerdgraph: NerdGraph, query: str, connect_newrelic: ConnectNewRelic, failure: Failure
) -> None:
    assert isinstance(
        await failure(connect_newrelic(metrics={"rate": query}).fetch_series(question("a"))), BadQueryError
    )
    assert nerdgraph.requests == []


async def test_without_a_facet_one_service_is_the_one_and_several_are_refused(
    nerdgraph: NerdGraph, connect_newrelic: ConnectNewRelic
) -> None:
    one = connect_newrelic(metrics={"rate": "SELECT count(*) FROM T WHERE appName IN ($service)"})
    row = {"beginTimeSeconds": START_S, "endTimeSeconds": START_S + 60, "count": 5}
    nerdgraph.finds([row], metadata={"facets": None})
    (series,) = (await one.fetch_series(question("a"))).items
    assert (series.service, series.values.tolist()) == ("a", [5.0])
    with pytest.raises(BadQueryError, match="FACET"):
        await one.fetch_series(question("a", "b"))


async def test_a_long_window_is_asked_in_wider_buckets_and_says_so(
    nerdgraph: NerdGraph, newrelic: NewRelic
) -> None:
    nerdgraph.finds([])
    reply = await newrelic.fetch_series(question("a", window=Window(START - 7 * 86_400_000, START)))
    assert "TIMESERIES 1653 seconds" in nerdgraph.nrql
    assert reply.warnings == ["a point every 1653 s, not 60 s: at most 366"]


async def test_a_native_query_gets_its_window_but_keeps_its_own_clauses(
    nerdgraph: NerdGraph, newrelic: NewRelic
) -> None:
    nerdgraph.finds([{"facet": "a", "appName": "a", "count": 3, "average.duration": 0.5}])
    reply = await newrelic.run_native(
        NativeQuery("FROM T SELECT count(*), 'LIMIT' since 1 day ago", WINDOW, MINUTE)
    )
    assert nerdgraph.nrql == f"FROM T SELECT count(*), 'LIMIT' since 1 day ago UNTIL {WINDOW.end_ms} LIMIT 50"
    assert [(item.service, dict(item.labels), item.values.tolist()) for item in reply.items] == [
        ("a", {"column": "count"}, [3.0]),
        ("a", {"column": "average.duration"}, [0.5]),
    ]
    assert reply.items[0].timestamps_ms.tolist() == [WINDOW.end_ms - 1]


@pytest.mark.parametrize(
    ("query", "attribute"),
    [
        ("SELECT 1 FROM T WHERE appName IN ($service)", "appName"),
        ("SELECT 1 FROM T WHERE x = 1 AND service.name = '$service' FACET y", "service.name"),
        ("SELECT 1 FROM T WHERE (a IS NULL OR b > 1) AND `odd name` in ('${service}')", "odd name"),
        ("SELECT 1 FROM T FACET host", "default"),
    ],
)
def test_the_attribute_of_the_service_is_the_one_that_is_compared_with_it(query: str, attribute: str) -> None:
    assert attribute_of(MetricQuery(query=query), "default") == attribute


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("SELECT a FROM b SINCE 1 day ago UNTIL 2 minutes AGO", "SELECT a FROM b"),
        ("SELECT a FROM b UNTIL 2 minutes AGO FACET c since 3 days ago", "SELECT a FROM b FACET c"),
        ("FROM b SELECT a WHERE x = 'SINCE 1 day ago' UNTIL now", "FROM b SELECT a WHERE x = 'SINCE 1 day ago'"),
        ("SELECT a FROM b", "SELECT a FROM b"),
    ],
)
def test_new_relics_own_queries_are_asked_over_our_window(text: str, sent: str) -> None:
    assert boxed(text, WINDOW) == f"{sent} SINCE {START} UNTIL {START + 600_000} LIMIT MAX"


def test_new_relics_own_queries_may_only_read() -> None:
    with pytest.raises(BadQueryError):
        boxed("DELETE FROM Metric", WINDOW)


async def test_a_metrics_own_times_give_way_to_the_asked_window(
    nerdgraph: NerdGraph, connect_newrelic: ConnectNewRelic
) -> None:
    nerdgraph.finds([])
    query = "SELECT count(*) FROM T WHERE appName IN ($service) SINCE 1 day ago UNTIL now FACET appName LIMIT 5"
    await connect_newrelic(metrics={"rate": query}).fetch_series(question("since x"))
    assert nerdgraph.nrql == (
        "SELECT count(*) FROM T WHERE appName IN ('since x') FACET appName LIMIT 5"
        f" SINCE {START} UNTIL {START + 600_000} TIMESERIES 60 seconds"
    )
