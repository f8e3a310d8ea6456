"""Records of what is done to the server from outside of it, by a command in a process of its own."""

from __future__ import annotations

from collections.abc import Mapping
from getpass import getuser
from typing import Any, Literal

from telemetry_mcp.audit import AuditRecord
from telemetry_mcp.audit.mask import masked
from telemetry_mcp.audit.spool import Spool
from telemetry_mcp.config import Config
from telemetry_mcp.engine import place_of
from telemetry_mcp.source import now_ms

KeyAction = Literal["key.create", "key.rotate", "key.revoke"]


def announce_key(
    config: Config, action: KeyAction, name: str, details: Mapping[str, Any] | None = None, *, reason: str = ""
) -> None:
    """Record that something was done to the key `name`. `details` are what it was given (roles, expiry), never the
    key itself.

    Nothing is written where no sink is configured and the audit is not required. The record goes to a spool of
    this process's own, beside that of the server, which takes it to the sinks within half a minute; where none
    runs, the next one does. Raises OSError where it cannot be written: with `audit = "required"` the key must not
    be touched then.
    """
    if not config.audit and config.access.audit != "required":
        return
    spool = Spool(place_of(config, [table.name for table in config.audit]))
    try:
        spool.commit(
            [
                AuditRecord(
                    *(now_ms(), action, name, "answered", 0.0),
                    arguments=masked(details or {}),
                    subject=user(),
                    roles=("admin",),
                    reason=reason or None,
                )
            ]
        )
    finally:
        spool.close()


def user() -> str:
    """Who runs the command, as the operating system has it."""
    try:
        return getuser()
    except (OSError, KeyError, ImportError):
        return "local"
