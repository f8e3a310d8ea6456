"""Alerts of a real Prometheus: rules that fire, wait, end, only prove that they live, and cannot be evaluated."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import anyio
import pytest

from telemetry_mcp import Context, Incident, IncidentQuery, Reply, Window, http_for
from telemetry_mcp_prometheus import Prometheus

if TYPE_CHECKING:
    from tests.conftest import StartPrometheus

pytestmark = pytest.mark.real

ODD = 'pay"ment\\proc'
BOUND_S = 40

TWO = '(vector(1) or label_replace(vector(1), "a", "1", "", ""))'
RULES = """
groups:
- name: tests
  rules:
  - alert: HighErrorRate
    expr: label_replace(vector(7), "service", 'pay"ment\\\\proc', "", "")
    labels: {severity: page}
    annotations: {summary: "errors on {{ $labels.service }}: {{ $value }}", runbook_url: "https://runbook.test/errors"}
  - alert: Nameless
    expr: vector(1)
    labels: {severity: warning}
  - alert: Watchdog
    expr: vector(1)
    labels: {severity: none}
  - alert: NotYet
    expr: vector(1)
    for: 1h
  - alert: Over
    expr: label_replace(vector(time()) < ENDS, "service", "search", "", "")
    labels: {severity: critical}
    annotations: {summary: "search was slow"}
  - alert: Sick
    expr: TWO * on () TWO
"""


@pytest.fixture(scope="module")
def began_s() -> int:
    return int(time.time())


@pytest.fixture(scope="module")
def url(start_prometheus: StartPrometheus, tmp_path_factory: pytest.TempPathFactory, began_s: int) -> str:
    data = tmp_path_factory.mktemp("alerts")
    (data / "rules.yml").write_text(RULES.replace("ENDS", str(began_s + 6)).replace("TWO", TWO))
    return start_prometheus(data).url


@pytest.fixture
async def source(url: str) -> AsyncIterator[Prometheus]:
    settings = Prometheus.Settings.model_validate({"plugin": "prometheus", "url": url})
    http = http_for(settings)
    yield Prometheus(settings, Context("prometheus", http=http))
    await http.close()


async def ended(source: Prometheus, *services: str, statuses: tuple[str, ...] = ()) -> Reply[Incident]:
    """What is told once every alert fires that will, and `Over` has come to its end."""
    with anyio.fail_after(BOUND_S):
        while True:
            now = int(time.time() * 1000)
            whole = await source.list_incidents(IncidentQuery(Window(now - 600_000, now)))
            if {one.status for one in whole.items if one.title in ("search was slow", "Over")} == {"resolved"}:
                break
            await anyio.sleep(0.2)
    return await source.list_incidents(IncidentQuery(Window(now - 600_000, now), services, statuses))


async def test_what_fires_and_what_has_fired_is_told_once_each(source: Prometheus, began_s: int) -> None:
    reply = await ended(source)

    found = {one.title: one for one in reply.items}
    assert sorted(found) == ["Nameless", f"errors on {ODD}: 7", "search was slow"]
    assert len(reply.items) == 3
    errors, over, nameless = found[f"errors on {ODD}: 7"], found["search was slow"], found["Nameless"]
    assert (errors.kind, errors.status, errors.service) == ("alert", "triggered", ODD)
    assert (errors.severity, errors.urgency, errors.url) == ("page", "high", "https://runbook.test/errors")
    assert (nameless.service, nameless.urgency, nameless.status) == (None, "low", "triggered")
    assert (over.status, over.service, over.urgency) == ("resolved", "search", "high")
    assert errors.resolved_ms is None
    assert over.resolved_ms is not None
    assert over.opened_ms < over.resolved_ms <= time.time() * 1000
    for one in reply.items:
        assert began_s * 1000 - 1000 <= one.opened_ms <= began_s * 1000 + 60_000
    assert reply.partial is None


async def test_what_waits_is_a_heartbeat_or_is_sick_is_said(source: Prometheus) -> None:
    reply = await ended(source)
    assert "1 pending alerts left out: they do not fire yet" in reply.warnings
    assert "1 alerts of severity none left out, such as a watchdog's" in reply.warnings
    (sick,) = [text for text in reply.warnings if "cannot be evaluated" in text]
    assert "Sick (" in sick
    assert "many-to-many" in sick


async def test_alerts_can_be_asked_for_by_service_and_by_status(source: Prometheus) -> None:
    mine = await ended(source, ODD)
    resolved = await ended(source, statuses=("resolved",))
    triggered = await ended(source, statuses=("triggered",))

    assert [one.service for one in mine.items] == [ODD]
    assert "1 alerts without the label service left out" in mine.warnings
    assert [one.title for one in resolved.items] == ["search was slow"]
    assert {one.title for one in triggered.items} == {"Nameless", f"errors on {ODD}: 7"}
    assert list(triggered.queries) == []


async def test_an_alert_has_the_same_id_whenever_it_is_asked_for(source: Prometheus) -> None:
    first, again = await ended(source), await ended(source)
    assert {one.id for one in first.items} == {one.id for one in again.items}
    assert len({one.id for one in first.items}) == 3


async def test_before_the_first_evaluation_nothing_fired(source: Prometheus, began_s: int) -> None:
    window = Window(began_s * 1000 - 7_200_000, began_s * 1000 - 3_600_000)
    reply = await source.list_incidents(IncidentQuery(window))
    assert (list(reply.items), reply.partial) == ([], None)


async def test_a_check_counts_the_alerts_and_names_the_sick_rule(source: Prometheus) -> None:
    await ended(source)
    found = {check.name: check for check in (await source.check()).items}
    assert (found["alerts"].ok, found["alerts"].detail) == (True, "3 firing, 1 pending")
    assert found["rules"].detail.startswith("6 alert rules; alert rules that cannot be evaluated")
    assert not found["rules"].ok
    assert found["rules"].fix == "correct the expressions of these rules"
    assert found["build"].detail.startswith("Prometheus 2.")
