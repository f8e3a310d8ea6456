"""The page of the audit sinks: its tables work as they stand, and no key is left out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import trustme

import telemetry_mcp_audit
from telemetry_mcp.audit import AuditSink
from telemetry_mcp.config import read
from telemetry_mcp.plugin import AUDIT, Plugins
from telemetry_mcp.registry import load
from telemetry_mcp.setting import HttpSettings, PluginSettings
from tests.real.rsyslog import DIRECT, SAVING

PAGE = Path(telemetry_mcp_audit.__file__).with_name("README.md").read_text(encoding="utf-8")
TABLES = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
SINKS = ("file", "stdout", "syslog", "splunk", "elasticsearch")
SECRETS = {"SPLUNK_HEC_TOKEN": "t0ken-t0ken", "ELASTIC_API_KEY": "a2V5LWtleQ"}


def sink_class(name: str) -> type[AuditSink]:
    chosen: type[AuditSink] = Plugins(Path()).chosen(name, AUDIT)
    return chosen


async def test_the_tables_switch_all_of_them_on(tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    tables = re.sub(r"/etc/ssl/[\w.-]+", str(tmp_path / "ca.pem"), "".join(TABLES))
    path = tmp_path / "plugins.toml"
    path.write_text(tables, encoding="utf-8")
    registry = load(read(path, SECRETS))
    assert registry.unusable == ()
    assert {sink.settings.plugin for sink in registry.sinks.values()} == set(SINKS)
    await registry.close()
    assert [secret for secret in SECRETS.values() if secret in repr([*registry.sinks.values()])] == []


@pytest.mark.parametrize("name", SINKS)
def test_every_key_is_on_the_page(name: str) -> None:
    _, _, part = PAGE.partition(f"\n## {name}\n")
    own = sink_class(name).Settings.model_fields.keys() - PluginSettings.model_fields.keys()
    if name in ("splunk", "elasticsearch"):
        own -= HttpSettings.model_fields.keys() - {"url", "timeout"}
    assert [key for key in own if f"`{key}`" not in part.partition("\n## ")[0]] == []


def test_the_queues_of_the_page_are_those_that_are_tested() -> None:
    assert DIRECT in PAGE
    assert SAVING.format(more="") in PAGE


def test_only_the_one_that_writes_to_stdout_says_so() -> None:
    assert [name for name in SINKS if sink_class(name).takes_stdout] == ["stdout"]
