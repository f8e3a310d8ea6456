"""Whose turn it is to ask a source, where several instances may be about to ask the same.

In one process the fan-out itself sees to it that a question is under way only once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from telemetry_mcp.cache import Entry


class Turn(Protocol):
    """One question that is about to be asked. `take`, ask if that hands over nothing, `end` in any case."""

    async def take(self, longest_s: float) -> Entry | None:
        """None: ask. An entry: another instance has just been answered this. May wait for that, at most
        `longest_s`; never raises but cancellation."""
        ...

    def end(self) -> None:
        """What was to be asked has been asked and kept, or given up: whoever waits for it may go on."""
        ...


class OwnTurn:
    """Where there is nobody else: always one's own."""

    def __init__(self, key: str) -> None:
        pass

    async def take(self, longest_s: float) -> Entry | None:
        return None

    def end(self) -> None:
        pass


Turns = Callable[[str], Turn]
"""The turn of the question with a cache key."""
