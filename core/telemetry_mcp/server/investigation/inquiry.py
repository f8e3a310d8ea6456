"""What the sources' answers come to: signals ranked, edges joined, and what could not be looked at."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from telemetry_mcp.analysis.correlation import Ranking, rank
from telemetry_mcp.analysis.evidence import LATE_STEPS
from telemetry_mcp.analysis.signal import Change as Changed
from telemetry_mcp.analysis.signal import Signal, kind_of
from telemetry_mcp.catalog import Catalog
from telemetry_mcp.engine import Engine
from telemetry_mcp.merge import Merged, merge
from telemetry_mcp.model import Change, Dependency, Incident, Outcome, Series
from telemetry_mcp.server.changes import united
from telemetry_mcp.server.envelope import newest_ms
from telemetry_mcp.server.investigation.case import MINUTE_MS, Case, Questions
from telemetry_mcp.server.join import Joined, joined

CONFIGURED = "plugins.toml"
CHANGES = "changes"
MOST_NAMED = 6

Edge = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Blind:
    """A source that did not give what it has, and `why`. `metrics` are those of its own that nobody told of in its
    place for every service; all of its own, where others told of each."""

    source: str
    metrics: tuple[str, ...]
    why: str = "could not be heard"


@dataclass(frozen=True, slots=True)
class Inquiry:
    """`merged` are the series that hold numbers, by service and metric. `edges` say who tells of them. `untold`
    are kinds of answers that sources owe, in words."""

    case: Case
    ranking: Ranking
    merged: Mapping[tuple[str, str], Merged]
    edges: Mapping[Edge, list[str]]
    changes: Sequence[tuple[Change, list[str]]]
    incidents: Sequence[Joined]
    blind: Sequence[Blind]
    untold: Sequence[str] = ()
    warnings: Sequence[str] = field(default_factory=list)

    @property
    def services(self) -> list[str]:
        """Those of which there are numbers."""
        return list(dict.fromkeys(service for service, _ in self.merged))

    @property
    def judged(self) -> list[tuple[str, str]]:
        """The service and metric of all that could be compared with what was usual."""
        lacking = {(each.service, each.metric) for each in self.ranking.not_examined}
        return [key for key in self.merged if key not in lacking]

    @property
    def silent(self) -> list[str]:
        """The services that have reported, and no metric of which could be judged."""
        judged = {service for service, _ in self.judged}
        return [service for service in self.services if service not in judged]

    def callers(self, service: str) -> list[str]:
        """Who calls it, directly or by way of others, the nearest first."""
        found: dict[str, None] = {service: None}
        todo = {service}
        while todo:
            near = dict.fromkeys(caller for caller, callee in self.edges if callee in todo)
            todo = near.keys() - found.keys()
            found |= {name: None for name in near if name in todo}
        return [name for name in found if name != service]


Answers = Mapping[Any, Sequence[Outcome[Any]]]


def inquiry(case: Case, asked: Questions, answers: Answers, engine: Engine) -> Inquiry:
    """All the maths of an investigation: it is for a worker thread."""
    catalog = engine.config.catalog
    series = fullest(answers[asked.all], answers[asked.near])
    merged = merge(series, catalog, case.window, MINUTE_MS)
    changes = united(answers[asked.changes])
    edges = edges_of(answers[asked.dependencies], engine.config.dependencies)
    ranking = rank(
        case.page_ms,
        [signal(each, catalog) for each in merged],
        dependencies=list(edges),
        changes=[Changed(c.service or "", c.at_ms, c.id) for c, _ in changes if c.at_ms <= case.end_ms],
        symptom=(case.service, case.symptom) if case.symptom else None,
        baseline_ms=case.baseline_ms,
        guard_ms=case.guard_ms,
    )
    return Inquiry(
        case=case,
        ranking=ranking,
        merged={(m.service, m.metric): m for m in merged if np.isfinite(m.values).any()},
        edges=edges,
        changes=changes,
        incidents=joined(answers[asked.incidents], engine.registry.having("on_call")),
        blind=[
            *blind(series, answers[asked.all], engine, services_of(case, merged, edges)),
            *late(answers[asked.all], ranking, case.page_ms),
        ],
        untold=list(untold(asked, answers)),
        warnings=[warning for m in merged for warning in m.warnings],
    )


def signal(merged: Merged, catalog: Catalog) -> Signal:
    kind = kind_of(merged.metric, catalog[merged.metric].unit)
    return Signal(merged.service, merged.metric, kind, merged.timestamps_ms, merged.values)


def fullest(all_of: Sequence[Outcome[Series]], near: Sequence[Outcome[Series]]) -> list[Outcome[Series]]:
    """For each source what it told of all services; where it could not, at least of the affected ones."""
    nearer = {outcome.source: outcome for outcome in near}
    return [
        nearer[one.source] if one.status == "failed" and nearer[one.source].answered else one for one in all_of
    ]


def edges_of(
    outcomes: Iterable[Outcome[Dependency]], configured: Mapping[str, Sequence[str]]
) -> dict[Edge, list[str]]:
    told = [((edge.caller, edge.callee), outcome.source) for outcome in outcomes for edge in outcome.reply.items]
    told += [((caller, callee), CONFIGURED) for caller, callees in configured.items() for callee in callees]
    found: dict[Edge, list[str]] = {}
    for (caller, callee), source in dict.fromkeys(told):
        if caller != callee:
            found.setdefault((caller, callee), []).append(source)
    return found


def services_of(case: Case, merged: Iterable[Merged], edges: Iterable[Edge]) -> set[str]:
    return {case.service, *(each.service for each in merged), *(name for edge in edges for name in edge)}


def blind(
    outcomes: Sequence[Outcome[Series]], of_all: Sequence[Outcome[Series]], engine: Engine, known: Collection[str]
) -> Iterator[Blind]:
    """The sources that failed or told only a part. `of_all` is what each told of all services, `outcomes` what is
    used of it, `known` are the services that ought to be told of."""
    instances = {instance.name: instance for instance in engine.registry.instances}
    lacking = {
        one.source: why for one, whole in zip(outcomes, of_all, strict=True) if (why := unheard(one, whole))
    }
    told = {(s.service, s.metric) for one in outcomes if one.source not in lacking for s in one.reply.items}
    for source, why in lacking.items():
        own = [m for m in engine.metrics if source in instances and instances[source].offers(m)]
        missing = [metric for metric in own if any((service, metric) not in told for service in known)]
        yield Blind(source, tuple(missing or own), why)


def unheard(used: Outcome[Series], whole: Outcome[Series]) -> str | None:
    if used.status == "failed":
        return "could not be heard"
    if whole.status == "failed":
        return "could only be heard on the affected services"
    return "told only a part" if whole.status == "partial" else None


def late(outcomes: Iterable[Outcome[Series]], ranking: Ranking, page_ms: int) -> Iterator[Blind]:
    """The sources whose numbers all end before the page, where nobody else told what they lack."""
    unjudged = {(each.service, each.metric) for each in ranking.not_examined}
    for outcome in outcomes:
        newest = newest_ms([outcome])
        lost = dict.fromkeys(s.metric for s in outcome.reply.items if (s.service, s.metric) in unjudged)
        if outcome.status == "ok" and lost and newest is not None and newest < page_ms - LATE_STEPS * MINUTE_MS:
            yield Blind(outcome.source, tuple(lost), "told nothing as late as the page")


def untold(asked: Questions, answers: Answers) -> Iterable[str]:
    kinds: dict[Any, str] = {
        asked.dependencies: "dependencies",
        asked.changes: CHANGES,
        asked.incidents: "alerts",
        asked.on_call: "people on call",
    }
    unasked = [words for q, words in kinds.items() if all(outcome.status == "skipped" for outcome in answers[q])]
    if unasked:
        yield f"{', '.join(unasked)} (no source tells of them)"
    for question in asked.of_incident:
        kinds[question] = "the timeline" if question.method == "list_timeline" else "related incidents"
    for question, words in kinds.items():
        for outcome in answers[question]:
            if outcome.status in ("failed", "partial"):
                yield f"{words} of {outcome.source} ({'failed' if outcome.status == 'failed' else 'a part only'})"


def of_kind(outcomes: Iterable[Outcome[Any]]) -> list[tuple[Any, str]]:
    return [(item, outcome.source) for outcome in outcomes for item in outcome.reply.items]


def alerts(found: Inquiry) -> list[tuple[Incident, str]]:
    """What fired around the page, apart from the incident itself."""
    told = found.case.told
    own = {(each.source, each.incident.id) for each in (told.first, *told.others)} if told else set()
    return [
        (each.incident, each.first.source)
        for each in found.incidents
        if not any((one.source, one.incident.id) in own for one in (each.first, *each.others))
    ]
