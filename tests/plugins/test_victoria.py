"""The Prometheus source against a real VictoriaMetrics: where it is asked as another, and where it answers so."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from telemetry_mcp import (
    BadQueryError,
    Context,
    DependencyQuery,
    IncidentQuery,
    NativeQuery,
    NotFoundError,
    SeriesQuery,
    ServiceQuery,
    Window,
    http_for,
)
from telemetry_mcp_prometheus import Prometheus

if TYPE_CHECKING:
    from tests.real.victoria import VictoriaServer

pytestmark = pytest.mark.real

STEP_MS = 60_000
HOUR_MS = 3_600_000
ODD = ('we"ird\\vm{1}.x|y', "it's", "サービス", "a.b")
METRICS = {"cpu": 'avg by (vm_service) (vm_cpu{vm_service=~"$service"})'}

Connect = Callable[..., Prometheus]


@pytest.fixture(scope="module")
def window(victoria: VictoriaServer) -> Window:
    """Two hours of four services with odd names, a graph of calls, and an alert that fired twice."""
    now_ms = int(time.time()) // 60 * 60_000
    window = Window(now_ms - 2 * HOUR_MS, now_ms)
    lines = []
    for at_ms in range(window.start_ms, window.end_ms, STEP_MS):
        nth = (at_ms - window.start_ms) // STEP_MS
        for number, name in enumerate(ODD):
            escaped = name.replace("\\", r"\\").replace('"', r"\"")
            lines.append(f'vm_cpu{{vm_service="{escaped}"}} {number + nth / 1000} {at_ms}')
        lines.append(f'traces_service_graph_request_total{{client="web",server="api"}} {nth * 5} {at_ms}')
        lines.append(f'traces_service_graph_request_total{{client="old",server="api"}} 5 {at_ms}')
        for first, last in ((20, 30), (60, 90)):
            if first <= nth <= last:
                alert = 'alertname="Slow",vm_service="a.b",severity="warning"'
                opened_s = (window.start_ms + (first - 1) * STEP_MS) // 1000
                lines.append(f'ALERTS{{{alert},alertstate="firing"}} 1 {at_ms}')
                lines.append(f"ALERTS_FOR_STATE{{{alert}}} {opened_s} {at_ms}")
    victoria.take("\n".join(lines) + "\n")
    return window


@pytest.fixture
async def connect(victoria: VictoriaServer) -> AsyncIterator[Connect]:
    opened = []

    def make(**settings: Any) -> Prometheus:
        usual = {"url": victoria.url, "flavor": "victoriametrics", "service_label": "vm_service"}
        table = {"plugin": "prometheus", "metrics": METRICS, **usual, **settings}
        parsed = Prometheus.Settings.model_validate(table)
        opened.append(http_for(parsed, Prometheus.headers(parsed)))
        return Prometheus(parsed, Context("victoria", http=opened[-1]))

    yield make
    for http in opened:
        await http.close()


async def test_every_odd_name_is_found_and_no_other(connect: Connect, window: Window) -> None:
    source = connect()
    for name in ODD:
        (series,) = (await source.fetch_series(SeriesQuery((name,), ("cpu",), window, STEP_MS))).items
        assert series.service == name
        np.testing.assert_array_equal(series.timestamps_ms, np.arange(window.start_ms, window.end_ms, STEP_MS))
        np.testing.assert_allclose(series.values, ODD.index(name) + np.arange(120) / 1000)


async def test_a_window_that_is_no_multiple_of_the_step_is_not_moved(connect: Connect, window: Window) -> None:
    odd = Window(window.start_ms + 7_000, window.start_ms + 1_807_000)
    (series,) = (await connect().fetch_series(SeriesQuery(("a.b",), ("cpu",), odd, STEP_MS))).items
    assert series.timestamps_ms[0] == odd.start_ms


async def test_services_are_those_of_the_window(connect: Connect, window: Window) -> None:
    reply = await connect(service_metric="vm_cpu").list_services(ServiceQuery(window))
    assert [one.name for one in reply.items] == sorted(ODD)


async def test_what_cannot_be_parsed_is_told_in_its_own_words(connect: Connect, window: Window) -> None:
    with pytest.raises(BadQueryError, match="HTTP 422: error when executing query"):
        await connect().run_native(NativeQuery("sum(up", window, STEP_MS))


async def test_a_wrong_path_is_not_found_although_it_says_400(
    connect: Connect, window: Window, victoria: Any
) -> None:
    with pytest.raises(NotFoundError, match="unsupported path requested") as caught:
        await connect(url=f"{victoria.url}/wrong").run_native(NativeQuery("up", window, STEP_MS))
    assert "before /api/v1" in caught.value.hint
    assert "remoteAddr" not in str(caught.value)


async def test_thirty_thousand_points_are_asked_for_and_not_one_more(connect: Connect, window: Window) -> None:
    widest = Window(window.end_ms - 29_999_000, window.end_ms)
    fits = await connect().fetch_series(SeriesQuery(("a.b",), ("cpu",), widest, 1000))
    beyond = Window(widest.start_ms - 1000, window.end_ms)
    widened = await connect().fetch_series(SeriesQuery(("a.b",), ("cpu",), beyond, 1000))

    assert fits.warnings == []
    assert widened.warnings == ["step widened from 1 s to 2 s: 29,999 points at most"]
    assert len(widened.items) == 1


async def test_as_a_plain_prometheus_it_answers_too(connect: Connect, window: Window) -> None:
    plain = connect(flavor="prometheus", params={"nocache": "1"})
    query = SeriesQuery((), ("cpu",), window, STEP_MS)
    ours, theirs = await plain.fetch_series(query), await connect().fetch_series(query)
    assert {(one.service, one.values.sum()) for one in ours.items} == {
        (one.service, one.values.sum()) for one in theirs.items
    }


async def test_callers_with_calls_in_the_window_are_dependencies(connect: Connect, window: Window) -> None:
    reply = await connect().list_dependencies(DependencyQuery(Window(window.end_ms - HOUR_MS, window.end_ms)))
    callers = [one.caller for one in reply.items if one.callee == "api"]  # other tests have left theirs here
    assert callers == ["web"]
    assert (len(reply.queries), reply.partial) == (2, None)


async def test_alerts_that_have_fired_are_found_without_anything_that_evaluates_rules(
    connect: Connect, window: Window
) -> None:
    reply = await connect().list_incidents(IncidentQuery(window, ("a.b",)))
    told = [(one.title, one.status, one.opened_ms, one.resolved_ms) for one in reply.items]
    start_ms = window.start_ms
    assert told == [
        ("Slow", "resolved", start_ms + 59 * STEP_MS, start_ms + 90 * STEP_MS),
        ("Slow", "resolved", start_ms + 19 * STEP_MS, start_ms + 30 * STEP_MS),
    ]
    assert {(one.service, one.urgency, one.kind) for one in reply.items} == {("a.b", "low", "alert")}
    assert (await connect().list_incidents(IncidentQuery(window, ("it's",)))).items == []


async def test_a_check_knows_it_and_says_that_nobody_evaluates_rules(connect: Connect) -> None:
    found = {check.name: check for check in (await connect().check()).items}
    assert {name for name, check in found.items() if not check.ok} == {"rules"}
    assert "-vmalert.proxyURL" in found["rules"].fix
    assert found["build"].detail.startswith("VictoriaMetrics")
    mistaken = {check.name: check for check in (await connect(flavor="prometheus").check()).items}
    assert mistaken["build"].fix == 'set flavor = "victoriametrics" in this source\'s table'
