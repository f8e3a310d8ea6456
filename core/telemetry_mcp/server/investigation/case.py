"""What is investigated: an incident, or a service and a moment; and every question that this takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from telemetry_mcp.analysis.signal import KINDS, Kind, kind_of
from telemetry_mcp.catalog import echo, suggest
from telemetry_mcp.engine import Engine
from telemetry_mcp.errors import QuestionError
from telemetry_mcp.model import Incident, Outcome
from telemetry_mcp.question import (
    ChangeQuery,
    DependencyQuery,
    IncidentQuery,
    OnCallQuery,
    Question,
    RelatedQuery,
    SeriesQuery,
    TimelineQuery,
    Window,
)
from telemetry_mcp.server.argument import HOUR_MS, aligned, duration_s, moment_ms, reaches
from telemetry_mcp.server.call import Call
from telemetry_mcp.server.join import Joined, joined
from telemetry_mcp.text import plain

FOUND_WITHIN_MS = 30 * 24 * HOUR_MS
"""An incident that is named by its id is looked for so far back."""
BASELINE_S, GUARD_S = 7200.0, 900.0
LONGEST_BASELINE_S, LONGEST_GUARD_S = 24 * 3600.0, 6 * 3600.0
"""Every service and metric is read minute by minute for so long."""
GROWN = 4
"""The guard may grow to so many times itself, where something had begun before it."""
AFTER_MS = HOUR_MS
"""What an incident did later than this after its page says little of how it began."""
CHANGES_MS = 6 * HOUR_MS
AROUND_MS = HOUR_MS
MINUTE_MS = 60_000
SECONDS = "s"
SYMPTOMS: Mapping[str, Kind] = {"latency": "latency", "error": "error", "availability": "availability"}


@dataclass(frozen=True, slots=True)
class Case:
    """`page_ms` is when somebody was paged. `told` is the incident where one was named."""

    service: str
    page_ms: int
    now_ms: int
    symptom: Kind | None
    baseline_ms: int
    guard_ms: int
    told: Joined | None = None
    found_in: Sequence[Outcome[Incident]] = ()

    @property
    def end_ms(self) -> int:
        resolved = self.told.incident.resolved_ms if self.told else None
        ends = [self.now_ms, self.page_ms + AFTER_MS, *([max(resolved, self.page_ms)] if resolved else [])]
        return max(min(ends), min(self.page_ms + MINUTE_MS, self.now_ms))

    @property
    def window(self) -> Window:
        """Of the time series: the baseline, the guard as far as it may grow, and what came after the page."""
        return aligned(Window(self.page_ms - GROWN * self.guard_ms - self.baseline_ms, self.end_ms), MINUTE_MS)


@dataclass(frozen=True, slots=True)
class Questions:
    """Everything that is asked at the same moment. `only` names the source of what only one can answer."""

    near: SeriesQuery
    all: SeriesQuery
    dependencies: DependencyQuery
    changes: ChangeQuery
    incidents: IncidentQuery
    on_call: OnCallQuery
    of_incident: tuple[Question[Any], ...]
    only: Mapping[Question[Any], Sequence[str]]

    def listed(self) -> list[Question[Any]]:
        return [
            *(self.near, self.all, self.dependencies, self.changes, self.incidents, self.on_call),
            *self.of_incident,
        ]


async def case_of(
    call: Call,
    incident_id: str | None,
    service: str | None,
    start: str | None,
    symptom: str | None,
    lookback: str | None,
    guard: str | None,
) -> Case:
    """The case that the arguments mean. QuestionError where they mean none."""
    baseline_ms = length_ms(lookback, "lookback", BASELINE_S, LONGEST_BASELINE_S)
    guard_ms = length_ms(guard, "guard", GUARD_S, LONGEST_GUARD_S)
    if guard_ms >= baseline_ms:
        raise QuestionError("guard must be shorter than lookback: the baseline ends a guard before the page")
    kind = kind_named(symptom, call)
    if incident_id and (service or start):
        raise QuestionError("name either an incident_id, or a service and a start")
    if incident_id:
        told, outcomes = await incident_of(call, incident_id)
        incident = told.incident
        if not incident.service:
            raise QuestionError(
                f"the incident {echo(incident_id)} names no service; give service and start instead"
            )
        kind = kind or said_by(incident.title)
        paged_ms = min(incident.opened_ms, call.now_ms)  # the vendor's clock may run before ours
        made = Case(incident.service, paged_ms, call.now_ms, kind, baseline_ms, guard_ms, told, outcomes)
    elif service and start:
        page_ms, service = moment_ms(start, call.now_ms, "start"), plain(service)
        await call.service(service)
        made = Case(service, page_ms, call.now_ms, kind, baseline_ms, guard_ms)
    else:
        raise QuestionError("name an incident_id (from list_incidents), or a service and a start")
    if made.page_ms > call.now_ms:
        raise QuestionError("the start lies in the future")
    if not reaches(made.window.start_ms, call.now_ms, call.engine.config.defaults.lookback):
        raise QuestionError("that is further back than the configured look-back")
    return made


def length_ms(given: str | None, name: str, usual_s: float, longest_s: float) -> int:
    seconds = duration_s(given, name) if given else usual_s
    if seconds > longest_s:
        raise QuestionError(
            f"{name}={echo(given or '')} is more than {longest_s / 3600:g}h, the longest that is read"
        )
    return round(1000 * seconds)


def kind_named(symptom: str | None, call: Call) -> Kind | None:
    """A kind, the kind of a metric, or what the words are about. Where they say nothing: none, and a warning."""
    if not symptom:
        return None
    if symptom in KINDS:
        return next(kind for kind in KINDS if kind == symptom)
    catalog = call.engine.config.catalog
    metric = catalog.names.get(symptom, symptom)
    if metric in catalog.metrics:
        return kind_of(metric, catalog[metric].unit)
    kind = kind_of(symptom)
    if kind == kind_of(symptom, SECONDS):  # else its words say nothing, and only the unit made the difference
        return kind
    call.warnings.append(f"symptom={echo(symptom)} says nothing of what was wrong; valid: {', '.join(KINDS)}")
    return None


def said_by(title: str) -> Kind | None:
    """What an incident's title is about, as far as it says. Nothing else is read from it."""
    kind = kind_of(title)
    return kind if kind in SYMPTOMS else None


