"""Worker threads for vendor SDKs that block. A thread cannot be cancelled: it is abandoned, and counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import TypeVar

from anyio import CapacityLimiter, get_cancelled_exc_class, to_thread

from telemetry_mcp.errors import BusyError

T = TypeVar("T")


@dataclass(slots=True)
class Job:
    running: bool = False
    abandoned: bool = False


class Threads:
    """The threads of one source: at most `size` at work, and no new one while `size` abandoned ones hang.

    `abandoned` counts the threads still at work although nobody waits for them any more.
    """

    def __init__(self, size: int = 8) -> None:
        self.size = size
        self.abandoned = 0
        self.lock = Lock()
        self.limiter: CapacityLimiter | None = None

    async def run(self, call: Callable[[], T]) -> T:
        """Run `call` in a thread; on cancellation return at once and leave the thread to itself.

        Raises BusyError when too many abandoned calls still hang.
        """
        if self.abandoned >= self.size:
            raise BusyError(f"{self.abandoned} earlier calls still hang in their threads")
        if self.limiter is None:
            self.limiter = CapacityLimiter(self.size)
        job = Job()
        try:
            return await to_thread.run_sync(self.work, job, call, limiter=self.limiter, abandon_on_cancel=True)
        except get_cancelled_exc_class():
            with self.lock:
                job.abandoned = job.running
                self.abandoned += job.abandoned
            raise

    def work(self, job: Job, call: Callable[[], T]) -> T:
        with self.lock:
            job.running = True
        try:
            return call()
        finally:
            with self.lock:
                job.running = False
                self.abandoned -= job.abandoned
