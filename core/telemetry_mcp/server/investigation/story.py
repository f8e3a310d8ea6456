"""The paragraph of an investigation: facts that are in the answer, each with the id of what it rests on.

Nothing that a source wrote stands in it, but for names of services, metrics and sources; a name that is more than
one word is quoted. Its wording never exceeds the evidence: a ranking is what deviated, not what is to blame.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from telemetry_mcp.analysis.candidate import LATE_MS
from telemetry_mcp.analysis.episode import LARGEST_SCORE
from telemetry_mcp.catalog import echo
from telemetry_mcp.server.investigation.inquiry import CHANGES, MOST_NAMED, Inquiry
from telemetry_mcp.server.investigation.shape import Candidate, Conclusion, Edge, Measure, Page, Similar, Suspect
from telemetry_mcp.text import few

CANDIDATE_MIN = 120
"""What changed longer before an onset is in the list of changes, and no candidate in words."""
LATE_MIN = LATE_MS / 60_000
WORD = re.compile(r"[\w.:/@+-]{1,80}")


def clock(time: str) -> str:
    return f"{time[11:16]} UTC"


def named(service: str | None) -> str:
    """A name that cannot be taken for words of ours, nor for the id of an evidence."""
    return service if service and WORD.fullmatch(service) else echo(service or "")


def opening(page: Page) -> str:
    at = f"{page.at[:10]} at {clock(page.at)} [{page.evidence}]"
    if page.id is None:
        return f"{named(page.service)} is investigated as of {at}."
    return f"{named(page.service)} was paged on {at}."


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
        opening(page),
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
        judged = found.judged
        what = f"in the {len(judged)} series of {len({service for service, _ in judged})} services"
        better = any(row.harmless and row.onset_ms is not None for each in found.ranking for row in each.evidence)
        kind = "No deviation for the worse" if better else "No deviation"
        yield f"{said(kind, conclusion)} was found {what} that could be looked at."
    else:
        first, *others = suspects
        rows = "; ".join(measured(row) for row in worse(first)[:3])
        yield f"{said('Of', conclusion)} what could be looked at, {named(first.service)} stands out: {rows}."
        if others:
            them = ", ".join(f"{named(each.service)} [{worse(each)[0].evidence}]" for each in others[:MOST_NAMED])
            yield f"Also deviating: {them}."


def said(begin: str, conclusion: Conclusion) -> str:
    """The begin of a sentence, which says first that it is uncertain where it is."""
    return f"Uncertain: {begin[0].lower()}{begin[1:]}" if conclusion == "uncertain" else begin


def worse(suspect: Suspect) -> list[Measure]:
    """What began to deviate and not for the better: no more is said to stand out."""
    return [row for row in suspect.metrics if row.onset and not row.harmless]


def unmeasured(found: Inquiry) -> Iterator[str]:
    service = found.case.service
    if found.merged and service not in found.services:
        yield f"{named(service)} itself could not be looked at: there is no series of it."


def measured(row: Measure) -> str:
    unit = f" {row.unit}" if row.unit else ""
    begun = f", from {clock(row.onset)}{lead(row.lead_min)}" if row.onset else ""
    size = f"{row.deviation} sigmas{' or more' if row.deviation == LARGEST_SCORE else ''}"
    return f"{row.metric} from {row.before} to {row.after}{unit} ({size}){begun} [{row.evidence}]"


def lead(minutes: int | float | None) -> str:
    if minutes is None:
        return ""
    return f", {minutes} min before the page" if minutes >= 0 else f", {-minutes} min after the page"


def changed(found: Inquiry, suspects: Sequence[Suspect], changes: Sequence[Candidate]) -> Iterator[str]:
    """Changes of the services that stand out, before they did; the nearest first."""
    first = [each.service for each in suspects[:2]]
    near = [
        (before, change)
        for change in changes
        if change.service in first
        and (before := change.before_onset_min) is not None
        and -LATE_MIN <= before <= CANDIDATE_MIN
    ]
    for before, change in sorted(near, key=lambda pair: abs(pair[0]))[:2]:
        what = "a deployment" if change.kind == "deployment" else "a change"
        when = f"{before} min before" if before >= 0 else f"{-before} min after"
        yield (
            f"Candidate by its time: {what} of {named(change.service)} at {clock(change.at)}, "
            f"{when} it began to deviate [{change.evidence}]."
        )
    if not changes and not any(CHANGES in words for words in found.untold):
        yield "No change is known in the six hours before the page."


def called(suspects: Sequence[Suspect], edges: Sequence[Edge]) -> Iterator[str]:
    if not suspects:
        return
    own = [edge for edge in edges if edge.callee == suspects[0].service]
    if own:
        them = ", ".join(f"{named(edge.caller)} [{edge.evidence}]" for edge in own[:MOST_NAMED])
        yield f"{named(suspects[0].service)} is called by {them}."


def before(similar: Sequence[Similar]) -> Iterator[str]:
    past = [each for each in similar if each.relation == "past"]
    if past:
        ids = ", ".join(each.evidence for each in past[:3])
        day = past[0].opened[:10]
        yield f"Similar incidents in the past: {len(past)}, the most alike opened on {day} [{ids}]."


def unseen(found: Inquiry, conclusion: Conclusion) -> Iterator[str]:
    for source in found.blind:
        metrics = few(source.metrics, MOST_NAMED) or "its metrics"
        yield f"{source.source} {source.why}: {metrics} of any service may have told more."
    silent = found.silent
    if silent and conclusion != "unknown":
        yield f"No metric of {few([named(name) for name in silent], MOST_NAMED)} could be judged."
    if conclusion == "uncertain":
        yield "So the cause may lie where nobody could look."
    if found.untold:
        yield f"Not known: {'; '.join(found.untold[:MOST_NAMED])}."
