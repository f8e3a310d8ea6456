"""Series by Datadog's second query API: what is sent, and its sparse and irregular answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from telemetry_mcp import (
    BadQueryError,
    NativeQuery,
    ProtocolError,
    RateLimitedError,
    SeriesQuery,
    SourceError,
    UpstreamError,
    Window,
)
from telemetry_mcp_datadog import Datadog

if TYPE_CHECKING:
    from tests.plugins.conftest import ConnectDatadog, Failure, Stub

PATH = "/api/v2/query/timeseries"
START = 1_711_977_600_000
MINUTE = 60_000
WINDOW = Window(START, START + 60 * MINUTE)
ASKED = "{service:$service} by {service}"
ERRORS = f"100 * default_zero(sum:errors{ASKED}.as_count()) / sum:hits{ASKED}"


@pytest.fixture
def second(stub: Stub, connect_datadog: ConnectDatadog) -> Datadog:
    return connect_datadog(stub.url, api="v2", timeout="500ms")


def question(*services: str, step_ms: int = MINUTE, latest: bool = False) -> SeriesQuery:
    return SeriesQuery(services, ("cpu",), WINDOW, step_ms, latest)


def found(times: Any, *lists: Any, tags: tuple[str, ...] = ("service:a",), unit: Any = None) -> dict[str, Any]:
    series = [{"group_tags": [tag], "query_index": 0, "unit": unit} for tag in tags]
    attributes = {"series": series, "times": times, "values": list(lists)}
    return {"data": {"id": "0", "type": "timeseries_response", "attributes": attributes}}


async def test_the_same_text_becomes_queries_and_a_formula(stub: Stub, connect_datadog: ConnectDatadog) -> None:
    one = connect_datadog(stub.url, api="v2", metrics={"error_rate": {"query": ERRORS, "unit": "percent"}})
    stub.on(PATH, found([START], [1.5]))
    reply = await one.fetch_series(SeriesQuery(("a",), ("error_rate",), WINDOW, MINUTE))
    sent = stub.asked[0].json["data"]
    assert sent == {
        "type": "timeseries_request",
        "attributes": {
            "from": WINDOW.start_ms,
            "to": WINDOW.end_ms,
            "interval": MINUTE,
            "formulas": [{"formula": "100 * default_zero(q0) / q1"}],
            "queries": [
                {
                    "data_source": "metrics",
                    "name": "q0",
                    "query": "sum:errors{service:a} by {service}.as_count()",
                },
                {"data_source": "metrics", "name": "q1", "query": "sum:hits{service:a} by {service}"},
            ],
        },
    }
    assert stub.asked[0].headers["content-type"] == "application/json"
    assert [(series.service, series.unit, series.values.tolist()) for series in reply.items] == [
        ("a", "percent", [1.5])
    ]


async def test_sparse_times_stay_as_they_are_and_a_wider_interval_is_said(stub: Stub, second: Datadog) -> None:
    stub.on(PATH, found([START + 45_000, START + 105_000, START + 2_625_000], [1, 1, 87.5]))
    reply = await second.fetch_series(question("a", step_ms=5000))
    (series,) = reply.items
    assert series.timestamps_ms.tolist() == [START + 45_000, START + 105_000, START + 2_625_000]
    assert series.values.tolist() == [1.0, 1.0, 87.5]
    assert reply.warnings == ["a point every 60 s, not 5 s"]


async def test_two_far_apart_times_prove_no_interval(stub: Stub, second: Datadog) -> None:
    stub.on(PATH, found([START, WINDOW.end_ms - MINUTE], [1, 2]))
    (series,) = (await second.fetch_series(question("a"))).items
    assert series.values.tolist() == [1.0, 2.0]


async def test_the_unfinished_last_bucket_is_left_out(stub: Stub, second: Datadog) -> None:
    end = WINDOW.end_ms
    stub.on(PATH, found([end - 3 * MINUTE, end - 2 * MINUTE, end - MINUTE, end - 30_000], [1, 2, 3, 9]))
    (series,) = (await second.fetch_series(question("a", step_ms=MINUTE))).items
    assert series.values.tolist() == [1.0, 2.0, 3.0]


async def test_null_nan_duplicate_unsorted_and_float_times_are_put_right(stub: Stub, second: Datadog) -> None:
    times = [START + 2 * MINUTE, START, float(START), START + MINUTE, None]
    stub.on(PATH, found(times, [None, 1, 2, "NaN", 5]))
    (series,) = (await second.fetch_series(question("a"))).items
    assert series.timestamps_ms.tolist() == [START, START + MINUTE, START + 2 * MINUTE]
    np.testing.assert_array_equal(series.values, [2.0, np.nan, np.nan])


async def test_durations_in_microseconds_become_seconds(stub: Stub, second: Datadog) -> None:
    unit = [{"family": "time", "name": "microsecond", "short_name": "μs", "scale_factor": 1e-06}, None]
    stub.on(PATH, found([START], [1500], unit=unit))
    (series,) = (await second.fetch_series(question("a"))).items
    assert (series.unit, series.values.tolist()) == ("s", [pytest.approx(0.0015)])


async def test_an_empty_answer_that_still_has_units_is_empty(stub: Stub, second: Datadog) -> None:
    stub.on(PATH, found([], [], unit=[{"family": "percentage", "name": "percent", "scale_factor": 1.0}, None]))
    reply = await second.fetch_series(question("a"))
    assert (list(reply.items), reply.partial) == ([], None)


async def test_the_newest_number_of_each_series_is_found(stub: Stub, second: Datadog) -> None:
    end = WINDOW.end_ms
    times = [end - 4 * MINUTE, end - 3 * MINUTE, end - 2 * MINUTE]
    stub.on(PATH, found(times, [1, 2, None], [None, None, 4], tags=("service:a", "service:b")))
    reply = await second.fetch_series(question("a", "b", latest=True))
    assert {series.service: series.values.tolist() for series in reply.items} == {"a": [2.0], "b": [4.0]}
    assert stub.asked[0].json["data"]["attributes"]["from"] == START - 120_000


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"errors": ["Rate limit of 100 requests reached"]}, RateLimitedError),
        ({"errors": "query timed out"}, UpstreamError),
        ({"data": None, "errors": [{"detail": "no such metric"}]}, BadQueryError),
        ({"data": {"attributes": {"series": [{}], "times": [], "values": []}}}, ProtocolError),
        ({"data": {"attributes": {"series": [{}], "times": ["x"], "values": [[1]]}}}, ProtocolError),
        ({"data": {"attributes": {"series": [{}], "times": [1, 2], "values": [[1]]}}}, ProtocolError),
        ({"data": {"attributes": {"series": {}, "times": [], "values": []}}}, ProtocolError),
        ({"data": {"attributes": None}}, ProtocolError),
        ({"data": []}, ProtocolError),
        ([], ProtocolError),
        (None, ProtocolError),
    ],
)
async def test_an_answer_without_series_is_a_typed_error(
    stub: Stub, second: Datadog, body: Any, error: type[SourceError], failure: Failure
) -> None:
    stub.on(PATH, body)
    assert type(await failure(second.fetch_series(question("a")))) is error


async def test_a_text_without_a_metric_is_refused_before_anything_is_sent(stub: Stub, second: Datadog) -> None:
    with pytest.raises(BadQueryError, match=r"avg:metric\{\*\}"):
        await second.run_native(NativeQuery("1 + 1", WINDOW, MINUTE))
    assert stub.asked == []


async def test_a_series_that_is_no_object_is_counted(stub: Stub, second: Datadog) -> None:
    body = found([START], [1.0], [2.0], tags=("service:a", "service:b"))
    body["data"]["attributes"]["series"][1] = "service:b"
    stub.on(PATH, body)
    reply = await second.fetch_series(question())
    assert [series.service for series in reply.items] == ["a"]
    assert reply.warnings == ["1 series could not be read"]


async def test_an_older_answer_without_its_list_of_series_is_no_empty_one(
    stub: Stub, datadog: Datadog, failure: Failure
) -> None:
    stub.on("/api/v1/query", {})
    assert isinstance(await failure(datadog.fetch_series(question())), ProtocolError)
    stub.on("/api/v1/query", {"status": "ok", "series": []})
    assert (await datadog.fetch_series(question())).items == []
