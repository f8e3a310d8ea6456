"""The MCP inspector, the TypeScript SDK's own client, lists and calls the tools over both transports."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.server.conftest import OverStdio, Serve

VERSION = "0.15.0"
"""The last one that runs on node 20."""


def unavailable(why: str) -> None:
    """A developer's machine may lack it, the build machine may not."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(why)


@pytest.fixture(scope="module")
def inspector() -> Path:
    """The inspector's program, installed once into the user's cache."""
    npm = shutil.which("npm")
    if not npm:
        unavailable("npm is not installed: apt-get install nodejs npm")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "telemetry-mcp" / f"inspector-{VERSION}"
    program = folder / "node_modules" / ".bin" / "mcp-inspector"
    if not program.exists():
        folder.mkdir(parents=True, exist_ok=True)
        command = [
            *(str(npm), "install", "--prefix", str(folder), "--no-audit", "--no-fund", "--ignore-scripts"),
            f"@modelcontextprotocol/inspector@{VERSION}",
        ]
        try:
            subprocess.run(command, capture_output=True, text=True, timeout=90, check=True)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            unavailable(f"the inspector cannot be installed: {error}: {error.stderr!r}")
    return program


@pytest.fixture(scope="module", params=["stdio", "http"])
def inspect(
    request: pytest.FixtureRequest,
    inspector: Path,
    over_stdio: OverStdio,
    serve: Serve,
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., Any]:
    """Runs one method on a server over the transport; what it answered."""
    if request.param == "http":
        target = [serve("--demo").url, "--transport", "http"]
    else:
        command = over_stdio("--demo")
        path = tmp_path_factory.mktemp("inspector") / "mcp.json"
        servers = {"telemetry": {"command": command.command, "args": command.args}}
        path.write_text(json.dumps({"mcpServers": servers}))
        target = ["--config", str(path), "--server", "telemetry"]

    def run(method: str, *arguments: str) -> Any:
        line = [str(inspector), "--cli", *target, "--method", method, *arguments]
        done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def test_it_lists_the_tools(inspect: Callable[..., Any]) -> None:
    tools = inspect("tools/list")["tools"]
    assert len(tools) == 10
    assert all(tool["outputSchema"]["type"] == "object" for tool in tools)
    assert all(tool["annotations"]["readOnlyHint"] for tool in tools)


def test_it_calls_a_tool(inspect: Callable[..., Any]) -> None:
    arguments = ("service=payment-processor", "metric_type=cpu", "hours=3")
    answer = inspect("tools/call", "--tool-name", "query_historical_metrics", "--tool-arg", *arguments)
    told = json.loads(answer["content"][0]["text"])
    assert told == answer["structuredContent"]
    assert told["service"] == "payment-processor"
    assert [line["status"] for line in told["sources"]] == ["ok", "ok", "skipped", "skipped"]
    assert len(told["series"]["values"]) == 60


def test_it_lists_and_gets_the_prompts(inspect: Callable[..., Any]) -> None:
    prompts = {prompt["name"]: prompt for prompt in inspect("prompts/list")["prompts"]}
    assert set(prompts) == {"investigate", "sli_report", "health_check", "handover"}
    answer = inspect("prompts/get", "--prompt-name", "investigate", "--prompt-args", "incident_id=Q1")
    assert "incident_id='Q1'" in answer["messages"][0]["content"]["text"]


def test_it_investigates_a_page(inspect: Callable[..., Any]) -> None:
    listed = inspect("tools/call", "--tool-name", "list_incidents", "--tool-arg", "service=notification-service")
    paged = listed["structuredContent"]["incidents"][0]["id"]
    answer = inspect("tools/call", "--tool-name", "investigate_incident", "--tool-arg", f"incident_id={paged}")
    told = answer["structuredContent"]
    assert told["suspects"][0]["service"] == "notification-service"
    assert told["suspects"][0]["metrics"][0]["evidence"] in told["summary"]
