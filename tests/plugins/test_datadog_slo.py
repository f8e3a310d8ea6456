"""Datadog's SLOs and how they stand: what nobody can know is neither 0 nor 100 %."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from telemetry_mcp import ForbiddenError, ProtocolError, SloQuery, Window
from telemetry_mcp_datadog import Datadog

if TYPE_CHECKING:
    from tests.plugins.conftest import Failure, Stub

LIST = "/api/v1/slo"
START = 1_704_236_088_000
WINDOW = Window(START, START + 86_400_500)


def slo(name: str = "s1", **more: Any) -> dict[str, Any]:
    limits = [{"timeframe": "30d", "target": 90.0}, {"timeframe": "7d", "target": 99.0, "warning": 99.5}]
    row = {"id": name, "name": f"SLO {name}", "tags": ["service:a"], "monitor_tags": [], "timeframe": "7d"}
    return {**row, "thresholds": limits, "target_threshold": 99.0, "warning_threshold": 99.5, **more}


def listed(*rows: Any) -> dict[str, Any]:
    return {"data": list(rows), "error": None, "metadata": {"page": {"total_count": len(rows)}}}


def history(sli: Any, **more: Any) -> dict[str, Any]:
    overall = {"errors": [], "sli_value": sli, "span_precision": 2, "state": "ok", **more}
    return {"data": {"overall": overall, "series": {"times": [1704235800000.0]}}, "errors": None}


@pytest.mark.parametrize(
    ("sli", "state", "left"), [(99.9, "ok", 90.0), (99.2, "warning", 20.0), (98.0, "breached", -100.0)]
)
async def test_an_slo_stands_by_its_own_limits(
    stub: Stub, datadog: Datadog, sli: float, state: str, left: float
) -> None:
    stub.on(LIST, listed(slo()))
    stub.on(f"{LIST}/s1/history", history(sli))
    (item,) = (await datadog.list_slos(SloQuery(WINDOW))).items
    assert (item.sli, item.state) == (sli, state)
    assert item.budget_left == pytest.approx(left)
    assert (item.objective, item.window_ms, item.service) == (99.0, 86_400_500, "a")
    assert item.url == "https://app.datadoghq.com/slo?slo_id=s1"
    asked = stub.asked[1].params
    assert asked == {"from_ts": [str(START // 1000)], "to_ts": [str(START // 1000 + 86_401)]}


@pytest.mark.parametrize("sli", [None, 0, 0.0, 100.0, 100])
async def test_without_traffic_an_slo_is_unknown_whatever_number_comes_along(
    stub: Stub, datadog: Datadog, sli: Any
) -> None:
    error = {"error_message": "The denominator is zero valued", "error_type": "ZERO_VALUED_DENOMINATOR"}
    stub.on(LIST, listed(slo()))
    stub.on(f"{LIST}/s1/history", history(sli, errors=[error], state="no_data"))
    (item,) = (await datadog.list_slos(SloQuery(WINDOW))).items
    assert (item.sli, item.state, item.budget_left) == (None, "unknown", None)
    assert item.reason == "The denominator is zero valued"


@pytest.mark.parametrize(
    ("overall", "reason"),
    [
        ({"sli_value": 100.0, "state": "no_data"}, "no data"),
        ({"sli_value": None}, "no data"),
        ({"sli_value": "many"}, "no data"),
        ({"sli_value": 1e400}, "no data"),
        ({"sli_value": 100.0001}, "no data"),
        ({"sli_value": 99.9, "errors": [{"error_type": "QUERY_TIMEOUT"}]}, "QUERY_TIMEOUT"),
    ],
)
async def test_no_data_is_unknown(stub: Stub, datadog: Datadog, overall: dict[str, Any], reason: str) -> None:
    stub.on(LIST, listed(slo()))
    stub.on(f"{LIST}/s1/history", {"data": {"overall": overall}, "errors": None})
    (item,) = (await datadog.list_slos(SloQuery(WINDOW))).items
    assert (item.sli, item.state, item.reason) == (None, "unknown", reason)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"body": {"errors": ["SLO not found"]}, "status": 404}, "SLO not found"),
        ({"body": {"errors": ["bad range"]}, "status": 400}, "bad range"),
        ({"body": {"data": None, "errors": [{"error": "cannot compute"}]}}, "cannot compute"),
        ({"body": {"data": {"overall": []}}}, "overall"),
        ({"body": b"<html>"}, "not JSON"),
    ],
)
async def test_an_slo_without_a_history_harms_no_other(
    stub: Stub, datadog: Datadog, answer: dict[str, Any], said: str
) -> None:
    stub.on(LIST, listed(slo("s1"), slo("s2")))
    stub.on(f"{LIST}/s1/history", **answer)
    stub.on(f"{LIST}/s2/history", history(99.9))
    reply = await datadog.list_slos(SloQuery(WINDOW))
    first, second = reply.items
    assert (first.sli, first.state, second.state) == (None, "unknown", "ok")
    assert said in (first.reason or "")


async def test_an_objective_of_a_hundred_has_no_budget(stub: Stub, datadog: Datadog) -> None:
    stub.on(LIST, listed(slo(target_threshold=100, warning_threshold=None, thresholds=None)))
    stub.on(f"{LIST}/s1/history", history(100))
    (item,) = (await datadog.list_slos(SloQuery(WINDOW))).items
    assert (item.objective, item.state, item.budget_left) == (100, "ok", None)


@pytest.mark.parametrize(
    "limits",
    [
        {"7d": {"timeframe": "7d", "target": 95.0, "target_display": "95."}},
        [{"timeframe": "30d", "target": 90}, {"timeframe": "7d", "target": "95.0"}],
        [None, {"timeframe": "custom", "target": 95}],
    ],
)
async def test_thresholds_come_as_a_list_or_by_time_frame(stub: Stub, datadog: Datadog, limits: Any) -> None:
    stub.on(LIST, listed(slo(thresholds=limits, target_threshold=None, warning_threshold=None)))
    stub.on(f"{LIST}/s1/history", history(95))
    (item,) = (await datadog.list_slos(SloQuery(WINDOW))).items
    assert (item.objective, item.state) == (95.0, "ok")


async def test_services_and_the_limit_are_kept_to(stub: Stub, datadog: Datadog) -> None:
    rows = [slo("s1", tags=["service:b"]), *(slo(f"s{n}", monitor_tags=None) for n in range(2, 5))]
    stub.on(LIST, listed(*rows))
    for name in ("s2", "s3", "s4"):
        stub.on(f"{LIST}/{name}/history", history(99.9))
    reply = await datadog.list_slos(SloQuery(WINDOW, ("A",), limit=2))
    assert [(item.id, item.service) for item in reply.items] == [("s2", "A"), ("s3", "A")]
    assert (reply.partial, len(stub.asked)) == ("1 more SLOs were left out", 3)


async def test_odd_definitions_are_counted(stub: Stub, datadog: Datadog) -> None:
    odd = [5, slo("x") | {"name": None}, slo(target_threshold=None, thresholds=[]), slo("y", target_threshold=250)]
    stub.on(LIST, listed(slo("s2"), *odd))
    stub.on(f"{LIST}/s2/history", history(99.9))
    reply = await datadog.list_slos(SloQuery(WINDOW))
    assert ([item.id for item in reply.items], reply.warnings) == (["s2"], ["4 SLOs could not be read"])


@pytest.mark.parametrize("body", [{}, [], None, {"data": {}}, {"data": [None]}])
async def test_a_list_of_another_shape_is_a_protocol_error(
    stub: Stub, datadog: Datadog, body: Any, failure: Failure
) -> None:
    stub.on(LIST, body)
    assert type(await failure(datadog.list_slos(SloQuery(WINDOW)))) is ProtocolError


@pytest.mark.parametrize("path", [LIST, f"{LIST}/s1/history"])
async def test_a_missing_permission_is_named(stub: Stub, datadog: Datadog, path: str, failure: Failure) -> None:
    stub.on(LIST, listed(slo()))
    stub.on(path, {"errors": ["Forbidden"]}, 403)
    raised = await failure(datadog.list_slos(SloQuery(WINDOW)))
    assert type(raised) is ForbiddenError
    assert "slos_read" in raised.hint


async def test_the_reason_of_an_unknown_slo_is_one_clean_line(stub: Stub, datadog: Datadog) -> None:
    stub.on(LIST, listed(slo()))
    stub.on(f"{LIST}/s1/history", {"data": {"overall": {"sli_value": None}}, "errors": "no\nshard\x00answered"})
    (item,) = (await datadog.list_slos(SloQuery(WINDOW))).items
    assert item.reason is not None
    assert item.reason.isprintable()
    assert item.reason.startswith("no shard")
