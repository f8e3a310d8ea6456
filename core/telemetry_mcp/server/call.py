"""One tool call under way: the engine, its deadline, whether it wants fresh numbers, whom to tell of progress."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import anyio

from telemetry_mcp.catalog import echo, suggest
from telemetry_mcp.engine import Engine
from telemetry_mcp.errors import QuestionError
from telemetry_mcp.fanout import Deadline, Progress
from telemetry_mcp.model import Outcome, Service
from telemetry_mcp.outcome import late, missing, narrow
from telemetry_mcp.question import Question, ServiceQuery, Window

T = TypeVar("T")
F = TypeVar("F")

RECENT_MS = 3_600_000
"""A service is one that was seen within the last hour."""


@dataclass(slots=True)
class Call:
    engine: Engine
    deadline: Deadline
    fresh: bool = False
    progress: Progress | None = None
    warnings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.warnings += self.engine.remarks

    @property
    def now_ms(self) -> int:
        return self.engine.clock_ms()

    async def ask(self, question: Question[T], only: Collection[str] | None = None) -> list[Outcome[T]]:
        return await self.engine.front.ask(
            question, self.deadline, only=only, fresh=self.fresh, progress=self.progress
        )

    async def ask_all(
        self, *questions: Question[Any], only: Mapping[Question[Any], Collection[str]] | None = None
    ) -> list[list[Outcome[Any]]]:
        return await self.engine.front.ask_all(
            questions, self.deadline, only=only, fresh=self.fresh, progress=self.progress
        )

    async def ask_ahead(
        self, question: Question[T], follow: Callable[[Sequence[Outcome[T]]], Awaitable[F]]
    ) -> tuple[list[Outcome[T]], F]:
        """The outcomes, and what follows from them. At half-time `follow` is run with what there is, as if the
        rest failed: where it does, what takes long is there when the deadline comes. Then it is cancelled."""
        so_far: dict[str, Outcome[T]] = {}

        async def note(outcome: Outcome[Any], answered: int, asked: int) -> None:
            so_far[outcome.source] = outcome
            if self.progress is not None:
                await self.progress(outcome, answered, asked)

        async def look_ahead() -> None:
            await anyio.sleep(self.deadline.left_s / 2)
            if so_far:
                await follow(self.as_if_over(question, so_far))

        front = self.engine.front
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(look_ahead)
            outcomes = await front.ask(question, self.deadline, fresh=self.fresh, progress=note)
            followed = await follow(outcomes)
            tasks.cancel_scope.cancel()
        return outcomes, followed

    def as_if_over(self, question: Question[T], so_far: Mapping[str, Outcome[T]]) -> list[Outcome[T]]:
        """The outcomes as they will be if nobody else answers."""
        registry, granted_s = self.engine.registry, self.deadline.seconds
        asked = [each for each in registry.instances if narrow(each, question) is not None]
        lines = [so_far.get(each.name) or late(each, granted_s, granted_s) for each in asked]
        return [*lines, *map(missing, registry.broken)]

    def recent(self) -> Window:
        return Window(self.now_ms - RECENT_MS, self.now_ms)

    def metric(self, name: str) -> str:
        """The normalized metric that `name` means, if any source can answer it. QuestionError otherwise."""
        metric = self.engine.config.catalog.resolve(name)
        offered = self.engine.metrics
        if metric not in offered:
            raise QuestionError(f"no source has the metric {echo(metric)}{suggest(metric, offered)}")
        return metric

    async def services(self) -> tuple[list[Service], list[Outcome[Service]]]:
        """Every service that any source knows, and the ledger of those that were asked."""
        outcomes = await self.engine.front.ask(ServiceQuery(self.recent()), self.deadline)
        return united(outcomes), outcomes

    async def service(self, name: str) -> str:
        """`name`, when a source knows it. The first source that does ends the wait.

        QuestionError with the valid names when every source was asked and none knows it. Where the list cannot
        be complete, because a source failed or cannot list, an unknown name is let through with a warning.
        """
        if name in self.engine.seen:
            return name
        outcomes = await self.engine.front.ask(
            ServiceQuery(self.recent()), self.deadline.half(), enough=lambda outcome: knows(outcome, name)
        )
        known = [service.name for service in united(outcomes)]
        self.engine.seen.update(dict.fromkeys(known, True))
        if name in known:
            return name
        blind = [i.name for i in self.engine.registry.instances if cannot_list(i.capabilities)]
        blind += [outcome.source for outcome in outcomes if outcome.status in ("failed", "partial")]
        if not blind:
            raise QuestionError(f"no service is called {echo(name)}{suggest(name, known)}")
        self.warnings.append(
            f"no source that answered lists this service{suggest(name, known)}. "
            f"Its list could not be had from: {', '.join(blind)}"
        )
        return name


def cannot_list(capabilities: Sequence[str]) -> bool:
    return "series" in capabilities and "services" not in capabilities


def knows(outcome: Outcome[Service], name: str) -> bool:
    return any(service.name == name for service in outcome.reply.items)


def united(outcomes: Sequence[Outcome[Service]]) -> list[Service]:
    """The services of all sources by name; what the first source leaves open the next one fills in."""
    found: dict[str, Service] = {}
    for outcome in outcomes:
        for service in outcome.reply.items:
            known = found.get(service.name)
            found[service.name] = service if known is None else filled(known, service)
    return [found[name] for name in sorted(found)]


def filled(known: Service, other: Service) -> Service:
    return replace(
        known,
        team=known.team or other.team,
        environment=known.environment or other.environment,
        status=known.status or other.status,
        url=known.url or other.url,
        tags={**other.tags, **known.tags},
    )
