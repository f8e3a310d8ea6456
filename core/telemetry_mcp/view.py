"""An engine as one caller may see it: of its sources, services and objectives those that the caller's roles let
through, and nothing that tells of the others. Tools work on it as on any engine, so that none of them can forget
to ask."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from cachetools import TTLCache

from telemetry_mcp.access.caller import Caller
from telemetry_mcp.access.policy import Scope, is_all
from telemetry_mcp.access.pseudonym import Pseudonyms
from telemetry_mcp.catalog import BUILT_IN, Catalog, Metric
from telemetry_mcp.config import Config
from telemetry_mcp.engine import Engine
from telemetry_mcp.fanout import Deadline
from telemetry_mcp.model import Reply, Service
from telemetry_mcp.objective.setting import Objective
from telemetry_mcp.question import ServiceQuery, Window
from telemetry_mcp.registry import Registry
from telemetry_mcp.screen import Screen, directory_of
from telemetry_mcp.veil import Masks, Veil

RECENT_MS = 3_600_000
"""A service is judged by what the sources said of it within the last hour."""
LACKING = (
    "services are shown by team or environment, and those that only these could tell of are left out, for their "
    "list could not be had:"
)
PATIENCE_S = 0.4
"""How long the first caller of a view waits for the names that are to be kept out of the sources' own words."""
OWN_METRIC = "slo:"
"""Begins the name of a metric that one objective alone asks for."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What callers with the same roles see, whoever they are and whatever the sources say.

    `bare`: all that there is, as it is. `own`: pseudonyms, which differ from caller to caller. `placed`: what is
    seen depends on the teams and environments of services, which the sources tell.
    """

    scope: Scope
    masks: Masks
    bare: bool
    own: bool
    placed: bool


def outlook_of(engine: Engine, roles: frozenset[str]) -> Outlook:
    scope = engine.policy.scope(roles)
    masks = engine.policy.masks(scope)
    sources = [instance.name for instance in engine.registry.instances]
    free = scope.whole and scope.lookback_s is None and all(map(scope.may_ask_natively, sources))
    placed = any(not is_all(mask.environments) for mask in masks.values()) or scope.needs_facts
    return Outlook(
        scope=scope,
        masks=masks,
        bare=free and not masks and not engine.config.access.detect,
        own=any(mask.action == "pseudonymise" for mask in masks.values()),
        placed=placed or not all(map(scope.may_see_source, sources)),
    )


async def view(engine: Engine, roles: frozenset[str], caller: Caller, deadline: Deadline) -> Engine:
    """The engine as a caller with these roles may see it. Where it takes a service's team or environment to
    decide, the sources are asked for their services first: the answer is cached like any other."""
    outlook = engine.outlooks.get(roles)
    if outlook is None:
        outlook = engine.outlooks[roles] = outlook_of(engine, roles)
    if outlook.bare:
        return engine
    scope, masks = outlook.scope, outlook.masks
    subject = f"{caller.kind}:{caller.subject}" if outlook.own else ""
    told = await listed(engine, deadline.half()) if outlook.placed else {}
    key = (roles, subject, *map(id, told.values()))
    kept = engine.views.get(key)
    if kept is None:
        if not told and not scope.whole:
            await listed(engine, Deadline(PATIENCE_S))
        veil = veil_of(engine, scope, masks, subject)
        # With the replies, so that their ids stay theirs as long as the entry lives.
        kept = engine.views[key] = (seen(engine, scope, told, veil), told)
    made: Engine = kept[0]
    return made


def veil_of(engine: Engine, scope: Scope, masks: Masks, subject: str) -> Veil:
    access = engine.config.access
    return Veil(
        masks,
        engine.config.catalog,
        Pseudonyms(access.secret.get_secret_value(), subject) if access.secret else None,
        access.detect,
        any(role.emails for role in scope.roles),
    )


NOT_TOLD: Reply[Service] = Reply()
"""Of a source that has never said which services it has."""


