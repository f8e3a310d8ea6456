"""One outcome a source: what it raised, what it lacks, what of it is counted, and no secret in it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from anyio import fail_after
from pydantic import SecretStr

from telemetry_mcp.errors import AuthError, BadQueryError, RateLimitedError, UpstreamError
from telemetry_mcp.fanout import Deadline, Fanout
from telemetry_mcp.model import Check, Outcome, Reply, Series, Service
from telemetry_mcp.question import ChangeQuery, CheckQuery, SeriesQuery, ServiceQuery, Window
from telemetry_mcp.registry import Absent
from telemetry_mcp.setting import SourceSettings
from telemetry_mcp.source import Context, Source

if TYPE_CHECKING:
    from tests.core.conftest import MakeFanout, MakeRegistry, Metered, Scripted, Statuses

HOUR = Window(0, 3_600_000)
SERVICES = ServiceQuery(HOUR)
CPU = SeriesQuery((), ("cpu",), HOUR, 60_000)


def series(*values: float) -> Series:
    return Series("checkout", "cpu", np.arange(len(values), dtype=np.int64) * 60_000, np.array(values, np.float64))


# ---- one source's failure


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise ValueError("not even this")


class Odd(BaseException):
    pass


@pytest.mark.parametrize(
    "error", [Unspeakable(), Odd("odd"), SystemExit(4)], ids=lambda error: type(error).__name__
)
async def test_whatever_a_plugin_raises_costs_its_own_answer_only(
    fanout: MakeFanout, scripted: type[Scripted], statuses: Statuses, error: BaseException
) -> None:
    async with fanout(odd=scripted.raising(error), good=scripted.finding()) as fan:
        for _ in range(2):
            with fail_after(5):
                outcomes = await fan.ask(SERVICES, Deadline(5), fresh=True)
            assert statuses(outcomes) == {"odd": "plugin", "good": "ok"}
            assert outcomes[0].failure is not None
            assert type(error).__name__ in outcomes[0].failure.message


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
    error: BaseException, kind: str, words: str, fanout: MakeFanout, scripted: type[Scripted], statuses: Statuses
) -> None:
    async with fanout(bad=scripted.raising(error), good=scripted.finding()) as fan:
        with fail_after(5):
            outcomes = await fan.ask(SERVICES, Deadline(30))
            assert statuses(outcomes) == {"bad": kind, "good": "ok"}
            failure = outcomes[0].failure
            assert failure is not None
            assert words in failure.message
            assert failure.hint
            assert statuses(await fan.ask(SERVICES, Deadline(30), fresh=True)) == {"bad": kind, "good": "ok"}


async def test_a_rate_limit_says_how_long_it_lasts(fanout: MakeFanout, scripted: type[Scripted]) -> None:
    limited = scripted.raising(RateLimitedError("slow down", retry_after_s=7))
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
async def test_a_reply_of_the_wrong_shape_is_the_plugins_fault_and_harms_nobody_else(
    items: Any, fanout: MakeFanout, metered: type[Metered], statuses: Statuses
) -> None:
    async with fanout(bad=metered(items), good=metered([series(1)])) as fan:
        with fail_after(5):
            for _ in range(2):
                assert statuses(await fan.ask(CPU, Deadline(30))) == {"bad": "plugin", "good": "ok"}


async def test_nothing_but_a_reply_is_a_reply(
    fanout: MakeFanout, scripted: type[Scripted], statuses: Statuses
) -> None:
    async def nothing() -> Reply[Service]:
        return None  # type: ignore[return-value]

    async with fanout(bad=scripted(nothing)) as fan:
        assert statuses(await fan.ask(SERVICES, Deadline(5))) == {"bad": "plugin"}


async def test_a_partial_reply_is_partial_and_nothing_but_gaps_is_no_data(
    fanout: MakeFanout, scripted: type[Scripted], metered: type[Metered], statuses: Statuses
) -> None:
    async def half() -> Reply[Service]:
        return Reply([Service("checkout")], partial="the second page failed")

    async with fanout(half=scripted(half)) as fan:
        assert statuses(await fan.ask(SERVICES, Deadline(5))) == {"half": "partial"}
    async with fanout(
        gaps=metered([series(np.nan, np.nan)]), none=metered([]), some=metered([series(np.nan, 1)])
    ) as fan:
        assert statuses(await fan.ask(CPU, Deadline(5))) == {"gaps": "no_data", "none": "no_data", "some": "ok"}


# ---- who is not asked


async def test_a_source_without_the_capability_is_skipped_and_says_so(
    scripted: type[Scripted], registry: MakeRegistry
) -> None:
    source = scripted.finding()
    observed: list[Outcome[Any]] = []
    async with Fanout(registry(one=source), observe=observed.append) as fan:
        (outcome,) = await fan.ask(ChangeQuery(HOUR), Deadline(5))
    assert outcome.failure is not None
    assert (outcome.status, outcome.failure.kind) == ("skipped", "unsupported")
    assert "changes" in outcome.failure.message
    assert (source.calls, observed) == (0, [])


async def test_a_source_is_asked_only_for_the_metrics_it_has(
    fanout: MakeFanout, metered: type[Metered], statuses: Statuses
) -> None:
    some, none, any_metric = metered([], "cpu"), metered([], "disk"), metered([])
    async with fanout(some=some, none=none, any_metric=any_metric) as fan:
        outcomes = await fan.ask(replace(CPU, metrics=("cpu", "memory")), Deadline(5))
    assert statuses(outcomes) == {"some": "no_data", "none": "unsupported", "any_metric": "no_data"}
    assert (some.asked, none.asked, any_metric.asked) == ([("cpu",)], [], [("cpu", "memory")])
    failure = outcomes[1].failure
    assert failure is not None
    assert "cpu, memory" in failure.message


async def test_a_broken_plugin_is_a_failed_line_and_one_that_is_off_is_none(
    fanout: MakeFanout, scripted: type[Scripted], statuses: Statuses
) -> None:
    broken = Absent("in_house", "./acme.py", True, "SyntaxError in line 3", "repair it")
    off = Absent("datadog", "datadog", False, "DD_API_KEY not set", "set it")
    async with fanout(broken, off, one=scripted.finding()) as fan:
        outcomes = await fan.ask(SERVICES, Deadline(5))
        assert statuses(outcomes) == {"one": "ok", "in_house": "plugin"}
        assert outcomes[1].failure is not None
        assert outcomes[1].failure.message == "SyntaxError in line 3"
        assert statuses(await fan.ask(SERVICES, Deadline(5), only=["one"])) == {"one": "ok"}


# ---- what leaves


class Keyed(SourceSettings):
    token: SecretStr


SECRET = "s3cret/t0ken+value"


async def test_secrets_leave_neither_in_answers_nor_in_errors(
    fanout: MakeFanout, scripted: type[Scripted], statuses: Statuses
) -> None:
    settings = Keyed(plugin="keyed", token=SecretStr(SECRET))

    async def leaky() -> Reply[Service]:
        said = f"asked with {SECRET}"
        return Reply([Service("checkout")], [said, "up"], [said], partial=said)

    leaks = UpstreamError(f"GET /?key={SECRET}", hint=f"is {SECRET} right?")
    sources = {
        "answer": scripted(leaky, settings),
        "error": scripted.raising(leaks, settings=settings),
        "bug": scripted.raising(ValueError(SECRET), settings=settings),
    }
    async with fanout(**sources) as fan:
        outcomes = await fan.ask(SERVICES, Deadline(5))
    assert SECRET not in repr(outcomes)
    assert list(outcomes[0].reply.queries) == ["asked with ***", "up"]
    assert list(outcomes[0].reply.warnings) == [outcomes[0].reply.partial] == ["asked with ***"]
    assert statuses(outcomes) == {"answer": "partial", "error": "upstream", "bug": "plugin"}


async def test_secrets_do_not_leave_in_what_a_plugin_says_inside_its_items(fanout: MakeFanout) -> None:
    settings = Keyed(plugin="keyed", token=SecretStr(SECRET))

    class Leaky(Source):
        async def fetch_series(self, query: SeriesQuery) -> Reply[Series]:
            return Reply([replace(series(1), query=f"cpu{{key='{SECRET}'}}")])

        async def check(self) -> Reply[Check]:
            return Reply([Check("login", False, f"{SECRET} was refused", f"replace {SECRET}")])

    async with fanout(one=Leaky(settings, Context("leaky"))) as fan:
        (measured,) = await fan.ask(CPU, Deadline(5))
        (looked_at,) = await fan.ask(CheckQuery(), Deadline(5))
    assert measured.reply.items[0].query == "cpu{key='***'}"
    assert looked_at.reply.items == [Check("login", False, "*** was refused", "replace ***")]


async def test_words_of_a_backend_come_as_one_plain_line(fanout: MakeFanout, scripted: type[Scripted]) -> None:
    noisy = scripted.raising(BadQueryError("first\nsecond\u202e\x1b[31m" + "x" * 5000))
    async with fanout(one=noisy) as fan:
        (outcome,) = await fan.ask(SERVICES, Deadline(5))
    assert outcome.failure is not None
    assert outcome.failure.message.startswith("first second [31mxxx")
    assert len(outcome.failure.message) == 300


async def test_only_real_requests_are_observed(
    scripted: type[Scripted], metered: type[Metered], registry: MakeRegistry
) -> None:
    observed: list[Outcome[Any]] = []
    broken = Absent("in_house", "./acme.py", True, "broken", "repair it")
    sources = {"one": scripted.finding(), "bad": scripted.raising(AuthError("no")), "unable": metered([])}
    async with Fanout(registry(broken, **sources), observe=observed.append) as fan:
        await fan.ask(SERVICES, Deadline(5))
        await fan.ask(SERVICES, Deadline(5))
    assert sorted(outcome.source for outcome in observed) == ["bad", "bad", "one"]
    assert all(outcome.latency_ms is not None and outcome.latency_ms >= 0 for outcome in observed)
