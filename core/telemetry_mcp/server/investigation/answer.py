"""investigate_incident: one question instead of twenty minutes of tabs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import chain
from typing import Any

from anyio import to_thread

from telemetry_mcp.analysis.correlation import Suspect as Ranked
from telemetry_mcp.catalog import Catalog
from telemetry_mcp.model import Entry, Incident, OnCall, Outcome
from telemetry_mcp.server.call import Call
from telemetry_mcp.server.changes import SAME_MS
from telemetry_mcp.server.envelope import envelope, iso, rounded, span
from telemetry_mcp.server.investigation.case import CHANGES_MS, MINUTE_MS, Case, case_of, questions
from telemetry_mcp.server.investigation.inquiry import MOST_NAMED, Inquiry, alerts, inquiry, of_kind
from telemetry_mcp.server.investigation.shape import (
    Candidate,
    Conclusion,
    Duty,
    Edge,
    Investigation,
    Measure,
    Moment,
    Page,
    Similar,
    Suspect,
)
from telemetry_mcp.server.investigation.story import story
from telemetry_mcp.text import clean

MOST_SUSPECTS, MOST_MEASURES, MOST_CHANGES, MOST_MOMENTS, MOST_SIMILAR, MOST_DUTIES = 5, 4, 12, 40, 5, 6
MOST_EDGES, MOST_UNEXAMINED = 20, 12
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
    found = await to_thread.run_sync(inquiry, case, asked, answers, call.engine)
    of_incident = [outcome for question in asked.of_incident for outcome in answers[question]]
    told = investigated(found, of_incident, answers[asked.on_call], call.engine.config.catalog)
    ledger = [outcomes for question, outcomes in answers.items() if question is not asked.near]
    more = (*call.warnings, *dict.fromkeys(found.warnings))
    return told.model_copy(update=envelope(case.found_in, *ledger, more=more))


def investigated(
    found: Inquiry, of_incident: Sequence[Outcome[Any]], on_call: Sequence[Outcome[OnCall]], catalog: Catalog
) -> Investigation:
    case = found.case
    page = page_of(case)
    changes = candidates(found)
    standing_out = [] if found.ranking.nothing_found else found.ranking.services[:MOST_SUSPECTS]
    numbers = (f"m{n}" for n in range(1, 1000))
    suspects = [
        suspect(each, found, catalog, changes, numbers) for each in standing_out if each.onset_ms is not None
    ]
    edges = [
        Edge(evidence=f"d{n}", caller=caller, callee=callee, sources=sources)
        for n, ((caller, callee), sources) in enumerate(relevant(found, suspects), 1)
    ]
    similar = [
        like(f"p{n}", incident, source)
        for n, (incident, source) in enumerate(
            ((item, source) for item, source in of_kind(of_incident) if isinstance(item, Incident)), 1
        )
    ][:MOST_SIMILAR]
    conclusion = concluded(found, suspects)
    return Investigation(
        incident=page,
        conclusion=conclusion,
        summary=story(found, conclusion, page, suspects, changes, edges, similar),
        suspects=suspects,
        timeline=timeline(found, page, suspects, changes, of_incident),
        changes=changes,
        similar=similar,
        on_call=[duty(item, source) for item, source in of_kind(on_call)][:MOST_DUTIES],
        blast_radius=found.callers(suspects[0].service if suspects else case.service)[:MOST_EDGES],
        dependencies=edges,
        not_examined=capped(list(unexamined(found)), MOST_UNEXAMINED),
        baseline={
            "start": iso(case.page_ms - found.ranking.guard_ms - case.baseline_ms) or "",
            "end": iso(case.page_ms - found.ranking.guard_ms) or "",
        },
        window=span(case.window, MINUTE_MS),
    )


def concluded(found: Inquiry, suspects: Sequence[Suspect]) -> Conclusion:
    """With a source that was not heard it is uncertain: what is most unusual of the rest need not be the cause. So
    it is where the service that was paged has no series, and the others did nothing unusual."""
    if not found.merged:
        return "unknown"
    if found.blind:
        return "uncertain"
    if suspects:
        return "suspects"
    return "no_deviation" if found.examined(found.case.service) else "uncertain"


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
        url=clean(incident.url) if incident.url else None,
        source=case.told.first.source,
        also=[f"{told.source}: {told.incident.id}" for told in case.told.others] or None,
    )


def minutes(ms: int | None) -> int | float | None:
    return None if ms is None else rounded(round(ms / MINUTE_MS, 1))


def suspect(
    ranked: Ranked, found: Inquiry, catalog: Catalog, changes: Sequence[Candidate], numbers: Iterator[str]
) -> Suspect:
    rows = [
        Measure(
            evidence=next(numbers),
            metric=each.metric,
            unit=catalog[each.metric].unit,
            before=rounded(each.before),
            after=rounded(each.after),
            deviation=rounded(each.deviation, 3),
            direction=each.direction,
            onset=iso(each.onset_ms),
            lead_min=minutes(None if each.onset_ms is None else found.case.page_ms - each.onset_ms),
            sources=[part.source for part in found.merged[ranked.service, each.metric].parts if part.samples],
            harmless=True if each.harmless else None,
        )
        for each in ranked.evidence[:MOST_MEASURES]
    ]
    return Suspect(
        service=ranked.service,
        share=rounded(ranked.share, 2),
        onset=iso(ranked.onset_ms),
        lead_min=minutes(ranked.lead_ms),
        metrics=rows,
        changes=[row.evidence for row in changes if row.service == ranked.service],
    )


def candidates(found: Inquiry) -> list[Candidate]:
    """The changes nearest to the page, of the services that stand out first."""
    case = found.case
    deviating = () if found.ranking.nothing_found else found.ranking.services
    onsets = {each.service: each.onset_ms for each in deviating if each.onset_ms is not None}
    order = {each.service: place for place, each in enumerate(found.ranking.services)}
    ranked = sorted(
        found.changes,
        key=lambda pair: (order.get(pair[0].service or "", len(order)) > 2, abs(case.page_ms - pair[0].at_ms)),
    )
    return [
        Candidate(
            evidence=f"c{n}",
            at=iso(change.at_ms) or "",
            kind=clean(change.kind, 40),
            service=change.service,
            title=clean(change.title),
            sources=sources,
            before_page_min=minutes(case.page_ms - change.at_ms),
            before_onset_min=minutes(onset - change.at_ms)
            if (onset := onsets.get(change.service or ""))
            else None,
            version=clean(change.version, 80) if change.version else None,
            author=clean(change.author, 80) if change.author else None,
            url=clean(change.url) if change.url else None,
        )
        for n, (change, sources) in enumerate(ranked[:MOST_CHANGES], 1)
    ]


def relevant(found: Inquiry, suspects: Sequence[Suspect]) -> list[tuple[tuple[str, str], list[str]]]:
    """The edges next to the paged service and those that stand out."""
    named = {found.case.service, *(each.service for each in suspects)}
    return [(edge, sources) for edge, sources in found.edges.items() if named & set(edge)][:MOST_EDGES]


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
        url=clean(incident.url) if incident.url else None,
    )


def duty(turn: OnCall, source: str) -> Duty:
    return Duty(
        person=clean(turn.person, 80),
        level=turn.level,
        source=source,
        policy=clean(turn.policy, 80) if turn.policy else None,
        until=iso(turn.end_ms),
    )


def timeline(
    found: Inquiry,
    page: Page,
    suspects: Sequence[Suspect],
    changes: Sequence[Candidate],
    of_incident: Sequence[Outcome[Any]],
) -> list[Moment]:
    """Everything on one clock, earliest first; what is nearest to the page where there is too much."""
    moments = [Moment(at=page.at, kind="page", evidence=page.evidence, service=page.service, source=page.source)]
    for each in suspects:
        for row in each.metrics:
            if row.onset:
                moments.append(Moment(at=row.onset, kind="onset", evidence=row.evidence, service=each.service))
    moments += [Moment(at=row.at, kind="change", evidence=row.evidence, service=row.service) for row in changes]
    fired = [(incident.opened_ms, incident.title, incident.service, source) for incident, source in alerts(found)]
    moments += [
        Moment(
            at=iso(at_ms) or "", kind="alert", evidence=f"a{n}", service=service, text=clean(title), source=source
        )
        for n, (at_ms, title, service, source) in enumerate(sorted(fired, key=lambda each: each[0]), 1)
    ]
    entries = [(item, source) for item, source in of_kind(of_incident) if isinstance(item, Entry)]
    moments += [
        entry(f"e{n}", item, source) for n, (item, source) in enumerate(entries, 1) if is_told(item, found)
    ]
    paged = when(moments[0])
    near = sorted(moments, key=lambda each: (each.kind not in ("page", "onset"), abs(when(each) - paged)))
    return sorted(near[:MOST_MOMENTS], key=when)


def when(moment: Moment) -> datetime:
    return datetime.fromisoformat(moment.at)


def is_told(item: Entry, found: Inquiry) -> bool:
    """Whether it belongs on the timeline: of changes only a recent one that is not among the changes already."""
    if item.kind != "change":
        return True
    known = any(c.service == item.service and abs(c.at_ms - item.at_ms) <= SAME_MS for c, _ in found.changes)
    return not known and item.at_ms >= found.case.page_ms - CHANGES_MS


def entry(evidence: str, item: Entry, source: str) -> Moment:
    kind = item.kind if item.kind in ("alert", "log_entry", "note", "change") else "log_entry"
    return Moment.model_validate(
        {
            "at": iso(item.at_ms) or "",
            "kind": kind,
            "evidence": evidence,
            "service": item.service,
            "text": clean(item.title),
            "source": source,
        }
    )


def unexamined(found: Inquiry) -> Iterator[str]:
    """What is missing of whole sources first, then of services, then of single metrics."""
    for source in found.blind:
        how = "it told only a part" if source.partly else "it could not be heard"
        yield f"{', '.join(source.metrics) or 'metrics'} of {source.source}: {how}"
    yield from found.untold
    yield from unmeasured(found)


def unmeasured(found: Inquiry) -> Iterator[str]:
    """The paged service first, then whole services, then single metrics; those of one reason in one row."""
    seen, paged = {service for service, _ in found.merged}, found.case.service
    lacking = dict.fromkeys(name for name in (paged, *chain(*found.edges)) if name not in seen)
    if paged in lacking:
        yield f"{paged}: {NO_SERIES}"
    rows: dict[tuple[str, str], list[str]] = {("", NO_SERIES): [name for name in lacking if name != paged]}
    for each in found.ranking.not_examined:
        if each.service not in lacking:
            rows.setdefault((f"{each.metric} of " if each.metric else "", each.reason), []).append(each.service)
    for (what, reason), services in rows.items():
        more = f" and {len(services) - MOST_NAMED} more" if len(services) > MOST_NAMED else ""
        if services:
            yield f"{what}{', '.join(services[:MOST_NAMED])}{more}: {reason}"


def capped(rows: list[str], most: int) -> list[str]:
    return rows if len(rows) <= most else [*rows[: most - 1], f"and {len(rows) - most + 1} more"]
