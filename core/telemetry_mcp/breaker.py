"""Not asking a source that is down, or that asked to be left alone, is a kindness to it and to the caller."""

from __future__ import annotations

from collections.abc import Callable
from random import uniform
from time import monotonic
from typing import Literal

from telemetry_mcp.errors import RateLimitedError, UnavailableError

State = Literal["closed", "open", "half_open"]

FAILURES = 5
OPEN_S = 15.0
OPEN_MAX_S = 120.0
PAUSE_FIRST_S = 2.0
PAUSE_MAX_S = 60.0


class Breaker:
    """Opens after five failures in a row, lets one probe through after a pause that doubles up to two minutes.

    Call `enter` before a request (UnavailableError when it must not be made), then exactly one of `succeeded`,
    `failed` or `left` (given up by the caller: says nothing about the source).
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self.clock = clock
        self.failures = 0
        self.opened_at: float | None = None
        self.open_s = OPEN_S
        self.probing = False

    @property
    def state(self) -> State:
        if self.opened_at is None:
            return "closed"
        return "half_open" if self.probing or self.wait_s <= 0 else "open"

    @property
    def wait_s(self) -> float:
        """Seconds until the next probe is let through; 0 when nothing is in the way."""
        return 0.0 if self.opened_at is None else max(0.0, self.opened_at + self.open_s - self.clock())

    def enter(self) -> None:
        if self.opened_at is None:
            return
        if self.probing:
            raise UnavailableError("one probe is under way after repeated failures; the others wait for it")
        if self.wait_s > 0:
            raise UnavailableError(
                f"not asked after {self.failures} failures in a row; next try in {self.wait_s:.0f} s"
            )
        self.probing = True

    def succeeded(self) -> None:
        self.failures, self.opened_at, self.open_s, self.probing = 0, None, OPEN_S, False

    def failed(self) -> None:
        self.failures += 1
        if self.probing:
            self.open_s = min(2 * self.open_s, OPEN_MAX_S)
        if self.probing or self.failures >= FAILURES:
            self.opened_at = self.clock()
        self.probing = False

    def left(self) -> None:
        self.probing = False


class Pause:
    """The back-off that every caller of a source shares after a 429: the backend's hint, capped, with jitter;
    without a hint two seconds, doubling."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self.clock = clock
        self.until = 0.0
        self.next_s = PAUSE_FIRST_S
        self.words = "the backend's rate limit"

    @property
    def wait_s(self) -> float:
        return max(0.0, self.until - self.clock())

    def enter(self) -> None:
        """RateLimitedError while the pause lasts."""
        if self.wait_s > 0:
            raise RateLimitedError(
                f"not asked: backing off for another {self.wait_s:.0f} s after {self.words}",
                retry_after_s=self.wait_s,
            )

    def limited(self, hint_s: float | None, words: str = "") -> None:
        """The backend asked for a pause; `words` are its own."""
        self.words = words or self.words
        pause = self.next_s if hint_s is None else hint_s
        self.next_s = min(2 * self.next_s, PAUSE_MAX_S)
        self.until = max(self.until, self.clock() + min(pause, PAUSE_MAX_S) * uniform(1.0, 1.1))

    def succeeded(self) -> None:
        self.next_s = PAUSE_FIRST_S
