"""The fan-out: all at once, under a deadline, one outcome a source whatever the source does."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import anyio
import numpy as np
import pytest
from anyio import Event, create_task_group, fail_after, get_cancelled_exc_class, sleep_forever, to_thread
from pydantic import SecretStr

from telemetry_mcp.breaker import FAILURES
from telemetry_mcp.cache import Entry, MemoryCache
from telemetry_mcp.errors import AuthError, BadQueryError, RateLimitedError, UpstreamError
from telemetry_mcp.fanout import LATE_COUNTS_S, Deadline, Fanout
from telemetry_mcp.guard import Guard
from telemetry_mcp.model import (
    ChangeQuery,
    Check,
    CheckQuery,
    Outcome,
    Reply,
    Series,
    SeriesQuery,
    Service,
    ServiceQuery,
    Window,
)
from telemetry_mcp.registry import Absent, Instance, Registry
from telemetry_mcp.secret import Redactor
from telemetry_mcp.setting import MetricQuery, SourceSettings
from telemetry_mcp.source import Context, Source

HOUR = Window(0, 3_600_000)
SERVICES = ServiceQuery(HOUR)
CPU = SeriesQuery((), ("cpu",), HOUR, 60_000)
FOUND: Reply[Service] = Reply([Service("checkout")])
SOON_S = 0.2
GRACE_S = 0.5

Answer = Callable[[], Awaitable[Reply[Service]]]


class Scripted(Source):
    """Lists services as its `answer` says, and counts how often it was asked."""

    def __init__(self, answer: Answer, settings: SourceSettings | None = None) -> None:
        super().__init__(settings or SourceSettings(plugin="scripted"), Context("scripted"))
        self.answer = answer
        self.calls = 0

    async def list_services(self, query: ServiceQuery) -> Reply[Service]:
        self.calls += 1
        return await self.answer()


class Metered(Source):
    """Gives the series that it was handed, and remembers the metrics it was asked for."""

    def __init__(self, items: Any, *metrics: str) -> None:
        queries = {metric: MetricQuery(query="up") for metric in metrics}
        super().__init__(SourceSettings(plugin="metered", metrics=queries), Context("metered"))
        self.items = items
        self.asked: list[tuple[str, ...]] = []

    async def fetch_series(self, query: SeriesQuery) -> Reply[Series]:
        self.asked.append(query.metrics)
        return Reply(self.items)


def found() -> Answer:
    async def answer() -> Reply[Service]:
        return FOUND

    return answer


def raising(error: BaseException) -> Answer:
    async def answer() -> Reply[Service]:
        raise error

    return answer


async def hanging() -> Reply[Service]:
    await sleep_forever()
    raise AssertionError


def instance(name: str, source: Source, timeout_s: float = 30.0) -> Instance:
    guard = Guard(timeout_s=timeout_s, max_concurrency=16)
    return Instance(name, source.settings.plugin, source, guard, Redactor(source.settings))


def registry(*absent: Absent, **sources: Source) -> Registry:
    return Registry(tuple(instance(name, source) for name, source in sources.items()), absent)


def fanout(*absent: Absent, **sources: Source) -> Fanout:
    return Fanout(registry(*absent, **sources))


def series(*values: float) -> Series:
    return Series("checkout", "cpu", np.arange(len(values), dtype=np.int64) * 60_000, np.array(values, np.float64))


def statuses(outcomes: list[Outcome[Any]]) -> dict[str, str]:
    return {o.source: o.failure.kind if o.failure else o.status for o in outcomes}


async def answered_in_time(fan: Fanout, source: str = "slow") -> Outcome[Service]:
    """The outcome of `source` for a call that must have answered by its deadline."""
    started = anyio.current_time()
    outcomes = await fan.ask(SERVICES, Deadline(SOON_S))
    assert anyio.current_time() - started < SOON_S + GRACE_S
    return next(outcome for outcome in outcomes if outcome.source == source)


# ---- all at once


async def test_every_source_has_started_before_any_finishes() -> None:
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

    async with fanout(**{name: Scripted(meeting(name)) for name in names}) as fan:
        with fail_after(5):
            outcomes = await fan.ask(SERVICES, Deadline(30))
    assert [(o.source, o.status) for o in outcomes] == [(name, "ok") for name in names]


async def test_outcomes_keep_the_configurations_order_whoever_is_first() -> None:
    second_done = Event()

    async def waits() -> Reply[Service]:
        await second_done.wait()
        return FOUND

    async def lets_go() -> Reply[Service]:
        second_done.set()
        return FOUND

    async with fanout(first=Scripted(waits), second=Scripted(lets_go)) as fan:
        with fail_after(5):
            outcomes = await fan.ask(SERVICES, Deadline(30))
    assert [o.source for o in outcomes] == ["first", "second"]


async def test_only_the_named_sources_are_asked() -> None:
    left_out = Scripted(found())
    async with fanout(wanted=Scripted(found()), left_out=left_out) as fan:
        outcomes = await fan.ask(SERVICES, Deadline(5), only=["wanted"])
    assert statuses(outcomes) == {"wanted": "ok"}
    assert left_out.calls == 0


# ---- the deadline


async def test_a_hanging_source_is_reported_at_the_deadline_and_the_others_still_answer() -> None:
    async with fanout(quick=Scripted(found()), slow=Scripted(hanging)) as fan:
        late = await answered_in_time(fan)
        assert late.failure is not None
        assert (late.status, late.failure.kind) == ("failed", "timeout")
        assert f"deadline of {SOON_S} s" in late.failure.message
        assert "deadline_s" in late.failure.hint
        assert statuses(await fan.ask(SERVICES, Deadline(SOON_S), only=["quick"])) == {"quick": "ok"}


async def test_a_sources_own_timeout_is_named_when_it_is_the_shorter_limit() -> None:
    async with Fanout(Registry((instance("slow", Scripted(hanging), timeout_s=0.05),))) as fan:
        with fail_after(5):
            (outcome,) = await fan.ask(SERVICES, Deadline(30))
    assert outcome.failure is not None
    assert outcome.failure.kind == "timeout"
    assert "timeout of 0.05 s" in outcome.failure.message


async def test_a_source_that_ignores_cancellation_does_not_hold_the_answer_up() -> None:
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

    async with fanout(slow=Scripted(stubborn)) as fan:
        late = await answered_in_time(fan)
        assert late.failure is not None
        assert late.failure.kind == "timeout"
        await anyio.lowlevel.checkpoint()
        assert ignored > 0
        released.set()


@pytest.mark.parametrize("through_the_contract", [True, False])
async def test_a_source_blocking_in_a_thread_does_not_hold_the_answer_up(through_the_contract: bool) -> None:
    gate = threading.Event()

    async def blocking() -> Reply[Service]:
        if through_the_contract:
            await source.context.threads.run(gate.wait)
        else:
            await to_thread.run_sync(gate.wait)
        return FOUND

    source = Scripted(blocking)
    async with fanout(slow=source) as fan:
        try:
            late = await answered_in_time(fan)
        finally:
            gate.set()
    assert late.failure is not None
    assert late.failure.kind == "timeout"


async def test_a_deadline_that_is_over_still_gives_what_is_kept() -> None:
    async with fanout(one=Scripted(found())) as fan:
        await fan.ask(SERVICES, Deadline(5))
        (outcome,) = await fan.ask(SERVICES, Deadline(0))
    assert (outcome.status, outcome.cached_age_s is not None) == ("ok", True)


async def test_one_upstream_call_that_many_callers_gave_up_on_is_one_failure_of_the_source() -> None:
    source = Scripted(hanging)
    async with fanout(slow=source) as fan:
        with fail_after(5):
            async with create_task_group() as callers:
                deadline = Deadline(LATE_COUNTS_S)
                for _ in range(FAILURES + 1):
                    callers.start_soon(fan.ask, SERVICES, deadline)
        assert source.calls == 1
        assert fan.registry["slow"].guard.breaker.failures == 1


async def test_an_impatient_call_says_nothing_against_the_source() -> None:
    async with fanout(slow=Scripted(hanging)) as fan:
        with fail_after(5):
            (outcome,) = await fan.ask(SERVICES, Deadline(SOON_S))
        assert outcome.status == "failed"
        assert fan.registry["slow"].guard.breaker.failures == 0


# ---- cancellation and single flight


async def test_a_client_that_leaves_cancels_the_upstream_request() -> None:
    started, cancelled = Event(), Event()
    async with fanout(one=Scripted(telling(started, cancelled))) as fan, create_task_group() as client:
        client.start_soon(fan.ask, SERVICES, Deadline(30))
        with fail_after(5):
            await started.wait()
            client.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                await cancelled.wait()
    assert fan.flights == {}


def telling(started: Event, cancelled: Event, release: Event | None = None) -> Answer:
    async def answer() -> Reply[Service]:
        started.set()
        try:
            await (release or Event()).wait()
        except get_cancelled_exc_class():
            cancelled.set()
            raise
        return FOUND

    return answer


async def test_a_shared_upstream_request_is_cancelled_only_with_the_last_caller() -> None:
    started, cancelled = Event(), Event()
    source = Scripted(telling(started, cancelled))
    async with fanout(one=source) as fan, create_task_group() as first, create_task_group() as second:
        first.start_soon(fan.ask, SERVICES, Deadline(30))
        second.start_soon(fan.ask, SERVICES, Deadline(30))
        with fail_after(5):
            await anyio.wait_all_tasks_blocked()
            assert source.calls == 1
            second.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                await anyio.wait_all_tasks_blocked()
                assert not cancelled.is_set()
                first.cancel_scope.cancel()
                await cancelled.wait()


async def test_the_caller_that_stays_gets_the_answer_of_the_shared_request() -> None:
    started, cancelled, release = Event(), Event(), Event()
    source = Scripted(telling(started, cancelled, release))
    answers: list[list[Outcome[Service]]] = []
    async with fanout(one=source) as fan, create_task_group() as tasks:

        async def stays() -> None:
            answers.append(await fan.ask(SERVICES, Deadline(30)))

        tasks.start_soon(stays)
        with fail_after(5):
            await anyio.wait_all_tasks_blocked()
            assert statuses(await fan.ask(SERVICES, Deadline(0.05))) == {"one": "timeout"}
            release.set()
    assert [statuses(answer) for answer in answers] == [{"one": "ok"}]
    assert source.calls == 1
    assert fan.registry["one"].guard.breaker.failures == 0


async def test_identical_questions_under_way_share_one_request_and_others_do_not() -> None:
    release = Event()

    async def waits() -> Reply[Service]:
        await release.wait()
        return FOUND

    source = Scripted(waits)
    async with fanout(one=source) as fan, create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(fan.ask, SERVICES, Deadline(30))
        tasks.start_soon(fan.ask, ServiceQuery(Window(0, 60_000)), Deadline(30))
        with fail_after(5):
            await anyio.wait_all_tasks_blocked()
        assert source.calls == 2
        release.set()


async def test_leaving_the_fanout_cancels_what_is_under_way() -> None:
    started, cancelled = Event(), Event()
    fan = fanout(one=Scripted(telling(started, cancelled)))

    async def caller() -> None:
        with pytest.raises(RuntimeError, match="closed"):
            await fan.ask(SERVICES, Deadline(30))

    with fail_after(5):
        async with create_task_group() as tasks, fan:
            tasks.start_soon(caller)
            await started.wait()
    assert cancelled.is_set()


# ---- what is kept


async def test_a_kept_answer_says_its_age_and_fresh_asks_again() -> None:
    now_ms = 1_000_000
    source = Scripted(found())
    observed: list[Outcome[Any]] = []
    async with Fanout(registry(one=source), clock_ms=lambda: now_ms, observe=observed.append) as fan:
        (first,) = await fan.ask(SERVICES, Deadline(5))
        now_ms += 2_500
        (kept,) = await fan.ask(SERVICES, Deadline(5))
        (fresh,) = await fan.ask(SERVICES, Deadline(5), fresh=True)
    assert (first.cached_age_s, kept.cached_age_s, fresh.cached_age_s) == (None, 2.5, None)
    assert kept.reply == first.reply
    assert source.calls == 2
    assert observed == [first, fresh]


async def test_a_failure_is_not_kept() -> None:
    answers = iter([raising(AuthError("no")), found()])

    async def flaky() -> Reply[Service]:
        return await next(answers)()

    async with fanout(one=Scripted(flaky)) as fan:
        assert statuses(await fan.ask(SERVICES, Deadline(5))) == {"one": "auth"}
        assert statuses(await fan.ask(SERVICES, Deadline(5))) == {"one": "ok"}


async def test_a_store_that_is_slow_does_not_hold_the_answer_up() -> None:
    class Slow(MemoryCache):
        async def put(self, key: str, entry: Entry, ttl_s: float) -> None:
            await sleep_forever()

    async with Fanout(registry(one=Scripted(found())), Slow()) as fan:
        with fail_after(5):
            assert statuses(await fan.ask(SERVICES, Deadline(30))) == {"one": "ok"}


# ---- one source's failure


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        pytest.param(AuthError("401: bad key"), "auth", "401: bad key", id="ours"),
        pytest.param(KeyError("results"), "plugin", "KeyError: 'results'", id="a-bug"),
        pytest.param(
            ExceptionGroup("several", [ExceptionGroup("more", [BadQueryError("parse error at 3")])]),
            "bad_query",
            "parse error at 3",
            id="a-group-of-ours",
        ),
        pytest.param(ExceptionGroup("several", [KeyError("x")]), "plugin", "KeyError: 'x'", id="a-group-of-bugs"),
        pytest.param(NotImplementedError(), "plugin", "NotImplementedError", id="without-words"),
        pytest.param(TimeoutError("by itself"), "plugin", "TimeoutError: by itself", id="its-own-time-out"),
        pytest.param(asyncio.CancelledError("stray"), "plugin", "CancelledError", id="a-stray-cancellation"),
    ],
)
async def test_what_a_source_raises_is_its_own_line_and_the_others_answer(
    error: BaseException, kind: str, words: str
) -> None:
    async with fanout(bad=Scripted(raising(error)), good=Scripted(found())) as fan:
        with fail_after(5):
            outcomes = await fan.ask(SERVICES, Deadline(30))
            assert statuses(outcomes) == {"bad": kind, "good": "ok"}
            failure = outcomes[0].failure
            assert failure is not None
            assert words in failure.message
            assert failure.hint
            assert statuses(await fan.ask(SERVICES, Deadline(30), fresh=True)) == {"bad": kind, "good": "ok"}


async def test_a_rate_limit_says_how_long_it_lasts() -> None:
    limited = Scripted(raising(RateLimitedError("slow down", retry_after_s=7)))
    async with fanout(one=limited) as fan:
        (outcome,) = await fan.ask(SERVICES, Deadline(5))
    assert outcome.failure is not None
    assert (outcome.failure.kind, outcome.failure.retry_after_s) == ("rate_limited", 7)


@pytest.mark.parametrize(
    "items",
    [
        pytest.param(None, id="no-items"),
        pytest.param([replace(series(1), values=None)], id="no-values"),  # type: ignore[arg-type]
        pytest.param([series(1), replace(series(1), values=["high"])], id="words"),  # type: ignore[arg-type]
        pytest.param([series(1), replace(series(1, 2), values=np.array([1.0]))], id="lengths-differ"),
        pytest.param([replace(series(1), values=5.0)], id="a-number"),  # type: ignore[arg-type]
        pytest.param([replace(series(1), values=np.ones((1, 1)))], id="two-dimensions"),
    ],
)
async def test_a_reply_of_the_wrong_shape_is_the_plugins_fault_and_harms_nobody_else(items: Any) -> None:
    async with fanout(bad=Metered(items), good=Metered([series(1)])) as fan:
        with fail_after(5):
            for _ in range(2):
                assert statuses(await fan.ask(CPU, Deadline(30))) == {"bad": "plugin", "good": "ok"}


async def test_nothing_but_a_reply_is_a_reply() -> None:
    async def nothing() -> Reply[Service]:
        return None  # type: ignore[return-value]

    async with fanout(bad=Scripted(nothing)) as fan:
        assert statuses(await fan.ask(SERVICES, Deadline(5))) == {"bad": "plugin"}


async def test_a_partial_reply_is_partial_and_nothing_but_gaps_is_no_data() -> None:
    async def half() -> Reply[Service]:
        return replace(FOUND, partial="the second page failed")

    async with fanout(half=Scripted(half)) as fan:
        assert statuses(await fan.ask(SERVICES, Deadline(5))) == {"half": "partial"}
    async with fanout(
        gaps=Metered([series(np.nan, np.nan)]), none=Metered([]), some=Metered([series(np.nan, 1)])
    ) as fan:
        assert statuses(await fan.ask(CPU, Deadline(5))) == {"gaps": "no_data", "none": "no_data", "some": "ok"}


# ---- who is not asked


async def test_a_source_without_the_capability_is_skipped_and_says_so() -> None:
    source = Scripted(found())
    observed: list[Outcome[Any]] = []
    async with Fanout(registry(one=source), observe=observed.append) as fan:
        (outcome,) = await fan.ask(ChangeQuery(HOUR), Deadline(5))
    assert outcome.failure is not None
    assert (outcome.status, outcome.failure.kind) == ("skipped", "unsupported")
    assert "changes" in outcome.failure.message
    assert (source.calls, observed) == (0, [])


async def test_a_source_is_asked_only_for_the_metrics_it_has() -> None:
    some, none, any_metric = Metered([], "cpu"), Metered([], "disk"), Metered([])
    async with fanout(some=some, none=none, any_metric=any_metric) as fan:
        outcomes = await fan.ask(replace(CPU, metrics=("cpu", "memory")), Deadline(5))
    assert statuses(outcomes) == {"some": "no_data", "none": "unsupported", "any_metric": "no_data"}
    assert (some.asked, none.asked, any_metric.asked) == ([("cpu",)], [], [("cpu", "memory")])
    failure = outcomes[1].failure
    assert failure is not None
    assert "cpu, memory" in failure.message


async def test_a_broken_plugin_is_a_failed_line_and_one_that_is_off_is_none() -> None:
    broken = Absent("in_house", "./acme.py", True, "SyntaxError in line 3", "repair it")
    off = Absent("datadog", "datadog", False, "DD_API_KEY not set", "set it")
    async with fanout(broken, off, one=Scripted(found())) as fan:
        outcomes = await fan.ask(SERVICES, Deadline(5))
        assert statuses(outcomes) == {"one": "ok", "in_house": "plugin"}
        assert outcomes[1].failure is not None
        assert outcomes[1].failure.message == "SyntaxError in line 3"
        assert statuses(await fan.ask(SERVICES, Deadline(5), only=["one"])) == {"one": "ok"}


# ---- the wait


async def test_enough_ends_the_wait_and_leaves_the_unanswered_out() -> None:
    started, cancelled = Event(), Event()
    broken = Absent("in_house", "./acme.py", True, "broken", "repair it")

    async def after_the_other() -> Reply[Service]:
        await started.wait()
        return FOUND

    async with fanout(broken, slow=Scripted(telling(started, cancelled)), quick=Scripted(after_the_other)) as fan:
        with fail_after(5):
            outcomes = await fan.ask(SERVICES, Deadline(30), enough=lambda outcome: outcome.status == "ok")
            assert statuses(outcomes) == {"quick": "ok"}
            await cancelled.wait()
        assert fan.registry["slow"].guard.breaker.failures == 0


async def test_enough_that_is_never_true_waits_for_all() -> None:
    async with fanout(one=Scripted(found()), two=Scripted(raising(AuthError("no")))) as fan:
        outcomes = await fan.ask(SERVICES, Deadline(5), enough=lambda outcome: False)
    assert statuses(outcomes) == {"one": "ok", "two": "auth"}


async def test_progress_is_told_once_a_source_as_it_answers() -> None:
    first_told = Event()
    told: list[tuple[str, int, int]] = []

    async def after_the_first_was_told() -> Reply[Service]:
        await first_told.wait()
        return FOUND

    async def progress(outcome: Outcome[Any], done: int, asked: int) -> None:
        told.append((outcome.source, done, asked))
        first_told.set()

    sources = {"late": Scripted(after_the_first_was_told), "early": Scripted(raising(AuthError("no")))}
    async with fanout(**sources, unable=Metered([])) as fan:
        with fail_after(5):
            await fan.ask(SERVICES, Deadline(30), progress=progress)
    assert told == [("early", 1, 2), ("late", 2, 2)]


# ---- what leaves


class Keyed(SourceSettings):
    token: SecretStr


SECRET = "s3cret/t0ken+value"


async def test_secrets_leave_neither_in_answers_nor_in_errors() -> None:
    settings = Keyed(plugin="keyed", token=SecretStr(SECRET))

    async def leaky() -> Reply[Service]:
        said = f"asked with {SECRET}"
        return Reply([Service("checkout")], [said, "up"], [said], partial=said)

    leaks = UpstreamError(f"GET /?key={SECRET}", hint=f"is {SECRET} right?")
    sources = {
        "answer": Scripted(leaky, settings),
        "error": Scripted(raising(leaks), settings),
        "bug": Scripted(raising(ValueError(SECRET)), settings),
    }
    async with fanout(**sources) as fan:
        outcomes = await fan.ask(SERVICES, Deadline(5))
    assert SECRET not in repr(outcomes)
    assert list(outcomes[0].reply.queries) == ["asked with ***", "up"]
    assert list(outcomes[0].reply.warnings) == [outcomes[0].reply.partial] == ["asked with ***"]
    assert statuses(outcomes) == {"answer": "partial", "error": "upstream", "bug": "plugin"}


async def test_secrets_do_not_leave_in_what_a_plugin_says_inside_its_items() -> None:
    settings = Keyed(plugin="keyed", token=SecretStr(SECRET))

    class Leaky(Metered):
        async def check(self) -> Reply[Check]:
            return Reply([Check("login", False, f"{SECRET} was refused", f"replace {SECRET}")])

    source = Leaky([replace(series(1), query=f"cpu{{key='{SECRET}'}}")])
    source.settings = settings
    async with fanout(one=source) as fan:
        (measured,) = await fan.ask(CPU, Deadline(5))
        (looked_at,) = await fan.ask(CheckQuery(), Deadline(5))
    assert measured.reply.items[0].query == "cpu{key='***'}"
    assert looked_at.reply.items == [Check("login", False, "*** was refused", "replace ***")]


async def test_words_of_a_backend_come_as_one_plain_line() -> None:
    noisy = Scripted(raising(BadQueryError("first\nsecond\u202e\x1b[31m" + "x" * 5000)))
    async with fanout(one=noisy) as fan:
        (outcome,) = await fan.ask(SERVICES, Deadline(5))
    assert outcome.failure is not None
    assert outcome.failure.message.startswith("first second [31mxxx")
    assert len(outcome.failure.message) == 300


async def test_only_real_requests_are_observed() -> None:
    observed: list[Outcome[Any]] = []
    broken = Absent("in_house", "./acme.py", True, "broken", "repair it")
    sources = {"one": Scripted(found()), "bad": Scripted(raising(AuthError("no"))), "unable": Metered([])}
    async with Fanout(registry(broken, **sources), observe=observed.append) as fan:
        await fan.ask(SERVICES, Deadline(5))
        await fan.ask(SERVICES, Deadline(5))
    assert sorted(outcome.source for outcome in observed) == ["bad", "bad", "one"]
    assert all(outcome.latency_ms is not None and outcome.latency_ms >= 0 for outcome in observed)
