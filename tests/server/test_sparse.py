"""Verdicts where little was measured, and objectives that cannot be asked: one of them spoils no other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from telemetry_mcp.config import read
from telemetry_mcp.demo.emulator import CONFIG
from telemetry_mcp.objective.setting import Objective

if TYPE_CHECKING:
    from pathlib import Path

    from telemetry_mcp.demo.emulator import Emulators
    from tests.server.conftest import Desk, OpenDesk

DAY_S = 86_400
CHECKOUT = {"service": "checkout", "metric": "cpu"}

GAUGE = """\
import numpy as np
from telemetry_mcp import Reply, Series, SeriesQuery, Source, SourceSettings, hookimpl

class Gauge(Source):
    class Settings(SourceSettings):
        value: float = 1.0
        share: float = 1.0
        most: int = 1_000_000

    async def fetch_series(self, query: SeriesQuery) -> Reply[Series]:
        window, own = query.window, self.settings
        first = window.end_ms - int(own.share * window.duration_ms)
        at = np.arange(first, window.end_ms, query.step_ms)[: own.most]
        stranger = Series("aardvark", "cpu", at, np.full(len(at), 99.0), "percent")
        asked = [
            Series(name, metric, at, np.full(len(at), own.value), "percent")
            for name in query.services for metric in query.metrics
        ]
        return Reply([stranger, *asked])

@hookimpl
def telemetry_sources() -> list[type[Source]]:
    return [Gauge]
"""


async def opened(open_desk: OpenDesk, folder: Path, own: str = "", more: str = "", **slos: Objective) -> Desk:
    """A desk over one gauge: a constant `value` in the last `share` of every window, `most` samples at most."""
    (folder / "gauge.py").write_text(GAUGE)
    source = f'[sources.gauge]\nplugin = "./gauge.py"\nmetrics.cpu = "c"\nmetrics.latency_p99 = "l"\n{own}\n'
    (folder / "plugins.toml").write_text(source + more)
    config = read(folder / "plugins.toml", {})
    config.objectives.update(slos)
    return await open_desk(config)


async def test_compliance_is_of_the_service_that_was_asked_for(open_desk: OpenDesk, tmp_path: Path) -> None:
    answer = await (await opened(open_desk, tmp_path)).ask("check_sli_compliance", **CHECKOUT)
    assert (answer["compliance_percentage"], answer["status"]) == (100, "COMPLIANT")


@pytest.mark.parametrize(
    ("own", "objective", "status", "percentage", "says"),
    [
        ("share = 0.1", 99.9, "UNKNOWN", 100, "only 10 % of the window was measured, and 50 % are needed"),
        ("share = 0.6", 99.9, "COMPLIANT", 100, "only 60 % of the window was measured."),
        # A tenth of the window is bad: more than a budget of 1 % allows, less than one of 20 %.
        ("share = 0.1\nvalue = 99", 99, "BREACHED", 0, "only 10 % of the window was measured."),
        ("share = 0.1\nvalue = 99", 80, "UNKNOWN", 0, "only 10 % of the window was measured, and 50 %"),
        ("most = 1", 99.9, "UNKNOWN", 100, "Unknown: only 1 sample of cpu for checkout"),
        ("most = 2\nvalue = 99", 99.9, "UNKNOWN", 0, "Unknown: only 2 samples of cpu for checkout"),
    ],
)
async def test_a_verdict_needs_half_of_the_window(
    open_desk: OpenDesk, tmp_path: Path, own: str, objective: float, status: str, percentage: float, says: str
) -> None:
    desk = await opened(open_desk, tmp_path, own)
    answer = await desk.ask("check_sli_compliance", **CHECKOUT, objective=objective)
    assert (answer["status"], answer["compliance_percentage"]) == (status, percentage)
    assert says in answer["summary"]
    assert answer["exhaustion"] is None


async def test_an_objective_that_cannot_be_asked_is_unknown_and_the_others_are_judged(
    open_desk: OpenDesk, tmp_path: Path
) -> None:
    desk = await opened(
        open_desk,
        tmp_path,
        good=Objective(service="checkout", metric="cpu"),
        off=Objective(service="checkout", metric="memory"),
        bare=Objective(service="checkout", metric="latency_p99"),
        long=Objective(service="checkout", metric="cpu", window=100 * DAY_S),
    )
    report = await desk.read("telemetry://sli-report")
    rows = {row["slo"]: row for row in report["objectives"]}
    assert {name: row["status"] for name, row in rows.items()} == {
        **{"off": "UNKNOWN", "bare": "UNKNOWN", "long": "UNKNOWN"},
        "good": "COMPLIANT",
    }
    assert "no source has the metric 'memory'" in rows["off"]["summary"]
    assert "latency_p99 has no threshold of its own" in rows["bare"]["summary"]
    assert "look-back of 90 days" in rows["long"]["summary"]
    assert (report["unknown"], report["compliant"]) == (3, 1)


@pytest.mark.parametrize(("days", "previous"), [(20, 100), (30, None)])
async def test_the_period_before_is_within_the_look_back_or_unknown(
    open_desk: OpenDesk, tmp_path: Path, days: int, previous: float | None
) -> None:
    slo = Objective(service="checkout", metric="cpu", window=days * DAY_S)
    desk = await opened(open_desk, tmp_path, more='[defaults]\nlookback = "40d"\n', slo=slo)
    (row,) = (await desk.read("telemetry://sli-report"))["objectives"]
    assert row["compliance_percentage"] == 100
    assert (row["previous_percentage"], row["trend"]) == (previous, None if previous is None else 0)


async def test_without_objectives_the_report_keeps_to_a_short_look_back(
    open_desk: OpenDesk, world: Emulators
) -> None:
    config = read(CONFIG, world.environ)
    config.defaults = config.defaults.model_copy(update={"lookback": 2 * DAY_S})
    config.objectives.clear()
    report = await (await open_desk(config)).read("telemetry://sli-report")
    assert {row["window_hours"] for row in report["objectives"]} == {48}
    assert report["unknown"] < len(report["objectives"])
