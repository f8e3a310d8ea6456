"""`telemetry-mcp keys`, as whoever runs the server uses it."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from telemetry_mcp.cli import app
from telemetry_mcp.config import read
from telemetry_mcp.terminal import key

ACCESS = """
[access]
keys = "var/keys.json"
secret = "${TELEMETRY_MCP_SECRET}"

[access.roles.auditor]
tools = ["list_*"]
"""
Keys = Callable[..., Result]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TELEMETRY_MCP_SECRET", "0123456789abcdef0123456789abcdef")
    (tmp_path / "plugins.toml").write_text(ACCESS)
    return tmp_path


@pytest.fixture
def keys(folder: Path, own_log: None) -> Keys:
    return lambda *words: CliRunner().invoke(app, ["keys", *words, "--config", str(folder / "plugins.toml")])


def standing(keys: Keys) -> list[tuple[str, str]]:
    listed = keys("list", "--json")
    assert listed.exit_code == 0
    return [(row["name"], row["standing"]) for row in json.loads(listed.stdout)]


def days_left(keys: Keys, place: int = -1) -> float:
    row = json.loads(keys("list", "--json").stdout)[place]
    return (datetime.fromisoformat(row["expires"]) - datetime.now(UTC)) / timedelta(days=1)


def test_a_key_is_shown_once_and_alone_on_stdout(keys: Keys, folder: Path) -> None:
    made = keys("create", "ci", "--role", "viewer", "--role", "auditor")
    assert made.exit_code == 0
    text = made.stdout.removesuffix("\n")
    assert text.startswith("tmcp_")
    assert "\n" not in text
    assert "not shown again" in made.stderr
    assert text not in made.stderr
    for listed in (keys("list"), keys("list", "--json")):
        assert "ci" in listed.stdout
        assert text.rpartition("_")[2] not in listed.output
    assert text.rpartition("_")[2] not in (folder / "var" / "keys.json").read_text()
    (row,) = json.loads(keys("list", "--json").stdout)
    assert row["roles"] == ["viewer", "auditor"]
    assert row["id"] == text.split("_")[1]


def test_a_key_lives_for_ninety_days_or_as_said(keys: Keys) -> None:
    keys("create", "ci", "--role", "viewer")
    assert 89.9 < days_left(keys) < 90
    keys("create", "cd", "--role", "viewer", "--expires", "12h")
    assert 0.4 < days_left(keys) < 0.5
    assert standing(keys) == [("ci", "valid"), ("cd", "expires soon")]


def test_a_rotation_leaves_the_old_key_for_a_week_or_as_said(keys: Keys) -> None:
    first = keys("create", "ci", "--role", "viewer").stdout
    second = keys("rotate", "ci")
    assert second.exit_code == 0
    assert second.stdout.startswith("tmcp_")
    assert second.stdout != first
    assert standing(keys) == [("ci", "rotated"), ("ci", "valid")]
    assert 6.9 < days_left(keys, 0) < 7
    keys("create", "cd", "--role", "viewer")
    assert keys("rotate", "cd", "--overlap", "0s", "--expires", "10d").exit_code == 0
    assert standing(keys)[2:] == [("cd", "expired"), ("cd", "expires soon")]


def test_keys_are_revoked_by_id_and_by_name(keys: Keys) -> None:
    text = keys("create", "ci", "--role", "viewer").stdout
    keys("rotate", "ci")
    assert keys("revoke", text.split("_")[1]).exit_code == 0
    assert standing(keys) == [("ci", "revoked"), ("ci", "valid")]
    assert keys("revoke", "ci").exit_code == 0
    assert standing(keys) == [("ci", "revoked"), ("ci", "revoked")]
    again = keys("revoke", "ci")
    assert (again.exit_code, again.stderr) == (0, "ci was revoked before\n")


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (
            ("create", "ci", "--role", "viewr"),
            2,
            "did you mean 'viewer'? Valid: admin, auditor, responder, viewer",
        ),
        (("create", "ci", "--role", "viewer", "--expires", "soon"), 2, "--expires soon: not a duration"),
        (("create", "ci", "--role", "viewer", "--expires", "20y"), 2, "--expires 20y: not a duration"),
        (("create", "ci", "--role", "viewer", "--expires", "99999d"), 2, "must be between"),
        (("create", "ci", "--role", "viewer", "--expires", "0s"), 2, "must be between"),
        (("create", "a b", "--role", "viewer"), 1, "cannot be the name of a service account"),
        (("rotate", "nobody"), 1, "nobody has no key to rotate"),
        (("revoke", "nobody"), 1, "no key and no service account is called 'nobody'"),
        (("create", "ci"), 2, "--role"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(keys: Keys, words: tuple[str, ...], code: int, told: str) -> None:
    done = keys(*words)
    assert (done.exit_code, done.stdout) == (code, "")
    assert told in done.stderr
    assert standing(keys) == []


def test_without_a_file_for_keys_it_is_said_what_to_write(keys: Keys, folder: Path) -> None:
    (folder / "plugins.toml").write_text("")
    done = keys("create", "ci", "--role", "viewer")
    assert done.exit_code == 2
    assert 'keys = "keys.json"' in done.stderr


@pytest.mark.parametrize(
    ("access", "told"),
    [
        ('secret = "short"\nkeys = "k.json"', "shorter than 32 bytes"),
        ('keys = "k.json"', "keys needs secret"),
        ('[access.oauth]\nissuer = "http://idp.example.com"', "https://"),
        ('[access.oauth]\nissuer = "https://idp.example.com"', "oauth needs resource"),
        (
            'resource = "https://x/mcp"\n[access.oauth]\nissuer = "https://x"\ndefault_roles = ["veiwer"]',
            "'veiwer'",
        ),
        ('resource = "https://x/mcp"\n[access.oauth]\nissuer = "https://x"\nscopes = ["a b"]', "one word"),
        ('resource = "https://x/mcp#a"\n[access.oauth]\nissuer = "https://x"', "fragment"),
        ('resource = "https://x/mcp"\n[access.oauth]\nissuer = "https://x"\nalgorithms = ["HS256"]', "HS256"),
    ],
)
def test_access_settings_that_are_wrong_are_named(keys: Keys, folder: Path, access: str, told: str) -> None:
    (folder / "plugins.toml").write_text("[access]\n" + access)
    done = keys("list")
    assert done.exit_code == 2
    assert told in done.stderr


def test_faults_elsewhere_do_not_keep_a_key_from_being_revoked(keys: Keys, folder: Path) -> None:
    keys("create", "ci", "--role", "viewer")
    (folder / "plugins.toml").write_text(ACCESS + "\n[cache]\nlive = 'never'\n")
    assert keys("revoke", "ci").exit_code == 0


def test_what_is_done_to_keys_is_announced(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = read(folder / "plugins.toml")
    with caplog.at_level(logging.INFO, "telemetry_mcp.terminal.key"):
        _, text = key.create(config, "ci", ["viewer"], None)
        key.rotate(config, "ci", None, None)
        key.revoke(config, "ci")
        key.rows(config)
    told = [record.getMessage().split(":")[0] for record in caplog.records]
    assert told == ["keys create", "keys rotate", "keys revoke", "keys revoke"]
    assert text.rpartition("_")[2] not in caplog.text


def test_serving_strangers_is_refused_and_serving_callers_is_not(folder: Path, own_log: None) -> None:
    def serve(*words: str) -> Result:
        path = str(folder / "plugins.toml")
        return CliRunner().invoke(app, ["serve", "--transport", "http", "--config", path, *words])

    # A port that cannot be had ends the command at the point where it would have served.
    strange = ("--host", "192.0.2.1", "--port", "1")
    in_clear = serve(*strange).stderr
    assert "cannot be had" in in_clear
    assert "in clear" in in_clear
    (folder / "plugins.toml").write_text(
        ACCESS.replace("[access]", '[access]\nresource = "https://t.example.com/mcp"', 1)
    )
    assert "in clear" not in serve(*strange).stderr
    (folder / "plugins.toml").write_text("")
    refused = serve(*strange)
    assert refused.exit_code == 2
    assert "[access.oauth]" in refused.stderr
    assert "cannot be had" in serve(*strange, "--insecure").stderr
    (folder / "plugins.toml").write_text('[access]\nkeys = "keys.json"\n')
    assert "keys needs secret" in serve(*strange).stderr


@pytest.mark.parametrize("proxies", ["*", "proxy.example.com", "10.0.0.7/24", ""])
def test_a_proxy_is_trusted_by_its_address_only(folder: Path, own_log: None, proxies: str) -> None:
    (folder / "plugins.toml").write_text(f'[server]\ntrusted_proxies = ["{proxies}"]\n')
    path = str(folder / "plugins.toml")
    done = CliRunner().invoke(app, ["serve", "--transport", "http", "--port", "0", "--config", path])
    assert done.exit_code == 2
    assert "is no address and no network" in done.stderr
