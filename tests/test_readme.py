"""What the README, the docs and plugins.toml say is true: their examples run."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import orjson

from telemetry_mcp import Window
from telemetry_mcp.catalog import BUILT_IN
from telemetry_mcp.config import read
from telemetry_mcp.engine import opened
from telemetry_mcp.fanout import Deadline
from telemetry_mcp.objective.file import SloFile
from telemetry_mcp.objective.setting import Objective
from telemetry_mcp.question import SeriesQuery
from telemetry_mcp.registry import load
from telemetry_mcp.server.envelope import Answer, Coverage, Line
from telemetry_mcp.server.slo.shape import Compliant
from telemetry_mcp.server.tools import TOOLS
from telemetry_mcp.unit import UNITS

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
GUIDE = (ROOT / "plugins" / "README.md").read_text(encoding="utf-8")
DOORS = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
SLO = (ROOT / "docs" / "slo.md").read_text(encoding="utf-8")
SHOP = """
apiVersion: sre.google.com/v2
kind: ServiceLevelObjective
metadata: {name: shop, labels: {service_name: shop}}
spec:
  backend: prometheus
  method: good_bad_ratio
  service_level_indicator: {filter_good: 'hits{code="200"}', filter_valid: hits}
  goal: 0.999
"""
SAID_BY_THEMSELVES = {
    *("slo", "service", "metric", "indicator", "unit", "threshold", "comparison", "method"),
    *("objective_percentage", "compliance_percentage", "violations_total"),
}
VARIABLES = {
    "PROMETHEUS_URL": "http://127.0.0.1:9090",
    "DD_API_KEY": "a" * 32,
    "DD_APP_KEY": "b" * 40,
    "NEW_RELIC_API_KEY": "NRAK-0",
    "NEW_RELIC_ACCOUNT_ID": "1",
    "PAGERDUTY_API_KEY": "p" * 20,
    "INFLUXDB_URL": "http://127.0.0.1:8086",
    "INFLUXDB_DATABASE": "telegraf",
    "TIMESCALEDB_HOST": "127.0.0.1",
    "TIMESCALEDB_DATABASE": "telemetry",
    "TIMESCALEDB_USER": "telemetry_reader",
    "TIMESCALEDB_PASSWORD": "t" * 20,
}


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) < 200


def test_the_commands_that_the_readme_names_are_there() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    named = set(re.findall(r"make (\w+)", README))
    assert {"demo", "test", "check", "bench"} <= named <= targets


def test_links_lead_somewhere() -> None:
    pages = [(path.read_text(encoding="utf-8"), path.parent) for path in (ROOT / "docs").glob("*.md")]
    for text, folder in ((README, ROOT), (GUIDE, ROOT / "plugins"), *pages):
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", text):
            assert (folder / target).exists(), target


def test_the_configuration_by_example_loads(tmp_path: Path) -> None:
    path = tmp_path / "plugins.toml"
    path.write_text(blocks(README, "toml")[0], encoding="utf-8")
    (tmp_path / "slos").mkdir()
    (tmp_path / "slos" / "shop.yaml").write_text(SHOP, encoding="utf-8")
    config = read(path, VARIABLES)
    assert [instance.name for instance in load(config).instances] == ["prometheus", "datadog"]
    assert set(config.objectives) == {"checkout-latency", "shop"}


def test_the_objectives_by_example_load_and_every_key_is_documented(tmp_path: Path) -> None:
    objectives, files = blocks(SLO, "toml")
    sources = blocks(README, "toml")[0].partition("[slos.")[0]
    counted = "".join(f'[metrics.{name}]\nunit = "count"\n' for name in ("requests_failed", "requests_served"))
    (tmp_path / "slos").mkdir()
    (tmp_path / "slos" / "shop.yaml").write_text(SHOP, encoding="utf-8")
    path = tmp_path / "plugins.toml"
    path.write_text("\n".join((sources, counted, objectives, files)), encoding="utf-8")
    config = read(path, VARIABLES)
    assert [str(problem) for problem in config.problems] == []
    assert {objective.kind for objective in config.objectives.values()} == {"threshold", "events", "composite"}
    for model in (Objective, SloFile):
        assert [key for key in model.model_fields if f"`{key}" not in SLO and key != "description"] == []
    for field in Compliant.model_fields.keys() - Answer.model_fields.keys() - SAID_BY_THEMSELVES:
        assert f"`{field}`" in SLO, field


def test_the_configuration_at_the_top_works_with_nothing_set_and_with_everything_set() -> None:
    off = load(read(ROOT / "plugins.toml", {}))
    assert off.instances == ()
    assert {absent.name for absent in off.absent if not absent.broken} == {
        "prometheus",
        "datadog",
        "newrelic",
        "pagerduty",
        "influxdb",
        "timescaledb",
    }
    on = load(read(ROOT / "plugins.toml", VARIABLES))
    assert {instance.name for instance in on.instances} == {absent.name for absent in off.absent}
    assert on.absent == ()


async def test_the_first_plugin_answers(tmp_path: Path) -> None:
    (tmp_path / "dice.py").write_text(blocks(README, "python")[0], encoding="utf-8")
    table = next(block for block in blocks(README, "toml") if "dice" in block)
    (tmp_path / "plugins.toml").write_text(table, encoding="utf-8")
    async with opened(read(tmp_path / "plugins.toml", {})) as engine:
        question = SeriesQuery(("checkout",), ("cpu",), Window(0, 600_000), 60_000)
        (outcome,) = await engine.fanout.ask(question, Deadline(5))
    assert outcome.status == "ok"
    assert outcome.reply.items[0].values[0] == 4.0


def test_the_envelope_of_the_readme_is_the_envelope() -> None:
    example = orjson.loads(blocks(README, "json")[0])
    assert set(example) <= set(Answer.model_fields)
    for line in example["sources"]:
        Line.model_validate(line)
    Coverage.model_validate(example["coverage"])


def test_every_tool_and_every_plugin_is_named() -> None:
    for _, function in TOOLS:
        assert f"`{function.__name__}`" in README
    points = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
    for module in points["telemetry_mcp"].values():
        assert f"plugins/{module.partition('.')[0]}/README.md" in README


def test_every_unit_and_every_built_in_metric_is_documented() -> None:
    for name in (*UNITS, *BUILT_IN):
        assert f"`{name}`" in CONFIGURATION, name
