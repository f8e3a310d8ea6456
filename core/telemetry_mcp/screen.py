"""What stands before the fan-out for one caller: questions leave without what it may not see, and so do answers
come back."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import count
from typing import Any, TypeVar

from cachetools import LRUCache

from telemetry_mcp.access.injection import instructing
from telemetry_mcp.access.policy import UNKNOWN, Facts, Scope
from telemetry_mcp.derivation import KEPT_BYTES, weight
from telemetry_mcp.fanout import Deadline, Fanout, Progress, side_by_side
from telemetry_mcp.model import Dependency, Entry, Failure, OnCall, Outcome, Reply, Series, Service
from telemetry_mcp.outcome import missing, narrow, status_of, unsupported
from telemetry_mcp.question import (
    ChangeQuery,
    CheckQuery,
    DependencyQuery,
    IncidentQuery,
    NativeQuery,
    Question,
    SloQuery,
    Window,
)
from telemetry_mcp.registry import Instance
from telemetry_mcp.veil import Masks, Notes, Veil, called, holding, mask_is_for

T = TypeVar("T")

MINUTE_MS = 60_000
HIDDEN = "(not shown)"
LEAST_NAME = 3
"""Shorter names are not searched for in texts: they are in half of all words."""
MOST_NAMES = 10_000
MOST_TEXTS = 256
PARTS = count(1)
"""Tell one screen's share in what all of them keep together from that of the others."""
LISTS = (IncidentQuery, ChangeQuery, DependencyQuery, SloQuery)
"""Asked over windows of the tools' own, which may begin before a role's look-back does."""


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


def directory_of(told: Mapping[str, Reply[Service]]) -> Directory:
    """By source. A service that one source lists several times is all that it says of it."""
    own: dict[tuple[str, str], Facts] = {}
    for source, reply in told.items():
        for item in reply.items:
            known = own.get((source, item.name), UNKNOWN)
            own[source, item.name] = Facts(
                known.teams | ({item.team} if item.team else set()),
                known.environments | ({item.environment} if item.environment else set()),
            )
    return Directory(own, frozenset(service for _, service in own))


