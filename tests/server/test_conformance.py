"""The official conformance suite against the server as it is, for every revision that the suite knows."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.server.test_inspector import unavailable

if TYPE_CHECKING:
    from tests.server.conftest import Serve, Served

pytestmark = pytest.mark.real

VERSION = "0.2.0-alpha.12"
NODE = "24"
"""It needs node 22; Debian has 20."""
BASELINES = Path(__file__).with_name("conformance")
REQUIRED = ("--requirements",)
EVERYTHING = ("--suite", "all", "--spec-version")
"""Of the older revisions it has no list of what is required."""


@pytest.fixture(scope="module")
def suite() -> list[str]:
    """The command, installed once into the user's cache, with a node of its own."""
    npm = shutil.which("npm")
    if not npm:
        unavailable("npm is not installed: apt-get install nodejs npm")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "telemetry-mcp" / f"conformance-{VERSION}"
    program = folder / "node_modules" / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"
    node = folder / "node_modules" / "node" / "bin" / "node"
    if not (program.exists() and node.exists()):
        folder.mkdir(parents=True, exist_ok=True)
        command = [
            *(str(npm), "install", "--prefix", str(folder), "--no-audit", "--no-fund"),
            *(f"node@{NODE}", f"@modelcontextprotocol/conformance@{VERSION}"),
        ]
        try:
            subprocess.run(command, capture_output=True, text=True, timeout=110, check=True)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            unavailable(f"the conformance suite cannot be installed: {error}: {error.stderr!r}")
    return [str(node), str(program), "server"]


@pytest.fixture(scope="module")
def served(serve: Serve) -> Served:
    return serve("--demo")


@pytest.mark.parametrize(
    ("revision", "which"),
    [
        ("2025-03-26", EVERYTHING),
        ("2025-06-18", EVERYTHING),
        ("2025-11-25", REQUIRED),
        ("2026-07-28", REQUIRED),
    ],
)
def test_what_needs_no_fixture_of_the_suites_own_passes(
    suite: list[str], served: Served, tmp_path: Path, revision: str, which: tuple[str, ...]
) -> None:
    baseline = BASELINES / f"{revision}.yml"
    expected = ["--expected-failures", str(baseline)] if baseline.exists() else []
    done = subprocess.run(
        [*suite, "--url", served.url, *which, revision, "-o", str(tmp_path), *expected],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "✓ " in done.stdout
