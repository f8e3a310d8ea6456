"""`telemetry-mcp audit verify` on what a server of its own process wrote, whole and spoilt."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import orjson
import pytest
from mcp import Client
from typer.testing import CliRunner, Result

from telemetry_mcp.cli import app

if TYPE_CHECKING:
    from tests.server.conftest import Serve

SECRET = "a secret of the server for tests, long enough"
SINK = """
from telemetry_mcp import AuditSink, PluginSettings, hookimpl

class Ledger(AuditSink):
    class Settings(PluginSettings):
        path: str

    async def write_batch(self, records):
        with open(self.settings.path, "ab") as file:
            file.write(b"".join(record.line + b"\\n" for record in records))

@hookimpl
def telemetry_audit_sinks():
    return [Ledger]
"""
CONFIG = """
[sources.gone]
plugin = "prometheus"
url = "http://127.0.0.1:9"

[audit.ledger]
plugin = "./ledger.py"
path = "{path}"

[spool]
path = "spool"

[access]
secret = "{secret}"
"""

Verify = Callable[..., Result]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration, and room for what its server writes."""
    folder = tmp_path_factory.mktemp("audited")
    (folder / "ledger.py").write_text(SINK)
    (folder / "plugins.toml").write_text(CONFIG.format(path=folder / "audit.jsonl", secret=SECRET))
    return folder


@pytest.fixture(scope="module")
def lines(folder: Path, serve: Serve) -> list[bytes]:
    """What two servers wrote, one after the other, each asked a few times."""

    async def ask(url: str) -> None:
        async with Client(url) as client:
            for _ in range(3):
                await client.call_tool("list_services", {})

    for _ in range(2):
        served = serve("--config", str(folder / "plugins.toml"))
        anyio.run(ask, served.url)
        assert served.end() == 0
    return (folder / "audit.jsonl").read_bytes().splitlines()


@pytest.fixture
def run(folder: Path, tmp_path: Path, own_log: None) -> Verify:
    """Verifies lines, in one file or several; the options are those of the command."""

    def verify(*files: list[bytes], options: tuple[str, ...] = (), packed: bool = False) -> Result:
        paths = []
        for number, lines in enumerate(files):
            path = tmp_path / f"{number}.jsonl"
            text = b"".join(line + b"\n" for line in lines)
            path.write_bytes(gzip.compress(text) if packed else text)
            paths.append(str(path))
        config = () if "--config" in options else ("--config", str(folder / "plugins.toml"))
        return CliRunner().invoke(app, ["audit", "verify", *paths, *config, *options])

    return verify


def test_what_a_server_wrote_is_sound_across_its_restart(run: Verify, lines: list[bytes]) -> None:
    result = run(lines)
    assert result.exit_code == 0, result.output
    records = [orjson.loads(line) for line in lines]
    actions = [record["event"]["action"] for record in records]
    assert actions == ["chain.start", *(["server.start", "config.load", *(["tools/call"] * 3), "server.stop"] * 2)]
    called = records[3]
    assert called["user_agent"]["original"]
    head, tail = result.output.splitlines()
    assert f"(signed): {len(lines)} records, " in head
    assert head.endswith("0 duplicates: ok")
    assert tail == f"{len(lines)} records in 1 chains: ok"


def test_rotated_and_packed_files_are_read_in_the_order_of_their_records(run: Verify, lines: list[bytes]) -> None:
    assert run(lines[6:], lines[:6]).exit_code == 0
    assert run(lines[6:], lines[:6], packed=True).exit_code == 0


def test_each_fault_is_told_with_its_file_and_line(run: Verify, tmp_path: Path, lines: list[bytes]) -> None:
    spoilt = [*lines[:4], lines[4].replace(b"list_services", b"list_incident"), *lines[5:8], *lines[9:]]
    result = run(spoilt)
    assert result.exit_code == 1
    path = tmp_path / "0.jsonl"
    assert f"{path}:5: changed: record 5 is not as it was written" in result.output
    assert f"{path}:9: removed: record 9 is missing before it" in result.output
    assert result.output.splitlines()[-1] == f"{len(lines) - 2} records in 1 chains: 2 faults"


def test_a_tail_that_was_cut_off_shows_against_the_spool_and_a_missing_farewell_is_said(
    run: Verify, tmp_path: Path, lines: list[bytes]
) -> None:
    result = run(lines[:-2])
    assert result.exit_code == 1
    assert "12 to 13 are missing behind it" in result.output
    assert "note: the spool names record 13" in result.output
    other = tmp_path / "plugins.toml"
    other.write_text(f'[access]\nsecret = "{SECRET}"\n[spool]\npath = "elsewhere"\n')
    alone = run(lines[:-2], options=("--config", str(other)))
    assert alone.exit_code == 0
    assert "no farewell of the server stands at its end" in alone.output


def test_old_files_may_be_gone_where_it_is_said(run: Verify, lines: list[bytes]) -> None:
    assert "begins with record 4" in run(lines[3:]).output
    assert run(lines[3:], options=("--headless",)).exit_code == 0


def test_without_the_key_nothing_is_called_sound(run: Verify, tmp_path: Path, lines: list[bytes]) -> None:
    other = tmp_path / "plugins.toml"
    other.write_text("")
    result = run(lines, options=("--config", str(other)))
    assert result.exit_code == 1
    assert "there is no key to check it with" in result.output


def test_a_key_that_cannot_be_had_is_no_verdict(run: Verify, tmp_path: Path, lines: list[bytes]) -> None:
    other = tmp_path / "plugins.toml"
    other.write_text('[access]\nsecret = "${TELEMETRY_TEST_UNSET}"\n')
    result = run(lines, options=("--config", str(other)))
    assert result.exit_code == 2
    assert "TELEMETRY_TEST_UNSET is not set" in result.output


def test_the_report_is_one_json_document_where_that_is_asked_for(run: Verify, lines: list[bytes]) -> None:
    document = json.loads(run([*lines, *lines[:2]], options=("--json",)).output)
    assert document["ok"]
    assert document["chains"][0]["duplicates"] == 2
    assert document["chains"][0]["instance"]


@pytest.mark.parametrize("torn", [b"\x1f\x8b\x08\x00", gzip.compress(b"x" * 1000)[:-9]])
def test_a_packed_file_that_breaks_off_is_a_fault(run: Verify, tmp_path: Path, torn: bytes, folder: Path) -> None:
    path = tmp_path / "torn.gz"
    path.write_bytes(torn)
    result = CliRunner().invoke(app, ["audit", "verify", str(path), "--config", str(folder / "plugins.toml")])
    assert result.exit_code == 1
    assert "unreadable: the file breaks off" in result.output


def test_a_file_that_is_not_there_is_said(run: Verify, tmp_path: Path, folder: Path) -> None:
    result = CliRunner().invoke(
        app, ["audit", "verify", str(tmp_path / "no"), "--config", str(folder / "plugins.toml")]
    )
    assert result.exit_code == 2
    assert "cannot be read: No such file or directory" in result.output
