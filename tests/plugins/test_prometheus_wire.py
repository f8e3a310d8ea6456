"""Prometheus' JSON into series and errors, without a connection."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
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
    ProtocolError,
    RateLimitedError,
    Reply,
    Series,
    SourceError,
    SourceTimeoutError,
    UpstreamError,
    Window,
)
from telemetry_mcp_prometheus.series import Ask, reply_of
from telemetry_mcp_prometheus.wire import decode, failure

T0 = 1_795_340_000_000
ASK = Ask("cpu_percent", Window(T0, T0 + 3_600_000), 60_000, 60_000, "service", limit=1000, metric="cpu")


def read(body: Any, *services: str, **ask: Any) -> Reply[Series]:
    """A good answer as the series of these services."""
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    return reply_of(decode(HttpReply(200, {}, content)), replace(ASK, services=services, **ask))


def refuse(status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
    """Raises what an answer means that holds no data."""
    reply = HttpReply(status, headers or {}, body)
    if status >= 300:
        raise failure(reply)
    decode(reply)


def matrix(*series: tuple[dict[str, str], list[list[Any]]], **envelope: Any) -> dict[str, Any]:
    result = [{"metric": labels, "values": values} for labels, values in series]
    return {"status": "success", "data": {"resultType": "matrix", "result": result}, **envelope}


def at(seconds: float) -> float:
    return T0 / 1000 + seconds


def test_points_come_as_arrays_in_milliseconds_and_the_windows_end_is_left_out() -> None:
    values = [[at(0), "1"], [at(60), "2.5"], [at(3600), "9"]]
    body = matrix(({"__name__": "cpu_percent", "service": "a", "env": "prod"}, values))
    reply = read(body, "a", unit="percent")

    (series,) = reply.items
    assert series.timestamps_ms.dtype == np.int64
    assert series.timestamps_ms.tolist() == [T0, T0 + 60_000]
    assert series.values.tolist() == [1.0, 2.5]
    assert (series.service, series.metric, series.unit, series.query) == ("a", "cpu", "percent", "cpu_percent")
    assert series.labels == {"env": "prod"}


def test_what_is_no_number_is_nan_and_infinities_are_counted() -> None:
    values = [[at(0), "NaN"], [at(60), "+Inf"], [at(120), "-Inf"], [at(240), "1.8446744073709552e+19"]]
    reply = read(matrix(({"service": "a"}, values)), "a")

    np.testing.assert_array_equal(reply.items[0].values, [np.nan, np.nan, np.nan, 2.0**64])
    assert reply.items[0].timestamps_ms.tolist() == [T0, T0 + 60_000, T0 + 120_000, T0 + 240_000]
    assert reply.warnings == ["2 infinite values left out"]


def test_points_out_of_order_and_series_told_twice_become_one_sorted_series() -> None:
    body = matrix(
        ({"service": "a"}, [[at(120), "3"], [at(0), "1"], [at(0), "1.5"]]), ({"service": "a"}, [[at(60), "2"]])
    )
    reply = read(body, "a")

    (series,) = reply.items
    assert series.timestamps_ms.tolist() == [T0, T0 + 60_000, T0 + 120_000]
    assert series.values.tolist() == [1.5, 2.0, 3.0]


def test_a_result_without_the_label_belongs_to_the_only_service_asked_for() -> None:
    body = matrix(({}, [[at(0), "1"]]))
    alone = read(body, "a")
    of_two = read(body, "a", "b")

    assert [series.service for series in alone.items] == ["a"]
    assert list(of_two.items) == []
    assert of_two.warnings == ["1 series without the label service left out: aggregate by (service)"]


def test_services_that_were_not_asked_for_are_left_out() -> None:
    body = matrix(({"service": "a"}, [[at(0), "1"]]), ({"service": "b"}, [[at(0), "2"]]))
    reply = read(body, "b")
    assert [series.service for series in reply.items] == ["b"]


def test_series_above_the_limit_are_cut_off_and_said() -> None:
    body = matrix(*(({"service": "a", "pod": str(n)}, [[at(0), "1"]]) for n in range(5)))
    reply = read(body, "a", limit=2)

    assert [series.labels["pod"] for series in reply.items] == ["0", "1"]
    assert reply.partial == "2 of 5 series taken: aggregate by (service)"


def test_warnings_of_the_backend_make_the_reply_partial_and_infos_do_not() -> None:
    body = matrix(warnings=["store-3 is down\u202e"], infos=["metric might not be a counter"])
    reply = read(body, "a")
    assert reply.partial == "store-3 is down"
    assert reply.warnings == ["metric might not be a counter"]


def test_victoriametrics_says_partial_in_its_own_way() -> None:
    reply = read(matrix(isPartial=True), "a")
    assert reply.partial == "the backend calls its answer partial"


def test_native_histograms_are_named_and_floats_beside_them_kept() -> None:
    histogram = [at(0), {"count": "3", "sum": "1.5", "buckets": [[0, "0", "1", "3"]]}]
    body = matrix(({"service": "a"}, [[at(0), "1"]]))
    body["data"]["result"][0]["histograms"] = [histogram]
    body["data"]["result"].append({"metric": {"service": "b"}, "histograms": [histogram]})

    reply = read(body)

    assert [series.service for series in reply.items] == ["a"]
    assert reply.warnings == ["2 series hold native histograms: query a quantile of them instead"]


@pytest.mark.parametrize(
    "bad",
    [
        None,
        [],
        {"values": [[at(0), "1"]]},
        {"metric": None, "values": [[at(0), "1"]]},
        {"metric": {"service": 7}, "values": [[at(0), "1"]]},
        {"metric": {"service": "b"}, "values": [[at(0)]]},
        {"metric": {"service": "b"}, "values": [[at(0), None]]},
        {"metric": {"service": "b"}, "values": [[at(0), {}]]},
        {"metric": {"service": "b"}, "values": [[T0, "1"]]},
        {"metric": {"service": "b"}, "values": [[-1, "1"]]},
        {"metric": {"service": "b"}, "values": [[10**400, "1"]]},
    ],
)
def test_a_series_that_cannot_be_read_costs_only_itself(bad: object) -> None:
    body = matrix(({"service": "a"}, [[at(0), "1"]]))
    body["data"]["result"].append(bad)
    reply = read(json.dumps(body).encode())
    assert [series.service for series in reply.items] == ["a"]
    assert reply.warnings == ["1 series could not be read"]
    assert reply.partial is None


def test_numbers_written_as_numbers_are_read_too() -> None:
    reply = read(matrix(({"service": "a"}, [[str(at(0)), 2]])), "a")
    assert reply.items[0].values.tolist() == [2.0]


@pytest.mark.parametrize(
    ("warnings", "partial"), [("store down", "store down"), ([], None), (None, None), (["a", 7], "a; 7")]
)
def test_warnings_of_any_shape_are_told_whole(warnings: object, partial: str | None) -> None:
    assert read(matrix(warnings=warnings), "a").partial == partial


def error_body(kind: str, words: str) -> bytes:
    return orjson.dumps({"status": "error", "errorType": kind, "error": words})


VICTORIA_404 = (
    b'remoteAddr: "10.0.0.7:53292, X-Forwarded-For: 10.0.0.8"; requestURI: /api/v1/x; '
    b'unsupported path requested: "/api/v1/x"'
)


@pytest.mark.parametrize(
    ("status", "body", "error", "words"),
    [
        (400, error_body("bad_data", "parse error: unclosed left parenthesis"), BadQueryError, "unclosed left"),
        (422, error_body("execution", "many-to-many matching not allowed"), BadQueryError, "many-to-many"),
        (422, error_body("422", "too many points for the given step"), BadQueryError, "HTTP 422: too many points"),
        (503, error_body("timeout", "query timed out in expression evaluation"), SourceTimeoutError, "timed out"),
        (503, error_body("unavailable", "no store"), UpstreamError, "no store"),
        (500, error_body("internal", "boom"), UpstreamError, "boom"),
        (200, error_body("internal", "boom"), UpstreamError, "boom"),
        (200, error_body("bad_data", "what?"), BadQueryError, "what"),
        (400, VICTORIA_404, NotFoundError, "^HTTP 400: unsupported path requested"),
        (429, error_body("too_many_requests", "the request has been rejected"), RateLimitedError, "rejected"),
        (422, b"err-mimir-max-chunks-per-query: exceeded", BadQueryError, "err-mimir"),
        (503, b"Service Unavailable", UpstreamError, "Service Unavailable"),
        (504, b"<html>gateway time-out</html>", UpstreamError, "gateway time-out"),
        (502, b"", UpstreamError, "HTTP 502"),
        (401, b"Unauthorized\n", AuthError, "Unauthorized"),
        (401, b"no org id", AuthError, "no org id"),
        (403, b"", ForbiddenError, "HTTP 403"),
        (404, b"404 page not found\n", NotFoundError, "404 page not found"),
        (302, b'<a href="/login">Found</a>.', ProtocolError, "redirect"),
        (200, b"<!doctype html><title>Sign in</title>", ProtocolError, "not JSON"),
        (200, b"", ProtocolError, "not JSON"),
        (200, b'{"status":"success","data":{"resultType":"matrix","res', ProtocolError, "not JSON"),
        (200, b"\xff\xfe", ProtocolError, "not JSON"),
        (200, b'{"message":"hello"}', ProtocolError, "not an answer of the Prometheus API"),
        (200, b"[]", ProtocolError, "not an answer of the Prometheus API"),
        (200, b'{"status":"success"}', ProtocolError, "documents"),
        (200, b'{"status":"success","data":{"resultType":"streams","result":[]}}', ProtocolError, "streams"),
        (
            200,
            b'{"status":"success","data":{"resultType":"vector","result":[{"value":[1,"2"]}]}}',
            ProtocolError,
            "metric",
        ),
        (200, b'{"status":"success","data":{"resultType":"matrix","result":null}}', ProtocolError, "documents"),
        (200, b'{"status":"success","data":{"resultType":"vector","result":{}}}', ProtocolError, "documents"),
        (200, orjson.dumps(matrix(({}, [[1, "two"]]))), ProtocolError, "two"),
        (200, orjson.dumps(matrix(({}, [[1.7e12, "2"]]))), ProtocolError, "not Unix seconds"),
        (200, orjson.dumps(matrix(({"a": []}, [[1, "2"]]))), ProtocolError, "documents"),  # type: ignore[dict-item]
    ],
)
def test_every_refusal_is_a_typed_error_in_the_backends_words(
    status: int, body: bytes, error: type[SourceError], words: str
) -> None:
    with pytest.raises(error, match=words) as caught:
        refuse(status, body)
    assert type(caught.value) is error


def test_a_wrong_path_is_named_as_the_cause_of_a_404() -> None:
    with pytest.raises(NotFoundError) as caught:
        refuse(404, b"404 page not found\n")
    assert "the url's path is wrong" in caught.value.hint


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("execution", "query processing would load too many samples into memory in query execution"),
        ("422", "too many points for the given step; cannot exceed -search.maxPointsPerTimeseries=30000"),
    ],
)
def test_too_much_data_is_answered_with_advice_that_helps(kind: str, words: str) -> None:
    body = error_body(kind, words)
    with pytest.raises(BadQueryError) as caught:
        refuse(422, body)
    assert caught.value.hint == "ask for a shorter window or fewer services"


def test_the_wait_that_a_429_asks_for_is_kept() -> None:
    with pytest.raises(RateLimitedError) as caught:
        refuse(429, b"too many outstanding requests\n", {"retry-after": "7"})
    assert caught.value.retry_after_s == 7


# Large answers


def large_matrix(**envelope: Any) -> bytes:
    """About 5 MB as Prometheus writes it: 100 services, a value a minute, labels that look like structure."""
    noise = np.random.default_rng(7).random((100, 1440)) * 100
    return orjson.dumps(
        matrix(
            *(
                (
                    {"service": f"svc-{n}", "note": '{"metric":{},"values":[[1,"2"]]}'},
                    [[T0 // 1000 + k, repr(value)] for k, value in enumerate(row)],
                )
                for n, row in enumerate(noise.tolist())
            ),
            **envelope,
        )
    )


def test_a_large_answer_is_read_as_a_small_one_would_be() -> None:
    body = orjson.loads(large_matrix(infos=["hm"]))
    body["data"]["result"][3]["values"][5][1] = "NaN"
    body["data"]["result"][3]["values"][6][1] = "-Inf"
    body["data"]["result"][4]["values"][7][0] += 0.25
    split = read(orjson.dumps(body))
    whole = read(orjson.dumps(body, option=orjson.OPT_INDENT_2))

    assert len(split.items) == len(whole.items) == 100
    for one, other in zip(split.items, whole.items, strict=True):
        assert (one.service, one.labels) == (other.service, other.labels)
        np.testing.assert_array_equal(one.timestamps_ms, other.timestamps_ms)
        np.testing.assert_array_equal(one.values, other.values)
    assert np.isnan(split.items[3].values[5:7]).all()
    assert split.items[4].timestamps_ms[7] == T0 + 7250
    assert split.warnings == whole.warnings == ["hm", "1 infinite values left out"]


@pytest.mark.parametrize(
    ("found", "instead"),
    [
        (b"]]}]}}", b"]]}]}"),
        (b"],[", b",["),
        (b'"values":[[', b'"values":[["'),
        (b'"status":"success"', b'"status":"unknown"'),
    ],
)
def test_a_large_answer_that_is_damaged_is_refused(found: bytes, instead: bytes) -> None:
    body = large_matrix()
    assert found in body
    with pytest.raises(ProtocolError):
        read(body.replace(found, instead, 1))
