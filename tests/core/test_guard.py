"""What stands before a source: who is let through to it, how often, and for how long."""

from collections.abc import Awaitable, Callable

import anyio
import pytest
from anyio import Event, create_task_group, fail_after, get_cancelled_exc_class, sleep_forever

from telemetry_mcp.breaker import FAILURES, OPEN_S
from telemetry_mcp.errors import (
    AuthError,
    BadQueryError,
    BusyError,
    ForbiddenError,
    NotFoundError,
    PlanError,
    ProtocolError,
    RateLimitedError,
    SourceError,
    SourceTimeoutError,
    UnavailableError,
    UpstreamError,
)
from telemetry_mcp.guard import Guard
from telemetry_mcp.model import Reply, Service
from telemetry_mcp.question import ServiceQuery, Window
from telemetry_mcp.setting import SourceSettings
from telemetry_mcp.source import Context, Source

QUESTION = ServiceQuery(Window(0, 60_000))
FOUND: Reply[Service] = Reply([Service("checkout")])


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Backend(Source):
    """Answers with `answer`, or with each of the errors first; counts the requests it saw."""

    def __init__(self, *errors: SourceError, answer: Callable[[], Awaitable[object]] | None = None) -> None:
        super().__init__(SourceSettings(plugin="backend"), Context("backend"))
        self.errors = list(errors)
        self.answer = answer
        self.requests = 0

    async def list_services(self, query: ServiceQuery) -> Reply[Service]:
        self.requests += 1
        if self.errors:
            raise self.errors.pop(0)
        if self.answer:
            await self.answer()
        return FOUND


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def guard(clock: Clock) -> Guard:
    return Guard(timeout_s=20, max_concurrency=4, clock=clock)


async def asked(guard: Guard, *errors: SourceError) -> Backend:
    """A backend that was asked once through `guard` and failed with the errors."""
    backend = Backend(*errors)
    with pytest.raises(SourceError):
        await guard.ask(backend, QUESTION)
    return backend


def down() -> SourceError:
    """Speaks of the backend's health, and is not retried: the tests need not wait."""
    return SourceTimeoutError("HTTP 408")


# ---- the breaker


async def test_five_failures_in_a_row_leave_the_source_alone(guard: Guard, clock: Clock) -> None:
    for _ in range(FAILURES):
        await asked(guard, down())
    backend = Backend()
    with pytest.raises(UnavailableError):
        await guard.ask(backend, QUESTION)
    assert backend.requests == 0
    clock.now += OPEN_S
    assert await guard.ask(backend, QUESTION) == FOUND
    assert (guard.breaker.state, guard.breaker.failures) == ("closed", 0)


async def test_a_second_caller_is_refused_while_one_probes(guard: Guard, clock: Clock) -> None:
    for _ in range(FAILURES):
        await asked(guard, down())
    clock.now += OPEN_S
    started, release = Event(), Event()

    async def slow() -> None:
        started.set()
        await release.wait()

    probed = Backend(answer=slow)
    with fail_after(5):
        async with create_task_group() as tasks:
            tasks.start_soon(guard.ask, probed, QUESTION)
            await started.wait()
            with pytest.raises(UnavailableError, match="probe"):
                await guard.ask(probed, QUESTION)
            release.set()
    assert (probed.requests, guard.breaker.state) == (1, "closed")


async def test_a_probe_is_not_retried_and_doubles_the_pause_when_it_fails(guard: Guard, clock: Clock) -> None:
    for _ in range(FAILURES):
        await asked(guard, down())
    clock.now += OPEN_S
    probed = await asked(guard, UpstreamError("502"), UpstreamError("502"))
    assert (probed.requests, guard.breaker.state, guard.breaker.wait_s) == (1, "open", 2 * OPEN_S)


async def test_a_probe_that_is_cancelled_does_not_block_the_next(guard: Guard, clock: Clock) -> None:
    for _ in range(FAILURES):
        await asked(guard, down())
    clock.now += OPEN_S
    with anyio.move_on_after(0.01) as scope:
        await guard.ask(Backend(answer=sleep_forever), QUESTION)
    assert scope.cancelled_caught
    assert await guard.ask(Backend(), QUESTION) == FOUND


async def test_a_plugins_bug_is_no_sign_of_a_sick_backend(guard: Guard) -> None:
    async def bug() -> None:
        raise KeyError("results")

    for _ in range(FAILURES + 1):
        with pytest.raises(KeyError):
            await guard.ask(Backend(answer=bug), QUESTION)
    assert guard.breaker.state == "closed"


@pytest.mark.parametrize(
    "kind", [AuthError, ForbiddenError, PlanError, BadQueryError, NotFoundError, ProtocolError]
)
async def test_a_refusal_is_no_sign_of_a_sick_backend(guard: Guard, kind: type[SourceError]) -> None:
    for _ in range(FAILURES - 1):
        await asked(guard, down())
    await asked(guard, kind("no"))
    for _ in range(FAILURES - 1):
        await asked(guard, down())
    assert guard.breaker.state == "closed"


@pytest.mark.parametrize("kind", [SourceTimeoutError, UpstreamError])
async def test_time_outs_and_upstream_failures_open_it(guard: Guard, kind: type[SourceError]) -> None:
    for _ in range(FAILURES):
        guard.breaker.enter()
        guard.judge(kind("down"))
    assert guard.breaker.state == "open"


# ---- the rate limit


