"""What stands before each source: back-off, breaker, limit on concurrency, our quota, time-out, one retry."""

from __future__ import annotations

from collections.abc import Callable
from random import uniform
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

from anyio import CapacityLimiter, move_on_after, sleep

from telemetry_mcp.breaker import Breaker, Pause
from telemetry_mcp.errors import BusyError, QuotaError, RateLimitedError, SourceError, SourceTimeoutError
from telemetry_mcp.model import Failure, Outcome, Reply
from telemetry_mcp.question import Question
from telemetry_mcp.quota import LANE
from telemetry_mcp.source import Source

if TYPE_CHECKING:
    from telemetry_mcp.allowance import Allowance

T = TypeVar("T")

RETRY_PAUSE_S = (0.05, 0.25)
NOT_ASKED = ("busy", "breaker_open", "rate_limited")


class Guard:
    """The way to one source. All callers of a source share its guard, and its `allowance` where it has one."""

    def __init__(
        self,
        *,
        timeout_s: float,
        max_concurrency: int,
        allowance: Allowance | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.timeout_s = timeout_s
        self.max_concurrency = max_concurrency
        self.allowance = allowance
        self.breaker = Breaker(clock)
        self.pause = Pause(clock)
        self.limiter: CapacityLimiter | None = None
        self.troubles: dict[str, Failure] = {}
        """What a question last failed by, or lacked, by the question's method; gone once it is answered whole."""

    async def ask(self, source: Source, question: Question[T], lane: Callable[[], bool] = LANE.get) -> Reply[T]:
        """The source's reply. Raises what the source raises, SourceTimeoutError when it takes too long, and
        RateLimitedError or UnavailableError without asking while it is to be left alone. `lane` tells, when it
        comes to that, whether the question goes by the incident lane."""
        self.pause.enter()
        self.breaker.enter()
        settled = False
        try:
            reply = await self.in_time(source, question, lane)
            settled = True
            self.breaker.succeeded()
            self.pause.succeeded()
            return reply
        except SourceError as error:
            settled = True
            self.judge(error)
            raise
        finally:
            if not settled:
                self.breaker.left()

    async def in_time(self, source: Source, question: Question[T], lane: Callable[[], bool]) -> Reply[T]:
        if self.limiter is None:
            self.limiter = CapacityLimiter(self.max_concurrency)
        begun = False
        with move_on_after(self.timeout_s):
            async with self.limiter:
                begun = True
                return await self.twice(source, question, lane)
        if begun:
            raise SourceTimeoutError(f"no answer within its timeout of {self.timeout_s:g} s")
        raise BusyError(f"still behind {self.max_concurrency} earlier questions after {self.timeout_s:g} s")

    async def twice(self, source: Source, question: Question[T], lane: Callable[[], bool]) -> Reply[T]:
        """Every question is a read, so that one that failed on the way may be asked again, within the quota."""
        if self.allowance is not None:
            await self.allowance.enter(lane())
        try:
            return await question.put_to(source)
        except SourceError as error:
            if not error.retryable or self.breaker.state != "closed":
                raise
            if self.allowance is not None and await self.allowance.take(lane()):
                raise
        await sleep(uniform(*RETRY_PAUSE_S))
        return await question.put_to(source)

    def judge(self, error: SourceError) -> None:
        """What a failure says about the source: limited, down, or well and merely refusing this question."""
        if isinstance(error, QuotaError):  # ours, and perhaps not the incident lane's: nobody else is held back
            self.breaker.left()
        elif isinstance(error, RateLimitedError):
            self.pause.limited(error.retry_after_s, str(error))
            self.breaker.left()
        elif isinstance(error, BusyError):
            self.breaker.left()
        elif error.counts:
            self.breaker.failed()
        else:
            self.breaker.succeeded()

    def remember(self, outcome: Outcome[T], question: Question[T]) -> None:
        """Keep the trouble that the outcome tells of, for whoever asks how the source stands."""
        if outcome.failure is not None and outcome.failure.kind not in NOT_ASKED:
            self.troubles[question.method] = outcome.failure
        elif outcome.failure is None and outcome.reply.partial:
            self.troubles[question.method] = Failure("partial", outcome.reply.partial, "`telemetry-mcp doctor`")
        elif outcome.failure is None:
            self.troubles.pop(question.method, None)

    def late(self) -> None:
        """A call's deadline passed while the source was still at work."""
        self.breaker.failed()
