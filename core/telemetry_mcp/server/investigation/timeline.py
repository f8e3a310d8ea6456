"""The timeline: page, onsets, changes, alerts and the incident's own entries on one clock."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from telemetry_mcp.model import Entry, Outcome
from telemetry_mcp.server.changes import SAME_MS
from telemetry_mcp.server.envelope import iso
from telemetry_mcp.server.investigation.case import CHANGES_MS
from telemetry_mcp.server.investigation.inquiry import Inquiry, alerts, of_kind
from telemetry_mcp.server.investigation.shape import Candidate, Moment, Page, Suspect
from telemetry_mcp.text import clean

MOST_MOMENTS = 24


def timeline(
    found: Inquiry,
    page: Page,
    suspects: Sequence[Suspect],
    changes: Sequence[Candidate],
    of_incident: Sequence[Outcome[Any]],
) -> list[Moment]:
    """Everything on one clock, earliest first; of all but the first suspect only when it began to deviate."""
    moments = [Moment(at=page.at, kind="page", evidence=page.evidence, service=page.service, source=page.source)]
    for place, each in enumerate(suspects):
        begun = [row for row in each.metrics if row.onset]
        for row in begun if place == 0 else [row for row in begun if row.onset == each.onset][:1]:
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
    return sorted(moments, key=at_ms)


def nearest(moments: Sequence[Moment], page_ms: int) -> list[Moment]:
    """Where there is too much: the page, the onsets, and what is nearest to the page."""
    kept = sorted(moments, key=lambda each: (each.kind not in ("page", "onset"), abs(at_ms(each) - page_ms)))
    return sorted(kept[:MOST_MOMENTS], key=at_ms)


def at_ms(moment: Moment) -> float:
    return datetime.fromisoformat(moment.at).timestamp() * 1000


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