async def test_a_rate_limit_holds_every_caller_back_until_it_resets(guard: Guard, clock: Clock) -> None:
    await asked(guard, RateLimitedError("429", retry_after_s=10))
    backend = Backend()
    with pytest.raises(RateLimitedError, match=r"backing off .* after 429"):
        await guard.ask(backend, QUESTION)
    clock.now += 9.9
    with pytest.raises(RateLimitedError):
        await guard.ask(backend, QUESTION)
    assert backend.requests == 0
    clock.now += 1.2
    assert await guard.ask(backend, QUESTION) == FOUND


async def test_a_rate_limit_is_neither_retried_nor_a_failure(guard: Guard) -> None:
    backend = await asked(guard, RateLimitedError("429", retry_after_s=0))
    assert (backend.requests, guard.breaker.failures) == (1, 0)


async def test_a_hint_of_an_hour_is_capped_at_a_minute(guard: Guard, clock: Clock) -> None:
    await asked(guard, RateLimitedError("429", retry_after_s=3600))
    assert 60 <= guard.pause.wait_s <= 66


async def test_an_answer_takes_the_pause_without_a_hint_back_to_two_seconds(guard: Guard, clock: Clock) -> None:
    for _ in range(3):
        await asked(guard, RateLimitedError("429"))
        clock.now = guard.pause.until
    await guard.ask(Backend(), QUESTION)
    await asked(guard, RateLimitedError("429"))
    assert 2 <= guard.pause.wait_s <= 2.2


async def test_a_rate_limited_probe_leaves_the_breaker_as_it_was(guard: Guard, clock: Clock) -> None:
    for _ in range(FAILURES):
        await asked(guard, down())
    clock.now += OPEN_S
    await asked(guard, RateLimitedError("429", retry_after_s=1))
    assert guard.breaker.state == "half_open"


# ---- the retry


async def test_one_upstream_failure_is_asked_again_and_forgotten(guard: Guard) -> None:
    backend = Backend(UpstreamError("reset"))
    assert await guard.ask(backend, QUESTION) == FOUND
    assert (backend.requests, guard.breaker.failures) == (2, 0)


async def test_it_is_asked_again_only_once_and_counts_as_one_failure(guard: Guard) -> None:
    backend = await asked(guard, UpstreamError("reset"), UpstreamError("reset"), UpstreamError("reset"))
    assert (backend.requests, guard.breaker.failures) == (2, 1)


@pytest.mark.parametrize("kind", [BadQueryError, SourceTimeoutError, AuthError, ProtocolError])
async def test_what_would_fail_again_is_not_asked_again(guard: Guard, kind: type[SourceError]) -> None:
    assert (await asked(guard, kind("no"))).requests == 1


async def test_the_second_try_has_only_what_is_left_of_the_time() -> None:
    guard = Guard(timeout_s=0.4, max_concurrency=1)
    backend = Backend(UpstreamError("reset"), answer=sleep_forever)
    started = anyio.current_time()
    with pytest.raises(SourceTimeoutError, match=r"timeout of 0\.4 s"):
        await guard.ask(backend, QUESTION)
    assert anyio.current_time() - started < 0.4 + 0.5
    assert backend.requests == 2


# ---- time and numbers


async def test_a_source_that_is_too_slow_is_cancelled_and_the_limit_named() -> None:
    cancelled = Event()

    async def slow() -> None:
        try:
            await sleep_forever()
        except get_cancelled_exc_class():
            cancelled.set()
            raise

    guard = Guard(timeout_s=0.05, max_concurrency=1)
    with fail_after(5), pytest.raises(SourceTimeoutError, match=r"timeout of 0\.05 s"):
        await guard.ask(Backend(answer=slow), QUESTION)
    assert cancelled.is_set()
    assert guard.breaker.failures == 1


async def test_a_sources_own_time_out_error_is_not_taken_for_ours(guard: Guard) -> None:
    async def gives_up() -> None:
        raise TimeoutError("by itself")

    with pytest.raises(TimeoutError, match="by itself"):
        await guard.ask(Backend(answer=gives_up), QUESTION)


async def test_never_more_requests_are_under_way_than_the_limit_allows(guard: Guard) -> None:
    under_way, most = 0, 0
    release = Event()

    async def slow() -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await release.wait()
        under_way -= 1

    backend = Backend(answer=slow)
    with fail_after(5):
        async with create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(guard.ask, backend, QUESTION)
            await anyio.wait_all_tasks_blocked()
            assert backend.requests == 4
            release.set()
    assert (backend.requests, most) == (10, 4)


async def test_a_call_whose_deadline_passed_counts_as_a_failure(guard: Guard) -> None:
    for _ in range(FAILURES):
        guard.late()
    assert guard.breaker.state == "open"


async def test_waiting_for_our_own_limit_is_no_failure_of_the_source() -> None:
    guard = Guard(timeout_s=0.05, max_concurrency=1)
    gate = Event()
    entered = Event()

    async def held() -> None:
        entered.set()
        with anyio.CancelScope(shield=True):
            await gate.wait()

    with fail_after(5):
        async with create_task_group() as tasks:
            first = Backend(answer=held)

            tasks.start_soon(guard.ask, first, QUESTION)
            await entered.wait()
            with pytest.raises(BusyError, match="behind 1 earlier"):
                await guard.ask(Backend(), QUESTION)
            assert guard.breaker.failures == 0
            gate.set()
