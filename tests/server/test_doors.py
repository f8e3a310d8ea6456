"""Detectors and audit sinks of plugins: the examples of docs/plugins.md, and what happens when one is bad."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from telemetry_mcp.config import read
from telemetry_mcp.demo.emulator import CONFIG
from tests.real.moment import until

if TYPE_CHECKING:
    from telemetry_mcp.demo.emulator import Emulators
    from tests.server.conftest import Desk, OpenDesk

PAGE = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"`([\w.]+)`:\n\n```\w+\n(.*?)```", PAGE, re.DOTALL)
FILES = {name: text for name, text in BLOCKS if name.endswith(".py")}
TABLES = [text for name, text in BLOCKS if name == "plugins.toml"]
LIMIT_S = 10
QUESTION = {"service": "payment-processor", "metric": "cpu", "hours": 48}


class Doors:
    """A desk over the demo's sources and the examples of the page, each of which a test may spoil."""

    def __init__(self, open_desk: OpenDesk, world: Emulators, folder: Path) -> None:
        self.open_desk, self.world, self.folder = open_desk, world, folder
        self.written = folder / "audit.jsonl"

    async def desk(self, **spoilt: tuple[str, str]) -> Desk:
        for name, code in FILES.items():
            old, new = spoilt.get(name.removesuffix(".py"), ("", ""))
            assert old in code
            (self.folder / name).write_text(code.replace(old, new) if old else code, encoding="utf-8")
        tables = "".join(TABLES).replace("audit.jsonl", str(self.written)) + '[spool]\npath = "spool"\n'
        (self.folder / "plugins.toml").write_text(CONFIG.read_text() + tables, encoding="utf-8")
        return await self.open_desk(read(self.folder / "plugins.toml", self.world.environ))

    async def records(self, desk: Desk) -> list[dict[str, Any]]:
        """What the sink has got of requests, once it has everything."""
        standing = desk.engine.auditor.standing
        await until(lambda: not ((now := standing()).pending or now.sinks["ledger"].waiting))
        lines = await anyio.Path(self.written).read_text(encoding="utf-8")
        records = [json.loads(line) for line in lines.splitlines()]
        return [record for record in records if "/" in record["event"]["action"]]


@pytest.fixture
def doors(open_desk: OpenDesk, world: Emulators, tmp_path: Path) -> Doors:
    return Doors(open_desk, world, tmp_path)


def test_the_page_shows_one_of_each() -> None:
    assert sorted(FILES) == ["jump.py", "ledger.py"]
    assert len(TABLES) == 2


async def test_a_detector_is_used_by_its_name_through_the_same_episodes(doors: Doors) -> None:
    desk = await doors.desk()
    own = await desk.ask("detect_anomalies", **QUESTION, detector="jump")
    built_in = await desk.ask("detect_anomalies", **QUESTION)
    assert own["baseline"]["method"] == "jump"
    assert built_in["baseline"]["method"] != "jump"
    assert own["anomalies_detected"] > 0
    assert own["anomalies"][0]["deviation"] >= own["baseline"]["threshold"] == 6.5
    assert own["baseline"]["not_judged"] == []


async def test_a_detector_that_nobody_configured_is_answered_with_those_that_are(doors: Doors) -> None:
    desk = await doors.desk()
    answer = await desk.ask("detect_anomalies", **QUESTION, detector="jmp")
    assert answer.is_error
    assert answer.text == "no detector is called 'jmp'; did you mean 'jump'? Valid: jump"


@pytest.mark.parametrize(
    ("spoilt", "reason"),
    [
        (("return np.abs", "raise KeyError('ordinary')\n        return np.abs"), "KeyError: 'ordinary'"),
        (("return np.abs(", "return 'high' or np.abs("), "TypeError: score must return one number a point"),
        (("prepend=values[:1]", "n=1"), "must return one number a point"),
        (("return np.abs(", "return np.nan * np.abs("), "it gave no score"),
    ],
)
async def test_what_a_detector_does_wrong_is_the_reason_and_not_an_all_clear(
    doors: Doors, spoilt: tuple[str, str], reason: str
) -> None:
    desk = await doors.desk(jump=spoilt)
    answer = await desk.ask("detect_anomalies", **QUESTION, detector="jump")
    assert not answer.is_error
    assert answer["anomalies_detected"] is None
    assert answer["baseline"]["series_judged"] == 0
    (said,) = answer["baseline"]["not_judged"]
    assert said.startswith("cpu of payment-processor: ")
    assert reason in said


async def test_a_detector_that_cannot_be_loaded_is_named_only_when_it_is_asked_for(doors: Doors) -> None:
    desk = await doors.desk(jump=("import numpy as np", "import no_such_module"))
    assert (await desk.ask("list_services"))["coverage"]["complete"]
    assert not (await desk.ask("detect_anomalies", **QUESTION)).is_error
    answer = await desk.ask("detect_anomalies", **QUESTION, detector="jump")
    assert answer.is_error
    assert "the detector jump cannot be used" in answer.text
    assert "No module named 'no_such_module'" in answer.text


async def test_every_call_and_reading_has_its_record(doors: Doors) -> None:
    desk = await doors.desk()
    await desk.ask("get_current_metrics", service="payment-processor", metrics=["cpu"])
    await desk.ask("get_current_metrics", service="paiment-processor")
    await desk.ask("list_services", no_such_argument=1)
    await desk.read("telemetry://sources")
    called, unknown, refused, reading = await doors.records(desk)
    ours = called["telemetry_mcp"]
    assert (called["event"]["action"], ours["tool"]) == ("tools/call", "get_current_metrics")
    assert ours["arguments"] == {"service": "payment-processor", "metrics": ["cpu"]}
    assert ours["outcome"] == "answered"
    assert ours["sources"] == dict.fromkeys(("prometheus", "datadog"), "ok") | dict.fromkeys(
        ("newrelic", "pagerduty"), "skipped"
    )
    assert unknown["telemetry_mcp"]["outcome"] == refused["telemetry_mcp"]["outcome"] == "refused"
    assert (reading["event"]["action"], reading["telemetry_mcp"]["name"]) == (
        "resources/read",
        "telemetry://sources",
    )


async def test_a_sink_that_fails_harms_no_call_and_is_named(
    doors: Doors, caplog: pytest.LogCaptureFixture
) -> None:
    broken = ("async with await", "raise OSError(28, 'No space left')\n        async with await")
    desk = await doors.desk(ledger=broken)
    with caplog.at_level(logging.ERROR):
        answer = await desk.ask("get_current_metrics", service="payment-processor", metrics=["cpu"])
        with anyio.fail_after(LIMIT_S):
            while "No space left" not in caplog.text:  # noqa: ASYNC110 - it tells nobody
                await anyio.sleep(0.01)
    assert not answer.is_error
    assert desk.engine.auditor.standing().sinks["ledger"].waiting > 0


async def test_a_sink_that_hangs_holds_up_no_call_and_no_end(doors: Doors) -> None:
    desk = await doors.desk(ledger=("async with await", "await anyio.sleep_forever()\n        async with await"))
    for _ in range(3):
        answer = await desk.ask("get_current_metrics", service="payment-processor", metrics=["cpu"])
        assert not answer.is_error
        assert answer.took_s < 3