async def incident_of(call: Call, incident_id: str) -> tuple[Joined, list[Outcome[Incident]]]:
    window = Window(call.now_ms - FOUND_WITHIN_MS, call.now_ms)
    outcomes = await call.engine.front.ask(
        IncidentQuery(window), call.deadline.half(), fresh=call.fresh, progress=call.progress
    )
    known = joined(outcomes, call.engine.registry.having("on_call"))
    for each in known:
        if any(told.incident.id == incident_id for told in (each.first, *each.others)):
            return each, outcomes
    failed = [outcome.source for outcome in outcomes if outcome.status in ("failed", "partial")]
    lacking = f". It may be one of {', '.join(failed)}, whose list could not be had whole" if failed else ""
    ids = [told.incident.id for each in known for told in (each.first, *each.others)]
    raise QuestionError(
        f"no incident of the last 30 days has the id {echo(incident_id)}{suggest(incident_id, ids)}{lacking}"
    )


def questions(case: Case, engine: Engine) -> Questions:
    """One fan-out: the affected service and what it calls by configuration, all services, and the rest."""
    window, around = case.window, Window(case.page_ms - AROUND_MS, case.end_ms)
    near = (case.service, *engine.config.dependencies.get(case.service, ()))
    of_incident: dict[Question[Any], list[str]] = {}
    for told in (case.told.first, *case.told.others) if case.told else ():
        able = engine.registry[told.source].capabilities
        if "timeline" in able:
            of_incident.setdefault(TimelineQuery(told.incident.id), []).append(told.source)
        if "related" in able:
            of_incident.setdefault(RelatedQuery(told.incident.id), []).append(told.source)
    return Questions(
        near=SeriesQuery(near, engine.metrics, window, MINUTE_MS),
        all=SeriesQuery((), engine.metrics, window, MINUTE_MS),
        dependencies=DependencyQuery(around),
        changes=ChangeQuery(Window(case.page_ms - CHANGES_MS, case.end_ms)),
        incidents=IncidentQuery(around),
        on_call=OnCallQuery(Window(case.now_ms, case.now_ms + MINUTE_MS), (case.service,)),
        of_incident=tuple(of_incident),
        only=of_incident,
    )
