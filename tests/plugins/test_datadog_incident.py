"""Datadog's incidents, and its monitors that fire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from telemetry_mcp import IncidentQuery, ProtocolError, Window
from telemetry_mcp_datadog import Datadog
from telemetry_mcp_datadog.wire import epoch_ms

if TYPE_CHECKING:
    from tests.plugins.conftest import Answer, Asked, Failure, Stub

SEARCH = "/api/v2/incidents/search"
GROUPS = "/api/v1/monitor/groups/search"
START = 1_770_000_000_000
HOUR = 3_600_000
WINDOW = Window(START, START + HOUR)
AT = "2026-02-02T02:40:00+00:00"
AT_MS = START
NO_TIMES: tuple[Any, ...] = (
    *(0, -1, None, True, "", "soon", [], {}),
    *(float("nan"), 10**30, "0001-01-01T00:00Z", "2026-02-02T99:00:00Z"),
)


def incident(name: str = "x", **more: Any) -> dict[str, Any]:
    fields = {"services": {"type": "autocomplete", "value": more.pop("services", None)}}
    about = {"public_id": 7, "title": f"Incident {name}", "detected": AT, "created": AT, "state": "active"}
    about |= {"severity": "SEV-2", "resolved": None, "fields": fields, "archived": None, **more}
    return {"data": {"type": "incidents", "id": name, "attributes": about}}


def searched(*rows: Any) -> dict[str, Any]:
    facets = {"responder": [{"name": "r@example.com", "count": n} for n in range(345)], "is_test": [{"name": 0}]}
    attributes = {"total": len(rows), "facets": facets, "incidents": list(rows)}
    pagination = {"offset": 0, "next_offset": len(rows), "size": len(rows)}
    return {
        "data": {"type": "incidents_search_results", "attributes": attributes},
        "meta": {"pagination": pagination},
    }


def group(monitor: Any = 1, name: str | None = "service:a", **more: Any) -> dict[str, Any]:
    row = {"status": "Alert", "monitor_id": monitor, "monitor_name": "High CPU", "group": name, "priority": 2}
    row |= {"group_tags": [name], "all_tags": ["env:prod"], "last_triggered_ts": AT_MS // 1000, "muted": False}
    return {**row, "muted_until_ts": None, "last_nodata_ts": 0, **more}


def groups(*rows: Any) -> dict[str, Any]:
    counts = {"muted": [{"count": 1, "name": False}, {"count": 2, "name": True}], "status": []}
    metadata = {"total_count": len(rows), "page_count": 1, "page": 0, "per_page": 100}
    return {"counts": counts, "groups": list(rows), "metadata": metadata}


@pytest.fixture
def both(stub: Stub) -> Stub:
    stub.on(SEARCH, searched())
    stub.on(GROUPS, groups())
    return stub


def by_state(stub: Stub, open_ones: list[Any], resolved: list[Any]) -> None:
    def answer(asked: Asked) -> Answer:
        return stub.answer(searched(*(resolved if asked.params["query"] == ["state:resolved"] else open_ones)))

    stub.answers[SEARCH] = answer


async def test_incidents_and_firing_monitors_come_together_newest_first(both: Stub, datadog: Datadog) -> None:
    done = incident("done", state="resolved", resolved="2026-02-02T04:00:00.5+01:00", severity="UNKNOWN")
    by_state(both, [incident("now", services=["a", "b"]), incident("calm", state="stable")], [done])
    both.on(GROUPS, groups(group(last_triggered_ts=AT_MS // 1000 + 60)))
    reply = await datadog.list_incidents(IncidentQuery(WINDOW))
    alert, now, calm, resolved = reply.items
    assert (alert.id, alert.title, alert.kind) == ("1:service:a", "High CPU (service:a)", "alert")
    assert (alert.service, alert.severity, alert.urgency, alert.opened_ms) == ("a", "P2", "high", AT_MS + 60_000)
    assert alert.url == "https://app.datadoghq.com/monitors/1"
    assert (now.id, now.title, now.status, now.service) == ("now", "Incident now", "triggered", "a")
    assert (now.severity, now.urgency, now.opened_ms, now.kind) == ("SEV-2", "high", AT_MS, "incident")
    assert now.url == "https://app.datadoghq.com/incidents/7"
    assert (calm.status, calm.resolved_ms) == ("acknowledged", None)
    assert (resolved.status, resolved.severity, resolved.urgency) == ("resolved", None, None)
    assert resolved.resolved_ms == AT_MS + 20 * 60_000 + 500
    asked = {request.params["query"][0]: request for request in both.asked}
    assert set(asked) == {"state:(active OR stable)", "state:resolved", "group_status:alert"}
    assert asked["state:resolved"].params["sort"] == ["-created"]
    assert reply.partial is None


@pytest.mark.parametrize(
    ("path", "scope", "left"), [(SEARCH, "incident_read", ["1:service:a"]), (GROUPS, "monitors_read", ["x"])]
)
async def test_either_permission_may_be_missing_without_harm_to_the_other(
    both: Stub, datadog: Datadog, path: str, scope: str, left: list[str]
) -> None:
    by_state(both, [incident()], [])
    both.on(GROUPS, groups(group()))
    both.on(path, {"errors": ["Forbidden"]}, 403)
    reply = await datadog.list_incidents(IncidentQuery(WINDOW))
    assert [item.id for item in reply.items] == left
    assert scope in (reply.partial or "")


async def test_what_was_over_before_or_begins_after_the_window_is_not_in_it(both: Stub, datadog: Datadog) -> None:
    resolved = {"state": "resolved", "detected": "2026-02-01T00:00:00Z"}
    over = incident("over", resolved="2026-02-02T02:00:00Z", **resolved)
    inside = incident("inside", resolved="2026-02-02T02:41:00Z", **resolved)
    by_state(both, [incident("later", detected="2026-02-02T05:00:00Z")], [over, inside])
    both.on(GROUPS, groups(group(last_triggered_ts=(AT_MS + 2 * HOUR) // 1000)))
    reply = await datadog.list_incidents(IncidentQuery(WINDOW))
    assert [item.id for item in reply.items] == ["inside"]


async def test_services_and_statuses_are_kept_to(both: Stub, datadog: Datadog) -> None:
    by_state(both, [incident("mine", services=["b", "Pay"]), incident("theirs", services=["b"])], [])
    both.on(GROUPS, groups(group(1, "service:pay"), group(2, "service:b"), group(3, "host:h")))
    reply = await datadog.list_incidents(IncidentQuery(WINDOW, ("pay",), ("triggered",)))
    assert {(item.id, item.service) for item in reply.items} == {("mine", "pay"), ("1:service:pay", "pay")}
    assert "state:resolved" not in [request.params["query"][0] for request in both.asked]


async def test_resolved_incidents_are_read_back_only_so_far(both: Stub, datadog: Datadog) -> None:
    ages = ["2026-02-02T02:00:00Z", "2026-01-20T00:00:00Z"]

    def answer(asked: Asked) -> Answer:
        if asked.params["query"] != ["state:resolved"]:
            return both.answer(searched())
        offset = int(asked.params["page[offset]"][0])
        age = {"created": ages[offset // 100], "state": "resolved"}
        return both.answer(searched(*(incident(f"{offset + n}", **age) for n in range(100))))

    both.answers[SEARCH] = answer
    await datadog.list_incidents(IncidentQuery(WINDOW))
    offsets = [r.params["page[offset]"][0] for r in both.asked if r.params["query"] == ["state:resolved"]]
    assert offsets == ["0", "100"]


async def test_the_search_gives_a_next_offset_for_ever_and_is_not_followed(both: Stub, datadog: Datadog) -> None:
    by_state(both, [incident(str(n)) for n in range(100)], [])
    reply = await datadog.list_incidents(IncidentQuery(WINDOW, limit=30))
    offsets = [
        r.params["page[offset]"][0] for r in both.asked if r.params["query"] == ["state:(active OR stable)"]
    ]
    assert offsets == ["0", "100"]
    assert (len(reply.items), reply.partial) == (30, "70 older incidents were left out")


async def test_more_pages_than_the_cap_are_said(both: Stub, datadog: Datadog) -> None:
    def answer(asked: Asked) -> Answer:
        place = int(asked.params["page"][0])
        return both.answer(groups(*(group(place * 100 + n) for n in range(100))))

    both.answers[GROUPS] = answer
    reply = await datadog.list_incidents(IncidentQuery(WINDOW, limit=2000))
    assert len(reply.items) == 1000
    assert reply.partial == "there are more than 10 pages of monitor groups; the rest was not asked"


async def test_the_whole_of_a_monitor_is_left_out_where_its_groups_stand(both: Stub, datadog: Datadog) -> None:
    named = ["total", "@SYNTHETICS_OVERALL@", "aws:us-east-2"]
    both.on(GROUPS, groups(*(group(1, name) for name in named), group(2, "total"), group(3, "*"), group(4, None)))
    reply = await datadog.list_incidents(IncidentQuery(WINDOW))
    titles = {item.id: item.title for item in reply.items}
    assert titles == {
        "1:aws:us-east-2": "High CPU (aws:us-east-2)",
        "2:total": "High CPU",
        "3:*": "High CPU",
        "4": "High CPU",
    }


async def test_muted_alerts_page_nobody_and_are_counted(both: Stub, datadog: Datadog) -> None:
    both.on(GROUPS, groups(group(1, muted=True), group(2)))
    reply = await datadog.list_incidents(IncidentQuery(WINDOW))
    assert ([item.id for item in reply.items], reply.warnings) == (
        ["2:service:a"],
        ["1 muted alerts were left out"],
    )


async def test_a_monitors_own_tags_name_the_service_where_the_group_does_not(both: Stub, datadog: Datadog) -> None:
    odd = group(2, "host:a,service:b", group_tags=None, all_tags={"x": 1}, priority=None)
    both.on(GROUPS, groups(group(1, "host:h", all_tags=["service:c"]), odd))
    reply = await datadog.list_incidents(IncidentQuery(WINDOW))
    assert {item.id: (item.service, item.severity) for item in reply.items} == {
        "1:host:h": ("c", "P2"),
        "2:host:a,service:b": ("b", None),
    }


async def test_groups_that_do_not_fire_are_passed_over_in_silence(both: Stub, datadog: Datadog) -> None:
    both.on(GROUPS, groups(*(group(n, status=status) for n, status in enumerate(["OK", "No Data", "Warn", None]))))
    reply = await datadog.list_incidents(IncidentQuery(WINDOW))
    assert (list(reply.items), reply.warnings) == ([], [])


@pytest.mark.parametrize(
    "odd",
    [
        {"title": None},
        {"title": ["x"]},
        {"detected": None, "created": "yesterday", "declared": 0},
        {"detected": -5, "created": 10**30},
    ],
)
async def test_an_incident_that_cannot_be_read_is_counted(
    both: Stub, datadog: Datadog, odd: dict[str, Any]
) -> None:
    by_state(both, [incident("good", fields=None, severity=5, public_id=2**60), incident("odd", **odd)], [])
    reply = await datadog.list_incidents(IncidentQuery(WINDOW))
    assert [(item.id, item.url) for item in reply.items] == [
        ("good", f"https://app.datadoghq.com/incidents/{2**60}")
    ]
    assert reply.warnings == ["1 incidents could not be read"]


@pytest.mark.parametrize("row", [None, [], {"data": None}, {"data": {"id": "x", "attributes": []}}])
async def test_a_row_that_is_no_incident_is_counted(both: Stub, datadog: Datadog, row: Any) -> None:
    by_state(both, [incident("good"), row], [])
    reply = await datadog.list_incidents(IncidentQuery(WINDOW))
    assert ([item.id for item in reply.items], reply.warnings) == (["good"], ["1 incidents could not be read"])


@pytest.mark.parametrize("body", [{}, [], None, {"data": []}, {"data": {"attributes": {"incidents": {}}}}])
async def test_an_answer_of_another_shape_is_a_protocol_error(
    both: Stub, datadog: Datadog, body: Any, failure: Failure
) -> None:
    both.on(SEARCH, body)
    both.on(GROUPS, body)
    assert type(await failure(datadog.list_incidents(IncidentQuery(WINDOW)))) is ProtocolError


async def test_an_archived_incident_is_none(both: Stub, datadog: Datadog) -> None:
    by_state(both, [incident(archived=AT)], [])
    assert list((await datadog.list_incidents(IncidentQuery(WINDOW))).items) == []


@pytest.mark.parametrize(
    ("given", "at_ms"),
    [
        ("2026-02-02T02:40:00Z", AT_MS),
        ("2026-02-02T03:40:00.000001+01:00", AT_MS),
        ("2026-02-02T02:40:00", AT_MS),
        (AT_MS / 1000, AT_MS),
        (AT_MS, AT_MS),
        (float(AT_MS), AT_MS),
        (AT_MS * 1000, AT_MS),
        (AT_MS * 10**6, AT_MS),
        (str(AT_MS), AT_MS),
        *((odd, None) for odd in NO_TIMES),
    ],
)
def test_a_time_is_read_whatever_its_unit(given: Any, at_ms: int | None) -> None:
    assert epoch_ms(given) == at_ms
