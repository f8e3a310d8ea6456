"""Objectives of every kind through the tool and the report: counts, states, calendars, composites, and what nobody
can know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from telemetry_mcp.config import read
from telemetry_mcp.demo.emulator import CONFIG

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from telemetry_mcp.demo.emulator import Emulators
    from tests.server.conftest import Answer, Desk, OpenDesk


LEDGER = """\
import numpy as np
from telemetry_mcp import Reply, Series, SeriesQuery, Source, SourceSettings, UpstreamError, hookimpl

class Ledger(Source):
    class Settings(SourceSettings):
        now_s: int
        says: dict[str, list[tuple[float, float, float]]] = {}
        down: bool = False

    async def fetch_series(self, query: SeriesQuery) -> Reply[Series]:
        if self.settings.down:
            raise UpstreamError("out of order")
        if "coarse" in self.settings.says and query.step_ms > 60_000:
            return Reply(partial="no steps as coarse")
        window = query.window
        at = np.arange(window.start_ms, window.end_ms, query.step_ms)
        ago_h = self.settings.now_s / 3600 - at / 3_600_000
        found = []
        for metric in query.metrics:
            if metric.split(":")[-1] not in self.settings.says:
                continue
            values = np.full(len(at), np.nan)
            for first, last, value in self.settings.says[metric.split(":")[-1]]:
                values[(ago_h <= first) & (ago_h > last)] = value
            kept = np.isfinite(values)
            found += [Series(name, metric, at[kept], values[kept]) for name in query.services]
        return Reply(found)

@hookimpl
def telemetry_sources() -> list[type[Source]]:
    return [Ledger]
