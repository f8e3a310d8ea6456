"""Options that several commands have, and what they mean."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from telemetry_mcp.terminal.target import Target

ConfigPath = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="plugins.toml; else $TELEMETRY_MCP_CONFIG, ./plugins.toml, the user's configuration folder",
    ),
]
Demo = Annotated[bool, typer.Option("--demo", help="use the embedded estate in place of plugins.toml")]
Faults = Annotated[
    list[str] | None,
    typer.Option(
        "--fault", metavar="SOURCE=KIND[:ARG]", help="with --demo: datadog=hang, newrelic=status:503, ..."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="one JSON document on stdout")]


def target_of(
    config: Path | None,
    demo: bool,
    fault: list[str] | None,
    level: str = "warning",
    form: Literal["text", "json"] | None = None,
) -> Target:
    """What the command runs over, with the log set up before anything can write to it."""
    configure_log(level, form)
    from telemetry_mcp.terminal.target import Target

    return Target(config, demo, tuple(fault or ()))


def configure_log(level: str, form: Literal["text", "json"] | None = None) -> None:
    from telemetry_mcp import log

    log.configure(level.upper(), form)
