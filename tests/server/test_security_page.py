"""docs/security.md: what it shows can be used as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from telemetry_mcp.access.setting import OAuth
from telemetry_mcp.config import read
from telemetry_mcp.server.bearer import metadata_path

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "security.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
ENVIRON = {"TELEMETRY_MCP_SECRET": "s" * 44, "OAUTH_CLIENT_SECRET": "s3cret"}


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_is_a_configuration(example: str, tmp_path: Path) -> None:
    path = tmp_path / "plugins.toml"
    path.write_text(example)
    config = read(path, ENVIRON)
    assert config.problems == []
    assert config.access.authenticates or "resource" not in example


def test_every_key_of_the_authorization_server_is_explained() -> None:
    for key in OAuth.model_fields:
        assert f"`{key}`" in PAGE, key


def test_the_place_of_the_metadata_is_the_true_one() -> None:
    assert metadata_path("https://telemetry.example.com/mcp") in PAGE
