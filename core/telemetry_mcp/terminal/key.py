"""`telemetry-mcp keys`: the keys of service accounts, made, listed, rotated and revoked in their file."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from telemetry_mcp.access.key import LIFETIME_S, OVERLAP_S, Key, KeyFile
from telemetry_mcp.access.setting import AccessSettings
from telemetry_mcp.catalog import suggest
from telemetry_mcp.config import Config
from telemetry_mcp.errors import ConfigError
from telemetry_mcp.server.announce import KeyAction, announce_key
from telemetry_mcp.setting import seconds
from telemetry_mcp.terminal.target import CommandError

log = logging.getLogger(__name__)

LONGEST_S = 3650 * 86_400.0
TIMES = ("created", "expires", "rotated", "revoked")
Act = Literal["create", "rotate", "revoke"]
ACTIONS: Mapping[Act, KeyAction] = {"create": "key.create", "rotate": "key.rotate", "revoke": "key.revoke"}


def announce(config: Config, act: Act, key: Key) -> None:
    """Record what was done to a key. CommandError where it cannot be recorded: it is done all the same."""
    roles = ", ".join(key.roles)
    log.info("keys %s: %s of %s, roles %s, until %s", act, key.id, key.name, roles, shown(key.expires))
    details = {"id": key.id, "roles": list(key.roles), "expires": shown(key.expires)}
    try:
        announce_key(config, ACTIONS[act], key.name, details)
    except OSError as error:
        done = (
            f"keys {act} is done for {key.name} ({key.id}), but could not be recorded: {error.strerror or error}"
        )
        raise CommandError(f"{done}; look at [spool], and revoke the key if nobody has its text", code=1) from None


def create(config: Config, name: str, roles: Sequence[str], expires: str | None) -> tuple[Key, str]:
    """The new key, and its text, which is nowhere else."""
    file = file_of(config)
    check_roles(config.access, roles)
    made, text = file.create(name, roles, LIFETIME_S if expires is None else span("--expires", expires))
    announce(config, "create", made)
    return made, text


def rotate(config: Config, name: str, expires: str | None, overlap: str | None) -> tuple[Key, str]:
    lifetime_s = None if expires is None else span("--expires", expires)
    overlap_s = OVERLAP_S if overlap is None else span("--overlap", overlap, least_s=0.0)
    made, text = file_of(config).rotate(name, lifetime_s, overlap_s)
    announce(config, "rotate", made)
    return made, text


def revoke(config: Config, which: str) -> list[Key]:
    ended = file_of(config).revoke(which)
    for key in ended:
        announce(config, "revoke", key)
    return ended


def rows(config: Config) -> list[dict[str, Any]]:
    """Every key, as it stands: the oldest first."""
    file = file_of(config)
    now = datetime.now(UTC)
    return [row(key, now) for key in sorted(file.read().keys, key=lambda key: key.created)]


def row(key: Key, now: datetime) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "roles": list(key.roles),
        "standing": key.standing(now),
        "created": shown(key.created),
        "expires": shown(key.expires),
        "rotated": shown(key.rotated),
        "revoked": shown(key.revoked),
    }


def in_brief(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row as a terminal has room for it: to the day."""
    return {name: value[:10] if name in TIMES and value else value for name, value in row.items()}


def note(key: Key) -> str:
    """What is said beside a key that was just made."""
    return f"the key {key.id} of {key.name} works until {shown(key.expires)}; it is not shown again"


def shown(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if moment else None


def file_of(config: Config) -> KeyFile:
    """The file that plugins.toml names. ConfigError where [access] is wrong, CommandError where it names none."""
    wrong = [problem for problem in config.problems if problem.table.partition(".")[0] == "access"]
    if wrong:
        raise ConfigError(wrong)
    if config.access.keys is None or config.access.secret is None:
        raise CommandError(
            f'{config.path} names no file for keys: write keys = "keys.json" and '
            'secret = "${TELEMETRY_MCP_SECRET}" under [access]'
        )
    return KeyFile(config.access.keys, config.access.secret)


def check_roles(access: AccessSettings, roles: Sequence[str]) -> None:
    valid = sorted(access.role_names)
    for role in roles:
        if role not in valid:
            raise CommandError(f"no role is called {role!r}{suggest(role, valid)}")


def span(option: str, text: str, least_s: float = 60.0) -> float:
    try:
        found = seconds(text)
    except ValueError as error:
        raise CommandError(f"{option} {text}: {error}") from None
    if not least_s <= found <= LONGEST_S:
        raise CommandError(f"{option} {text}: must be between {least_s:g} s and {LONGEST_S / 86_400:g} days")
    return found
