"""The contract of a source as a test class: subclass it, and pytest runs what is below against the plugin.

Every test loads the plugin from a plugins.toml by the registry that will run it and asks it through the engine's
fan-out. The event loop runs in a thread beside the test, so that no pytest plugin is needed, and a source that
blocks it or never ends is a finding and not the end of the session.
"""

from __future__ import annotations

import inspect
import io
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any, TypeVar

import anyio
import pytest

from telemetry_mcp.boundary import contain
from telemetry_mcp.errors import ConfigError
from telemetry_mcp.model import Outcome
from telemetry_mcp.question import Question
from telemetry_mcp.source import METHODS, Source
from telemetry_mcp.testing import table, verdict
from telemetry_mcp.testing.ask import Cancelled, Spoilt, cancel, spoil
from telemetry_mcp.testing.bench import Asked, Bench, judge, refuse
from telemetry_mcp.testing.fault import FAULTS, SILENT
from telemetry_mcp.testing.mutant import nulls
from telemetry_mcp.testing.trial import BLOCKED_S, Run, Trial, listening, opened, texts_of

TIMEOUT_S = 0.3
SLACK_S = 0.5
"""How much later than its deadline an answer may come."""
CANCEL_S = 0.1
AGAIN_S = 0.1
"""The same request so much later is a second attempt; earlier, two capabilities ask the same."""
LEAVE_S = 2.0
"""How long a source may take to be loaded, and to let go after its deadline."""
TRIES = 3
Timed = TypeVar("Timed", Asked, Cancelled)
"""A figure that a busy machine can spoil is a finding only when it is bad each time."""
LEAKY = ("healthy", "401", "500", "html", "not json", "refused", "redirect")
"""The states in which everything that comes out of a source is searched for its secrets."""


