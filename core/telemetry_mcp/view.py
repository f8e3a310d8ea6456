"""An engine as one caller may see it: of its sources, services and objectives those that the caller's roles let
through, and nothing that tells of the others. Tools work on it as on any engine, so that none of them can forget
to ask."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar

from cachetools import LRUCache, TTLCache

from telemetry_mcp.access.policy import Facts, Scope
from telemetry_mcp.catalog import Catalog, Metric
from telemetry_mcp.config import Config
from telemetry_mcp.engine import DRAWN_BYTES, Engine, weight
from telemetry_mcp.fanout import Deadline, Fanout, Progress, side_by_side
from telemetry_mcp.model import Dependency, Entry, Outcome, Reply, Service
from telemetry_mcp.objective.setting import Objective
from telemetry_mcp.outcome import status_of
from telemetry_mcp.question import CheckQuery, NativeQuery, Question, ServiceQuery, Window
from telemetry_mcp.registry import Registry

T = TypeVar("T")

RECENT_MS = 3_600_000
"""A service is judged by what the sources said of it within the last hour."""
HIDDEN = "(not shown)"
LEAST_NAME = 3
"""Shorter names are not searched for in texts: they are in half of all words."""
LACKING = (
    "services are shown by team or environment, and those that only these could tell of are left out, for their "
    "list could not be had:"
)
MOST_HIDDEN = 10_000

Veil = Callable[[Any, frozenset[str]], Any]
"""Masks one item of a service in these environments; None where nothing of it may be shown."""


@dataclass(frozen=True)
class Directory:
    """What the sources say of each service. A source's own word counts for what comes from it; where it says
    nothing, what all the others say."""

    own: Mapping[tuple[str, str], Facts] = field(default_factory=dict)
    names: frozenset[str] = frozenset()

    @cached_property
    def together(self) -> Mapping[str, Facts]:
        found: dict[str, Facts] = {}
        for (_, service), facts in self.own.items():
            known = found.get(service, Facts())
            found[service] = Facts(known.teams | facts.teams, known.environments | facts.environments)
        return found

    def facts(self, source: str, service: str) -> Facts:
        own, all_of_them = self.own.get((source, service), Facts()), self.together.get(service, Facts())
        return Facts(own.teams or all_of_them.teams, own.environments or all_of_them.environments)


def directory_of(outcomes: Sequence[Outcome[Service]]) -> Directory:
    own = {
        (outcome.source, item.name): Facts(
            frozenset([item.team] if item.team else []),
            frozenset([item.environment] if item.environment else []),
        )
        for outcome in outcomes
        for item in outcome.reply.items
    }
    return Directory(own, frozenset(service for _, service in own))


class Screen:
    """Stands before the fan-out for the callers of one scope. Takes part in `Asking`."""

    def __init__(self, fanout: Fanout, scope: Scope, directory: Directory, veil: Veil | None = None) -> None:
        self.fanout = fanout
        self.scope = scope
        self.directory = directory
        self.veil = veil
        registry = fanout.registry
        named = [*(i.name for i in registry.instances), *(a.name for a in registry.absent)]
        self.sources = [name for name in named if scope.may_see_source(name)]
        self.hidden: LRUCache[str, bool] = LRUCache(MOST_HIDDEN)
        self.hidden.update({name: True for name in directory.names if not self.knows(name)})
        self.shown: LRUCache[int, tuple[Reply[Any], Reply[Any]]] = LRUCache(DRAWN_BYTES, getsizeof=heavy)
        """Replies as they came, by their id, and as they are shown: callers of one reply share what follows."""

    async def ask(
        self,
        question: Question[T],
        deadline: Deadline,
        *,
        only: Collection[str] | None = None,
        fresh: bool = False,
        progress: Progress | None = None,
        enough: Callable[[Outcome[T]], bool] | None = None,
    ) -> list[Outcome[T]]:
        """As `Fanout.ask`, of what may be seen."""
        named = [name for name in self.sources if only is None or name in only]
        if isinstance(question, NativeQuery):
            named = [name for name in named if self.scope.may_ask_natively(name)]
        visible = self.within(question)
        if visible is None:
            return self.nothing(named)

        async def tell(outcome: Outcome[Any], answered: int, asked: int) -> None:
            if progress is not None:
                await progress(self.screened(outcome, question), answered, asked)

        outcomes = await self.fanout.ask(
            visible,
            deadline,
            only=named,
            fresh=fresh,
            progress=tell if progress is not None else None,
            enough=None if enough is None else lambda outcome: enough(self.screened(outcome, question)),
        )
        return [self.screened(outcome, question) for outcome in outcomes]

    async def ask_all(
        self,
        questions: Sequence[Question[Any]],
        deadline: Deadline,
        *,
        only: Mapping[Question[Any], Collection[str]] | None = None,
        fresh: bool = False,
        progress: Progress | None = None,
    ) -> list[list[Outcome[Any]]]:
        return await side_by_side(self, questions, deadline, only, fresh, progress)

    def within(self, question: Question[T]) -> Question[T] | None:
        """The question without the services that may not be seen; None where none is left of those it names:
        empty, it would mean all of them."""
        services: tuple[str, ...] = getattr(question, "services", ())
        visible = tuple(name for name in services if self.knows(name))
        if visible == services:
            return question
        return replace(question, services=visible) if visible else None  # type: ignore[type-var]

    def knows(self, service: str) -> bool:
        """Whether the service may be seen at any source."""
        return any(self.may_see(source, service) for source in self.sources)

    def may_see(self, source: str, service: str | None) -> bool:
        facts = self.directory.facts(source, service) if service else Facts()
        return self.scope.may_see(source=source, service=service, facts=facts)

    def nothing(self, named: Sequence[str]) -> list[Outcome[Any]]:
        """What sources say of a service that there is not."""
        instances = [instance for instance in self.fanout.registry.instances if instance.name in named]
        return [Outcome(i.name, i.plugin, "no_data", Reply(), 0.0) for i in instances]

    def screened(self, outcome: Outcome[T], question: Question[T]) -> Outcome[T]:
        bare = self.scope.whole and self.veil is None
        if bare or outcome.status == "skipped" or isinstance(question, CheckQuery):
            return outcome
        reply = self.shown_of(outcome, isinstance(question, NativeQuery))
        failure = outcome.failure
        if failure is not None:
            failure = replace(failure, message=self.scrubbed(failure.message), hint=self.scrubbed(failure.hint))
        status = outcome.status if outcome.failure else status_of(reply)
        return replace(outcome, reply=reply, failure=failure, status=status)

    def shown_of(self, outcome: Outcome[T], native: bool) -> Reply[T]:
        reply = outcome.reply
        kept = self.shown.get(id(reply))
        if kept is not None:
            return kept[1]
        items = tuple(self.items(outcome, native))
        shown = Reply(
            items=items,
            queries=tuple(map(self.scrubbed, reply.queries)),
            warnings=tuple(map(self.scrubbed, reply.warnings)),
            partial=self.scrubbed(reply.partial) if reply.partial else None,
        )
        if heavy((reply, shown)) <= DRAWN_BYTES:
            # With the reply as it came, so that its id stays its own as long as the entry lives.
            self.shown[id(reply)] = (reply, shown)
        return shown

    def items(self, outcome: Outcome[T], native: bool) -> Iterator[T]:
        for item in outcome.reply.items:
            named = services_of(item)
            # A native query is for roles that see everything; an incident's timeline is asked of one that is seen.
            free = native or (isinstance(item, Entry) and item.service is None)
            unseen = [] if free else [name for name in named if not self.may_see(outcome.source, name)]
            self.hidden.update({name: True for name in unseen if name and not self.knows(name)})
            if not unseen:
                shown = item if self.veil is None else self.veil(item, self.environments(outcome.source, named))
                if shown is not None:
                    yield shown

    def environments(self, source: str, services: Sequence[str | None]) -> frozenset[str]:
        facts = [self.directory.facts(source, name) for name in services if name]
        return frozenset(environment for each in facts for environment in each.environments)

    def scrubbed(self, text: str) -> str:
        """What a source says in its own words, without the names of services that may not be seen."""
        for name in [name for name in self.hidden if len(name) >= LEAST_NAME and name in text]:
            text = text.replace(name, HIDDEN)
        return text


def heavy(pair: tuple[Reply[Any], Reply[Any]]) -> int:
    return weight((None, pair))


def services_of(item: Any) -> tuple[str | None, ...]:
    """The services that an item tells of; None for one that belongs to no service."""
    match item:
        case Service():
            return (item.name,)
        case Dependency():
            return item.caller, item.callee
        case _:
            return (getattr(item, "service", None) or None,)


async def view(engine: Engine, roles: frozenset[str], deadline: Deadline) -> Engine:
    """The engine as callers with these roles may see it. Where it takes a service's team or environment to
    decide, the sources are asked for their services first: the answer is cached like any other."""
    scope = engine.policy.scope(roles)
    native = all(scope.may_ask_natively(instance.name) for instance in engine.registry.instances)
    if scope.whole and native and scope.lookback_s is None:
        return engine
    outcomes = await listed(engine, deadline) if scope.needs_facts else []
    replies = [outcome.reply for outcome in outcomes]
    key = (roles, *map(id, replies))
    kept = engine.views.get(key)
    # With the replies, so that their ids stay theirs as long as the entry lives.
    made, _ = engine.views[key] = kept or (seen(engine, scope, outcomes), replies)
    return made


async def listed(engine: Engine, deadline: Deadline) -> list[Outcome[Service]]:
    now_ms = engine.clock_ms()
    return await engine.fanout.ask(ServiceQuery(Window(now_ms - RECENT_MS, now_ms)), deadline.half())


def seen(engine: Engine, scope: Scope, outcomes: Sequence[Outcome[Service]]) -> Engine:
    screen = Screen(engine.fanout, scope, directory_of(outcomes))
    lacking = [o.source for o in outcomes if o.status in ("failed", "partial") and scope.may_see_source(o.source)]
    return Engine(
        config=config_of(engine.config, screen),
        registry=registry_of(engine.registry, scope),
        fanout=engine.fanout,
        clock_ms=engine.clock_ms,
        seen=TTLCache(engine.seen.maxsize, engine.seen.ttl),
        screen=screen,
        native=scope.may_ask_natively,
        shows=screen.knows,
        remarks=(f"{LACKING} {', '.join(lacking)}",) if lacking else (),
    )


def registry_of(registry: Registry, scope: Scope) -> Registry:
    return replace(
        registry,
        instances=tuple(each for each in registry.instances if scope.may_see_source(each.name)),
        absent=tuple(each for each in registry.absent if scope.may_see_source(each.name)),
        unusable=registry.unusable if scope.whole else (),
    )


def config_of(config: Config, screen: Screen) -> Config:
    reach = screen.scope.lookback_s
    lookback = config.defaults.lookback if reach is None else min(reach, config.defaults.lookback)
    return replace(
        config,
        defaults=config.defaults.model_copy(update={"lookback": lookback}),
        catalog=Catalog({name: disowned(metric, screen) for name, metric in config.catalog.items()}),
        objectives={n: o for n, o in config.objectives.items() if shows(o, config.objectives, screen)},
        dependencies={
            caller: tuple(name for name in callees if screen.knows(name))
            for caller, callees in config.dependencies.items()
            if screen.knows(caller)
        },
        sources=[table for table in config.sources if table.name in screen.sources],
    )


def disowned(metric: Metric, screen: Screen) -> Metric:
    seen_owner = metric.owner is None or metric.owner in screen.sources
    return metric if seen_owner else metric.model_copy(update={"owner": None})


def shows(objective: Objective, all_of_them: Mapping[str, Objective], screen: Screen) -> bool:
    """Whether an objective's service may be seen, and those of all that a composite is made of."""
    if objective.service and not screen.knows(objective.service):
        return False
    members = [all_of_them[name] for name in objective.members if name in all_of_them]
    return all(shows(member, all_of_them, screen) for member in members)
