"""The fan-out asks all at once, and answers by the deadline whatever a source does."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio import Event, create_task_group, fail_after, get_cancelled_exc_class, to_thread

from telemetry_mcp.breaker import FAILURES
from telemetry_mcp.errors import AuthError
from telemetry_mcp.fanout import LATE_COUNTS_S, Deadline, Fanout
from telemetry_mcp.model import Outcome, Reply, Service
from telemetry_mcp.question import ServiceQuery, Window
from telemetry_mcp.registry import Absent

if TYPE_CHECKING:
    from tests.core.conftest import Answer, MakeFanout, Metered, Scripted, Statuses

HOUR = Window(0, 3_600_000)
SERVICES = ServiceQuery(HOUR)
FOUND: Reply[Service] = Reply([Service("checkout")])
SOON_S = 0.2
GRACE_S = 0.5


async def answered_in_time(fan: Fanout, source: str = "slow") -> Outcome[Service]:
    """The outcome of `source` for a call that must have answered by its deadline."""
    started = anyio.current_time()
    outcomes = await fan.ask(SERVICES, Deadline(SOON_S))
    assert anyio.current_time() - started < SOON_S + GRACE_S
    return next(outcome for outcome in outcomes if outcome.source == source)


# ---- all at once


async def test_every_source_has_started_before_any_finishes(fanout: MakeFanout, scripted: type[Scripted]) -> None:
    names = ("one", "two", "three", "four")
    started: list[str] = []
    all_started = Event()

    def meeting(name: str) -> Answer:
        async def answer() -> Reply[Service]:
            started.append(name)
            if len(started) == len(names):
                all_started.set()
            await all_started.wait()
            return FOUND

        return answer

    async with fanout(**{name: scripted(meeting(name)) for name in names}) as fan:
        with fail_after(5):
            outcomes = await fan.ask(SERVICES, Deadline(30))
    assert [(o.source, o.status) for o in outcomes] == [(name, "ok") for name in names]


async def test_outcomes_keep_the_configurations_order_whoever_is_first(
    fanout: MakeFanout, scripted: type[Scripted]
) -> None:
    second_done = Event()

    async def waits() -> Reply[Service]:
        await second_done.wait()
        return FOUND

    async def lets_go() -> Reply[Service]:
        second_done.set()
        return FOUND

    async with fanout(first=scripted(waits), second=scripted(lets_go)) as fan:
        with fail_after(5):
            outcomes = await fan.ask(SERVICES, Deadline(30))
    assert [o.source for o in outcomes] == ["first", "second"]


async def test_only_the_named_sources_are_asked(
    fanout: MakeFanout, scripted: type[Scripted], statuses: Statuses
) -> None:
    left_out = scripted.finding()
    async with fanout(wanted=scripted.finding(), left_out=left_out) as fan:
        outcomes = await fan.ask(SERVICES, Deadline(5), only=["wanted"])
    assert statuses(outcomes) == {"wanted": "ok"}
    assert left_out.calls == 0


# ---- the deadline


async def test_a_hanging_source_is_reported_at_the_deadline_and_the_others_still_answer(
    fanout: MakeFanout, scripted: type[Scripted], statuses: Statuses
) -> None:
    async with fanout(quick=scripted.finding(), slow=scripted.hanging()) as fan:
        late = await answered_in_time(fan)
        assert late.failure is not None
        assert (late.status, late.failure.kind) == ("failed", "timeout")
        assert f"deadline of {SOON_S} s" in late.failure.message
        assert "deadline_s" in late.failure.hint
        assert statuses(await fan.ask(SERVICES, Deadline(SOON_S), only=["quick"])) == {"quick": "ok"}


async def test_a_sources_own_timeout_is_named_when_it_is_the_shorter_limit(
    fanout: MakeFanout, scripted: type[Scripted]
) -> None:
    async with fanout(timeout_s=0.05, slow=scripted.hanging()) as fan:
        with fail_after(5):
            (outcome,) = await fan.ask(SERVICES, Deadline(30))
    assert outcome.failure is not None
    assert outcome.failure.kind == "timeout"
    assert "timeout of 0.05 s" in outcome.failure.message


async def test_a_source_that_ignores_cancellation_does_not_hold_the_answer_up(
    fanout: MakeFanout, scripted: type[Scripted]
) -> None:
    released = Event()
    ignored = 0

    async def stubborn() -> Reply[Service]:
        nonlocal ignored
        while not released.is_set():
            try:
                await released.wait()
            except get_cancelled_exc_class():
                ignored += 1
        return FOUND

    async with fanout(slow=scripted(stubborn)) as fan:
        late = await answered_in_time(fan)
        assert late.failure is not None
        assert late.failure.kind == "timeout"
        await anyio.lowlevel.checkpoint()
        assert ignored > 0
        released.set()


@pytest.mark.parametrize("through_the_contract", [True, False])
async def test_a_source_blocking_in_a_thread_does_not_hold_the_answer_up(
    through_the_contract: bool, fanout: MakeFanout, scripted: type[Scripted]
) -> None:
    gate = threading.Event()

    async def blocking() -> Reply[Service]:
        if through_the_contract:
            await source.context.threads.run(gate.wait)
        else:
            await to_thread.run_sync(gate.wait)
        return FOUND

    source = scripted(blocking)
    async with fanout(slow=source) as fan:
        try:
            late = await answered_in_time(fan)
        finally:
            gate.set()
    assert late.failure is not None
    assert late.failure.kind == "timeout"


async def test_a_deadline_that_is_over_still_gives_what_is_kept(
    fanout: MakeFanout, scripted: type[Scripted]
) -> None:
    async with fanout(one=scripted.finding()) as fan:
        await fan.ask(SERVICES, Deadline(5))
        (outcome,) = await fan.ask(SERVICES, Deadline(0))
    assert (outcome.status, outcome.cached_age_s is not None) == ("ok", True)


async def test_what_a_request_has_waited_already_is_taken_off_its_deadline() -> None:
    fresh, old = Deadline.of_call(4), Deadline.of_call(4, since=anyio.current_time() - 3)
    assert fresh.left_s - old.left_s == pytest.approx(3, abs=0.01)
    assert fresh.seconds == old.seconds == 4


async def test_one_upstream_call_that_many_callers_gave_up_on_is_one_failure_of_the_source(
    fanout: MakeFanout, scripted: type[Scripted]
) -> None:
    source = scripted.hanging()
    async with fanout(slow=source) as fan:
        with fail_after(5):
            async with create_task_group() as callers:
                deadline = Deadline(LATE_COUNTS_S + 0.2)
                for _ in range(FAILURES + 1):
                    callers.start_soon(fan.ask, SERVICES, deadline)
        assert source.calls == 1
        assert fan.registry["slow"].guard.breaker.failures == 1


async def test_an_impatient_call_says_nothing_against_the_source(
    fanout: MakeFanout, scripted: type[Scripted]
) -> None:
    async with fanout(slow=scripted.hanging()) as fan:
        with fail_after(5):
            (outcome,) = await fan.ask(SERVICES, Deadline(SOON_S))
        assert outcome.status == "failed"
        assert fan.registry["slow"].guard.breaker.failures == 0


# ---- the wait


async def test_enough_ends_the_wait_and_leaves_the_unanswered_out(
    fanout: MakeFanout, scripted: type[Scripted], statuses: Statuses
) -> None:
    started, cancelled = Event(), Event()
    broken = Absent("in_house", "./acme.py", True, "broken", "repair it")

    async def after_the_other() -> Reply[Service]:
        await started.wait()
        return FOUND

    async with fanout(broken, slow=scripted.telling(started, cancelled), quick=scripted(after_the_other)) as fan:
        with fail_after(5):
            outcomes = await fan.ask(SERVICES, Deadline(30), enough=lambda outcome: outcome.status == "ok")
            assert statuses(outcomes) == {"quick": "ok"}
            await cancelled.wait()
        assert fan.registry["slow"].guard.breaker.failures == 0


async def test_enough_that_is_never_true_waits_for_all(
    fanout: MakeFanout, scripted: type[Scripted], statuses: Statuses
) -> None:
    async with fanout(one=scripted.finding(), two=scripted.raising(AuthError("no"))) as fan:
        outcomes = await fan.ask(SERVICES, Deadline(5), enough=lambda outcome: False)
    assert statuses(outcomes) == {"one": "ok", "two": "auth"}


async def test_progress_is_told_once_a_source_as_it_answers(
    fanout: MakeFanout, scripted: type[Scripted], metered: type[Metered]
) -> None:
    first_told = Event()
    told: list[tuple[str, int, int]] = []

    async def after_the_first_was_told() -> Reply[Service]:
        await first_told.wait()
        return FOUND

    async def progress(outcome: Outcome[Any], done: int, asked: int) -> None:
        told.append((outcome.source, done, asked))
        first_told.set()

    sources = {"late": scripted(after_the_first_was_told), "early": scripted.raising(AuthError("no"))}
    async with fanout(**sources, unable=metered([])) as fan:
        with fail_after(5):
            await fan.ask(SERVICES, Deadline(30), progress=progress)
    assert told == [("early", 1, 2), ("late", 2, 2)]


async def test_a_source_is_not_blamed_for_time_that_another_question_used_up(
    fanout: MakeFanout, scripted: type[Scripted]
) -> None:
    async with fanout(slow=scripted.hanging()) as fan:
        deadline = Deadline(60)
        deadline.at -= 59.8  # as after a question before this one
        with fail_after(5):
            (outcome,) = await fan.ask(SERVICES, deadline)
        assert outcome.failure is not None
        assert "deadline of 60 s, of which 0.2 s were left" in outcome.failure.message
        assert fan.registry["slow"].guard.breaker.failures == 0
