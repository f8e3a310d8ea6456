"""What a backend's rate headers say is left, so that a call which would be refused is not sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from math import isfinite
from time import monotonic, time

from cachetools import LRUCache

from telemetry_mcp.errors import RateLimitedError
from telemetry_mcp.text import clean

EPOCH_S = 1e9
"""A reset so far away is the time of day at which it resets, not how long to wait."""
LONGEST_S = 60.0
"""A limit that resets later than this is tried again meanwhile: a header is a hint, not a sentence."""
KEPT = 256

LANE: ContextVar[bool] = ContextVar("lane", default=False)
"""Whether the call under way goes by the incident lane: it may use what is kept of every source's rate for those
who work on an open incident."""


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit as the backend last told it; `resets_at` is on the clock of the quota that holds it."""

    name: str
    limit: int | None
    remaining: int
    resets_at: float


class Quota:
    """The limits of one source, by name. Shared by its threads: every step is one assignment.

    `of` is what a request is counted as, such as its path; the backend's answer says to which limit that belongs.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self.clock = clock
        self.names: LRUCache[str, str] = LRUCache(KEPT)
        self.limits: LRUCache[str, Limit] = LRUCache(KEPT)

    def note(self, headers: Mapping[str, str], of: str = "") -> None:
        """Keep what the rate headers (lower-case names) of an answer say; without any, nothing."""
        for prefix in ("x-ratelimit-", "ratelimit-"):
            remaining, reset = number(headers.get(f"{prefix}remaining")), number(headers.get(f"{prefix}reset"))
            if remaining is None or reset is None:
                continue
            wait_s = reset - time() if reset >= EPOCH_S else reset
            most = number(headers.get(f"{prefix}limit"))
            name = clean(headers.get(f"{prefix}name", "")) or "requests"
            known = Limit(name, None if most is None else int(most), int(remaining), self.clock() + wait_s)
            self.names[of], self.limits[name] = name, known
            return

    def enter(self, of: str = "") -> None:
        """RateLimitedError, without asking, while the limit that `of` counts against is used up."""
        limit = self.limits.get(self.names.get(of, ""))
        if limit is None or limit.remaining > 0:
            return
        wait_s = min(limit.resets_at - self.clock(), LONGEST_S)
        if wait_s > 0:
            raise RateLimitedError(
                f"not asked: the limit {limit.name} is used up; it resets in {wait_s:.0f} s", retry_after_s=wait_s
            )

    def left(self) -> list[Limit]:
        """The limits that have not been reset since they were told, the scarcest first."""
        current = [limit for limit in list(self.limits.values()) if limit.resets_at > self.clock()]
        return sorted(current, key=lambda limit: limit.remaining)


def number(text: str | None) -> float | None:
    """A header's number; None where there is none, or one that says nothing."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if isfinite(value) and value >= 0 else None
