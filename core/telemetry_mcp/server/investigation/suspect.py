"""What stands out, as rows of the answer: the services that got worse, and the changes that may be why."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

from telemetry_mcp.analysis.correlation import Suspect as Ranked
from telemetry_mcp.analysis.episode import LARGEST_SCORE
from telemetry_mcp.analysis.evidence import ONSET_SIGMAS, Evidence
from telemetry_mcp.catalog import Catalog
from telemetry_mcp.server.envelope import iso, rounded
from telemetry_mcp.server.investigation.case import MINUTE_MS
from telemetry_mcp.server.investigation.inquiry import Inquiry
from telemetry_mcp.server.investigation.shape import Candidate, Measure, Suspect
from telemetry_mcp.text import clean, cleaned

MOST_SUSPECTS, MOST_CHANGES = 5, 6
MOST_MEASURES = 4
"""Of the first suspect; of each further one half of it, and one at least."""


def deviating(found: Inquiry) -> list[Ranked]:
    """The services that got worse, by a metric that by itself is a finding."""
    if found.ranking.nothing_found:
        return []
    return [
        each for each in found.ranking.services if each.onset_ms is not None and any(map(worse, each.evidence))
    ]


def worse(each: Evidence) -> bool:
    return each.onset_ms is not None and not each.harmless and each.deviation > ONSET_SIGMAS


def minutes(ms: int | None) -> int | float | None:
    return None if ms is None else rounded(round(ms / MINUTE_MS, 1))


def telling(ranked: Ranked, most: int) -> list[Evidence]:
    """The metrics that are shown: what got worse first, the strongest first, with the one that tells the onset."""
    ordered = sorted(ranked.evidence, key=lambda each: not worse(each))
    first = [each for each in ordered if each.onset_ms == ranked.onset_ms and not each.harmless][:1]
    rest = [each for each in ordered if each not in first][: most - len(first)]
    return sorted((*first, *rest), key=ordered.index)


def suspects_of(
    standing_out: Sequence[Ranked], found: Inquiry, catalog: Catalog, changes: Sequence[Candidate]
) -> list[Suspect]:
    """The first of them as rows. A share is that of all that stand out: who did nothing has no part in it."""
    total = sum(each.share for each in standing_out)
    numbers = (f"m{n}" for n in count(1))
    return [
        Suspect(
            service=each.service,
            share=rounded(each.share / total, 2),
            onset=iso(each.onset_ms),
            lead_min=minutes(each.lead_ms),
            metrics=[
                measure(row, next(numbers), each.service, found, catalog)
                for row in telling(each, max(1, MOST_MEASURES >> place))
            ],
            changes=[row.evidence for row in changes if row.service == each.service],
        )
        for place, each in enumerate(standing_out[:MOST_SUSPECTS])
    ]


def measure(row: Evidence, evidence: str, service: str, found: Inquiry, catalog: Catalog) -> Measure:
    return Measure(
        evidence=evidence,
        metric=row.metric,
        unit=catalog[row.metric].unit,
        before=rounded(row.before),
        after=rounded(row.after),
        deviation=rounded(min(row.deviation, LARGEST_SCORE), 3),
        direction=row.direction,
        onset=iso(row.onset_ms),
        lead_min=minutes(None if row.onset_ms is None else found.case.page_ms - row.onset_ms),
        sources=[part.source for part in found.merged[service, row.metric].parts if part.samples],
        harmless=True if row.harmless else None,
    )


def candidates(found: Inquiry) -> list[Candidate]:
    """The changes nearest to the page, of the services that stand out first."""
    case = found.case
    moved = () if found.ranking.nothing_found else found.ranking.services
    onsets = {each.service: each.onset_ms for each in moved if each.onset_ms is not None}
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
            version=cleaned(change.version, 80),
            author=cleaned(change.author, 80),
            url=cleaned(change.url),
        )
        for n, (change, sources) in enumerate(ranked[:MOST_CHANGES], 1)
    ]
