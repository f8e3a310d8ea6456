"""`connect`: what it prints, and what it leaves alone in a client's file."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from telemetry_mcp.cli import app
from telemetry_mcp.terminal.connect import file_of

Connect = Callable[..., Result]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("TELEMETRY_MCP_CONFIG", raising=False)
    return tmp_path


def connect(*words: str) -> Result:
    return CliRunner().invoke(app, ["connect", *words])


def server(text: str) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(text)["mcpServers"]["telemetry"]
    return made


def test_the_entry_starts_this_program_with_the_configuration_from_anywhere(home: Path) -> None:
    (home / "plugins.toml").write_text('[sources.a]\nplugin = "x"\nkey = "${A_KEY}"\nurl = "${A_URL:-here}"\n')
    result = connect("cursor")
    assert result.exit_code == 0
    made = server(result.stdout)
    assert os.access(made["command"], os.X_OK)
    assert Path(made["command"]).is_absolute()
    assert made["args"][-3:] == ["serve", "--config", str(home / "plugins.toml")]
    assert "A_KEY" in result.stderr
    assert "A_URL" not in result.stderr


def test_without_a_configuration_there_is_nothing_to_connect(home: Path) -> None:
    result = connect("cursor")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "no such file" in result.stderr


def test_writing_keeps_what_is_there_and_a_copy_of_it(home: Path) -> None:
    file = home / ".cursor" / "mcp.json"
    file.parent.mkdir()
    before = '{"theme": "ü", "mcpServers": {"other": {"command": "x"}, "telemetry": {"command": "old"}}}'
    file.write_text(before, encoding="utf-8")
    file.chmod(0o600)
    result = connect("cursor", "--demo", "--write")
    assert result.exit_code == 0
    after = json.loads(file.read_text(encoding="utf-8"))
    assert after["theme"] == "ü"
    assert after["mcpServers"]["other"] == {"command": "x"}
    assert after["mcpServers"]["telemetry"]["args"][-2:] == ["serve", "--demo"]
    assert (file.parent / "mcp.json.bak").read_text(encoding="utf-8") == before
    assert file.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in file.parent.iterdir()) == ["mcp.json", "mcp.json.bak"]


def test_writing_makes_the_file_where_there_is_none(home: Path) -> None:
    assert connect("claude-desktop", "--demo", "--write").exit_code == 0
    assert server(file_of("claude-desktop").read_text())["args"][-1] == "--demo"


@pytest.mark.parametrize("text", ["{not json", "[]", '{"mcpServers": []}', "{// c\n}"])
def test_a_file_that_cannot_be_merged_is_left_as_it_is(home: Path, text: str) -> None:
    file = home / ".mcp.json"
    file.write_text(text)
    result = connect("claude-code", "--demo", "--write")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "nothing was changed" in result.stderr
    assert file.read_text() == text
    assert [path.name for path in home.iterdir()] == [".mcp.json"]


@pytest.mark.parametrize("url", ["javascript:x", "127.0.0.1:8000/mcp", "http://", "file:///etc/hosts"])
def test_only_an_address_of_the_web_is_written_down(home: Path, url: str) -> None:
    result = connect("cursor", "--http", url, "--write")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "http:// or https://" in result.stderr
    assert not (home / ".cursor").exists()


def test_claude_code_is_told_the_command_too(home: Path) -> None:
    result = connect("claude-code", "--http", "http://127.0.0.1:8000/mcp")
    assert server(result.stdout) == {"type": "http", "url": "http://127.0.0.1:8000/mcp"}
    assert "claude mcp add --transport http telemetry http://127.0.0.1:8000/mcp" in result.stderr


def test_a_link_to_the_client_s_file_stays_a_link(home: Path) -> None:
    true = home / "dotfiles.json"
    true.write_text("{}")
    link = home / ".mcp.json"
    link.symlink_to(true)
    assert connect("claude-code", "--demo", "--write").exit_code == 0
    assert link.is_symlink()
    assert server(true.read_text())["args"][-1] == "--demo"


def test_claude_desktop_cannot_be_given_an_address(home: Path) -> None:
    result = connect("claude-desktop", "--http", "http://127.0.0.1:8000/mcp")
    assert result.exit_code == 2
    assert "Connectors" in result.stderr


def test_each_platform_has_its_own_place(home: Path) -> None:
    name = "claude_desktop_config.json"
    assert file_of("claude-desktop", {}, "darwin") == home / "Library/Application Support/Claude" / name
    assert file_of("claude-desktop", {"APPDATA": "/roaming"}, "win32") == Path("/roaming/Claude") / name
    assert file_of("claude-desktop", {}, "linux") == home / ".config/Claude" / name
    assert file_of("cursor") == home / ".cursor/mcp.json"
