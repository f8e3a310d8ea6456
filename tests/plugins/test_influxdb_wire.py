"""Answers of 1.x read: what counts, what is left out and said, and every trap that is known of its JSON."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import orjson
import pytest

from telemetry_mcp import (
    BadQueryError,
    ForbiddenError,
    NotFoundError,
    ProtocolError,
    RateLimitedError,
    SourceError,
    SourceTimeoutError,
    UpstreamError,
)
from telemetry_mcp_influxdb.document import SPLIT_BYTES
from telemetry_mcp_influxdb.table import instants
from tests.plugins.influx_body import MINUTE, T0, read, told


def result(*series: Any, **more: Any) -> dict[str, Any]:
    return {"results": [{"statement_id": 0, **({"series": list(series)} if series else {}), **more}]}


def one(values: Any, service: str | None = "a", columns: Any = ("time", "mean"), **more: Any) -> dict[str, Any]:
    tags = {"tags": {"service": service}} if service is not None else {}
    return {"name": "cpu", **tags, "columns": list(columns), "values": values, **more}


# ---- 1.x


def test_no_series_is_no_data() -> None:
    reply = read(1, result())
    assert (list(reply.items), reply.warnings, reply.partial) == ([], [], None)


def test_a_bucket_that_starts_before_the_window_or_ends_after_it_is_left_out() -> None:
    values = [[T0 - 20_000, 1], [T0 + 40_000, 2], [T0 + 540_000, 3], [T0 + 580_000, 4], [T0 + 640_000, 5]]
    assert told(read(1, result(one(values)), width_ms=MINUTE)) == [("a", "cpu", [40, 540], [2, 3])]
    assert told(read(1, result(one(values)))) == [("a", "cpu", [40, 540, 580], [2, 3, 4])]


def test_a_null_is_no_number_and_a_series_of_nulls_is_no_data() -> None:
    body = result(one([[T0, None], [T0 + 1000, 2]]), one([[T0, None]], service="b"))
    assert told(read(1, body)) == [("a", "cpu", [0, 1], [-1, 2])]


def test_the_latest_is_the_newest_number_of_a_whole_bucket() -> None:
    values = [[T0, 1], [T0 + 480_000, 2], [T0 + 540_000, None], [T0 + 580_000, 9]]
    assert told(read(1, result(one(values)), width_ms=MINUTE, latest=True)) == [("a", "cpu", [480], [2])]


def test_an_aggregate_without_a_time_bound_is_of_1970_and_not_of_now() -> None:
    reply = read(1, result(one([[0, 42]])))
    assert list(reply.items) == []
    assert reply.warnings == [
        "1 series have nothing that lies whole in the window:"
        " an aggregate without times is of 1970, it needs GROUP BY time"
    ]


def test_several_aggregates_of_one_query_are_told_apart() -> None:
    body = result(one([[T0, 1, 2]], columns=("time", "mean", "mean_1")))
    reply = read(1, body)
    assert [(s.metric, dict(s.labels), s.values.tolist()) for s in reply.items] == [
        ("cpu", {"column": "cpu.mean"}, [1]),
        ("cpu", {"column": "cpu.mean_1"}, [2]),
    ]
    assert [s.metric for s in read(1, body, metric="").items] == ["cpu.mean", "cpu.mean_1"]


def test_huge_integers_booleans_and_texts_are_read_as_what_they_are() -> None:
    columns = ("time", "big", "up", "host", "note")
    values = [[T0, 2**63 - 1, True, 'h"3', None], [T0 + 1000, 10**400, False, 'h"3', None]]
    reply = read(1, json.dumps(result(one(values, columns=columns))))  # orjson knows no such integers
    assert [(dict(s.labels), s.values[0]) for s in reply.items] == [
        ({"host": 'h"3', "column": "cpu.big"}, 2.0**63),
        ({"host": 'h"3', "column": "cpu.up"}, 1.0),
    ]


def test_messages_are_warnings() -> None:
    body = result(one([[T0, 1]]), messages=[{"level": "warning", "text": "deprecated use of\nGET"}])
    assert read(1, body).warnings == ["deprecated use of GET"]


@pytest.mark.parametrize("body", [result(one([[T0, 1]], partial=True)), result(one([[T0, 1]]), partial=True)])
def test_rows_that_the_server_cut_off_make_the_answer_partial(body: Any) -> None:
    reply = read(1, body)
    assert (len(reply.items), reply.partial) == (1, "the server cut rows off: its max-row-limit")


def test_a_chunked_answer_of_several_documents_is_one_answer_and_not_partial() -> None:
    first = result(one([[T0, 1]], partial=True), partial=True)
    body = b"\n".join([orjson.dumps(first), orjson.dumps(result(one([[T0 + 1000, 2]]))), b""])
    reply = read(1, body)
    assert told(reply) == [("a", "cpu", [0, 1], [1, 2])]
    assert reply.partial is None


def test_a_chunked_answer_that_ends_early_is_partial_or_no_answer() -> None:
    first = orjson.dumps(result(one([[T0, 1]], partial=True), partial=True))
    assert read(1, first).partial
    with pytest.raises(ProtocolError):
        read(1, first + b'\n{"results":[{"ser')


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("database not found: missing", NotFoundError),
        ("retention policy not found: x", NotFoundError),
        ("undefined function foo()", BadQueryError),
        ("max-select-buckets limit exceeded: (10000/100)", BadQueryError),
        ("max-select-series limit exceeded: (1000/10)", BadQueryError),
        ("max-concurrent-queries limit exceeded(20, 20)", RateLimitedError),
        ("query-timeout limit exceeded", SourceTimeoutError),
        ("error authorizing query: ro not authorized to execute statement", ForbiddenError),
        ("query interrupted", UpstreamError),
        ("engine is closed", UpstreamError),
        ("", BadQueryError),
    ],
)
def test_an_error_of_a_statement_is_typed_although_the_status_was_good(
    words: str, kind: type[SourceError]
) -> None:
    errors = [{"results": [{"statement_id": 0, "error": words}]}, {"error": words}] if words else []
    for body in [*errors, result(one([[T0, 1]]), error=words or "?")]:
        with pytest.raises(kind):
            read(1, body)


def test_an_error_after_good_chunks_is_an_error() -> None:
    good = orjson.dumps(result(one([[T0, 1]], partial=True), partial=True))
    with pytest.raises(SourceTimeoutError):
        read(1, good + b"\n" + orjson.dumps(result(error="query-timeout limit exceeded")))


def test_texts_numbers_and_other_units_of_time_are_understood() -> None:
    same = [T0, T0 // 1000, T0 * 1000, T0 * 1_000_000]
    assert instants(same).tolist() == [T0] * 4
    texts = [
        "2023-11-14T22:13:20Z",
        "2023-11-14T22:13:20.123456789Z",
        "2023-11-14 22:13:20",
        "2023-11-14T22:13:20.5",
    ]
    assert (instants(texts) - T0).tolist() == [0, 123, 0, 500]
    assert (instants(["2023-11-14T23:13:20+01:00", None, "2023-11-14T22:13:20Z"]) - T0).tolist()[::2] == [0, 0]
    assert (instants([None, float("nan"), 1e300, 10**400]) < 0).all()
    assert instants([0]).tolist() == [0]


def test_irregular_buckets_such_as_months_are_taken_as_they_come() -> None:
    reply = read(1, result(one([[T0, 1], [T0 + 28_000, 2], [T0 + 59_000, 3]])))
    assert told(reply) == [("a", "cpu", [0, 28, 59], [1, 2, 3])]


def test_points_that_are_not_in_order_are_sorted_and_of_two_at_one_time_the_last_number_counts() -> None:
    reply = read(1, result(one([[T0 + 2000, 3], [T0, 1], [T0 + 2000, 4], [T0, None]])))
    assert told(reply) == [("a", "cpu", [0, 2], [1, 4])]
    assert reply.warnings == [
        "several values at one time: the last of each is taken; group by all that tells them apart"
    ]


def test_a_series_without_the_tag_belongs_to_the_one_service_that_was_asked_for_or_to_none() -> None:
    body = result(one([[T0, 1]], service=None), {**one([[T0, 2]], service=""), "name": "other"})
    alone = read(1, body, "x")
    assert {s.service for s in alone.items} == {"x"}
    assert alone.warnings == ["a result without the tag service is taken for x: group by it"]
    several = read(1, body, "x", "y")
    assert list(several.items) == []
    assert several.warnings == ["2 series without the tag service left out: group by it"]


def test_a_service_that_was_not_asked_for_is_left_out() -> None:
    assert [s.service for s in read(1, result(one([[T0, 1]]), one([[T0, 2]], service="b")), "b", "c").items] == [
        "b"
    ]


def test_more_series_and_points_than_allowed_are_cut_and_said() -> None:
    many = result(*(one([[T0, 1]], service=f"s{n}") for n in range(5)))
    reply = read(1, many, limit=2)
    assert (len(reply.items), reply.partial) == (2, "2 of 5 series taken: group by service")
    long = read(1, result(one([[T0 + n, n] for n in range(12_000)])))
    assert long.partial == "only the newest 11,000 points of a series are taken: group by time"
    assert long.items[0].values[[0, -1]].tolist() == [1000, 11_999]


def test_infinite_values_are_left_out_and_counted() -> None:
    body = b'{"results":[{"series":[{"name":"m","columns":["time","v"],"values":[[%d,1e999],[%d,1]]}]}]}'
    reply = read(1, body % (T0, T0 + 1000), metric="")
    assert told(reply) == [("", "m.v", [0, 1], [-1, 1])]
    assert reply.warnings == ["1 infinite values left out"]


@pytest.mark.parametrize(
    "series",
    [
        *(None, 7, [], {"columns": None}, {"columns": {}, "values": []}, one({}), one(7), one([[{}, 1]])),
        *(one([["yesterday", 1]]), {"name": "m", "tags": ["x"], "columns": ["time", "v"], "values": [[T0, 1]]}),
    ],
)
def test_a_series_that_cannot_be_read_is_counted_and_the_others_stay(series: Any) -> None:
    reply = read(1, result(series, one([[T0, 1]])))
    assert told(reply) == [("a", "cpu", [0], [1])]
    assert reply.warnings == ["1 series or rows could not be read"]


@pytest.mark.parametrize("row", [None, 7, {}, [], [T0], [T0, 1, 2], "x"])
def test_a_row_that_cannot_be_read_is_skipped_and_counted(row: Any) -> None:
    reply = read(1, result(one([[T0, 1], row, [T0 + 1000, [2]], [T0 + 2000, {}], [T0 + 3000, "x"]])))
    assert [s.service for s in reply.items] == ["a"] * len(reply.items)
    assert reply.items[0].values.tolist()[0] == 1
    assert "1 series or rows could not be read" in reply.warnings


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"<html>login</html>", b'{"results":', b"null", b"[]", b"7", b'"x"', b"{}", b"\xff\xfe"),
        *(b'{"results":[{"series":[7]}]}', b'{"status":"pass"}', b'{"results":{}}', b'{"results":[null,7]}'),
    ],
)
def test_a_body_that_is_no_answer_is_a_protocol_error(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        read(1, body)


@pytest.mark.parametrize("body", [b'{"results":null}', b'{"results":[]}', b'{"results":[{}]}'])
def test_results_that_hold_nothing_are_no_data(body: bytes) -> None:
    assert list(read(1, body).items) == []


def test_names_without_times_are_no_series() -> None:
    with pytest.raises(BadQueryError, match="no time series"):
        read(1, result({"name": "databases", "columns": ["name"], "values": [["d"]]}))


@pytest.mark.parametrize(
    ("columns", "row"),
    [
        (("time", "mean"), lambda n: [T0 + n, n * 0.5]),
        (("time", "mean", "up"), lambda n: [T0 + n, None if n % 3 else n, n % 2 == 0]),
        (("time", "mean", "note"), lambda n: [T0 + n, n, "[[1,2]]" if n % 2 else '"values":[[']),
        (("time", "note"), lambda n: [T0 + n, "]]"]),
        (("time", "mean"), lambda n: [T0 + n, n] if n else [T0]),
        (("time", "mean"), lambda n: [T0 + n, 10**400 if n == 7 else n]),
    ],
)
def test_a_large_answer_read_series_by_series_says_the_same_as_one_read_whole(columns: Any, row: Any) -> None:
    series = [one([row(n) for n in range(10_000)], service=f"s{k}", columns=columns) for k in range(6)]
    compact = json.dumps(result(*series), separators=(",", ":"))
    assert len(compact) > SPLIT_BYTES
    spaced = json.dumps(result(*series))  # not as InfluxDB writes it: read whole
    split, whole = read(1, compact), read(1, spaced)
    assert [(s.service, s.labels) for s in split.items] == [(s.service, s.labels) for s in whole.items]
    for left, right in zip(split.items, whole.items, strict=True):
        np.testing.assert_array_equal(left.timestamps_ms, right.timestamps_ms)
        np.testing.assert_array_equal(left.values, right.values)
    assert (split.warnings, split.partial) == (whole.warnings, whole.partial)
