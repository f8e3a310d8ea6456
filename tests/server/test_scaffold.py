"""`telemetry-mcp plugins new`: what it writes passes its tests untouched, and it writes over nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from telemetry_mcp.terminal.scaffold import write
from telemetry_mcp.terminal.target import CommandError


def test_a_new_plugin_passes_its_own_tests_untouched(tmp_path: Path) -> None:
    write("acme-zabbix", tmp_path)
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error"],
        cwd=tmp_path / "acme-zabbix",
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert " passed" in ran.stdout
    assert "failed" not in ran.stdout


def test_a_new_plugin_is_typed_and_laid_out(tmp_path: Path) -> None:
    write("acme-zabbix", tmp_path)
    folder = tmp_path / "acme-zabbix"
    for words in (["ruff", "format", "--isolated", "--check", "."], ["mypy", "--strict", "--config-file=", "src"]):
        ran = subprocess.run(
            [sys.executable, "-m", *words], cwd=folder, capture_output=True, text=True, timeout=110, check=False
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("name", ["", "Acme", "acme_zabbix", "../acme", "acme--x", "-acme", "2nd", "acme zabbix"])
def test_a_name_that_cannot_be_one_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(CommandError, match="cannot be the name of a plugin"):
        write(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["class", "numpy", "json", "telemetry-mcp"])
def test_a_name_that_would_hide_something_else_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(CommandError, match="choose another name"):
        write(name, tmp_path)


def test_the_name_of_an_installed_plugin_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="is installed already"):
        write("prometheus", tmp_path)


def test_nothing_that_exists_is_written_over(tmp_path: Path) -> None:
    write("acme-zabbix", tmp_path)
    with pytest.raises(CommandError, match="exists already"):
        write("acme-zabbix", tmp_path)