class Screen:
    """Stands before the fan-out for the callers of one scope. Takes part in `Asking`."""

    def __init__(
        self, fanout: Fanout, scope: Scope, directory: Directory, veil: Veil, shown: LRUCache[Any, Any]
    ) -> None:
        self.fanout = fanout
        self.scope = scope
        self.directory = directory
        self.veil = veil
        self.shown = shown
        self.part = next(PARTS)
        registry = fanout.registry
        named = [*(i.name for i in registry.instances), *(a.name for a in registry.absent)]
        self.sources = [name for name in named if scope.may_see_source(name)]
        seen = [instance for instance in registry.instances if instance.name in self.sources]
        self.blind = any("services" not in i.capabilities and "series" in i.capabilities for i in seen)
        """Whether a source that may be seen may have services which no list names."""
        self.names: LRUCache[str, bool] = LRUCache(MOST_NAMES)
        """Names in lower case that were met so far, and whether they may be seen: of services, and of sources that
        may not."""
        self.names.update({name.lower(): False for name in named if name not in self.sources})
        self.sights: LRUCache[tuple[str, str | None], bool] = LRUCache(MOST_NAMES)
        self.scrubs: LRUCache[tuple[str, int], str] = LRUCache(MOST_TEXTS)
        self.learn(directory.names)
        self.rules: LRUCache[Any, Masks] = LRUCache(MOST_NAMES)

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
            return self.nothing(named, question)

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
        """The question without the services that may not be seen, and no further back than the look-back; None
        where nothing is left of it: without any service it would mean all of them."""
        changed: dict[str, Any] = {}
        services: tuple[str, ...] = getattr(question, "services", ())
        visible = services if self.scope.whole else tuple(name for name in services if self.knows(name))
        if visible != services:
            if not visible:
                return None
            changed["services"] = visible
        if self.scope.lookback_s is not None and isinstance(question, LISTS):
            first_ms = self.fanout.clock_ms() - round(self.scope.lookback_s * 1000)
            first_ms = (first_ms // MINUTE_MS - 1) * MINUTE_MS
            window = question.window
            if window.end_ms <= first_ms:
                return None
            if window.start_ms < first_ms:
                changed["window"] = Window(first_ms, window.end_ms)
        return replace(question, **changed) if changed else question  # type: ignore[type-var]

    def knows(self, service: str) -> bool:
        """Whether the service may be seen at any source."""
        if not any(self.may_see(source, service) for source in self.sources):
            return False
        # What only hidden sources list, nobody here has heard of; what nobody lists may be anywhere.
        listed = service in self.directory.names and not self.blind
        return not listed or any((source, service) in self.directory.own for source in self.sources)

    def may_see(self, source: str, service: str | None) -> bool:
        known = self.sights.get((source, service))
        if known is None:
            facts = self.directory.facts(source, service) if service else UNKNOWN
            known = self.scope.may_see(source=source, service=service, facts=facts)
            self.sights[source, service] = known
        return known

    def learn(self, services: Iterable[str | None]) -> None:
        """Names that sources may use in their own words from now on."""
        for service in services:
            name = (service or "").lower()
            if service and not self.scope.whole and (name not in self.names or name != service):
                self.names[name] = self.names.get(name, False) or self.knows(service)

    def nothing(self, named: Sequence[str], question: Question[Any]) -> list[Outcome[Any]]:
        """What sources say of a service that there is not."""

        def line(instance: Instance) -> Outcome[Any]:
            if narrow(instance, question) is None:
                return unsupported(instance, question)
            return Outcome(instance.name, instance.plugin, "no_data", Reply(), 0.0)

        registry = self.fanout.registry
        lines = [line(instance) for instance in registry.instances if instance.name in named]
        return [*lines, *(missing(each) for each in registry.broken if each.name in named)]

    def screened(self, outcome: Outcome[T], question: Question[T]) -> Outcome[T]:
        bare = self.scope.whole and self.veil.idle
        if bare or outcome.status == "skipped" or isinstance(question, CheckQuery):
            return outcome
        if outcome.failure is not None:
            return self.excused(outcome, outcome.failure)
        reply = self.shown_of(outcome, question)
        return outcome if reply is outcome.reply else replace(outcome, reply=reply, status=status_of(reply))

    def excused(self, outcome: Outcome[T], failure: Failure) -> Outcome[T]:
        """A failure, which is in words of the source's own."""
        notes = Notes()
        if self.veil.detect and instructing(failure.message):
            notes.orders.append("why it failed")
        told = replace(failure, message=self.told(failure.message), hint=self.told(failure.hint))
        return replace(outcome, failure=told, reply=Reply(warnings=tuple(notes.warnings())))

    def shown_of(self, outcome: Outcome[T], question: Question[T]) -> Reply[T]:
        reply = outcome.reply
        key = (self.part, id(reply))
        kept = self.shown.get(key)
        if kept is not None:
            shown: Reply[T] = kept[0]
            return shown
        notes = Notes()
        items = list(self.items(outcome, question, notes))
        same = len(items) == len(reply.items) and all(map(is_one, items, reply.items))
        words = (reply.partial or "", *reply.queries, *reply.warnings)
        if self.veil.detect and any(map(instructing, words)):
            notes.orders.append("its own words")
        partial, *rest = map(self.told, words)
        queries, warnings = rest[: len(reply.queries)], rest[len(reply.queries) :]
        if same and not notes.warnings() and (partial, *rest) == words:
            shown = reply
        else:
            shown = Reply(items, queries, [*notes.warnings(), *warnings], partial or None)
        if weight((shown, (reply, shown))) <= KEPT_BYTES:
            # With the reply as it came, so that its id stays its own as long as the entry lives.
            self.shown[key] = (shown, (reply, shown))
        return shown

    def items(self, outcome: Outcome[T], question: Question[T], notes: Notes) -> Iterator[T]:
        source, items = outcome.source, outcome.reply.items
        told_of = [() if is_free(item, question) else services_of(item) for item in items]
        self.learn(dict.fromkeys(name for named in told_of for name in named))
        hiding = set(outcome.reply.concealing) if self.veil.detect else ()
        for place, (item, named) in enumerate(zip(items, told_of, strict=True)):
            if not self.scope.whole and not all(self.may_see(source, name) for name in named):
                continue
            if place in hiding:
                notes.orders.append(f"{called(item)}, with invisible characters")
            shown = self.veil.over(self.quoted(item), self.masks(source, named), notes)
            if shown is not None:
                yield shown

    def quoted(self, item: T) -> T:
        """A series is shown with its query, which may name more than what it is of."""
        query = self.scrubbed(item.query) if isinstance(item, Series) and item.query else ""
        return replace(item, query=query) if isinstance(item, Series) and query != item.query else item

    def masks(self, source: str, services: tuple[str | None, ...]) -> Masks:
        """Those that hold for a thing of these services, as this source tells it."""
        if not self.veil.masks:
            return {}
        key = (source, services)
        if key not in self.rules:
            facts = [self.directory.facts(source, name) if name else UNKNOWN for name in services]
            there = [each.environments for each in facts]
            self.rules[key] = holding(
                self.veil.masks,
                lambda mask: (
                    mask_is_for(mask, services, there) and not self.scope.unmasked(mask, source, services, facts)
                ),
            )
        return self.rules[key]

    def told(self, text: str) -> str:
        """What a source says in its own words, as far as it may be seen."""
        return self.veil.text(self.scrubbed(text)) if text else text

    def scrubbed(self, text: str) -> str:
        """Without the names that may not be seen, as far as they are known here. Where such a name is part of
        one that may be seen, it stays."""
        if self.scope.whole:
            return text
        key = (text, len(self.names))
        if key not in self.scrubs:
            self.scrubs[key] = self.without_hidden(text)
        return self.scrubs[key]

    def without_hidden(self, text: str) -> str:
        lower = text.lower()
        found = [name for name in self.names if name in lower and len(name) >= LEAST_NAME]
        hidden = {name for name in found if not self.names[name]}
        if not hidden:
            return text
        either = "|".join(re.escape(name) for name in sorted(found, key=len, reverse=True))
        return re.sub(either, lambda m: HIDDEN if m[0].lower() in hidden else m[0], text, flags=re.IGNORECASE)


def is_one(one: object, other: object) -> bool:
    return one is other


def is_free(item: Any, question: Question[Any]) -> bool:
    """Whether an item needs no service to be seen. A native query is for roles that see everything; a timeline
    is asked of an incident that is seen, and who is on call of services that are."""
    if isinstance(question, NativeQuery):
        return True
    alone = isinstance(item, Entry) or (isinstance(item, OnCall) and bool(getattr(question, "services", ())))
    return alone and item.service is None


def services_of(item: Any) -> tuple[str | None, ...]:
    """The services that an item tells of; None for one that belongs to no service."""
    match item:
        case Service():
            return (item.name,)
        case Dependency():
            return item.caller, item.callee
        case _:
            return (getattr(item, "service", None) or None,)