async def listed(engine: Engine, deadline: Deadline) -> dict[str, Reply[Service]]:
    """What each source says of its services; one that cannot say it now, what it said last: nobody sees more
    because a source is down."""
    now_ms = engine.clock_ms()
    window = Window(now_ms - RECENT_MS, now_ms)
    outcomes = await engine.fanout.ask(ServiceQuery(window), deadline)
    asked = [outcome for outcome in outcomes if outcome.status != "skipped"]
    engine.told.update({o.source: o.reply for o in asked if o.status in ("ok", "no_data")})
    return {o.source: engine.told.get(o.source, o.reply if o.answered else NOT_TOLD) for o in asked}


def seen(engine: Engine, scope: Scope, told: Mapping[str, Reply[Service]], veil: Veil) -> Engine:
    screen = Screen(engine.fanout, scope, directory_of(told or engine.told), veil, engine.shown)
    lacking = [s for s, reply in told.items() if reply is NOT_TOLD or reply.partial]
    lacking = [source for source in lacking if scope.may_see_source(source)]
    return Engine(
        config=config_of(engine, screen),
        registry=registry_of(engine.registry, scope),
        fanout=engine.fanout,
        clock_ms=engine.clock_ms,
        seen=TTLCache(engine.seen.maxsize, engine.seen.ttl),
        derivations=engine.derivations,
        shown=engine.shown,
        screen=screen,
        native=scope.may_ask_natively,
        shows=screen.knows,
        whole=scope.whole,
        remarks=(f"{LACKING} {', '.join(lacking)}",) if lacking and scope.needs_facts else (),
    )


def registry_of(registry: Registry, scope: Scope) -> Registry:
    return replace(
        registry,
        instances=tuple(each for each in registry.instances if scope.may_see_source(each.name)),
        absent=tuple(each for each in registry.absent if scope.may_see_source(each.name)),
        unusable=registry.unusable if scope.whole else (),
    )


def config_of(engine: Engine, screen: Screen) -> Config:
    config, reach = engine.config, screen.scope.lookback_s
    lookback = config.defaults.lookback if reach is None else min(reach, config.defaults.lookback)
    defaults = config.defaults.model_copy(update={"lookback": lookback})
    if screen.scope.whole:
        return replace(config, defaults=defaults)
    objectives = {n: o for n, o in config.objectives.items() if shows(o, config.objectives, screen)}
    return replace(
        config,
        defaults=defaults,
        catalog=Catalog(dict(metrics_of(engine, objectives.values(), screen))),
        objectives=objectives,
        dependencies={
            caller: tuple(name for name in callees if screen.knows(name))
            for caller, callees in config.dependencies.items()
            if screen.knows(caller)
        },
        sources=[table for table in config.sources if table.name in screen.sources],
    )


def metrics_of(engine: Engine, objectives: Iterable[Objective], screen: Screen) -> Iterator[tuple[str, Metric]]:
    """The catalog without what only sources and objectives have that may not be seen."""
    own = {str(query) for objective in objectives for _, query in objective.parts()}
    for name, metric in engine.config.catalog.items():
        offering = [each.name for each in engine.registry.instances if each.offers(name)]
        there = not offering or any(source in screen.sources for source in offering) or name in BUILT_IN
        if name in own if name.startswith(OWN_METRIC) else there:
            seen_owner = metric.owner is None or metric.owner in screen.sources
            yield name, metric if seen_owner else metric.model_copy(update={"owner": None})


def shows(objective: Objective, all_of_them: Mapping[str, Objective], screen: Screen) -> bool:
    """Whether an objective's service may be seen, at the sources that it names; of a composite, those of all that
    it is made of."""
    if objective.service and not screen.knows(objective.service):
        return False
    if not all(
        source in screen.sources and screen.may_see(source, objective.service) for source in objective.sources
    ):
        return False
    members = [all_of_them[name] for name in objective.members if name in all_of_them]
    return all(shows(member, all_of_them, screen) for member in members)