"""
EVER = 10_000
"""Hours ago: as long as anybody asks."""
NOW_S = 1_771_254_000
"""2026-02-16T15:00:00Z, the moment of every test here."""

Says = dict[str, list[tuple[float, float, float]]]


@pytest.fixture
def make_desk(open_desk: OpenDesk, tmp_path: Path) -> Callable[..., Awaitable[Desk]]:
    """A desk over sources that say of each metric: (from hours ago, to hours ago, value). `slos` are lines."""
    (tmp_path / "ledger.py").write_text(LEDGER)

    async def make(slos: dict[str, str], down: tuple[str, ...] = (), **sources: Says) -> Desk:
        text = '[metrics.served]\nunit = "per_s"\n[metrics.failed]\nunit = "per_s"\n'
        text += '[metrics.saturation]\nunit = "percent"\nwarning = 80\n'
        for name, says in sources.items():
            rows = "\n".join(f"says.{metric} = {[list(row) for row in rows]}" for metric, rows in says.items())
            metrics = "\n".join(f'metrics.{metric} = "{metric}"' for metric in ("served", "failed", "saturation"))
            head = f'plugin = "./ledger.py"\nnow_s = {NOW_S}\ndown = {str(name in down).lower()}'
            text += f"[sources.{name}]\n{head}\n{metrics}\n{rows}\n"
        for name, lines in slos.items():
            text += f"[slos.{name}]\n{lines}\n"
        path = tmp_path / "plugins.toml"
        path.write_text(text)
        config = read(path, {})
        assert [str(problem) for problem in config.problems] == []
        return await open_desk(config, lambda: NOW_S * 1000)

    return make


EVENTS = 'service = "shop"\nbad = "failed"\ntotal = "served"\nobjective = 99.9\nwindow = "30d"'


def steady(rate: float, *errors: tuple[float, float, float]) -> Says:
    """So many requests a second, none of them failing but in the given hours."""
    return {"served": [(EVER, 0, rate)], "failed": [(EVER, 0, 0.0), *errors]}


async def check(desk: Desk, name: str = "x") -> Answer:
    answer = await desk.ask("check_sli_compliance", slo=name)
    (row,) = [r for r in (await desk.read("telemetry://sli-report"))["objectives"] if r["slo"] == name]
    for field in ("status", "state", "summary", "compliance_percentage", "exhaustion", "data_coverage"):
        assert row[field] == answer[field], field
    return answer


# ---- events


async def test_an_hour_of_errors_pages_and_is_counted_exactly(make_desk: Callable[..., Awaitable[Desk]]) -> None:
    answer = await check(await make_desk({"x": EVENTS}, a=steady(10, (1, 0, 0.3))))
    assert (answer["indicator"], answer["method"], answer["data"]) == ("events", "events", "ok")
    assert answer["valid"] == 10 * 30 * 86_400
    assert answer["valid"] - answer["good"] == pytest.approx(0.3 * 3600, rel=1e-6)
    assert answer["compliance_percentage"] == pytest.approx(100 - 100 * 1080 / 25_920_000, rel=1e-6)
    assert answer["error_budget"]["allowed_events"] == 25_920
    assert answer["error_budget"]["consumed"] == pytest.approx(1080 / 25_920, rel=1e-3)
    assert (answer["status"], answer["state"]) == ("COMPLIANT", "critical")
    fastest = answer["burn_alerts"][0]
    assert (fastest["severity"], fastest["long"], fastest["short"]) == ("page", "1h", "5m")
    assert fastest["threshold"] == 14.4
    assert fastest["long_burn"] == pytest.approx(30, rel=0.02)
    assert fastest["firing"] is True
    assert "burns at 30 times the sustainable rate over 1 h (page)" in answer["summary"]
    assert answer["burn_rates"]["1h"] == pytest.approx(30, rel=0.02)


async def test_errors_that_have_ceased_are_recovering(make_desk: Callable[..., Awaitable[Desk]]) -> None:
    answer = await check(await make_desk({"x": EVENTS}, a=steady(10, (1, 0.5, 1.0))))
    assert answer["state"] == "recovering"
    assert answer["summary"].endswith("recovering from a fast burn.")


async def test_a_slow_burn_is_a_warning_with_its_date(make_desk: Callable[..., Awaitable[Desk]]) -> None:
    answer = await check(await make_desk({"x": EVENTS}, a=steady(10, (30, 0, 0.035))))
    assert (answer["status"], answer["state"]) == ("COMPLIANT", "warning")
    assert "2026-02-2" in answer["exhaustion"] or "2026-03-0" in answer["exhaustion"]


async def test_quiet_days_are_healthy(make_desk: Callable[..., Awaitable[Desk]]) -> None:
    answer = await check(await make_desk({"x": EVENTS}, a=steady(10)))
    assert (answer["status"], answer["state"], answer["compliance_percentage"]) == ("COMPLIANT", "healthy", 100)
    assert answer["exhaustion"] is None
    assert [alert["firing"] for alert in answer["burn_alerts"]] == [False] * 4


async def test_an_overspent_budget_is_breached(make_desk: Callable[..., Awaitable[Desk]]) -> None:
    answer = await check(await make_desk({"x": EVENTS}, a=steady(10, (400, 390, 3.0))))
    assert (answer["status"], answer["state"]) == ("BREACHED", "healthy")
    assert answer["error_budget"]["remaining"] < -3
    assert answer["error_budget"]["remaining_events"] < 0


async def test_the_period_before_is_beside_it(make_desk: Callable[..., Awaitable[Desk]]) -> None:
    slo = EVENTS.replace("30d", "7d")
    answer = await check(await make_desk({"x": slo}, a=steady(10, (100, 90, 0.1), (300, 290, 0.2))))
    assert answer["previous"]["errors"] == pytest.approx(0.5, rel=0.02)
    assert answer["previous"]["points"] == pytest.approx(100 * 0.1 * 36_000 / 6_048_000, rel=0.02)


async def test_an_objective_of_100_percent_has_no_budget_and_no_division(
    make_desk: Callable[..., Awaitable[Desk]],
) -> None:
    slo = EVENTS.replace("99.9", "100")
    broken = await check(await make_desk({"x": slo}, a=steady(10, (1, 0, 0.1))))
    assert (broken["status"], broken["error_budget"]["consumed"]) == ("BREACHED", None)
    assert broken["error_budget"]["allowed_events"] == 0
    assert broken["state"] == "critical"
    assert broken["summary"].endswith("no error budget to spend; more was bad in the last 1 h (page).")


async def test_one_error_among_few_events_pages_nobody(make_desk: Callable[..., Awaitable[Desk]]) -> None:
    few = {"served": [(EVER, 0, 0.01)], "failed": [(EVER, 0, 0.0), (0.5, 0.4, 1 / 360)]}
    answer = await check(await make_desk({"x": EVENTS}, a=few))
    fastest = answer["burn_alerts"][0]
    assert (answer["state"], fastest["firing"], fastest["low_traffic"]) == ("healthy", False, True)
    low, high = fastest["interval"]
    assert 0 < low < high < 100
    assert "events in the last hour one bad event decides nothing" in answer["summary"]


async def test_slices_of_events_are_counted_as_slices(make_desk: Callable[..., Awaitable[Desk]]) -> None:
    slo = EVENTS + '\nslice = "5m"\nslice_objective = 95'
    answer = await check(await make_desk({"x": slo}, a=steady(10, (10, 9, 1.0), (20, 19, 0.2))))
    assert answer["method"] == "slices"
    assert answer["compliance_percentage"] == pytest.approx(100 * (1 - 12 / 8640), rel=1e-5)
    assert answer["valid"] is None


async def test_sources_are_summed_where_they_are_named_and_never_otherwise(
    make_desk: Callable[..., Awaitable[Desk]],
) -> None:
    both = EVENTS + '\nsources = ["a", "b"]'
    desk = await make_desk({"x": both, "y": EVENTS}, a=steady(10, (1, 0, 1.0)), b=steady(30))
    summed, first = await check(desk), await check(desk, "y")
    assert summed["valid"] == 40 * 30 * 86_400
    assert first["valid"] == 10 * 30 * 86_400
    assert summed["burn_rates"]["1h"] == pytest.approx(first["burn_rates"]["1h"] / 4, rel=1e-3)


async def test_of_several_sources_one_that_knows_nearly_all_is_taken(
    make_desk: Callable[..., Awaitable[Desk]],
) -> None:
    young = {"served": [(100, 0, 10.0)], "failed": [(100, 0, 0.0)]}
    answer = await check(await make_desk({"x": EVENTS}, a=young, b=steady(30)))
    assert (answer["status"], answer["valid"]) == ("COMPLIANT", 30 * 30 * 86_400)


async def test_a_configured_objective_may_be_of_a_service_that_no_source_lists(
    world: Emulators, tmp_path: Path, open_desk: OpenDesk
) -> None:
    path = tmp_path / "plugins.toml"
    query = 'avg(service_cpu_percent{service="payment-processor"})'
    slo = f"service = 'web-shop'\nmetric = '{query}'\nthreshold = 99\nsources = 'prometheus'\nwindow = '1d'"
    path.write_text(f"{CONFIG.read_text()}\n[slos.x]\n{slo}\n")
    answer = await check(await open_desk(read(path, world.environ)))
    assert (answer["status"], answer["service"]) == ("COMPLIANT", "web-shop")


async def test_native_queries_are_counted_like_metrics(make_desk: Callable[..., Awaitable[Desk]]) -> None:
    slo = 'service = "shop"\ngood = "q1"\ntotal = "q2"\nsources = "a"\namounts = "rate"\nwindow = "7d"'
    answer = await check(await make_desk({"x": slo}, a={"good": [(EVER, 0, 9.99)], "total": [(EVER, 0, 10.0)]}))
    assert answer["compliance_percentage"] == pytest.approx(99.9, abs=1e-3)
    assert answer["metric"] == "good / total"


# ---- what nobody can know


async def test_no_traffic_is_neither_good_nor_bad(make_desk: Callable[..., Awaitable[Desk]]) -> None:
    answer = await check(await make_desk({"x": EVENTS}, a=steady(0)))
    assert (answer["status"], answer["state"], answer["data"]) == ("UNKNOWN", "no_traffic", "no_traffic")
    assert answer["compliance_percentage"] is None
    assert answer["error_budget"]["consumed"] is None
    assert answer["data_coverage"] == 1
    assert answer["summary"].startswith("No traffic: ")


async def test_no_data_is_neither_no_traffic_nor_good(make_desk: Callable[..., Awaitable[Desk]]) -> None:
    answer = await check(await make_desk({"x": EVENTS}, a={}))
    assert (answer["status"], answer["state"], answer["data"]) == ("UNKNOWN", "no_data", "no_data")
    assert (answer["compliance_percentage"], answer["data_coverage"]) == (None, 0)
    assert answer["summary"] == "Unknown: no data of failed and served for shop in this window."
    assert answer["burn_rates"] == {"1h": None, "6h": None, "24h": None, "72h": None}


async def test_a_source_that_is_down_makes_it_unknown_and_is_named(
    make_desk: Callable[..., Awaitable[Desk]],
) -> None:
    desk = await make_desk({"x": EVENTS}, down=("a",), a=steady(10))
    answer = await desk.ask("check_sli_compliance", slo="x")
    assert answer.is_error
    assert (answer["status"], answer["state"]) == ("UNKNOWN", "unknown")
    assert "(a failed)" in answer["summary"]
    (row,) = (await desk.read("telemetry://sli-report"))["objectives"]
    assert (row["status"], row["state"], row["compliance_percentage"]) == ("UNKNOWN", "unknown", None)


async def test_the_sum_of_two_sources_is_unknown_while_one_is_down(
    make_desk: Callable[..., Awaitable[Desk]],
) -> None:
    both = EVENTS + '\nsources = ["a", "b"]'
    answer = await check(await make_desk({"x": both}, down=("b",), a=steady(10), b=steady(10)))
    assert (answer["status"], answer["state"]) == ("UNKNOWN", "unknown")
    assert "b failed" in answer["summary"]
    assert "b told nothing, and the others' sum alone would be another ratio" in answer["summary"]


async def test_a_series_of_errors_that_is_not_there_is_unknown_unless_it_may_be_absent(
    make_desk: Callable[..., Awaitable[Desk]],
) -> None:
    says = {"served": [(EVER, 0, 10.0)]}
    unknown = await check(await make_desk({"x": EVENTS}, a=says))
    assert (unknown["status"], unknown["state"]) == ("UNKNOWN", "no_data")
    zero = await check(await make_desk({"x": EVENTS + '\nabsent = "zero"'}, a=says))
    assert (zero["status"], zero["compliance_percentage"]) == ("COMPLIANT", 100)


@pytest.mark.parametrize(
    ("missing", "status"),
    [("ignore", "COMPLIANT"), ("good", "COMPLIANT"), ("bad", "BREACHED"), ("last", "COMPLIANT")],
)
async def test_what_counts_where_data_lack_is_the_users_choice(
    make_desk: Callable[..., Awaitable[Desk]], missing: str, status: str
) -> None:
    gap = {"served": [(EVER, 100, 10.0), (90, 0, 10.0)], "failed": [(EVER, 100, 0.0), (90, 0, 0.0)]}
    answer = await check(await make_desk({"x": EVENTS + f'\nmissing = "{missing}"'}, a=gap))
    assert answer["status"] == status
    assert answer["data_coverage"] == pytest.approx(1 - 10 / 720, abs=1e-3)


async def test_too_little_history_is_no_verdict(make_desk: Callable[..., Awaitable[Desk]]) -> None:
    young = {"served": [(200, 0, 10.0)], "failed": [(200, 0, 0.0)]}
    answer = await check(await make_desk({"x": EVENTS}, a=young))
    assert (answer["status"], answer["low_coverage"]) == ("UNKNOWN", True)
    assert "only 28 % of the window was measured, and 50 % are needed to judge" in answer["summary"]


async def test_what_no_number_of_events_can_be_is_left_out_and_said(
    make_desk: Callable[..., Awaitable[Desk]],
) -> None:
    says = steady(10, (30, 20, -1.0)) | {"served": [(EVER, 0, 10.0), (50, 40, 1e30)]}
    answer = await check(await make_desk({"x": EVENTS}, a=says))
    assert answer["compliance_percentage"] == 100
    assert answer["data_coverage"] == pytest.approx(1 - 20 / 720, abs=1e-3)
    odd = [f"without 120 values of {metric} that no number of events can be" for metric in ("failed", "served")]
    assert answer["summary"].endswith(f"({'; '.join(odd)}).")


async def test_one_odd_series_spoils_no_other_line_of_the_report(
    make_desk: Callable[..., Awaitable[Desk]],
) -> None:
    slos = {"odd": EVENTS, "fine": 'service = "shop"\nmetric = "saturation"'}
    says = {"served": [(EVER, 0, -5.0)], "failed": [(EVER, 0, 0.0)], "saturation": [(EVER, 0, 10.0)]}
    report = await (await make_desk(slos, a=says)).read("telemetry://sli-report")
    assert [(row["slo"], row["status"], row["state"]) for row in report["objectives"]] == [
        *(("odd", "UNKNOWN", "unknown"), ("fine", "COMPLIANT", "healthy")),
    ]


async def test_more_errors_than_requests_are_cut_and_said(make_desk: Callable[..., Awaitable[Desk]]) -> None:
    answer = await check(await make_desk({"x": EVENTS}, a=steady(10, (30, 20, 15.0))))
    assert answer["valid"] - answer["good"] == 10 * 36_000
    assert "(without 180,000 bad events more than there were in all)" in answer["summary"]


async def test_hardly_any_measured_time_without_traffic_is_unknown(
    make_desk: Callable[..., Awaitable[Desk]],
) -> None:
    answer = await check(await make_desk({"x": EVENTS}, a={"served": [(7, 0, 0.0)], "failed": [(7, 0, 0.0)]}))
    assert (answer["status"], answer["state"]) == ("UNKNOWN", "unknown")
    what = "there were no events of failed and served for shop"
    assert answer["summary"] == f"Unknown: {what} in the 0.97 % of this window that was measured."


async def test_an_alarm_is_in_the_sentence_of_what_cannot_be_judged(
    make_desk: Callable[..., Awaitable[Desk]],
) -> None:
    young = {"served": [(50, 0, 10.0)], "failed": [(50, 0, 0.0), (1, 0, 5.0)]}
    answer = await check(await make_desk({"x": EVENTS}, a=young))
    assert (answer["status"], answer["state"]) == ("UNKNOWN", "critical")
    assert "Unknown: " in answer["summary"]
    assert answer["summary"].endswith("it burns at 500 times the sustainable rate over 1 h (page).")


async def test_an_alarm_of_the_last_hours_is_told_where_the_window_is_unknown(
    make_desk: Callable[..., Awaitable[Desk]],
) -> None:
    desk = await make_desk({"x": EVENTS}, a=steady(10, (1, 0, 5.0)) | {"coarse": [(0, 0, 0.0)]})
    answer = await check(desk)
    assert (answer["status"], answer["state"], answer["data_coverage"]) == ("UNKNOWN", "critical", 0)
    assert (
        "Unknown: no data of failed and served for shop in this window; it burns at 500 times" in answer["summary"]
    )


@pytest.mark.parametrize(("since", "state"), [(10, "unknown"), (200, "no_data")])
async def test_what_is_not_heard_any_more_is_unknown_in_words_too(
    make_desk: Callable[..., Awaitable[Desk]], since: int, state: str
) -> None:
    says = {"served": [(EVER, since, 10.0)], "failed": [(EVER, since, 0.0)]}
    answer = await check(await make_desk({"x": EVENTS}, a=says))
    assert (answer["status"], answer["state"]) == ("COMPLIANT", state)
    assert "; how fast it burns now is unknown" in answer["summary"]


async def test_a_share_is_never_rounded_up_to_what_it_misses(make_desk: Callable[..., Awaitable[Desk]]) -> None:
    near = EVENTS.replace("99.9", "99.99")
    missed = await check(await make_desk({"x": near}, a=steady(10, (EVER, 0, 0.001004))))
    assert missed["status"] == "BREACHED"
    assert missed["compliance_percentage"] == pytest.approx(99.98996)
    assert "more than 100 % of the error budget is spent" in missed["summary"]
    tiny = EVENTS.replace("99.9", "99.9999")
    kept = await check(await make_desk({"x": tiny}, a=steady(100, (100, 99, 0.01))))
    assert kept["status"] == "COMPLIANT"
    assert 99.9999 < kept["compliance_percentage"] < 100


async def test_the_last_bits_of_a_ratio_are_no_fault(make_desk: Callable[..., Awaitable[Desk]]) -> None:
    slo = 'service = "shop"\nratio = "saturation"\nobjective = 99\nwindow = "7d"'
    answer = await check(await make_desk({"x": slo}, a={"saturation": [(EVER, 0, 100.00000000001)]}))
    assert (answer["status"], answer["compliance_percentage"], answer["data_coverage"]) == ("COMPLIANT", 100, 1)


async def test_a_native_ratio_out_of_range_is_called_by_its_key(make_desk: Callable[..., Awaitable[Desk]]) -> None:
    slo = 'service = "shop"\nratio = "q()"\nsources = "a"\nobjective = 99\nwindow = "7d"'
    answer = await check(await make_desk({"x": slo}, a={"ratio": [(EVER, 0, 1.0), (10, 0, 99.0)]}))
    assert "(without 300 values of ratio outside 0..1)" in answer["summary"]


async def test_a_pair_that_nothing_can_fire_is_marked(make_desk: Callable[..., Awaitable[Desk]]) -> None:
    answer = await check(await make_desk({"x": EVENTS.replace("99.9", "90")}, a=steady(10, (1, 0, 10.0))))
    assert [alert.get("attainable") for alert in answer["burn_alerts"]] == [False, None, None, None]


async def test_a_configured_objective_is_asked_as_it_stands(make_desk: Callable[..., Awaitable[Desk]]) -> None:
    desk = await make_desk({"x": EVENTS}, a=steady(10))
    answer = await desk.ask("check_sli_compliance", slo="x", threshold=5)
    assert answer.is_error
    assert "leave them out" in answer.text


# ---- other kinds


async def test_time_slices_need_no_more_than_their_aggregate(make_desk: Callable[..., Awaitable[Desk]]) -> None:
    slo = 'service = "shop"\nmetric = "saturation"\nslice = "1h"\nobjective = 99\nwindow = "7d"'
    answer = await check(await make_desk({"x": slo}, a={"saturation": [(EVER, 0, 10.0), (5, 3, 90.0)]}))
    assert answer["compliance_percentage"] == pytest.approx(100 * (1 - 2 / 168), abs=0.7)
    assert answer["status"] == "BREACHED"
    assert "held in" in answer["summary"]


async def test_a_ratio_is_weighed_by_time(make_desk: Callable[..., Awaitable[Desk]]) -> None:
    slo = 'service = "shop"\nratio = "saturation"\nratio_of = "bad"\nobjective = 99\nwindow = "7d"'
    answer = await check(await make_desk({"x": slo}, a={"saturation": [(EVER, 0, 0.5)]}))
    assert answer["compliance_percentage"] == pytest.approx(99.5, abs=1e-4)
    assert (answer["indicator"], answer["status"]) == ("ratio", "COMPLIANT")


async def test_a_calendar_month_begins_in_its_time_zone_and_forecasts_its_end(
    make_desk: Callable[..., Awaitable[Desk]],
) -> None:
    slo = EVENTS.replace('window = "30d"', 'calendar = "month"\ntime_zone = "America/New_York"')
    answer = await check(await make_desk({"x": slo}, a=steady(10, (100, 90, 0.3))))
    assert (answer["period"]["start"], answer["period"]["end"]) == ("2026-02-01T05:00:00Z", "2026-03-01T05:00:00Z")
    elapsed = 10 * (NOW_S - 1_769_922_000)
    assert answer["period"]["consumed_of_elapsed"] == pytest.approx(0.3 * 36_000 / (elapsed / 1000), rel=0.01)
    assert answer["period"]["consumed_of_period"] == pytest.approx(0.3 * 36_000 / (28 * 864), rel=0.01)
    assert answer["period"]["consumed_at_end"] == pytest.approx(answer["period"]["consumed_of_period"], rel=0.01)
    budget = answer["error_budget"]
    assert budget["allowed_minutes"] == pytest.approx(elapsed / 10 / 60 / 1000, rel=0.01)
    # 3 % of the events were bad for ten hours: as much as 18 minutes of an outage.
    assert budget["allowed_minutes"] - budget["remaining_minutes"] == pytest.approx(18, rel=0.01)
    assert "81 % of the error budget so far is spent, 45 % of the whole month's" in answer["summary"]


async def test_a_calendar_window_says_its_own_bounds_whatever_its_slices(
    make_desk: Callable[..., Awaitable[Desk]],
) -> None:
    calendar = 'calendar = "month"\ntime_zone = "Asia/Kolkata"\nslice = "1h"\nslice_objective = 99'
    answer = await check(await make_desk({"x": EVENTS.replace('window = "30d"', calendar)}, a=steady(10)))
    assert (answer["period"]["start"], answer["period"]["end"]) == ("2026-01-31T18:30:00Z", "2026-02-28T18:30:00Z")


async def test_a_short_look_back_is_enough_for_a_short_calendar_window(
    make_desk: Callable[..., Awaitable[Desk]],
) -> None:
    slos = {"x": EVENTS.replace('window = "30d"', 'calendar = "day"') + '\n[defaults]\nlookback = "7d"'}
    assert (await check(await make_desk(slos, a=steady(10))))["status"] == "COMPLIANT"


async def test_a_composite_over_a_calendar_window_spends_its_budget_no_faster_than_its_members(
    make_desk: Callable[..., Awaitable[Desk]],
) -> None:
    month = "99\ncalendar = 'month'"
    slos = {"a1": EVENTS.replace("99.9", "99"), "x": f"weighted = {{ a1 = 2 }}\nobjective = {month}"}
    slos["one"] = EVENTS.replace('99.9\nwindow = "30d"', month)
    desk = await make_desk(slos, a=steady(10, (EVER, 0, 0.05), (7, 0, 0.4)))
    answer, one = await check(desk), await check(desk, "one")
    assert answer["exhaustion"] is not None
    assert answer["exhaustion"][:13] == one["exhaustion"][:13]


COMPOSITES = {
    "both": 'all_of = ["a1", "a2"]\nobjective = 99\nwindow = "7d"',
    "mean": "weighted = { a1 = 1, a2 = 3 }\nobjective = 99\nwindow = '7d'",
    "worst": 'worst_of = ["a1", "a2"]\nobjective = 99\nwindow = "7d"',
    "sum": "added = { a1 = 1, a2 = 1 }\nobjective = 99\nwindow = '7d'",
}


@pytest.mark.parametrize(
    ("name", "percentage"),
    [("both", 100 * (1 - 6 / 168)), ("mean", 99.5536), ("worst", 98.2143), ("sum", 98.2143)],
)
async def test_a_composite_is_made_of_its_members(
    make_desk: Callable[..., Awaitable[Desk]], name: str, percentage: float
) -> None:
    one = EVENTS.replace("99.9", "99")
    two = 'service = "shop"\nmetric = "saturation"\nobjective = 99'
    says = steady(10, (30, 27, 10.0)) | {"saturation": [(EVER, 0, 10.0), (60, 57, 90.0)]}
    if name in ("mean", "worst", "sum"):
        says["saturation"] = [(EVER, 0, 10.0)]
    desk = await make_desk({"a1": one, "a2": two, **COMPOSITES}, a=says)
    answer = await check(desk, name)
    assert answer["compliance_percentage"] == pytest.approx(percentage, abs=0.02)
    assert [member["slo"] for member in answer["members"]] == ["a1", "a2"]
    assert answer["members"][0]["status"] == "BREACHED"
    assert answer["indicator"] == "composite"


async def test_a_composite_is_unknown_when_a_member_is(make_desk: Callable[..., Awaitable[Desk]]) -> None:
    two = 'service = "shop"\nmetric = "saturation"\nobjective = 99'
    for name in COMPOSITES:
        desk = await make_desk({"a1": EVENTS, "a2": two, name: COMPOSITES[name]}, a=steady(10))
        answer = await check(desk, name)
        assert (answer["status"], answer["compliance_percentage"]) == ("UNKNOWN", None), name
        assert answer["state"] in ("unknown", "no_data"), name


@pytest.mark.parametrize(
    ("bad", "status", "says"),
    [
        (1, "UNKNOWN", "Unknown: too little is known of x (a1, a2) at the same time; only 0.6 % of the window"),
        (10, "BREACHED", "x (a1, a2) was bad for longer than its objective of 99 % allows; how fast it burns now"),
    ],
)
async def test_a_composite_of_which_only_the_bad_is_known_has_no_share(
    make_desk: Callable[..., Awaitable[Desk]], bad: int, status: str, says: str
) -> None:
    slos = {"a1": EVENTS, "a2": 'service = "shop"\nmetric = "saturation"', "x": COMPOSITES["both"]}
    answer = await check(await make_desk(slos, a={"saturation": [(EVER, 0, 10.0), (30, 30 - bad, 90.0)]}))
    assert (answer["status"], answer["state"], answer["compliance_percentage"]) == (status, "unknown", None)
    assert answer["error_budget"]["consumed"] is None
    assert set(answer["burn_rates"].values()) == {None}
    assert answer["summary"].startswith(says)


async def test_a_period_before_that_hardly_anybody_measured_is_no_trend(
    make_desk: Callable[..., Awaitable[Desk]],
) -> None:
    says = {"served": [(1000, 0, 10.0)], "failed": [(1000, 800, 5.0), (800, 0, 0.0)]}
    answer = await check(await make_desk({"x": EVENTS}, a=says))
    assert (answer["status"], answer["previous"]) == ("COMPLIANT", None)


# ---- the report


async def test_the_report_asks_for_everything_at_once_and_sorts_the_worst_first(
    make_desk: Callable[..., Awaitable[Desk]],
) -> None:
    slos: dict[str, Any] = {
        "bad": EVENTS,
        "fine": EVENTS.replace("shop", "desk"),
        "none": EVENTS.replace('"failed"', '"saturation"') + '\namounts = "rate"',
    }
    report = await (await make_desk(slos, a=steady(10, (400, 390, 3.0)))).read("telemetry://sli-report")
    assert [(row["slo"], row["status"]) for row in report["objectives"]] == [
        *(("bad", "BREACHED"), ("fine", "BREACHED"), ("none", "UNKNOWN")),
    ]
    (line,) = report["sources"]
    assert line["status"] == "ok"


@pytest.mark.parametrize(
    ("zone", "begun"), [("Etc/GMT-10", "2026-02-16T14:00:00Z"), ("Etc/GMT-9", "2026-02-16T15:00:00Z")]
)
async def test_a_calendar_period_that_has_just_begun_remembers_the_one_before(
    make_desk: Callable[..., Awaitable[Desk]], zone: str, begun: str
) -> None:
    slo = EVENTS.replace('window = "30d"', f'calendar = "day"\ntime_zone = "{zone}"')
    answer = await check(await make_desk({"x": slo}, a=steady(10, (8, 0, 10.0))))
    assert answer["period"]["start"] == begun
    assert {(alert["long"], alert["firing"]) for alert in answer["burn_alerts"]} == {("1h", True), ("6h", True)}
    assert set(answer["burn_rates"]) == {"1h", "6h", "24h"}
    assert answer["burn_rates"]["6h"] == answer["burn_alerts"][1]["long_burn"]
    assert answer["state"] == "critical"
