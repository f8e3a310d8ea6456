"""`[dependencies]` in plugins.toml: who calls whom, as far as no source knows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from telemetry_mcp.config import Config, read
from telemetry_mcp.model import Dependency, Outcome, Reply
from telemetry_mcp.server.investigation.inquiry import edges_of

if TYPE_CHECKING:
    from pathlib import Path


def config(folder: Path, text: str) -> Config:
    path = folder / "plugins.toml"
    path.write_text(text, encoding="utf-8")
    return read(path, {})


def test_callers_and_callees_are_read(tmp_path: Path) -> None:
    found = config(
        tmp_path, '[dependencies]\ncheckout = ["cart", "stock"]\n"Web shop" = ["checkout"]\nlone = []\n'
    )
    assert found.dependencies == {"checkout": ("cart", "stock"), "Web shop": ("checkout",), "lone": ()}
    assert found.problems == []


def test_without_the_table_there_are_none(tmp_path: Path) -> None:
    assert config(tmp_path, "").dependencies == {}


@pytest.mark.parametrize(
    "callees", ['"cart"', "[1]", '["cart", ["stock"]]', "true", '{ calls = ["cart"] }', '["cart", ""]']
)
def test_what_is_no_list_of_names_is_reported_and_the_rest_is_read(tmp_path: Path, callees: str) -> None:
    found = config(tmp_path, f'[dependencies]\ncheckout = {callees}\ncart = ["stock"]\n')
    (problem,) = found.problems
    assert (problem.table, problem.key) == ("dependencies", "checkout")
    assert str(problem).endswith('Write caller = ["callee", ...]')
    assert found.dependencies == {"cart": ("stock",)}


@pytest.mark.parametrize("text", ["dependencies = 5", 'dependencies = ["checkout"]', "[[dependencies]]\na = 1"])
def test_what_is_no_table_is_reported(tmp_path: Path, text: str) -> None:
    found = config(tmp_path, text)
    (problem,) = found.problems
    assert (problem.table, problem.found) == ("dependencies", "is not a table")
    assert found.dependencies == {}


def test_an_edge_names_all_who_tell_of_it_and_nobody_calls_himself() -> None:
    told = Outcome("mesh", "mesh", "ok", Reply([Dependency("checkout", "cart"), Dependency("cart", "cart")]))
    edges = edges_of([told, told], {"checkout": ("cart", "stock"), "stock": ("stock",)})
    assert edges == {("checkout", "cart"): ["mesh", "plugins.toml"], ("checkout", "stock"): ["plugins.toml"]}