class SourceContract(Bench):
    """Subclass it as `class TestAcme(SourceContract)`, say what is below, and run pytest.

    A source behind HTTP overrides `respond`, and `nothing` where its answers are no JSON. Any other source
    overrides `backend`; one that needs no backend at all overrides neither.
    """

    # ---- the plugin

    def test_it_is_loaded_by_the_registry(self) -> None:
        for capability in self.source.capabilities:
            name = METHODS[capability]
            method, declared = getattr(self.source, name), getattr(Source, name)
            if not inspect.iscoroutinefunction(method):
                refuse(f"{name} must be `async def`")
            if len(inspect.signature(method).parameters) != len(inspect.signature(declared).parameters):
                refuse(f"{name} must be declared as {name}{inspect.signature(declared)}")
        if not self.source.capabilities:
            refuse(f"{self.source.__name__} overrides none of {', '.join(METHODS.values())}: it can do nothing")
        self.tried("healthy", nothing_more)

    def test_a_misspelt_setting_is_refused(self) -> None:
        with self.backend("healthy") as reach, contain() as kept:
            Run(lambda: held(self.configured(reach, no_such_setting=1))).result()
        if kept.error is None:
            refuse("Settings took an unknown key. Derive it from SourceSettings, and leave model_config as it is")
        if not isinstance(kept.error, ConfigError) or "no_such_setting" not in str(kept.error):
            refuse(f"for an unknown key in its table came: {kept.error}. Let pydantic refuse it")

    def test_secrets_are_kept_as_secrets(self) -> None:
        careless = table.careless_fields(self.source)
        if careless:
            refuse(f"Settings.{careless[0]} is a str: make it a SecretStr, so that it is never shown or logged")
        with self.backend("healthy") as reach:
            path = self.configured(reach)
            shown = Run(lambda: held(path)).result()
        self.search([("repr() or str() of the source or its settings", text) for text in shown])

    # ---- a healthy backend

    def test_every_capability_answers(self) -> None:
        asked = self.asked("healthy")
        self.blame_respond()
        judge(
            problem
            for name, question, outcome in asked
            for problem in (
                *verdict.crash(question.method, outcome, asked.witness.raised),
                *verdict.unanswered(question, outcome, quiet=name in self.quiet),
            )
        )

    def test_times_are_sorted_milliseconds_inside_the_window(self) -> None:
        judge(
            problem
            for question, series in self.asked("healthy").series()
            for problem in verdict.misshapen(series, verdict.span(question), verdict.asked_metrics(question))
        )

    def test_units_are_known(self) -> None:
        judge(problem for _, series in self.asked("healthy").series() for problem in verdict.unitless(series))

    def test_nothing_found_is_no_data_and_not_zero(self) -> None:
        asked = self.asked("nothing")
        self.blame_respond()
        able = [(question, outcome) for name, question, outcome in asked if name != "check"]
        judge(problem for question, outcome in able for problem in verdict.invented(question, outcome))

    def test_no_service_name_is_too_odd(self) -> None:
        async def body(trial: Trial) -> list[tuple[str, Outcome[Any]]]:
            questions = self.subject(trial).oddly_named(trial.instance.capabilities)
            return [(name, await trial.bare(question)) for name, question in questions.items()]

        judge(problem for name, outcome in self.tried("healthy", body) for problem in verdict.crash(name, outcome))

    def test_questions_at_once_are_answered_as_one_by_one(self) -> None:
        async def body(trial: Trial) -> tuple[Mapping[str, Question[Any]], list[Outcome[Any]], list[Outcome[Any]]]:
            questions = self.subject(trial).at_once(trial.instance.capabilities)
            alone = [await trial.bare(question) for question in questions.values()]
            return questions, alone, await trial.ask(*questions.values())

        judge(verdict.differing(*self.tried("healthy", body)))

    @pytest.mark.parametrize("state", ["healthy", "slow"])
    def test_the_event_loop_is_never_blocked(self, state: str) -> None:
        """Three tries, since the first one imports and connects, and since the machine may be busy."""
        watches = []
        for _ in range(TRIES):
            watches.append(self.watched(state, self.ask_everything)[1])
            if watches[-1].stalled_s <= BLOCKED_S:
                return
        least = min(watches, key=lambda watch: watch.stalled_s)
        refuse(
            f"the event loop stood still for {least.stalled_s:.2f} s: all other sources and callers wait. "
            f"Await what can be awaited, and put the rest into `await self.context.threads.run(...)`. It was at"
            f"{least.at}"
        )

    def test_close_is_good_twice_and_without_use(self) -> None:
        async def body(trial: Trial, use: bool) -> BaseException | None:
            with contain() as kept:
                if use:
                    await self.ask_everything(trial)
                await trial.source.close()
                await trial.source.close()
            return kept.error

        for use in (False, True):
            error = self.tried("healthy", partial(body, use=use))
            if error is not None:
                refuse(f"close() raised {type(error).__name__}: {error}{verdict.where([error])}")

    # ---- a backend that fails

    @pytest.mark.parametrize("state", [state for state in FAULTS if state not in SILENT])
    def test_a_fault_is_a_typed_error(self, state: str) -> None:
        asked = self.asked(state)
        if state == "empty body" and self.says_nothing_with_nothing():
            pytest.skip("an empty body is how this backend says that it found nothing")
        errors = asked.witness.raised
        judge(p for _, question, outcome in asked for p in verdict.mistaken(state, question, outcome, errors))

    def test_a_strange_answer_is_a_typed_error_or_skipped(self) -> None:
        async def body(trial: Trial) -> Any:
            questions = self.subject(trial).questions(trial.instance.capabilities)
            one_each = [questions[capability] for capability in trial.instance.capabilities]
            return await spoil(trial, self.http_server(), one_each)

        spoilt = self.tried("healthy", body)
        if not spoilt:
            pytest.skip("the healthy backend answered nothing that could be spoilt")
        judge(
            problem
            for one in spoilt
            for problem in verdict.crash(f"{one.question.method}, when {one.what}", one.outcome)
        )

    def test_a_null_is_never_a_zero(self) -> None:
        async def body(trial: Trial) -> tuple[Outcome[Any], list[Spoilt]] | None:
            if "series" not in trial.instance.capabilities:
                return None
            question = self.subject(trial).questions(("series",))["series"]
            return await trial.bare(question), await spoil(trial, self.http_server(), [question], nulls)

        found = self.tried("healthy", body)
        if found is None:
            pytest.skip("it has no series")
        healthy, spoilt = found
        judge(problem for one in spoilt for problem in verdict.zeroed(one, healthy))

    @pytest.mark.parametrize("state", SILENT)
    def test_a_silent_backend_is_asked_once(self, state: str) -> None:
        async def body(trial: Trial) -> Asked:
            asked = await self.ask_everything(trial)
            await anyio.sleep(TIMEOUT_S + AGAIN_S)  # what would be sent again comes after a time-out of its own
            return asked

        limit_s = TIMEOUT_S + SLACK_S
        asked = in_time(limit_s, lambda: self.tried(state, body, timeout=TIMEOUT_S))
        judge(p for _, question, outcome in asked for p in verdict.mistaken(state, question, outcome, ()))
        if asked.took_s > limit_s:
            refuse(f"with a timeout of {TIMEOUT_S} s it took {asked.took_s:.1f} s to fail")
        first: dict[tuple[str, str, bytes], float] = {}
        for request in list(self.server.requests) if self.server else ():
            key = request.method, request.target, request.body
            if request.at_s > first.setdefault(key, request.at_s) + AGAIN_S:
                refuse(
                    f"{request.method} {request.path} was sent again after a time-out. Retries are the engine's: "
                    "switch off those of your client, for they multiply the load on a backend that is too slow"
                )

    def test_a_deadline_is_held(self) -> None:
        started = monotonic()
        asked = self.tried("hang", lambda trial: self.ask_everything(trial, TIMEOUT_S), timeout=30)
        left_s = monotonic() - started - asked.took_s
        if asked.took_s > TIMEOUT_S + SLACK_S:
            refuse(f"a call with a deadline of {TIMEOUT_S} s took {asked.took_s:.1f} s: something blocks the loop")
        if left_s > LEAVE_S:
            refuse(f"after the deadline it took {left_s:.1f} s to let go: it does not end when it is cancelled")

    def test_a_cancelled_question_ends_within_100_ms(self) -> None:
        async def capabilities(trial: Trial) -> Mapping[str, Question[Any]]:
            return self.subject(trial).questions(trial.instance.capabilities)

        for question in self.tried("healthy", capabilities).values():
            found = in_time(CANCEL_S, partial(self.cancelled, question))
            if found.how != "cancelled":
                refuse(f"{question.method} {found.how} when it was cancelled: let the cancellation pass (`raise`)")
            if found.took_s > CANCEL_S:
                refuse(
                    f"{question.method} went on for {found.took_s:.2f} s after it was cancelled. "
                    "Await nothing that is shielded, and keep clean-up short"
                )

    def test_a_redirect_is_not_followed(self) -> None:
        self.asked("redirect")
        self.http_server()
        for request in self.stranger.requests:
            carried = [
                name for name, value in self.secrets.items() if value in f"{request.headers} {request.body!r}"
            ]
            took = f", and took {', '.join(carried)} along" if carried else ""
            refuse(
                f"{request.method} {request.path} followed a redirect to another host{took}: switch redirects off"
            )

    @pytest.mark.parametrize("state", LEAKY)
    def test_no_secret_comes_out(self, state: str) -> None:
        if not self.secrets:
            pytest.skip("its settings hold no secret")
        with listening() as logged, redirect_stdout(io.StringIO()) as printed:
            asked = self.asked(state)
        outcomes = list(asked.outcomes.values())
        self.search([*texts_of(asked.witness, outcomes, logged), ("what it printed", printed.getvalue())])

    def cancelled(self, question: Question[Any]) -> Cancelled:
        return self.tried("hang", lambda trial: cancel(trial, question, self.server), timeout=30)


def in_time(limit_s: float, attempt: Callable[[], Timed]) -> Timed:
    """What came of the first attempt that was over in time, else of the last of a few: the machine may be busy."""
    made = attempt()
    for _ in range(TRIES - 1):
        if made.took_s <= limit_s:
            break
        made = attempt()
    return made


async def nothing_more(trial: Trial) -> None:
    """Only that it can be opened and closed."""


async def held(config: Path) -> list[str]:
    """What a source shows of itself to whoever prints it."""
    async with opened(config) as trial:
        source, settings = trial.source, trial.source.settings
        return [repr(source), str(source), repr(settings), str(settings), repr(trial.instance)]
