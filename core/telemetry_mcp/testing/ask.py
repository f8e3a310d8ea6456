"""What a trial asks: one question for every capability, and the ways of asking that show how a source behaves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any

import anyio

from telemetry_mcp.boundary import contain
from telemetry_mcp.model import Outcome
from telemetry_mcp.question import (
    ChangeQuery,
    CheckQuery,
    DependencyQuery,
    IncidentQuery,
    NativeQuery,
    OnCallQuery,
    Question,
    RelatedQuery,
    SeriesQuery,
    ServiceQuery,
    SloQuery,
    TimelineQuery,
    Window,
)
from telemetry_mcp.testing.backend import Backend, Response
from telemetry_mcp.testing.mutant import Change, mutants
from telemetry_mcp.testing.trial import Trial

REACHED_S = 5.0
"""How long a question may take until its request is at the backend; one that needs none has answered by then."""
UNSEEN_S = 0.2
"""The same where the backend is not ours to look at."""
ODD_NAMES = (
    'we"ird\\svc{1}',
    "it's; DROP TABLE x --",
    "line\nbreak",
    "$service",
    "a|b.*",
    "*",
    "%",
    "サービス",
    "",
)


@dataclass(frozen=True, slots=True)
class Subject:
    """What the healthy backend knows about."""

    services: tuple[str, ...]
    metrics: tuple[str, ...]
    window: Window
    step_ms: int
    incident_id: str
    native: str

    def questions(self, capabilities: Sequence[str]) -> dict[str, Question[Any]]:
        """One question for each capability; for series also for the newest samples and for every service."""
        series = self.series(self.window)
        known: dict[str, Question[Any]] = {
            "series": series,
            "services": ServiceQuery(self.window),
            "incidents": IncidentQuery(self.window),
            "changes": ChangeQuery(self.window),
            "dependencies": DependencyQuery(self.window),
            "timeline": TimelineQuery(self.incident_id),
            "related": RelatedQuery(self.incident_id),
            "on_call": OnCallQuery(self.window),
            "slos": SloQuery(self.window),
            "native": NativeQuery(self.native, self.window, self.step_ms),
            "check": CheckQuery(),
        }
        asked = {name: known[name] for name in capabilities}
        if "series" in asked:
            newest = Window(self.window.start_ms + self.window.duration_ms // 2, self.window.end_ms)
            asked["newest samples"] = replace(series, window=newest, latest=True)
            asked["series of every service"] = replace(series, services=())
        return asked

    def at_once(self, capabilities: Sequence[str]) -> dict[str, Question[Any]]:
        """Questions of which no two are the same, so that none shares another's answer."""
        asked = self.questions([name for name in capabilities if name != "check"])
        for nth in range(1, 4) if "series" in asked else ():
            start_ms = self.window.start_ms + nth * self.step_ms
            part = Window(start_ms, max(start_ms + self.step_ms, self.window.end_ms - nth * self.step_ms))
            asked[f"series of another window ({nth})"] = self.series(part)
        return asked

    def series(self, window: Window) -> SeriesQuery:
        return SeriesQuery(self.services, self.metrics, window, self.step_ms)

    def oddly_named(self, capabilities: Sequence[str]) -> dict[str, Question[Any]]:
        """Questions about services whose names are not names."""
        queries: dict[str, Callable[[str], Question[Any]]] = {
            "series": lambda name: replace(self.series(self.window), services=(name,)),
            "incidents": lambda name: IncidentQuery(self.window, (name,)),
            "changes": lambda name: ChangeQuery(self.window, (name,)),
            "on_call": lambda name: OnCallQuery(self.window, (name,)),
            "slos": lambda name: SloQuery(self.window, (name,)),
        }
        able = {kind: make for kind, make in queries.items() if kind in capabilities}
        return {f"{kind} of {name!r}": make(name) for kind, make in able.items() for name in ODD_NAMES}


@dataclass(frozen=True, slots=True)
class Cancelled:
    """How a question took it that it was cancelled: after how long it was over, and in which way."""

    took_s: float
    how: str


async def cancel(trial: Trial, question: Question[Any], server: Backend | None) -> Cancelled:
    """Ask, wait until the backend has the request, cancel. A question that is over by then took no time."""
    wait_s = UNSEEN_S if server is None else REACHED_S
    scope, over = anyio.CancelScope(), anyio.Event()
    ended = ["cancelled"]

    async def call() -> None:
        with scope, contain() as kept:
            await question.put_to(trial.source)
            ended.append("returned an answer")
        if kept.error is not None:
            ended.append(f"raised {type(kept.error).__name__}")
        over.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call)
        with anyio.move_on_after(wait_s):
            # The backend is in another thread: it is looked at.
            while not (server and server.requests) and not over.is_set():  # noqa: ASYNC110
                await anyio.sleep(0.005)
        if over.is_set():
            return Cancelled(0.0, "cancelled")
        started = monotonic()
        scope.cancel()
        await over.wait()
    return Cancelled(monotonic() - started, ended[-1])


Ways = Callable[[Sequence[Response]], list[tuple[str, Change]]]
"""From a backend's good answers to what may be done to them."""


@dataclass(frozen=True, slots=True)
class Spoilt:
    """How a question ended whose backend put something strange into its answer."""

    question: Question[Any]
    what: str
    outcome: Outcome[Any]


async def spoil(
    trial: Trial, server: Backend, questions: Sequence[Question[Any]], ways: Ways = mutants
) -> list[Spoilt]:
    """Ask each question again and again, with one thing in the backend's answers spoilt each time."""
    found = []
    server.kept = True
    for question in questions:
        server.known.clear()
        server.change = lambda response: response
        await trial.bare(question)
        for what, change in ways(list(server.known.values())):
            server.change = change
            found.append(Spoilt(question, what, await trial.bare(question)))
    return found
