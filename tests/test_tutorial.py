"""The tutorial in plugins/README.md, step by step as a reader types it in: every step's file loads and answers."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from telemetry_mcp.config import read
from telemetry_mcp.engine import opened
from telemetry_mcp.errors import ConfigError
from telemetry_mcp.fanout import Deadline
from telemetry_mcp.model import Outcome
from telemetry_mcp.plugin import GROUP
from telemetry_mcp.question import Question, SeriesQuery, ServiceQuery, Window
from telemetry_mcp.registry import load
from telemetry_mcp.testing.backend import Backend

GUIDE = (Path(__file__).resolve().parents[1] / "plugins" / "README.md").read_text(encoding="utf-8")
STEPS = {int(part[3]): part for part in re.split(r"^(?=## )", GUIDE, flags=re.MULTILINE) if part[3].isdigit()}
SERIES = SeriesQuery(("checkout",), ("cpu",), Window(0, 600_000), 60_000)
SERVICES = ServiceQuery(Window(0, 600_000))


def blocks(step: int, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", STEPS[step], flags=re.DOTALL)


def without(source: str, names: set[str]) -> str:
    """The file without the methods of these names: what a reader does who replaces one."""
    lines = source.splitlines(keepends=True)
    (made,) = (node for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name == "Acme")
    for node in reversed(made.body):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name in names:
            del lines[node.lineno - 1 : node.end_lineno]
    return "".join(lines)


def plugin(step: int) -> str:
    """acme.py as it is after a step."""
    source = ""
    for block in (block for number in range(1, step + 1) for block in blocks(number, "python")):
        place, _, code = block.partition("\n")
        if place == "# acme.py":
            source = code
        elif place == "# acme.py, above the class":
            source = source.replace("class Acme(", f"{code}\n\nclass Acme(")
        elif place == "# acme.py, in the class":
            source = without(source, set(re.findall(r"^    (?:async )?def (\w+)", code, flags=re.MULTILINE)))
            source = source.replace("@hookimpl", f"{code}\n\n@hookimpl")
    return source


def contract_test() -> str:
    first, below = blocks(5, "python")
    assert first.startswith("# test_acme.py\n")
    assert below.startswith("# test_acme.py, below\n")
    return first


@pytest.fixture
def acme() -> Iterator[Backend]:
    """The backend that the tutorial's own test describes."""
    code: dict[str, Any] = {"__name__": "test_acme"}
    exec(compile(contract_test(), "test_acme.py", "exec", dont_inherit=True), code)
    with Backend(code["TestAcme"]().respond) as backend:
        yield backend


async def ask(folder: Path, step: int, question: Question[Any], url: str = "") -> Outcome[Any]:
    """What the file of that step answers, in the newest plugins.toml that the tutorial has until then."""
    (folder / "acme.py").write_text(plugin(step), encoding="utf-8")
    toml = next(toml[0] for number in range(step, 0, -1) if (toml := blocks(number, "toml")))
    path = folder / "plugins.toml"
    path.write_text(toml.replace("https://acme.internal/api", url), encoding="utf-8")
    async with opened(read(path, {"ACME_TOKEN": "a-token-for-tests"})) as engine:
        (outcome,) = await engine.fanout.ask(question, Deadline(10))
    return outcome


async def test_step_1_answers_with_a_series(tmp_path: Path) -> None:
    outcome = await ask(tmp_path, 1, SERIES)
    assert outcome.status == "ok"
    assert outcome.reply.items[0].values.tolist() == [4.0] * 10


async def test_step_2_has_settings_that_are_checked(tmp_path: Path, acme: Backend) -> None:
    assert (await ask(tmp_path, 2, SERIES, acme.url)).status == "ok"
    path = tmp_path / "plugins.toml"
    with pytest.raises(ConfigError, match="ACME_TOKEN is not set"):
        load(read(path, {}))
    path.write_text(path.read_text().replace("token =", "tokne ="))
    with pytest.raises(ConfigError, match="Did you mean 'token'"):
        load(read(path, {"ACME_TOKEN": "x"}))


async def test_step_3_reads_the_backend_and_its_units(tmp_path: Path, acme: Backend) -> None:
    outcome = await ask(tmp_path, 3, SERIES, acme.url)
    (series,) = outcome.reply.items
    assert (series.unit, len(series), series.timestamps_ms[1]) == ("percent", 30, 60_000)
    (request,) = acme.requests
    assert request.headers["x-token"] == "a-token-for-tests"
    assert (request.path, request.query["services"], request.query["metrics"]) == ("/series", "checkout", "cpu")


async def test_step_3_calls_a_strange_answer_by_its_name(tmp_path: Path) -> None:
    with Backend(lambda request: [{"service": "checkout"}]) as strange:
        outcome = await ask(tmp_path, 3, SERIES, strange.url)
    assert outcome.failure is not None
    assert (outcome.failure.kind, outcome.failure.message) == (
        "protocol",
        "/series: 3 values are not as documented",
    )


async def test_step_4_lists_services(tmp_path: Path, acme: Backend) -> None:
    outcome = await ask(tmp_path, 4, SERVICES, acme.url)
    assert [(service.name, service.team) for service in outcome.reply.items] == [("checkout", "payments")]


async def test_step_5_tests_one_method_over_a_fake_transport(tmp_path: Path) -> None:
    code: dict[str, Any] = {"__name__": "acme"}
    exec(compile(plugin(5), "acme.py", "exec", dont_inherit=True), code)
    below = blocks(5, "python")[1].replace("from acme import Acme\n", "")
    exec(compile(below, "test_acme.py", "exec", dont_inherit=True), code)
    assert await code["teams"]() == [None]


def test_step_5_passes_the_contract(tmp_path: Path) -> None:
    (tmp_path / "acme.py").write_text(plugin(5), encoding="utf-8")
    (tmp_path / "test_acme.py").write_text(contract_test(), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    passed = re.search(r"(\d+) passed in", done.stdout)
    assert passed
    assert int(passed[1]) == 41, "the tutorial says that there are 41"


def test_step_6_names_the_group_that_the_engine_looks_in() -> None:
    (project,) = blocks(6, "toml")
    assert tomllib.loads(project)["project"]["entry-points"][GROUP] == {"acme": "acme"}


def test_the_tutorial_is_short_and_has_no_step_without_a_test() -> None:
    assert len(GUIDE.splitlines()) <= 250
    assert set(STEPS) == {1, 2, 3, 4, 5, 6}
