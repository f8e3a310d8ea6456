"""A bound on records that anybody can cause: whoever knocks a thousand times must not push the others' out."""

from __future__ import annotations

import time
from collections.abc import Callable

MOST = 20
WINDOW_S = 10.0


class Flood:
    """At most `MOST` records in `WINDOW_S` seconds; those between are counted."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.began = clock()
        self.written = self.held = 0

    def admitted(self) -> int:
        """For how many attempts one record is to be written now; 0: none, this one is counted for the next."""
        if self.clock() - self.began >= WINDOW_S:
            self.began, self.written = self.clock(), 0
        if self.written >= MOST:
            self.held += 1
            return 0
        self.written += 1
        count, self.held = 1 + self.held, 0
        return count
