"""Which rows of several systems are one incident, and which of them speaks for all."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from telemetry_mcp.demo.fault import Fault
from telemetry_mcp.model import Incident, Outcome, Reply
from telemetry_mcp.server.join import NEAR_MS, Joined, joined

if TYPE_CHECKING:
    from telemetry_mcp.demo.emulator import Emulators
    from tests.server.conftest import Ask

AT_MS = 1_770_000_000_000
LINK = "https://status.example/cases/7"


def told(source: str, *incidents: Incident) -> Outcome[Incident]:
    return Outcome(source, source, "ok", Reply(incidents))


def incident(id: str, service: str | None = "checkout", later_ms: int = 0, **more: str) -> Incident:
    made = Incident(id, f"the title of {id}", "triggered", AT_MS + later_ms, service)
    return replace(made, **more)  # type: ignore[arg-type]


def ids(found: list[Joined]) -> list[list[str]]:
    return [[each.incident.id, *(other.incident.id for other in each.others)] for each in found]


def test_of_the_same_link_is_one_whatever_its_service_and_time() -> None:
    one, other = incident("1", url=LINK), incident("2", None, 20 * NEAR_MS, url=LINK)
    assert ids(joined([told("a", one), told("b", other)])) == [["1", "2"]]


@pytest.mark.parametrize("same", ["http://status.example/cases/7", f"{LINK}/", f"{LINK}#comment-3"])
def test_a_link_is_the_same_whatever_its_scheme_slash_and_fragment(same: str) -> None:
    one, other = incident("1", "a", url=LINK), incident("2", "b", url=same)
    assert ids(joined([told("a", one), told("b", other)])) == [["1", "2"]]


@pytest.mark.parametrize(
    "own", ["https://status.example/cases/8", f"{LINK}?of=b", "https://other.example/cases/7"]
)
def test_another_link_is_another_incident(own: str) -> None:
    one, other = incident("1", "a", url=LINK), incident("2", "b", url=own)
    assert len(joined([told("a", one), told("b", other)])) == 2


@pytest.mark.parametrize("odd", ["http://[broken", "https://[::1", "http://a\u2100b.example/"])
def test_a_link_that_cannot_be_read_joins_nothing_and_breaks_nothing(odd: str) -> None:
    one, other = incident("1", "a", url=odd), incident("2", "b", url=LINK)
    assert len(joined([told("a", one), told("b", other)])) == 2


def test_of_the_same_service_within_five_minutes_is_one() -> None:
    found = joined([told("a", incident("1")), told("b", incident("2", later_ms=NEAR_MS))])
    assert ids(found) == [["1", "2"]]
    assert found[0].incident.opened_ms == AT_MS


def test_later_than_five_minutes_is_another_one_and_the_newest_is_first() -> None:
    assert ids(joined([told("a", incident("1")), told("b", incident("2", later_ms=NEAR_MS + 1))])) == [
        ["2"],
        ["1"],
    ]


def test_what_has_no_service_never_joins_by_time() -> None:
    assert len(joined([told("a", incident("1", None)), told("b", incident("2", None))])) == 2


def test_two_of_one_kind_that_one_source_tells_apart_stay_apart() -> None:
    assert len(joined([told("a", incident("1"), incident("2", later_ms=1000))])) == 2


def test_an_incident_and_the_alert_behind_it_of_one_source_are_one() -> None:
    alert = incident("alert", kind="alert")
    assert ids(joined([told("a", alert, incident("case", later_ms=1000))])) == [["case", "alert"]]


def test_the_alerts_that_one_monitor_fires_for_two_services_stay_apart_though_their_link_is_one() -> None:
    one, other = incident("7:a", "a", kind="alert", url=LINK), incident("7:b", "b", kind="alert", url=LINK)
    assert len(joined([told("datadog", one, other)])) == 2


def test_what_follows_one_after_the_other_is_one_chain() -> None:
    found = joined(
        [
            told("a", incident("1")),
            told("b", incident("2", later_ms=NEAR_MS)),
            told("c", incident("3", later_ms=2 * NEAR_MS)),
        ]
    )
    assert ids(found) == [["1", "2", "3"]]


def test_the_paging_source_speaks_first_then_incidents_then_who_told_first() -> None:
    rows = [
        told("prometheus", incident("alert", kind="alert")),
        told("datadog", incident("case", later_ms=1000)),
        told("pagerduty", incident("page", later_ms=60_000)),
    ]
    assert ids(joined(rows, ["pagerduty"])) == [["page", "case", "alert"]]
    assert ids(joined(rows)) == [["case", "page", "alert"]]


def test_a_second_page_of_the_service_keeps_its_own_row() -> None:
    rows = [
        told("pagerduty", incident("p1"), incident("p2", later_ms=120_000)),
        told("prometheus", incident("alert", later_ms=30_000, kind="alert")),
    ]
    assert ids(joined(rows, ["pagerduty"])) == [["p2"], ["p1", "alert"]]


def test_of_nothing_comes_nothing() -> None:
    assert joined([]) == []
    assert joined([Outcome("a", "a", "failed", Reply())]) == []


# ---- through the tools


async def test_what_several_sources_tell_is_one_row_with_the_others_in_also(ask: Ask) -> None:
    answer = await ask("list_incidents", service="notification-service", since="2h")
    row = next(row for row in answer["incidents"] if row["source"] == "pagerduty" and row["also"])
    assert row["kind"] == "incident"
    others = [told.split(": ")[0] for told in row["also"]]
    assert "prometheus" in others or "datadog" in others
    assert all(told.split(": ")[0] in answer.ledger for told in row["also"])
    items = sum(line["items"] for line in answer.ledger.values())
    assert sum(1 + len(row["also"]) for row in answer["incidents"]) == items
    assert answer["total"] < items


async def test_the_number_of_open_incidents_is_not_what_was_joined(ask: Ask) -> None:
    listed = await ask("list_services")
    told = await ask("list_incidents", service="notification-service")
    row = listed.row("services", name="notification-service")
    assert row["open_incidents"] >= 1
    assert row["open_incidents"] <= sum(1 + len(each["also"]) for each in told["incidents"])


async def test_with_the_paging_source_down_the_others_speak(world: Emulators, ask: Ask) -> None:
    world.faults["pagerduty"].set("/", Fault("status", code=503))
    answer = await ask("list_incidents", service="notification-service", since="2h")
    assert answer["incidents"]
    assert "pagerduty" not in {row["source"] for row in answer["incidents"]}
    assert answer.kinds == {"pagerduty": "upstream"}
    assert not answer["coverage"]["complete"]


def test_a_month_of_incidents_is_compared_with_its_neighbours_only() -> None:
    """Every row with every other one would be a million comparisons, during which nobody else is served."""
    compared = 0

    class Counted(str):
        __slots__ = ()

        def __eq__(self, other: object) -> bool:
            nonlocal compared
            compared += 1
            return str.__eq__(self, other)

        __hash__ = str.__hash__

    rows = [
        told(Counted(name), *(incident(f"{name}{n}", f"s{n % 50}", n * 13 * 60_000) for n in range(1000)))
        for name in ("a", "b", "c")
    ]
    assert len(joined(rows)) == 1000
    assert 0 < compared < 100_000


def test_a_link_of_another_day_is_another_incident() -> None:
    one, other = incident("1", "a", url=LINK), incident("2", "b", 25 * 3_600_000, url=LINK)
    assert len(joined([told("a", one), told("b", other)])) == 2
