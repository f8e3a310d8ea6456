"""An answer says where its numbers come from: who is shown and why, how the others relate, what was filled."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest

from telemetry_mcp.config import read
from telemetry_mcp.demo.emulator import CONFIG

if TYPE_CHECKING:
    from pathlib import Path

    from telemetry_mcp.demo.emulator import Emulators
    from tests.server.conftest import Answer, OpenDesk

PLUGIN = """\
import numpy as np
from telemetry_mcp import Reply, Series, SeriesQuery, Source, SourceSettings, hookimpl

class Twin(Source):
    class Settings(SourceSettings):
        times: float = 1.0
        late: int = 0
        says: str = "count"
        lacks: int = 0
        drop: int = 0
        turned: bool = False
        fine: int = 1
        since: int = 0

    async def fetch_series(self, query: SeriesQuery) -> Reply[Series]:
        own = self.settings
        at = np.arange(query.window.start_ms, query.window.end_ms, query.step_ms // own.fine)
        size = len(at)
        walk = 100 + np.cumsum(np.random.default_rng(1).normal(0, 1, size + 10))
        values = own.times * (walk[10 - own.late : size + 10 - own.late] if not own.turned else walk[:size][::-1])
        values[size // 2 : size // 2 + own.lacks] = np.nan
        for k in range(own.drop):
            values[60 + 60 * k : 70 + 60 * k] *= 0.5
        if own.since:
            values[at < NOW_MS - 3_600_000 * own.since] = np.nan
        names = query.services or ("cache-redis",)
        return Reply([Series(name, "load", at, values, own.says, {}, "the query") for name in names])

@hookimpl
def telemetry_sources() -> list[type[Source]]:
    return [Twin]
"""

Twins = Callable[..., Awaitable["Answer"]]


@pytest.fixture
def twins(open_desk: OpenDesk, world: Emulators, tmp_path: Path) -> Twins:
    """Asks for the last day of two sources of one series: `first` as it is, `second` with these settings."""

    async def ask(
        *, metric: str = "", first: str = "", per_source: bool = False, compare_to: str = "", **second: Any
    ) -> Answer:
        (tmp_path / "twin.py").write_text(PLUGIN.replace("NOW_MS", str(world.clock())))
        lines = [
            f"{name} = {str(value).lower() if isinstance(value, bool) else repr(value)}"
            for name, value in second.items()
        ]
        table = '[sources.{}]\nplugin = "./twin.py"\nmetrics = {{ load = "x" }}\n{}\n'
        own = f"[metrics.load]\n{metric}\n" + table.format("first", first)
        own += table.format("second", "\n".join(lines))
        (tmp_path / "plugins.toml").write_text(CONFIG.read_text() + own)
        desk = await open_desk(read(tmp_path / "plugins.toml", world.environ))
        arguments = {
            "service": "cache-redis",
            "metric_type": "load",
            "per_source": per_source,
            "compare_to": compare_to or None,
        }
        return await desk.ask("query_historical_metrics", **arguments)

    return ask


async def test_of_sources_that_agree_only_that_is_said(twins: Twins) -> None:
    first, second = (await twins())["per_source"]
    assert set(first) == {"source", "unit", "samples", "step_s", "mean", "chosen"}
    assert (first["source"], first["chosen"]) == ("first", "first")
    assert set(second) == {"source", "unit", "samples", "step_s", "mean", "difference", "agreement"}
    assert (second["difference"], second["agreement"]) == (0, "agree")


async def test_with_each_sources_points_comes_all_that_is_known(twins: Twins) -> None:
    first, second = (await twins(per_source=True))["per_source"]
    assert first["query"] == second["query"] == "the query"
    figures = ("difference_relative", "significant", "correlation", "concordance", "shared")
    assert [second[name] for name in figures] == [0, False, 1, 1, 1440]


async def test_an_offset_is_told_with_its_figures_and_in_a_warning(twins: Twins) -> None:
    answer = await twins(times=1.12)
    _, second = answer["per_source"]
    assert (second["agreement"], second["significant"], second["correlation"]) == ("offset", True, 1)
    assert second["difference_relative"] == pytest.approx(0.12, abs=0.001)
    (said,) = (warning for warning in answer["warnings"] if "load of cache-redis" in warning)
    assert said.startswith("load of cache-redis: second reads 12 % above first (bias +")
    assert said.endswith(" count, r 1.00): first is shown")


async def test_another_shape_diverges_and_the_shown_values_stay_the_first_ones(
    twins: Twins,
) -> None:
    alone, beside = await twins(), await twins(turned=True)
    assert beside["per_source"][1]["agreement"] == "diverge"
    assert beside["series"] == alone["series"]
    assert any("second does not follow first" in warning for warning in beside["warnings"])


async def test_a_lag_is_told_in_seconds_and_moves_nothing(twins: Twins) -> None:
    answer = await twins(late=3)
    _, second = answer["per_source"]
    assert (second["lag_s"], second["agreement"], second["difference"]) == (180, "agree", 0)
    assert answer["series"] == (await twins())["series"]


async def test_a_unit_that_is_inferred_is_marked_with_its_factor(twins: Twins) -> None:
    answer = await twins(times=0.01, says="")
    _, second = answer["per_source"]
    assert (second["factor"], second["inferred"], second["agreement"]) == (100, True, "agree")
    assert any("second declares no unit for load of cache-redis" in warning for warning in answer["warnings"])


async def test_a_factor_that_is_declared_goes_without_saying_until_everything_is_asked(
    twins: Twins,
) -> None:
    asked = {"metric": 'unit = "ms"', "first": 'says = "ms"', "times": 0.001, "says": "s"}
    assert "factor" not in (await twins(**asked))["per_source"][1]
    assert (await twins(**asked, per_source=True))["per_source"][1]["factor"] == 1000


async def test_filled_points_are_counted_by_who_filled_them(twins: Twins) -> None:
    answer = await twins(first="lacks = 30")
    first, second = answer["per_source"]
    assert (first["samples"], second["filled"]) == (1410, 30)
    assert answer["statistics"]["missing"] == 0
    unfilled = await twins(first="lacks = 30", times=1.5)
    assert "filled" not in unfilled["per_source"][1]
    assert unfilled["statistics"]["missing"] == 30


async def test_at_most_five_disagreements_are_told_the_latest_and_how_many_there_are(
    twins: Twins,
) -> None:
    (_, second) = (await twins(drop=7))["per_source"]
    assert (len(second["intervals"]), second["intervals_total"]) == (5, 7)
    assert second["intervals"][-1] == {"start": "2026-02-15T22:00:00Z", "end": "2026-02-15T22:10:00Z"}
    (_, few) = (await twins(drop=1))["per_source"]
    assert few["intervals"] == [{"start": "2026-02-15T16:00:00Z", "end": "2026-02-15T16:10:00Z"}]


async def test_why_a_source_is_shown_is_said(twins: Twins) -> None:
    owned = await twins(metric='owner = "second"', times=1.5)
    assert [part["source"] for part in owned["per_source"]] == ["second", "first"]
    assert owned["per_source"][0]["chosen"] == "owner"
    holes = await twins(first="lacks = 700")
    assert [part.get("chosen") for part in holes["per_source"]] == ["finest", None]
    assert holes["per_source"][0]["source"] == "second"


async def test_a_counter_is_shown_as_its_rate_in_history_and_now(
    open_desk: OpenDesk, world: Emulators, tmp_path: Path
) -> None:
    plugin = PLUGIN.replace("values = own.times *", "values = 90.0 * np.arange(size) + 0 *")
    (tmp_path / "twin.py").write_text(plugin.replace('"load"', '"calls"'))
    own = '[metrics.calls]\nkind = "counter"\nunit = "per_s"\n'
    own += '[sources.counter]\nplugin = "./twin.py"\nmetrics = { calls = "x" }\n'
    (tmp_path / "plugins.toml").write_text(CONFIG.read_text() + own)
    desk = await open_desk(read(tmp_path / "plugins.toml", world.environ))
    answer = await desk.ask(
        "query_historical_metrics", service="cache-redis", metric_type="calls", hours=6, step="1m"
    )
    assert (answer["unit"], answer["statistics"]["min"], answer["statistics"]["max"]) == ("per_s", 1.5, 1.5)
    now = await desk.ask("get_current_metrics", service="cache-redis", metrics=["calls"])
    assert now["metrics"] == {"calls": 1.5}


async def test_a_sources_own_percentiles_are_never_averaged(twins: Twins) -> None:
    answer = await twins(metric='kind = "percentile"', first="fine = 4", fine=4, per_source=True)
    first, _ = answer["per_source"]
    assert first["points"]["values"] == answer["series"]["values"]


async def test_a_comparison_with_another_sources_past_is_said(twins: Twins) -> None:
    answer = await twins(first="since = 24", times=1.3, compare_to="previous")
    assert answer["per_source"][0]["source"] == "first"
    said = "compared with what second says, for it is shown in the earlier window and first in this one"
    assert said in answer["warnings"]
    assert said not in (await twins(times=1.3, compare_to="previous"))["warnings"]
