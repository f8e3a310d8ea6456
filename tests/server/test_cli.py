"""The commands, run in this process: what they print where, and the code they end with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client
from mcp.types import Tool
from typer.testing import CliRunner, Result

from telemetry_mcp.cli import app
from telemetry_mcp.config import read
from telemetry_mcp.errors import TelemetryError
from telemetry_mcp.terminal.call import arguments
from telemetry_mcp.terminal.crossing import crossing
from telemetry_mcp.terminal.sparkline import bar, sparkline
from telemetry_mcp.terminal.table import coverage
from telemetry_mcp.terminal.target import CommandError, Target, server_over

SOURCES = ("prometheus", "datadog", "newrelic", "pagerduty")
CONFIG = """
[sources.metrics]
plugin = "prometheus"
url = "http://127.0.0.1:9"
[sources.metrics.metrics]
cpu = "cpu"

[sources.pager]
plugin = "pagerduty"
api_key = "${TELEMETRY_TEST_UNSET}"
optional = true
"""
TOOL = Tool(
    name="tool",
    input_schema={
        "type": "object",
        "properties": {
            "service": {"type": "string"},
            "hours": {"type": "number"},
            "fresh": {"type": "boolean"},
            "metrics": {"type": "array", "items": {"type": "string"}},
            "comparison": {"enum": ["<=", ">="]},
            "deadline_s": {"type": "number"},
        },
    },
)

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_log: None) -> Run:
    """Runs a command in an empty folder and an empty home."""
    monkeypatch.chdir(tmp_path)
    for name in ("HOME", "XDG_CONFIG_HOME", "APPDATA"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.delenv("TELEMETRY_MCP_CONFIG", raising=False)
    return lambda *words: CliRunner().invoke(app, words)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "mine.toml"
    file.write_text(CONFIG)
    return file


def fields(result: Result) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_json_is_exactly_what_the_tool_answered(run: Run, config: Path) -> None:
    async def answer() -> Any:
        async with Client(server_over(read(config))) as client:
            return (await client.call_tool("list_sources", {})).structured_content

    result = run("call", "list_sources", "--json", "--config", str(config))
    assert result.exit_code == 0
    assert fields(result) == anyio.run(answer)


def test_an_answer_is_shown_as_tables_with_its_ledger(run: Run) -> None:
    result = run("call", "query_historical_metrics", "service=payment-processor", "metric_type=cpu", "--demo")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "2 of 2 sources" in result.stdout
    assert all(source in result.stdout for source in SOURCES)
    assert "█" in result.stdout
    assert not any(ord(character) < 32 for character in result.stdout.replace("\n", ""))


def test_incidents_are_shown_with_the_id_that_an_investigation_asks_for(run: Run) -> None:
    words = ("call", "list_incidents", "since=7d", "status=all", "--demo")
    ids = [row["id"] for row in fields(run(*words, "--json"))["incidents"]]
    table = run(*words).stdout
    assert ids
    assert all(incident_id in table for incident_id in ids)


def test_an_answer_with_a_gap_ends_well_and_says_so_on_stderr(run: Run) -> None:
    result = run("call", "list_services", "--json", "--demo", "--fault", "datadog=status:403")
    assert result.exit_code == 0
    assert "3 of 4 sources answered" in result.stderr
    assert not fields(result)["coverage"]["complete"]


def test_no_source_answering_is_an_error_that_still_shows_the_ledger(run: Run) -> None:
    sources = ("prometheus", "datadog", "newrelic", "pagerduty")
    faults = [word for source in sources for word in ("--fault", f"{source}=rate_limit:30")]
    result = run("call", "list_incidents", "--json", "--demo", *faults)
    assert result.exit_code == 1
    kinds = {source["name"]: source["error"]["kind"] for source in fields(result)["sources"]}
    assert kinds == dict.fromkeys(sources, "rate_limited")


def test_the_timeout_is_the_longest_wait(run: Run) -> None:
    result = run("call", "list_services", "--json", "--demo", "--fault", "newrelic=hang", "--timeout", "0.5")
    assert "newrelic: no answer by the call's deadline of 0.5 s" in result.stderr


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("list_servces", "--demo"), 1, "did you mean 'list_services'"),
        (("get_current_metrics", "service=123", "--demo"), 1, "no service is called '123'"),
        (("detect_anomalies", "hours=long", "--demo"), 1, "'hours' is not valid"),
        (("get_current_metrics", "--demo"), 1, "needs the argument 'service'"),
        (("list_services", "query", "--demo"), 2, "'query' is not NAME=VALUE"),
        (("list_services", "--fault", "datadog=hang"), 2, "needs --demo"),
        (("list_services", "--demo", "--fault", "datdog=hang"), 2, "did you mean 'datadog'"),
        (("list_services", "--demo", "--fault", "datadog=hung"), 2, "did you mean 'hang'"),
        (("list_services", "--demo", "--fault", "datadog=status:bad"), 2, "'bad' is not a status code"),
        (("list_services", "--demo", "--fault", "datadog=status:99"), 2, "99 is no status code"),
        (("list_services", "--demo", "--fault", "datadog=delay:nan"), 2, "nan is no time to wait"),
        (("list_services", "--demo", "--fault", "datadog=gzip_bomb:-1"), 2, "-1 is no size"),
        (("list_services", "--demo", "--fault", "datadog=hang:3"), 2, "takes no argument"),
        (("list_services",), 2, "no such file"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_a_sentence(
    run: Run, words: tuple[str, ...], code: int, said: str
) -> None:
    result = run("call", *words)
    assert (result.exit_code, result.stdout) == (code, "")
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_a_question_to_no_source_at_all_is_answered(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "off.toml"
    file.write_text(CONFIG[CONFIG.index("[sources.pager]") :])
    result = run("call", "list_services", "--config", str(file))
    assert result.exit_code == 0
    assert "no source is switched on" in result.stdout
    assert "no configured source can answer this" in result.stderr


def test_values_are_what_the_schema_wants() -> None:
    pairs = ("service=123", "hours=24", "fresh=true", "metrics=cpu, memory", "comparison=<=")
    assert arguments(TOOL, pairs) == {
        "service": "123",
        "hours": 24,
        "fresh": True,
        "metrics": ["cpu", "memory"],
        "comparison": "<=",
    }


def test_a_list_may_be_json_and_a_value_may_hold_an_equals_sign() -> None:
    pairs = ('metrics=["a,b"]', "service=a=b", "metrics2=x")
    assert arguments(TOOL, pairs) == {"metrics": ["a,b"], "service": "a=b", "metrics2": "x"}


def test_a_named_deadline_goes_before_the_timeout() -> None:
    assert arguments(TOOL, ["deadline_s=3"], 5.0) == {"deadline_s": 3}
    assert arguments(TOOL, [], 5.0) == {"deadline_s": 5.0}


def test_every_problem_of_a_configuration_is_reported_at_once(run: Run, tmp_path: Path) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text('[sources.a]\nplugin = "promtheus"\n[sources.b]\nplugin = "prometheus"\nurll = "x"\n')
    for command in (("serve",), ("call", "list_services"), ("plugins", "list")):
        result = run(*command, "--config", str(broken))
        assert (result.exit_code, result.stdout) == (2, "")
        assert "did you mean 'prometheus'" in result.stderr
        assert "urll" in result.stderr
        assert "Traceback" not in result.stderr


def test_doctor_is_content_with_the_estate(run: Run) -> None:
    result = run("doctor", "--demo")
    assert result.exit_code == 0
    assert all(source in result.stdout for source in SOURCES)
    assert "all is well" in result.stdout


def test_doctor_names_the_source_that_lets_nobody_in(run: Run) -> None:
    result = run("doctor", "--demo", "--fault", "datadog=status:403")
    assert result.exit_code == 1
    assert "needs attention: datadog\n" in result.stdout


def test_doctor_tells_a_fault_from_a_source_that_is_off(run: Run, config: Path) -> None:
    result = run("doctor", "--json", "--config", str(config))
    assert result.exit_code == 1
    metrics, pager = fields(result)["sources"]
    assert (metrics["source"], metrics["status"]) == ("metrics", "fault")
    assert (pager["source"], pager["status"]) == ("pager", "off")
    assert "TELEMETRY_TEST_UNSET" in pager["checks"][0]["fix"]


def test_the_plugins_are_listed_with_what_is_on_and_why_not(run: Run, config: Path) -> None:
    result = run("plugins", "list", "--json", "--config", str(config))
    assert result.exit_code == 0
    listed = fields(result)
    assert {plugin["name"] for plugin in listed["plugins"]} >= set(SOURCES)
    assert [(row["source"], row["status"]) for row in listed["sources"]] == [("metrics", "on"), ("pager", "off")]
    assert "TELEMETRY_TEST_UNSET" in listed["sources"][1]["reason"]


def test_the_plugins_are_listed_without_any_configuration(run: Run) -> None:
    result = run("plugins", "list")
    assert result.exit_code == 0
    assert "prometheus" in result.stdout
    assert "no source is configured" in result.stderr


def test_serving_strangers_is_refused(run: Run, config: Path) -> None:
    result = run("serve", "--transport", "http", "--host", "0.0.0.0", "--port", "0", "--config", str(config))
    assert result.exit_code == 2
    assert "--insecure" in result.stderr


def test_the_demo_names_four_sources_in_every_ledger(run: Run) -> None:
    result = run("demo")
    assert (result.exit_code, result.stderr) == (0, "")
    text = " ".join(result.stdout.split())
    conversations = text.partition("Next: ")[0].split("> ")[1:]
    assert len(conversations) == 10
    for asked in conversations:
        assert all(source in asked for source in SOURCES)
    first, later = text.index("cpu passed its warning limit first"), text.index("then error_rate")
    assert "then latency_p95" in text[first:later]


def test_the_demo_says_what_a_broken_source_leaves_open(run: Run) -> None:
    result = run("demo", "--fault", "prometheus=status:401", "--seed", "3")
    assert result.exit_code == 0
    assert "prometheus FAILED (auth)" in result.stdout
    assert "treat absence as unknown" in " ".join(result.stdout.split())


def test_a_fault_needs_the_estate() -> None:
    with pytest.raises(CommandError, match="--demo"), Target(faults=("datadog=hang",)).configured():
        pass
    assert issubclass(CommandError, TelemetryError)


def test_a_sparkline_keeps_the_spike_and_shows_the_gap() -> None:
    assert sparkline([1, 1, None, 1, 9, 1], 6) == "▁▁ ▁█▁"
    assert sparkline([1.0] * 50 + [9.0] + [1.0] * 49, 10) == "▁▁▁▁▁█▁▁▁▁"
    assert sparkline([5, 5], plain=True) == "__"
    assert sparkline([None, None]) == ""
    assert (bar(50, 4, plain=True), bar(None)) == ("##", "")


def test_the_ledger_in_a_line_tells_answers_failures_and_skips_apart() -> None:
    def source(name: str, status: str, ms: float | None, age: float | None = None) -> dict[str, Any]:
        error = {"kind": "timeout", "message": "has no series"} if status in ("failed", "skipped") else None
        return {"name": name, "status": status, "latency_ms": ms, "cached_age_s": age, "error": error}

    line = coverage(
        [
            source("a", "ok", 12.4),
            source("b", "failed", 40.0),
            source("c", "skipped", None),
            source("d", "ok", 0, 3),
        ]
    )
    assert (
        line == "2 of 3 sources in 40 ms: a 12 ms, b FAILED (timeout), d cached 3 s ago; c skipped (has no series)"
    )


def test_a_crossing_is_on_the_bad_side_of_the_limit() -> None:
    points = {"start": "2026-01-01T00:00:00Z", "step_s": 60, "values": [1, None, 5, 7, 1]}
    history = {"metric": "cpu", "series": points}
    above = crossing(history, {"warning": 5, "bad": "above"})
    assert (above.start, above.end) == ("2026-01-01T00:02:00Z", "2026-01-01T00:03:00Z")
    below = crossing(history, {"warning": 1, "bad": "below"})
    assert (below.start, below.end) == ("2026-01-01T00:00:00Z", "2026-01-01T00:04:00Z")
    assert crossing(history, {"warning": None, "bad": "above"}).start is None
