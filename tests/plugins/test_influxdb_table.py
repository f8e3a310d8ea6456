"""Answers of 2.x and 3.x read: annotated CSV, JSON lines; and what a status means in all versions."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest

from telemetry_mcp import (
    AuthError,
    BadQueryError,
    ForbiddenError,
    HttpReply,
    NotFoundError,
    PlanError,
    ProtocolError,
    RateLimitedError,
    SourceError,
    SourceTimeoutError,
    UpstreamError,
)
from telemetry_mcp_influxdb.wire import failure
from tests.plugins.influx_body import T0, read, told

# ---- 2.x

HEAD = "#datatype,string,long,dateTime:RFC3339,dateTime:RFC3339,dateTime:RFC3339,double,string,string,string\r\n"
GROUP = "#group,false,false,true,true,false,false,true,true,true\r\n#default,_result,,,,,,,,\r\n"
COLUMNS = ",result,table,_start,_stop,_time,_value,_field,_measurement,service\r\n"


def csv(*rows: tuple[int, Any, str], table: int = 0) -> str:
    """A table of Flux: seconds after T0, value, service."""
    lines = []
    for at, value, service in rows:
        stamp = np.datetime64(T0 + at * 1000, "ms")
        lines.append(
            f",,{table},2023-11-14T22:13:20Z,2023-11-14T22:23:20Z,{stamp}Z,{value},usage,cpu,{service}\r\n"
        )
    return HEAD + GROUP + COLUMNS + "".join(lines)


def test_tables_of_one_answer_are_told_apart_by_their_texts() -> None:
    body = csv((0, 1, "a"), (60, 2.5, "a"), (0, 3, "b")) + "\r\n\r\n" + csv((0, 4, "c"), table=7) + "\r\n"
    reply = read(2, body)
    assert told(reply) == [("a", "cpu", [0, 60], [1, 2.5]), ("b", "cpu", [0], [3]), ("c", "cpu", [0], [4])]
    assert all(s.labels == {} for s in reply.items)
    assert [s.metric for s in read(2, body, metric="").items] == ["cpu.usage"] * 3


def test_an_empty_value_is_null_and_an_infinite_one_is_none() -> None:
    reply = read(2, csv((0, "", "a"), (1, "+Inf", "a"), (2, "NaN", "a"), (3, 5, "a")))
    assert told(reply) == [("a", "cpu", [0, 1, 2, 3], [-1, -1, -1, 5])]
    assert reply.warnings == ["1 infinite values left out"]


def test_an_empty_cell_has_the_columns_default() -> None:
    defaulted = GROUP.replace("_result,,,,,,,,", "_result,,,,,9.5,,,fallback")
    assert told(read(2, csv((0, "", "")).replace(GROUP, defaulted))) == [("fallback", "cpu", [0], [9.5])]


def test_a_schema_that_changes_between_tables_is_followed() -> None:
    other = (
        "#group,false,false,false,false,false,true\n#datatype,string,long,dateTime:RFC3339Nano,long,boolean,string\n"
        "#default,_result,,,,,\n,result,table,_time,count,up,service\n,,0,2023-11-14T22:13:20.999999999Z,7,true,b\n"
    )
    for gap in ("\r\n", ""):  # an annotation begins a table without a blank line too
        reply = read(2, csv((0, 1, "a")) + gap + other)
        assert [(s.service, s.labels.get("column"), s.values.tolist()) for s in reply.items] == [
            ("a", "cpu.usage", [1]),
            ("b", "count", [7]),
            ("b", "up", [1]),
        ]
        assert reply.items[1].timestamps_ms.tolist() == [T0 + 999]


def test_an_aggregate_of_the_whole_range_has_the_ranges_start() -> None:
    body = csv((0, 1, "a")).replace("_time,", "other,")
    assert told(read(2, body)) == [("a", "cpu", [0], [1])]


def test_columns_that_are_called_the_same_are_all_read() -> None:
    body = (
        "#datatype,string,long,dateTime:RFC3339,string,double,double\n#group,false,false,false,true,false,false\n"
        "#default,_result,,,,,\n,result,table,_time,service,result,result\n,,0,2023-11-14T22:13:20Z,a,25.3,26\n"
    )
    assert [(s.metric, s.values.tolist()) for s in read(2, body, metric="").items] == [
        ("result", [25.3]),
        ("result_1", [26]),
    ]


def test_a_line_break_and_quotes_inside_a_cell_are_part_of_it() -> None:
    assert [s.service for s in read(2, csv((0, 1, '"we""ird,\r\nname"'))).items] == ['we"ird,\r\nname']


@pytest.mark.parametrize("lead", ["", ","])
def test_an_error_inside_a_good_answer_is_an_error_with_or_without_data_before_it(lead: str) -> None:
    words = '"could not find bucket ""x"""'
    notes = "#datatype,string,string\r\n#group,true,true\r\n#default,,\r\n"
    table = f"{notes}{lead}error,reference\r\n{lead}{words},897\r\n"
    for body in (table, csv((0, 1, "a")) + "\r\n" + table, table[table.index(f"{lead}error") :]):
        with pytest.raises(NotFoundError, match='could not find bucket "x"'):
            read(2, body)


def test_a_row_of_another_length_is_skipped_and_counted() -> None:
    reply = read(2, csv((0, 1, "a")) + ",,0,short\r\n")
    assert told(reply) == [("a", "cpu", [0], [1])]
    assert reply.warnings == ["1 series or rows could not be read"]


@pytest.mark.parametrize("body", [b"", b"\r\n\r\n", (HEAD + GROUP + COLUMNS).encode()])
def test_no_rows_are_no_data(body: bytes) -> None:
    assert list(read(2, body).items) == []


