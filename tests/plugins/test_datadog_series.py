"""Datadog's series: which query is sent, and how the points are read."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pytest

from telemetry_mcp import BadQueryError, NativeQuery, SeriesQuery, Threads, Window
from telemetry_mcp_datadog import Datadog
from telemetry_mcp_datadog.line import from_v1
from telemetry_mcp_datadog.unit import unit

if TYPE_CHECKING:
    from tests.plugins.conftest import Answer, Asked, ConnectDatadog, Stub

T = TypeVar("T")

START = 1_700_000_040_000
WINDOW = Window(START, START + 600_000)
MINUTE = 60_000
CPU = "avg:system.cpu.total{service:$service} by {service}"
SECOND = {"family": "time", "name": "second", "scale_factor": 1.0}


def question(*services: str, latest: bool = False, metrics: tuple[str, ...] = ("cpu",)) -> SeriesQuery:
    return SeriesQuery(services, metrics, WINDOW, MINUTE, latest)


def row(service: str | None, pointlist: list[Any], **more: Any) -> dict[str, Any]:
    tags = [f"service:{service}"] if service else []
    return {"tag_set": tags, "scope": ",".join(tags) or "*", "interval": 60, "pointlist": pointlist, **more}


def ok(*rows: dict[str, Any]) -> dict[str, Any]:
    return {"status": "ok", "series": list(rows)}


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


async def test_interval_and_range_become_seconds(stub: Stub, connect_datadog: ConnectDatadog) -> None:
    one = connect_datadog(
        stub.url, metrics={"cpu": "avg:x{service:$service} by {service}.rollup(avg, $__interval, $__range)"}
    )
    stub.on("/api/v1/query", ok())
    await one.fetch_series(question("a"))
    assert stub.asked[0].params["query"] == ["avg:x{service:a} by {service}.rollup(avg, 60, 600)"]


async def test_a_service_placeholder_without_a_tag_is_refused_before_anything_is_sent(
    stub: Stub, connect_datadog: ConnectDatadog
) -> None:
    one = connect_datadog(stub.url, metrics={"cpu": "avg:x{$service}"})
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
    times, values = from_v1(row("a", pointlist)).inside(WINDOW)
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
        ([{"family": "bytes", "name": "byte", "scale_factor": 1.0}, {"name": "second"}], ("bytes_per_s", 1.0)),
        ([{"family": "bytes", "name": "kibibyte", "scale_factor": 1024.0}, None], ("bytes", 1024.0)),
    ],
)
def test_units_follow_the_scale_factor(given: Any, named: tuple[str, float]) -> None:
    assert unit(given) == named


async def test_the_unit_of_the_settings_holds_over_datadogs(stub: Stub, connect_datadog: ConnectDatadog) -> None:
    one = connect_datadog(stub.url, metrics={"cpu": {"query": CPU, "unit": "ms"}})
    unit = [{"family": "time", "name": "microsecond", "scale_factor": 1e-06}, None]
    stub.on("/api/v1/query", ok(row("a", [[START, 5]], unit=unit)))
    (series,) = (await one.fetch_series(question("a"))).items
    assert (series.unit, series.values.tolist()) == ("ms", [5.0])


async def test_a_coarser_distance_of_points_is_said(stub: Stub, datadog: Datadog) -> None:
    stub.on("/api/v1/query", ok(row("a", [[START, 1]], interval=300)))
    reply = await datadog.fetch_series(question("a"))
    assert reply.warnings == ["a point every 300 s, not 60 s"]


async def test_nothing_found_is_an_empty_reply_and_no_error(stub: Stub, datadog: Datadog) -> None:
    stub.on("/api/v1/query", ok())
    reply = await datadog.fetch_series(question("a"))
    assert (list(reply.items), reply.partial) == ([], None)


async def test_one_bad_metric_makes_the_reply_partial_and_names_it(
    stub: Stub, connect_datadog: ConnectDatadog
) -> None:
    def by_query(asked: Asked) -> Answer:
        if "memory" in asked.params["query"][0]:
            return stub.answer(b'{"status":"error","error":"no such metric"}', 400)
        return stub.answer(ok(row("a", [[START, 1]])))

    stub.answers["/api/v1/query"] = by_query
    one = connect_datadog(stub.url, metrics={"cpu": CPU, "memory": "avg:memory{service:$service} by {service}"})
    reply = await one.fetch_series(question("a", metrics=("cpu", "memory", "unknown")))
    assert [series.metric for series in reply.items] == ["cpu"]
    assert reply.partial == "memory: HTTP 400: no such metric"


async def test_a_native_query_goes_out_as_it_stands(stub: Stub, datadog: Datadog) -> None:
    rows = [
        row("a", [[START, 1]], expression="max:x{*}"),
        row(None, [[START, 2]], metric="y"),
        row("c", [[START, 3]]),
    ]
    stub.on("/api/v1/query", ok(*rows))
    reply = await datadog.run_native(NativeQuery("max:x{*} by {service}", WINDOW, MINUTE, limit=2))
    assert stub.asked[0].params["query"] == ["max:x{*} by {service}"]
    assert [(item.service, item.metric) for item in reply.items] == [("a", "max:x{*}"), ("*", "y")]
    assert reply.partial == "1 more series were left out"


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (
            [{"family": "network", "name": "hit", "scale_factor": 1.0}, {"family": "time", "scale_factor": 60}],
            1 / 60,
        ),
        ([{"family": "system", "name": "error"}, {"name": "hour"}], 1 / 3600),
    ],
)
def test_a_count_in_any_time_is_a_rate_per_second(given: Any, named: float) -> None:
    name, factor = unit(given)
    assert name == "per_s"
    assert factor == pytest.approx(named)


@pytest.mark.parametrize(
    "given", [5, "s", {}, [], ["s"], [{}], [{"family": None, "scale_factor": "x"}, 7], [[], []]]
)
def test_an_odd_unit_is_no_unit(given: Any) -> None:
    assert unit(given) == ("", 1.0)


async def test_values_come_in_our_unit_by_the_scale_factor_and_not_by_the_metrics_name(
    stub: Stub, datadog: Datadog
) -> None:
    micro = {"family": "time", "name": "microsecond", "short_name": "μs", "scale_factor": 1e-06, "id": 9}
    stub.on("/api/v1/query", ok(row("a", [[START, 250_000]], metric="trace.x.milliseconds", unit=[micro, None])))
    (series,) = (await datadog.fetch_series(question("a"))).items
    assert (series.unit, series.values.tolist()) == ("s", [0.25])


async def test_text_that_only_python_calls_json_is_read_and_is_no_number(stub: Stub, datadog: Datadog) -> None:
    points = f'[[{START}, NaN], [{START + MINUTE}.0, 1e400], [{START + 2 * MINUTE}, "3"]]'
    body = '{"series": [{"tag_set": ["service:a"], "interval": 60, "pointlist": %s}]}'
    stub.on("/api/v1/query", (body % points).encode())
    (series,) = (await datadog.fetch_series(question("a"))).items
    assert series.timestamps_ms.tolist() == [START, START + MINUTE, START + 2 * MINUTE]
    np.testing.assert_array_equal(series.values, [np.nan, np.nan, 3.0])


@pytest.mark.parametrize(
    "points", [[[START]], [[START, 1, 2]], 5, "x", {"a": 1}, [[START, {}]], [[1, 2], [3]], [[START, "many"]]]
)
async def test_a_series_that_cannot_be_read_is_counted_and_the_others_answer(
    stub: Stub, datadog: Datadog, points: Any
) -> None:
    stub.on("/api/v1/query", ok(row("b", points), row("a", [[START, 1.0]])))
    reply = await datadog.fetch_series(question())
    assert [series.service for series in reply.items] == ["a"]
    assert reply.warnings == ["1 series could not be read"]


async def test_a_complaint_beside_data_makes_the_reply_partial(stub: Stub, datadog: Datadog) -> None:
    stub.on("/api/v1/query", {**ok(row("a", [[START, 1.0]])), "error": "one shard did not answer"})
    reply = await datadog.fetch_series(question("a"))
    assert (len(reply.items), reply.partial) == (1, "one shard did not answer")


async def test_a_service_tag_of_ones_own_stands_in_the_presets(
    stub: Stub, connect_datadog: ConnectDatadog
) -> None:
    one = connect_datadog(stub.url, service_tag="kube_app", metrics=Datadog.presets["container"])
    stub.on("/api/v1/query", ok({"tag_set": ["kube_app:a"], "interval": 60, "pointlist": [[START, 7.0]]}))
    reply = await one.fetch_series(question("a", metrics=("memory",)))
    memory, asked = "sum:container.memory", "{kube_app:a} by {kube_app}"
    assert stub.asked[0].params["query"] == [f"100 * {memory}.usage{asked} / {memory}.limit{asked}"]
    assert [(series.service, series.unit) for series in reply.items] == [("a", "percent")]


class Watching(Threads):
    """Keeps what its threads hand back to the event loop."""

    def __init__(self) -> None:
        super().__init__()
        self.handed: list[Any] = []

    async def run(self, call: Callable[[], T]) -> T:
        result = await super().run(call)
        self.handed.append(result)
        return result


@pytest.mark.parametrize("api", ["v1", "v2"])
async def test_an_answer_is_decoded_in_the_thread_that_fetched_it(
    stub: Stub, connect_datadog: ConnectDatadog, api: str
) -> None:
    stub.on("/api/v1/query", ok(row("a", [[START, 1.0]])))
    line = {"group_tags": ["service:a"], "unit": None}
    stub.on(
        "/api/v2/query/timeseries",
        {"data": {"attributes": {"series": [line], "times": [START], "values": [[1.0]]}}},
    )
    one, threads = connect_datadog(stub.url, api=api), Watching()
    one.context.threads = threads
    await one.fetch_series(question("a"))
    (handed,) = threads.handed
    assert [series.values.tolist() for series in handed.items] == [[1.0]]
