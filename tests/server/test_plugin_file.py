"""A team's own source is twelve lines in a file beside plugins.toml, and answers beside the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from telemetry_mcp.config import read
from telemetry_mcp.demo.emulator import CONFIG

if TYPE_CHECKING:
    from pathlib import Path

    from telemetry_mcp.demo.emulator import Emulators
    from tests.server.conftest import OpenDesk

PLUGIN = """\
import numpy as np
from telemetry_mcp import Reply, Series, SeriesQuery, Source, hookimpl

class Thermometer(Source):
    async def fetch_series(self, query: SeriesQuery) -> Reply[Series]:
        at = np.arange(query.window.start_ms, query.window.end_ms, query.step_ms)
        names = query.services or ("cache-redis",)
        return Reply([Series(name, "cpu", at, np.full(len(at), 0.5), "ratio") for name in names])

@hookimpl
def telemetry_sources() -> list[type[Source]]:
    return [Thermometer]
"""


async def test_a_plugin_of_twelve_lines_answers_beside_the_others(
    open_desk: OpenDesk, world: Emulators, tmp_path: Path
) -> None:
    assert len(PLUGIN.splitlines()) == 12
    (tmp_path / "thermometer.py").write_text(PLUGIN)
    own = '[sources.thermometer]\nplugin = "./thermometer.py"\n[sources.thermometer.metrics]\ncpu = "room 4"\n'
    (tmp_path / "plugins.toml").write_text(CONFIG.read_text() + own)
    desk = await open_desk(read(tmp_path / "plugins.toml", world.environ))

    answer = await desk.ask("get_current_metrics", service="cache-redis", metrics=["cpu"])
    reading = answer.row("readings", metric="cpu")
    assert [reading["source"], *(other["source"] for other in reading["others"])] == [
        *("prometheus", "datadog", "thermometer"),
    ]
    assert reading["others"][-1]["value"] == 50
    assert reading["others"][-1]["agreement"] == "differ"
    assert answer.ledger["thermometer"]["status"] == "ok"
    assert (await desk.ask("list_sources")).row("sources", name="thermometer")["capabilities"] == ["series"]