@pytest.mark.parametrize(
    "body",
    [
        *(b"<html>login</html>", b'{"results":[]}', b"\xff\xfe", b'#datatype,"string', b"a,b\n1,2\n"),
        (HEAD + GROUP + COLUMNS + ",,0,x,x,yesterday,1,f,m,a\n").encode(),
    ],
)
def test_what_is_no_annotated_csv_is_a_protocol_error(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        read(2, body)


# ---- 3.x


def lines(*rows: dict[str, Any]) -> bytes:
    return b"".join(orjson.dumps(row) + b"\n" for row in rows)


def test_rows_become_series_by_their_texts_and_a_time_without_a_zone_is_utc() -> None:
    body = lines(
        {"time": "2023-11-14T22:13:20", "service": "a", "host": "h1", "usage": 1},
        {"time": "2023-11-14T22:13:21.000000009", "service": "a", "host": "h1", "usage": 2.5},
        {"time": "2023-11-14T22:13:20", "service": "a", "host": "h2"},
        {"time": "2023-11-14T22:13:20Z", "host": "h1", "service": "b", "usage": None},
        {"time": "2023-11-14T22:13:22", "host": "h1", "service": "b", "usage": 3},
    )
    reply = read(3, body)
    assert told(reply) == [("a", "cpu", [0, 1], [1, 2.5]), ("b", "cpu", [0, 2], [-1, 3])]
    assert [dict(s.labels) for s in reply.items] == [{"host": "h1"}] * 2


def test_an_array_of_rows_is_read_as_lines_are() -> None:
    row = {"time": "2023-11-14T22:13:20", "service": "a", "usage": 1}
    assert told(read(3, [row])) == told(read(3, lines(row))) == [("a", "cpu", [0], [1])]


def test_no_lines_are_no_data() -> None:
    assert list(read(3, b"").items) == list(read(3, b"\n[]").items) == []


@pytest.mark.parametrize("body", [b"7\n", b"null", b"[[1]]", b"<html>", b'{"time":1}\n{"ti'])
def test_what_is_no_rows_is_a_protocol_error(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        read(3, body)


def test_an_error_line_is_an_error_also_after_rows() -> None:
    row = {"time": "2023-11-14T22:13:20", "service": "a", "usage": 1}
    with pytest.raises(SourceTimeoutError):
        read(3, lines(row, {"error": "query timed out"}))


# ---- statuses


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (400, b'{"error":"error parsing query: found SELEC at line 1, char 1"}', BadQueryError, "line 1, char 1"),
        (401, b'{"error":"authorization failed"}', AuthError, "authorization failed"),
        (401, b'{"code":"unauthorized","message":"unauthorized access"}', AuthError, "unauthorized access"),
        (402, b"", PlanError, "402"),
        (403, b'{"error":"error authorizing query: ro not authorized"}', ForbiddenError, "ro not authorized"),
        (404, b'{"code":"not found","message":"could not find bucket \\"x\\""}', NotFoundError, 'bucket "x"'),
        (404, b"404 page not found\n", NotFoundError, "page not found"),
        (422, b'{"code":"unprocessable entity","message":"x"}', BadQueryError, "x"),
        (429, b'{"code":"too many requests","message":"slow down"}', RateLimitedError, "slow down"),
        (
            500,
            b'{"error":"query error: error while planning query: table \'x\' not found"}',
            BadQueryError,
            "planning",
        ),
        (500, b'{"error":"timeout"}', UpstreamError, "timeout"),
        (503, b"<html>bad gateway</html>", UpstreamError, "bad gateway"),
        (302, b"", ProtocolError, "redirect"),
        (500, b"[1]", UpstreamError, "500"),
    ],
)
def test_a_status_means_its_error_in_influxdbs_words(
    status: int, body: bytes, kind: type[SourceError], words: str
) -> None:
    error = failure(HttpReply(status, {"retry-after": "7"}, body))
    assert type(error) is kind
    assert words in str(error)
    if isinstance(error, RateLimitedError):
        assert error.retry_after_s == 7


TIMED = """#datatype,string,long,dateTime:RFC3339,double,string
#default,{name},,,,
,result,table,_time,_value,service
,,0,2023-11-14T22:14:00Z,{value},a

"""
TIMELESS = """#datatype,string,long,string,long
#default,_profiler,,,
,result,table,step,TotalDuration
,,0,read,17

"""


def test_a_table_without_times_behind_the_data_costs_only_itself() -> None:
    reply = read(2, TIMED.format(name="_result", value=2) + TIMELESS)
    assert [(series.service, series.values.tolist()) for series in reply.items] == [("a", [2.0])]
    assert reply.warnings == ["1 tables without times left out: they are no time series"]
    with pytest.raises(BadQueryError, match="no time series"):
        read(2, TIMELESS)


def test_the_same_series_of_two_results_are_told_apart() -> None:
    reply = read(2, TIMED.format(name="now", value=2) + TIMED.format(name="before", value=1))
    told = [(series.labels["result"], series.values.tolist()) for series in reply.items]
    assert told == [("now", [2.0]), ("before", [1.0])]
    (alone,) = read(2, TIMED.format(name="now", value=2)).items
    assert "result" not in alone.labels


def test_a_boolean_that_is_none_is_no_value_and_not_zero() -> None:
    rows = "".join(f",,0,2023-11-14T22:1{4 + n}:00Z,{text},a\n" for n, text in enumerate(("true", "false", "x")))
    (series,) = read(2, TIMED.format(name="r", value="").split(",,0")[0].replace("double", "boolean") + rows).items
    np.testing.assert_array_equal(series.values, [1, 0, np.nan])
