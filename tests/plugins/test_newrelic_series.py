"""New Relic's rows as series."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from telemetry_mcp import SeriesQuery, Window
from telemetry_mcp_newrelic import NewRelic
from telemetry_mcp_newrelic.wire import has_rest

if TYPE_CHECKING:
    from tests.plugins.conftest import Bucket, NerdGraph

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
    assert reply.warnings == ["rewritten quietly", "1 rows have no appName: add FACET appName to the query"]


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
