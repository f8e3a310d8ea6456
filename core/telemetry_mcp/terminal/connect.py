"""`telemetry-mcp connect`: the entry by which an MCP client starts this server, printed or put into its file."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from telemetry_mcp.config import PLACEHOLDER, locate
from telemetry_mcp.terminal.target import CommandError, web_address

ClientName = Literal["claude-desktop", "claude-code", "cursor"]

NAME = "telemetry"
"""What the server is called in the client's file."""
SERVERS = "mcpServers"


@dataclass(frozen=True, slots=True)
class Connected:
    """`text` is for stdout, `notes` for whoever reads along."""

    text: str
    notes: tuple[str, ...]


def run(client: ClientName, config: Path | None, *, demo: bool, url: str | None, write: bool) -> Connected:
    """Print or write the entry. ConfigError without a plugins.toml, CommandError where it cannot be done."""
    path = None if demo or url else locate(config, os.environ)
    made = entry(client, path, url)
    notes = [f"or: {command_line(made)}"] if client == "claude-code" else []
    if path and (needed := variables(path)):
        notes.append(f'the client must pass these on, under "env" of the entry: {", ".join(needed)}')
    file = file_of(client)
    if not write:
        return Connected(json.dumps(document(made), indent=2), (f"goes into {file} (--write merges it)", *notes))
    backup = merge(file, made)
    kept = f"; what was there is kept in {backup}" if backup else ""
    return Connected(f"written to {file}{kept}", (f"restart {client} to load it", *notes))


def entry(client: ClientName, config: Path | None, url: str | None) -> dict[str, Any]:
    """The client's JSON for this server: started with `config` (None: the embedded estate), or found at `url`."""
    if url is None:
        over = ["--demo"] if config is None else ["--config", str(config.resolve())]
        command, *first = program()
        return {"command": command, "args": [*first, "serve", *over]}
    if client == "claude-desktop":
        raise CommandError(
            "the file of Claude Desktop knows only programs to start: leave --http out, "
            "or add the URL in its settings, under Connectors"
        )
    try:
        web_address(url)
    except ValueError as error:
        raise CommandError(f"--http: {error}") from None
    return {"type": "http", "url": url} if client == "claude-code" else {"url": url}


def document(made: Mapping[str, Any]) -> dict[str, Any]:
    return {SERVERS: {NAME: dict(made)}}


def program() -> list[str]:
    """How the telemetry-mcp that runs now is started from anywhere."""
    for place in (Path(sys.argv[0]), Path(sys.executable).with_name("telemetry-mcp")):
        if place.stem == "telemetry-mcp" and (found := shutil.which(place)):
            return [str(Path(found).absolute())]
    return [sys.executable, "-m", "telemetry_mcp"]


def file_of(client: ClientName, environ: Mapping[str, str] = os.environ, platform: str = sys.platform) -> Path:
    """Where the client keeps its servers on this machine."""
    home = Path.home()
    if client == "claude-code":
        return Path.cwd() / ".mcp.json"
    if client == "cursor":
        return home / ".cursor" / "mcp.json"
    match platform:
        case "darwin":
            folder = home / "Library" / "Application Support"
        case "win32":
            folder = Path(environ.get("APPDATA") or home / "AppData" / "Roaming")
        case _:
            folder = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    return folder / "Claude" / "claude_desktop_config.json"


def merge(file: Path, made: Mapping[str, Any]) -> Path | None:
    """Merge the entry into `file`, whatever else is in it; the former file is kept beside it, which is returned.

    CommandError, and nothing changed, when the file is not the JSON that it should be.
    """
    file = file.resolve()  # a link stays one
    former = contents(file)
    servers = former.get(SERVERS, {})
    if not isinstance(servers, dict):
        raise CommandError(f"{file}: {SERVERS} is not an object; nothing was changed")
    merged = {**former, SERVERS: {**servers, NAME: dict(made)}}
    file.parent.mkdir(parents=True, exist_ok=True)
    backup = None
    if file.exists():
        backup = file.with_name(f"{file.name}.bak")
        shutil.copy2(file, backup)
    fresh = file.with_name(f"{file.name}.new")
    fresh.write_text(json.dumps(merged, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if backup:
        shutil.copymode(backup, fresh)
    fresh.replace(file)
    return backup


def contents(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8-sig") or "{}")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise CommandError(f"{file} cannot be read as JSON ({error}); nothing was changed") from None
    if not isinstance(found, dict):
        raise CommandError(f"{file} does not hold a JSON object; nothing was changed")
    return found


def command_line(made: Mapping[str, Any]) -> str:
    """The `claude mcp add` command for the same entry."""
    if "url" in made:
        return f"claude mcp add --transport http {NAME} {shlex.quote(made['url'])}"
    return f"claude mcp add {NAME} -- {shlex.join([made['command'], *made['args']])}"


def variables(config: Path) -> list[str]:
    """The variables without a default that the file asks for: a desktop client starts programs without them."""
    text = "\n".join(line.partition("#")[0] for line in config.read_text(encoding="utf-8").splitlines())
    return list(dict.fromkeys(m[1] for m in PLACEHOLDER.finditer(text) if m[2] is None))
