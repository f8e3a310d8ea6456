"""New Relic's rows as series."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from telemetry_mcp import NativeQuery, SeriesQuery, Window
from telemetry_mcp_newrelic import NewRelic
from telemetry_mcp_newrelic.series import has_rest

if TYPE_CHECKING:
    from tests.plugins.conftest import Bucket, ConnectNewRelic, NerdGraph

START_S = 1_700_000_040
START = START_S * 1000
MINUTE = 60_000
QUESTION = SeriesQuery(("a",), ("rate",), Window(START, START + 600_000), MINUTE)


async def test_unfinished_buckets_are_dropped_and_null_is_nan(
    nerdgraph: NerdGraph, newrelic: NewRelic, bucket: Bucket
) -> None:
    cut = {**bucket(570, 9), "endTimeSeconds": START_S + 600}
    nerdgraph.finds([bucket(480, None), bucket(420, 1), cut, bucket(420, 2), bucket(600, 9)])
    (series,) = (await newrelic.fetch_series(QUESTION)).items
    assert series.timestamps_ms.tolist() == [START + 420_000, START + 480_000]
    np.testing.assert_array_equal(series.values, [2, np.nan])
    (newest,) = (await newrelic.fetch_series(replace(QUESTION, latest=True))).items
    assert (newest.timestamps_ms.tolist(), newest.values.tolist()) == ([START + 420_000], [2.0])


async def test_percentiles_come_out_of_their_object(
    nerdgraph: NerdGraph, newrelic: NewRelic, bucket: Bucket
) -> None:
    nerdgraph.finds([bucket(0, {"95": 0.24}, key="percentile.duration")])
    (single,) = (await newrelic.fetch_series(QUESTION)).items
    assert (dict(single.labels), single.values.tolist()) == ({}, [0.24])
    nerdgraph.finds([bucket(0, {"50.0": 0.1, "95": None}, key="percentile.duration")])
    several = (await newrelic.fetch_series(QUESTION)).items
    assert [dict(series.labels) for series in several] == [{"percentile": "50"}, {"percentile": "95"}]


async def test_facets_come_as_text_or_list_and_null_has_no_service(
    nerdgraph: NerdGraph, newrelic: NewRelic
) -> None:
    listed = {"beginTimeSeconds": START_S, "endTimeSeconds": START_S + 60, "rate.count": 3}
    rows = [{"facet": ["a", "h1"], "appName": "a", "host": "h1", **listed}, {"facet": [None, "h2"], **listed}]
    nerdgraph.finds(rows, metadata={"facets": ["appName", "host"], "messages": ["rewritten\nquietly"]})
    reply = await newrelic.fetch_series(replace(QUESTION, services=()))
    assert [(series.service, dict(series.labels)) for series in reply.items] == [("a", {"host": "h1"})]
    assert reply.warnings == ["1 rows have no appName: add FACET appName to the query", "rewritten quietly"]


async def test_services_that_were_not_asked_are_left_out(
    nerdgraph: NerdGraph, newrelic: NewRelic, bucket: Bucket
) -> None:
    nerdgraph.finds([bucket(0, 1), bucket(0, 1, "other")])
    assert [series.service for series in (await newrelic.fetch_series(QUESTION)).items] == ["a"]


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
    nerdgraph: NerdGraph, newrelic: NewRelic, other: Any, rest: bool, bucket: Bucket
) -> None:
    assert has_rest(other) is rest
    nerdgraph.finds([bucket(0, 1)], otherResult=other)
    assert bool((await newrelic.fetch_series(QUESTION)).partial) is rest


@pytest.mark.parametrize("total", [None, {}, {"count": 1542}, [], [{"count": 1}]])
async def test_a_total_of_any_shape_is_no_rest(
    nerdgraph: NerdGraph, newrelic: NewRelic, total: Any, bucket: Bucket
) -> None:
    nerdgraph.finds([bucket(0, 1)], totalResult=total)
    assert (await newrelic.fetch_series(QUESTION)).partial is None


async def test_messages_beside_an_empty_answer_say_why_it_may_not_be_empty(
    nerdgraph: NerdGraph, newrelic: NewRelic
) -> None:
    nerdgraph.finds([], metadata={"facets": None, "messages": ["We tried to transform your query."]})
    reply = await newrelic.fetch_series(QUESTION)
    assert (list(reply.items), reply.partial) == ([], "We tried to transform your query.")
    nerdgraph.finds([])
    assert (await newrelic.fetch_series(QUESTION)).partial is None


async def test_the_other_spelling_of_a_percentile_is_the_same_one(
    nerdgraph: NerdGraph, newrelic: NewRelic, bucket: Bucket
) -> None:
    key = "percentile.duration"
    nerdgraph.finds([bucket(0, {"95": 1, "99.0": 2}, key=key), bucket(60, {"95.0": 3, "99": 4}, key=key)])
    found = {s.labels["percentile"]: s.values.tolist() for s in (await newrelic.fetch_series(QUESTION)).items}
    assert found == {"95": [1.0, 3.0], "99": [2.0, 4.0]}


async def test_an_apdex_is_its_score(nerdgraph: NerdGraph, newrelic: NewRelic, bucket: Bucket) -> None:
    nerdgraph.finds([bucket(0, {"score": 0.93, "count": 8, "s": 7, "t": 1, "f": 0}, key="apdex")])
    (series,) = (await newrelic.fetch_series(QUESTION)).items
    assert (series.values.tolist(), dict(series.labels)) == ([0.93], {})


async def test_an_alias_that_took_the_facets_name_leaves_the_service_alone(
    nerdgraph: NerdGraph, newrelic: NewRelic
) -> None:
    row = {"facet": "a", "appName": 5, "beginTimeSeconds": START_S, "endTimeSeconds": START_S + 60}
    nerdgraph.finds([row])
    (series,) = (await newrelic.fetch_series(QUESTION)).items
    assert (series.service, series.values.tolist()) == ("a", [5.0])


async def test_a_name_that_comes_twice_in_a_row_is_the_last_one(
    nerdgraph: NerdGraph, newrelic: NewRelic, bucket: Bucket
) -> None:
    twice = nerdgraph.found([bucket(0, 1, key="count")])
    body = json.dumps(twice).replace('"count": 1', '"count": 1, "count": 2')
    nerdgraph.says(body.encode())
    (series,) = (await newrelic.fetch_series(QUESTION)).items
    assert series.values.tolist() == [2.0]


@pytest.mark.parametrize("name", ["it's", 'we"ird\\svc', "サービス", "a, b", "x" * 200])
async def test_a_service_with_an_odd_name_is_found_again(
    nerdgraph: NerdGraph, newrelic: NewRelic, bucket: Bucket, name: str
) -> None:
    nerdgraph.finds([bucket(0, 1, name)])
    (series,) = (await newrelic.fetch_series(replace(QUESTION, services=(name,)))).items
    assert series.service == name


@pytest.mark.parametrize("value", [2**31 + 1, 2**53 + 2, "3", 1e300])
async def test_large_numbers_and_numbers_in_texts_are_values(
    nerdgraph: NerdGraph, newrelic: NewRelic, bucket: Bucket, value: Any
) -> None:
    nerdgraph.finds([bucket(0, value)])
    (series,) = (await newrelic.fetch_series(QUESTION)).items
    assert series.values.tolist() == [float(value)]


@pytest.mark.parametrize("begin", [START, str(START_S), START_S, "2023-11-14T22:14:00Z"])
async def test_a_bucket_begins_at_the_same_time_in_every_unit(
    nerdgraph: NerdGraph, newrelic: NewRelic, begin: Any
) -> None:
    nerdgraph.finds([{"facet": "a", "beginTimeSeconds": begin, "endTimeSeconds": START_S + 60, "count": 1}])
    (series,) = (await newrelic.fetch_series(QUESTION)).items
    assert series.timestamps_ms.tolist() == [START]


async def test_a_row_without_a_time_that_can_be_one_is_skipped_and_counted(
    nerdgraph: NerdGraph, newrelic: NewRelic, bucket: Bucket
) -> None:
    begins: list[Any] = [None, -1, 10**30, {}, "soon", True]
    odd = [{**bucket(0, 9), "beginTimeSeconds": begin} for begin in begins]
    nerdgraph.finds([bucket(0, 1), *odd, "text", None, []])
    reply = await newrelic.fetch_series(QUESTION)
    assert [series.values.tolist() for series in reply.items] == [[1.0]]
    assert reply.warnings == ["9 rows of New Relic's answer could not be read"]


@pytest.mark.parametrize("metadata", [None, [], "strange", {"facets": {"a": 1}, "messages": 3}, {}])
async def test_metadata_of_any_shape_leaves_the_rows_readable(
    nerdgraph: NerdGraph, newrelic: NewRelic, bucket: Bucket, metadata: Any
) -> None:
    nerdgraph.finds([bucket(0, 1)], metadata=metadata)
    (series,) = (await newrelic.fetch_series(QUESTION)).items
    assert (series.service, series.values.tolist()) == ("a", [1.0])


async def test_a_comparison_is_labelled_in_a_native_query_and_left_out_of_a_metric(
    nerdgraph: NerdGraph, newrelic: NewRelic, bucket: Bucket
) -> None:
    before = bucket(0, 2)
    nerdgraph.finds([], currentResults=[bucket(0, 1)], previousResults=[before])
    native = await newrelic.run_native(
        NativeQuery("SELECT count(*) FROM T FACET appName", QUESTION.window, MINUTE)
    )
    assert [(dict(item.labels), item.values.tolist()) for item in native.items] == [
        ({}, [1.0]),
        ({"comparison": "previous"}, [2.0]),
    ]
    metric = await newrelic.fetch_series(QUESTION)
    assert [item.values.tolist() for item in metric.items] == [[1.0]]
    assert metric.warnings == ["COMPARE WITH is left out: a metric has one window"]


async def test_the_service_is_what_the_query_compares_with_service(
    nerdgraph: NerdGraph, connect_newrelic: ConnectNewRelic
) -> None:
    query = (
        "SELECT average(cpuPercent) FROM SystemSample WHERE `entityName` IN ($service) FACET entityName, region"
    )
    row = {"facet": ["a", "eu"], "entityName": "a", "region": "eu", "average.cpuPercent": 40}
    nerdgraph.finds(
        [{**row, "beginTimeSeconds": START_S, "endTimeSeconds": START_S + 60}],
        metadata={"facets": ["entityName", "region"]},
    )
    (series,) = (await connect_newrelic(metrics={"rate": query}).fetch_series(QUESTION)).items
    assert (series.service, dict(series.labels)) == ("a", {"region": "eu"})


async def test_a_large_answer_is_read_beside_the_event_loop(
    nerdgraph: NerdGraph, newrelic: NewRelic, bucket: Bucket
) -> None:
    nerdgraph.finds([bucket(60 * at, 1, f"s{n}") for n in range(300) for at in range(10)])
    reply = await newrelic.fetch_series(replace(QUESTION, services=()))
    assert (len(reply.items), {len(series) for series in reply.items}) == (300, {10})


async def test_an_answer_of_nothing_but_unfinished_buckets_says_so(
    nerdgraph: NerdGraph, newrelic: NewRelic, bucket: Bucket
) -> None:
    nerdgraph.finds([bucket(600, 1), bucket(660, 2)])
    reply = await newrelic.fetch_series(QUESTION)
    assert not reply.items
    assert reply.warnings == ["all 2 buckets go beyond the window's end, or are not over yet"]
