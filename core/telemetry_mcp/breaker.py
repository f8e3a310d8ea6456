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
    `failed` or `left` (given up by the caller: says nothing about the source). `opened` is called when it opens.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self.clock = clock
        self.failures = 0
        self.opened_at: float | None = None
        self.open_s = OPEN_S
        self.probing = False
        self.well_at: float | None = None
        self.failing_at = 0.0
        self.opened: Callable[[], None] = lambda: None

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
        self.well_at = self.clock()

    def failed(self) -> None:
        if self.failures == 0:
            self.failing_at = self.clock()
        self.failures += 1
        if self.probing:
            self.open_s = min(2 * self.open_s, OPEN_MAX_S)
        opens = self.probing or self.failures >= FAILURES
        self.probing = False
        if opens:
            self.opened_at = self.clock()
            self.opened()

    def left(self) -> None:
        self.probing = False

    @property
    def failing_s(self) -> float:
        """For how long there have been failures and nothing else; 0 when there are none."""
        return self.clock() - self.failing_at if self.failures else 0.0

    def hinted(self, failures: int, failing_s: float, wait_s: float) -> None:
        """Another instance's breaker has opened for `wait_s`, after so many failures within `failing_s`.

        Where the source answered this instance meanwhile, the trouble may be the other's own way to it: then the
        next failure here opens this one, too. Otherwise it opens now, for as long.
        """
        wait_s = min(wait_s, OPEN_MAX_S)
        if self.probing or wait_s <= self.wait_s:
            return
        self.failing_at = self.clock() - failing_s
        if self.well_at is not None and self.well_at > self.failing_at:
            self.failures = max(self.failures, FAILURES - 1)
            return
        self.failures = max(self.failures, failures)
        self.open_s = max(self.open_s, wait_s)
        self.opened_at = self.clock() + wait_s - self.open_s


class Pause:
    """The back-off that every caller of a source shares after a 429: the backend's hint, capped, with jitter;
    without a hint two seconds, doubling. `began` is called when the backend has asked for one."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self.clock = clock
        self.began: Callable[[], None] = lambda: None
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
        self.began()

    def hinted(self, wait_s: float, words: str) -> None:
        """The backend has asked another instance, which has the same credentials, for a pause of `wait_s`."""
        if wait_s > self.wait_s:
            self.words = words or self.words
            self.until = self.clock() + min(wait_s, PAUSE_MAX_S)

    def succeeded(self) -> None:
        self.next_s = PAUSE_FIRST_S
