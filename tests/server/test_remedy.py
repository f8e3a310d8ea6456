"""What doctor gives to be pasted is TOML, and puts right what is wrong."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from telemetry_mcp.config import read
from telemetry_mcp.registry import sound
from telemetry_mcp.terminal.remedy import of_problem, setting
from telemetry_mcp.toml import toml


@pytest.mark.parametrize(
    "value",
    ["plain", 'it has "quotes"', "it's", """both ' and \"""", "two\nlines", 3, True, ["a", "b"], {"a b": 1.5}],
)
def test_what_is_to_be_pasted_is_toml(value: Any) -> None:
    assert tomllib.loads(setting("my source", "metrics.cpu", value)) == {
        "sources": {"my source": {"metrics": {"cpu": value}}}
    }
    assert tomllib.loads(f"x = {toml(value)}") == {"x": value}


WRONG = """
[sources.a]
plugin = "promtheus"
[sources.b]
plugin = "prometheus"
urll = "http://127.0.0.1:9"
[sources.c]
plugin = "prometheus"
url = "${TELEMETRY_TEST_UNSET}"
[sources.d]
plugin = "prometheus"
url = "http://127.0.0.1:9"
pasword = "planted"
[sources.d.metrics]
queue_length = "queue"
[defalts]
timeout = "1s"
"""


def test_the_problems_of_a_file_come_with_the_lines_that_mend_them(tmp_path: Path) -> None:
    path = tmp_path / "plugins.toml"
    path.write_text(WRONG)
    config = read(path, {})
    sound(config)
    pasted = {(p.table, p.key): of_problem(p, config).fix.partition("\n")[2] for p in config.problems}
    assert pasted == {
        ("defalts", ""): "",
        ("sources.a", "plugin"): '[sources.a]\nplugin = "prometheus"',
        ("sources.b", "url"): "",
        ("sources.b", "urll"): '[sources.b]\nurl = "http://127.0.0.1:9"  # not urll',
        ("sources.c", "url"): 'export TELEMETRY_TEST_UNSET="..."',
        ("sources.d", "pasword"): '[sources.d]\npassword = "..."  # not pasword',
    }


def test_a_metric_that_nobody_declared_is_declared_by_what_is_pasted(tmp_path: Path) -> None:
    path = tmp_path / "plugins.toml"
    path.write_text('[sources.a]\nplugin="prometheus"\nurl="http://127.0.0.1:9"\nmetrics={queue_length="q"}\n')
    config = read(path, {})
    sound(config)
    (problem,) = config.problems
    assert of_problem(problem, config).fix.endswith("\n[metrics.queue_length]")


@pytest.mark.parametrize(
    ("written", "right"),
    [
        ('["nodee"]', ["node"]),
        ('["otel-http", "nodee", "kubernets"]', ["otel-http", "node", "kubernetes"]),
        ('"node"', ["node"]),
    ],
)
def test_a_misspelt_name_in_a_list_is_mended_in_its_list(tmp_path: Path, written: str, right: list[str]) -> None:
    path = tmp_path / "plugins.toml"
    path.write_text(f'[sources.a]\nplugin="prometheus"\nurl="http://127.0.0.1:9"\npreset={written}\n')
    config = read(path, {})
    sound(config)
    assert config.problems
    for problem in config.problems:
        assert "tuple" not in problem.valid
        paste = of_problem(problem, config).fix.partition("\n")[2]
        assert tomllib.loads(paste) == {"sources": {"a": {"preset": right}}}


def test_what_is_missing_is_told_with_one_article(tmp_path: Path) -> None:
    path = tmp_path / "plugins.toml"
    path.write_text('[sources.a]\nplugin="datadog"\napi_key="x"\n[sources.b]\nplugin="newrelic"\napi_key="x"\n')
    config = read(path, {})
    sound(config)
    assert [problem.valid.split(",")[0].split(";")[0] for problem in config.problems] == [
        "It is the application key",
        "It is the account that is asked",
    ]
