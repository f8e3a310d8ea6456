"""The paragraph of an investigation: facts that are in the answer, each with the id of what it rests on.

Nothing that a source wrote stands in it, but for names of services, metrics and sources. Its wording never exceeds
the evidence: a ranking is what deviated, not what is to blame.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from telemetry_mcp.server.investigation.inquiry import CHANGES, MOST_NAMED, Inquiry
from telemetry_mcp.server.investigation.shape import Candidate, Conclusion, Edge, Measure, Page, Similar, Suspect

CANDIDATE_MIN = 120
"""What changed longer before an onset is in the list of changes, and no candidate in words."""


def clock(time: str) -> str:
    return f"{time[11:16]} UTC"


def story(
    found: Inquiry,
    conclusion: Conclusion,
    page: Page,
    suspects: Sequence[Suspect],
    changes: Sequence[Candidate],
    edges: Sequence[Edge],
    similar: Sequence[Similar],
) -> str:
    sentences = [
        f"{page.service} was paged at {clock(page.at)} [{page.evidence}].",
        *deviations(found, conclusion, suspects),
        *unmeasured(found),
        *changed(found, suspects, changes),
        *called(suspects, edges),
        *before(similar),
        *unseen(found, conclusion),
    ]
    return " ".join(sentences)


def deviations(found: Inquiry, conclusion: Conclusion, suspects: Sequence[Suspect]) -> Iterator[str]:
    if conclusion == "unknown":
        yield "Unknown: no metric of any service could be looked at."
    elif not suspects:
        seen = len(found.merged)
        what = f"in the {seen} series of {len({service for service, _ in found.merged})} services"
        yield f"No deviation was found {what} that could be looked at."
    else:
        first, *others = suspects
        rows = "; ".join(map(measured, [row for row in first.metrics if row.onset][:3] or first.metrics[:1]))
        yield f"Of what could be looked at, {first.service} stands out: {rows}."
        if others:
            named = ", ".join(f"{each.service} [{each.metrics[0].evidence}]" for each in others[:MOST_NAMED])
            yield f"Also deviating: {named}."


def unmeasured(found: Inquiry) -> Iterator[str]:
    service = found.case.service
    if found.merged and not found.examined(service):
        yield f"{service} itself could not be looked at: there is no series of it."


def measured(row: Measure) -> str:
    unit = f" {row.unit}" if row.unit else ""
    begun = f", from {clock(row.onset)}{lead(row.lead_min)}" if row.onset else ""
    return f"{row.metric} from {row.before} to {row.after}{unit} ({row.deviation} sigmas){begun} [{row.evidence}]"


def lead(minutes: int | float | None) -> str:
    if minutes is None:
        return ""
    return f", {minutes} min before the page" if minutes >= 0 else f", {-minutes} min after the page"


def changed(found: Inquiry, suspects: Sequence[Suspect], changes: Sequence[Candidate]) -> Iterator[str]:
    """Changes of the services that stand out, before they did; the nearest first."""
    named = [service.service for service in suspects[:2]]
    near = [c for c in changes if c.service in named and 0 <= (c.before_onset_min or -1) <= CANDIDATE_MIN]
    for change in sorted(near, key=lambda c: c.before_onset_min or 0)[:2]:
        what = "a deployment" if change.kind == "deployment" else "a change"
        yield (
            f"Candidate by its time: {what} of {change.service} at {clock(change.at)}, "
            f"{change.before_onset_min} min before it began to deviate [{change.evidence}]."
        )
    if not changes and not any(CHANGES in words for words in found.untold):
        yield "No change is known in the six hours before the page."


def called(suspects: Sequence[Suspect], edges: Sequence[Edge]) -> Iterator[str]:
    if not suspects:
        return
    own = [edge for edge in edges if edge.callee == suspects[0].service]
    if own:
        named = ", ".join(f"{edge.caller} [{edge.evidence}]" for edge in own[:MOST_NAMED])
        yield f"{suspects[0].service} is called by {named}."


def before(similar: Sequence[Similar]) -> Iterator[str]:
    past = [each for each in similar if each.relation == "past"]
    if past:
        ids = ", ".join(each.evidence for each in past[:3])
        day = past[0].opened[:10]
        yield f"Similar incidents in the past: {len(past)}, the most alike opened on {day} [{ids}]."


def unseen(found: Inquiry, conclusion: Conclusion) -> Iterator[str]:
    for source in found.blind:
        named = ", ".join(source.metrics[:MOST_NAMED]) or "its metrics"
        more = f" and {len(source.metrics) - MOST_NAMED} more" if len(source.metrics) > MOST_NAMED else ""
        how = "told only a part" if source.partly else "could not be heard"
        yield f"{source.source} {how}: {named}{more} of any service may have told more."
    if found.blind and conclusion == "uncertain":
        yield "So the cause may lie where nobody could look."
    if found.untold:
        yield f"Not known: {'; '.join(found.untold[:MOST_NAMED])}."
