"""investigate_incident: one question instead of twenty minutes of tabs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from telemetry_mcp.catalog import Catalog
from telemetry_mcp.model import Incident, OnCall, Outcome
from telemetry_mcp.server.call import Call
from telemetry_mcp.server.envelope import envelope, iso, rounded, span
from telemetry_mcp.server.investigation.case import MINUTE_MS, Case, case_of, questions
from telemetry_mcp.server.investigation.inquiry import MOST_NAMED, Inquiry, inquiry, of_kind
from telemetry_mcp.server.investigation.shape import (
    Conclusion,
    Duty,
    Edge,
    Investigation,
    Page,
    Similar,
    Suspect,
)
from telemetry_mcp.server.investigation.story import story
from telemetry_mcp.server.investigation.suspect import (
    MOST_CHANGES,
    MOST_SUSPECTS,
    candidates,
    deviating,
    suspects_of,
)
from telemetry_mcp.server.investigation.timeline import MOST_MOMENTS, nearest, timeline
from telemetry_mcp.text import capped, clean, cleaned, few

MOST_SIMILAR, MOST_DUTIES, MOST_EDGES, MOST_UNEXAMINED = 4, 6, 20, 12
PAGE = "i1"
NO_SERIES = "no series of it"


async def answer(
    call: Call,
    incident_id: str | None,
    service: str | None,
    start: str | None,
    symptom: str | None,
    lookback: str | None,
    guard: str | None,
) -> Investigation:
    case = await case_of(call, incident_id, service, start, symptom, lookback, guard)
    asked = questions(case, call.engine)
    listed = asked.listed()
    outcomes = await call.ask_all(*listed, only=asked.only)
    answers = dict(zip(listed, outcomes, strict=True))
    found = await call.engine.derivations.alone(lambda: inquiry(case, asked, answers, call.engine))
    of_incident = [outcome for question in asked.of_incident for outcome in answers[question]]
    told = investigated(found, of_incident, answers[asked.on_call], call.engine.config.catalog)
    ledger = [outcomes for question, outcomes in answers.items() if question is not asked.near]
    more = (*call.warnings, *told.warnings, *dict.fromkeys(found.warnings))
    return told.model_copy(update=envelope(case.found_in, *ledger, more=more))


def investigated(
    found: Inquiry, of_incident: Sequence[Outcome[Any]], on_call: Sequence[Outcome[OnCall]], catalog: Catalog
) -> Investigation:
    case = found.case
    page = page_of(case)
    changes = candidates(found)
    standing_out = deviating(found)
    suspects = suspects_of(standing_out, found, catalog, changes)
    near = relevant(found, suspects)
    edges = [
        Edge(evidence=f"d{n}", caller=caller, callee=callee, sources=sources)
        for n, ((caller, callee), sources) in enumerate(near[:MOST_EDGES], 1)
    ]
    alike = [(item, source) for item, source in of_kind(of_incident) if isinstance(item, Incident)]
    similar = [like(f"p{n}", item, source) for n, (item, source) in enumerate(alike[:MOST_SIMILAR], 1)]
    conclusion = concluded(found, suspects)
    moments = timeline(found, page, suspects, changes, of_incident)
    duties = of_kind(on_call)
    radius = found.callers(suspects[0].service if suspects else case.service)
    gaps = list(unexamined(found))
    shown = (
        ("suspects", standing_out, MOST_SUSPECTS),
        ("changes", found.changes, MOST_CHANGES),
        ("moments of the timeline", moments, MOST_MOMENTS),
        ("similar incidents", alike, MOST_SIMILAR),
        ("people on call", duties, MOST_DUTIES),
        ("services of the blast radius", radius, MOST_EDGES),
        ("dependencies", near, MOST_EDGES),
    )
    return Investigation(
        incident=page,
        conclusion=conclusion,
        summary=story(found, conclusion, page, suspects, changes, edges, similar),
        suspects=suspects,
        timeline=nearest(moments, case.page_ms),
        changes=changes,
        similar=similar,
        on_call=[duty(item, source) for item, source in duties[:MOST_DUTIES]],
        blast_radius=radius[:MOST_EDGES],
        dependencies=edges,
        not_examined=capped(gaps, MOST_UNEXAMINED),
        baseline={
            "start": iso(found.ranking.baseline_start_ms) or "",
            "end": iso(found.ranking.baseline_end_ms) or "",
        },
        window=span(case.window, MINUTE_MS),
        warnings=[f"{most} of {len(rows)} {what} are shown" for what, rows, most in shown if len(rows) > most],
    )


def concluded(found: Inquiry, suspects: Sequence[Suspect]) -> Conclusion:
    """With a source that was not heard, or a service that could not be judged, it is uncertain: what is most
    unusual of the rest need not be the cause. So it is where the service that was paged has no series, and the
    others did nothing unusual."""
    if not found.judged:
        return "unknown"
    if found.blind or found.silent:
        return "uncertain"
    if suspects:
        return "suspects"
    return "no_deviation" if found.case.service in found.services else "uncertain"


def page_of(case: Case) -> Page:
    if case.told is None:
        return Page(evidence=PAGE, id=None, service=case.service, at=iso(case.page_ms) or "")
    incident = case.told.incident
    return Page(
        evidence=PAGE,
        id=incident.id,
        service=case.service,
        at=iso(case.page_ms) or "",
        title=clean(incident.title),
        status=incident.status,
        urgency=incident.urgency,
        severity=incident.severity,
        acknowledged=iso(incident.acknowledged_ms),
        resolved=iso(incident.resolved_ms),
        url=cleaned(incident.url),
        source=case.told.first.source,
        also=case.told.also or None,
    )


def relevant(found: Inquiry, suspects: Sequence[Suspect]) -> list[tuple[tuple[str, str], list[str]]]:
    """The edges next to the paged service and the two that stand out most."""
    named = {found.case.service, *(each.service for each in suspects[:2])}
    return [(edge, sources) for edge, sources in found.edges.items() if named & set(edge)]


def like(evidence: str, incident: Incident, source: str) -> Similar:
    return Similar(
        evidence=evidence,
        id=incident.id,
        title=clean(incident.title),
        opened=iso(incident.opened_ms) or "",
        relation=incident.relation or "related",
        source=source,
        service=incident.service,
        resolved=iso(incident.resolved_ms),
        score=rounded(incident.score),
        url=cleaned(incident.url),
    )


def duty(turn: OnCall, source: str) -> Duty:
    return Duty(
        person=clean(turn.person, 80),
        level=turn.level,
        source=source,
        policy=cleaned(turn.policy, 80),
        until=iso(turn.end_ms),
    )


def unexamined(found: Inquiry) -> Iterator[str]:
    """What is missing of whole sources first, then of services, then of single metrics."""
    for source in found.blind:
        yield f"{', '.join(source.metrics) or 'metrics'} of {source.source}: it {source.why}"
    yield from found.untold
    yield from unmeasured(found)


def unmeasured(found: Inquiry) -> Iterator[str]:
    """The paged service first, then whole services, then single metrics; those of one reason in one row."""
    seen, paged = set(found.services), found.case.service
    lacking = dict.fromkeys(name for name in (paged, *chain(*found.edges)) if name not in seen)
    if paged in lacking:
        yield f"{clean(paged)}: {NO_SERIES}"
    rows: dict[tuple[str, str], list[str]] = {("", NO_SERIES): [name for name in lacking if name != paged]}
    for each in found.ranking.not_examined:
        if each.service not in lacking:
            rows.setdefault((f"{each.metric} of " if each.metric else "", each.reason), []).append(each.service)
    for (what, reason), services in rows.items():
        if services:
            yield f"{what}{few([clean(name) for name in services], MOST_NAMED)}: {reason}"
