"""One request under way: who makes it, and with which of its roles. Set by the server before anything is looked
at."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass

from telemetry_mcp.access.caller import Caller


@dataclass(slots=True)
class Visit:
    """`roles` are those of the caller that have the tool which is asked for: what it may see, it may see by these.

    `refusal` is denied or limited where the server itself turned the request away, `reason` says why. `since` is
    when the request came, by the clock of the event loop; None: when it is looked at.
    """

    caller: Caller
    roles: frozenset[str] = frozenset()
    refusal: str | None = None
    reason: str | None = None
    since: float | None = None


VISIT: ContextVar[Visit] = ContextVar("visit")
"""Unset outside of a request: whoever reads it there is told by LookupError, and sees nothing."""
