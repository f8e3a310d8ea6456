"""`telemetry-mcp demo --incident`: one page, investigated before your eyes."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from telemetry_mcp.cli import app
from telemetry_mcp.demo.scenario import incident_today
from telemetry_mcp.source import now_ms

Told = Callable[..., str]


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_log: None) -> Told:
    """What the incident of a seed prints, in one line; it ends well."""
    monkeypatch.chdir(tmp_path)

    def run(seed: int, *words: str, charset: str = "utf-8") -> str:
        command = ("demo", "--incident", "--no-color", "--seed", str(seed), *words)
        result = CliRunner(charset=charset).invoke(app, command)
        assert (result.exit_code, result.stderr) == (0, "")
        assert "Traceback" not in result.stdout
        assert "\x1b" not in result.stdout
        return " ".join(result.stdout.split())

    return run


def culprit_of(seed: int) -> str | None:
    """Who it is does not depend on the moment at which the incident is played."""
    return incident_today(now_ms(), seed).culprit


@pytest.mark.parametrize("seed", [2, 7, 12])
def test_the_culprit_stands_out_with_the_figures_and_the_page(told: Told, seed: int) -> None:
    text, culprit = told(seed), culprit_of(seed)
    assert f"Of what could be looked at, {culprit} stands out: " in text
    assert re.search(r"[\w-]+ was paged on [\d-]{10} at \d\d:\d\d UTC \[i1\]", text)
    timeline = text.partition(" by evidence ")[2].partition("the hour before, and since")[0]
    assert re.search(rf"\d\d:\d\d:\d\d onset {culprit} \w+ goes (up|down)", timeline)
    assert timeline.count(f" onset {culprit} ") == 1
    assert timeline.count(" page ") == 1
    assert "could not be heard" not in text
    assert "Unknown" not in text
    assert re.search(r"On call: .+ \(level 1\)", text)
    first = text.partition("the hour before, and since")[2]
    assert first.partition(" evidence ")[2].lstrip("─ ").startswith(f"{culprit} ")
    assert "█" in text


@pytest.mark.parametrize("seed", [7, 12])
def test_where_the_terminal_is_ascii_so_is_everything(told: Told, seed: int) -> None:
    text = told(seed, charset="ascii")
    assert text.isascii()
    assert "?" not in text.replace("What are people paged for?", "").replace("where did it begin?", "")
    assert "#" in text or "=" in text


def test_with_a_source_down_it_says_what_was_not_heard(told: Told) -> None:
    text = told(7, "--fault", "prometheus=status:503")
    assert "prometheus FAILED (upstream)" in text
    assert "prometheus could not be heard: " in text
    assert "So the cause may lie where nobody could look." in text
    owed = "error_rate, request_rate, latency_p50, latency_p99, availability of prometheus"
    assert f"Not examined: {owed}: it could not be heard." in text


def test_with_every_source_of_numbers_down_nothing_is_known(told: Told) -> None:
    faults = [word for name in ("prometheus", "datadog", "newrelic") for word in ("--fault", f"{name}=status:503")]
    text = told(7, *faults)
    assert "Unknown: no metric of any service could be looked at." in text
    assert "stands out" not in text


def test_with_the_pager_down_there_is_no_page_to_look_at(told: Told) -> None:
    text = told(7, "--fault", "pagerduty=status:503")
    assert "Unknown: PagerDuty could not be heard, so nobody knows of the page." in text
    assert "stands out" not in text
