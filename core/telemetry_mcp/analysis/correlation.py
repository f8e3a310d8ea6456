"""In which service an incident most likely began: candidates in order and why, never a verdict."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from telemetry_mcp.analysis.candidate import Candidate, preceding
from telemetry_mcp.analysis.evidence import ONSET_SIGMAS, Evidence, Span, examine
from telemetry_mcp.analysis.signal import Change, Signal, changes_of, signals_of
from telemetry_mcp.analysis.suspect import DEFAULT, Case, Edges, Symptom, Weights, cases, edges_of, scores

BASELINE_MS = 7_200_000
GUARD_MS = 900_000
GUARDS_BEFORE = 3
"""The baseline is at least so many guards long."""
GROWTHS = 3
"""So many times may the guard double."""
FOUND = math.log1p(ONSET_SIGMAS)
"""The least strength that is a finding."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """A candidate. `share` is its part of all scores (softmax), no probability. `lead_ms` is how long before the
    page its onset was, negative after it. `evidence` has its strongest metric first, `changes` the nearest one."""

    service: str
    score: float
    share: float
    onset_ms: int | None
    lead_ms: int | None
    evidence: tuple[Evidence, ...]
    changes: tuple[Candidate, ...] = ()


@dataclass(frozen=True, slots=True)
class Unexamined:
    """What could not be judged, and may be the cause all the same. Without a `metric` it is all of a service."""

    service: str
    metric: str
    reason: str


@dataclass(frozen=True, slots=True)
class Ranking:
    """The candidates, best first. With `nothing_found` none of them deviated: the order then means nothing.

    `guard_ms` is the guard that was used: longer than asked for when an onset lay at its edge, shorter when the
    data begin late. The baseline is `[baseline_start_ms, baseline_end_ms)`; what happened was looked for from its
    end to `end_ms`.
    """

    services: tuple[Suspect, ...]
    nothing_found: bool
    guard_ms: int
    baseline_start_ms: int
    baseline_end_ms: int
    end_ms: int
    not_examined: tuple[Unexamined, ...]

    def __iter__(self) -> Iterator[Suspect]:
        return iter(self.services)

    def __len__(self) -> int:
        return len(self.services)


def rank(
    page_ms: int,
    signals: Iterable[Signal | Sequence[Any]],
    *,
    dependencies: Iterable[tuple[str, str]] = (),
    changes: Iterable[Change | Sequence[Any]] = (),
    symptom: Symptom | None = None,
    baseline_ms: int = BASELINE_MS,
    guard_ms: int = GUARD_MS,
    weights: Weights = DEFAULT,
) -> Ranking:
    """Rank the services of `signals` by how likely an incident that was paged at `page_ms` began in them.

    A signal is (service, metric, kind, timestamps_ms, values), a dependency (caller, callee), a change (service,
    at_ms, id), the symptom (service, kind) of the page. What was usual is told by `baseline_ms` up to `guard_ms`
    before the page, because an incident begins before it is noticed; what happened, by all from there to a quarter
    of an hour after the page. Raises ValueError for an unknown kind, or arrays that do not fit each other.
    """
    given, edges, known = signals_of(signals), edges_of(dependencies), changes_of(changes)
    span, found, ranked = _grown(given, _span(page_ms, given, baseline_ms, guard_ms), edges, symptom, weights)
    lasting = (one for case, _ in ranked for one in case.weighed if one.evidence.onset_ms is not None)
    strongest = max((one.strength for one in lasting), default=0.0)
    return Ranking(
        _suspects(ranked, known, page_ms, weights),
        strongest < FOUND,
        span.guard_ms,
        span.start_ms - span.baseline_ms,
        span.start_ms,
        span.end_ms,
        _unexamined(given, found, edges, symptom),
    )


def suspects_of_changes(
    ranking: Ranking, changes: Iterable[Change | Sequence[Any]], page_ms: int
) -> tuple[Candidate, ...]:
    """All changes that may be the cause, the best fit first.

    `fit` is how close to the best service its own one stands, `exp(score - best score)`, times how close before
    the onset there the change was made, `exp(-offset / 1 h)`. A later change, or one of a service that is not in
    the ranking, is no candidate.
    """
    known = changes_of(changes)
    best = max((one.score for one in ranking.services), default=0.0)
    found = [
        replace(candidate, fit=candidate.fit * math.exp(one.score - best))
        for one in ranking.services
        for candidate in preceding((c for c in known if c.service == one.service), one.onset_ms, page_ms)
    ]
    return tuple(sorted(found, key=lambda one: (-one.fit, one.offset_ms)))


Found = list[Evidence | str]
Scored = list[tuple[Case, float]]


def _span(page_ms: int, signals: Sequence[Signal], baseline_ms: int, guard_ms: int) -> Span:
    """The guard is cut where the data begin late, so that the baseline is three guards long all the same."""
    history = page_ms - _start(signals, page_ms)
    guard = max(0, min(guard_ms, history // (1 + GUARDS_BEFORE)))
    newest = max((int(one.timestamps_ms.max()) for one in signals if one.timestamps_ms.size), default=page_ms)
    end = min(max(newest, page_ms), page_ms + max(guard_ms, GUARD_MS))
    return Span(page_ms, guard, max(baseline_ms, GUARDS_BEFORE * guard), end)


def _start(signals: Sequence[Signal], page_ms: int) -> int:
    """When the data of half of the signals have begun."""
    starts = sorted(int(one.timestamps_ms.min()) for one in signals if one.timestamps_ms.size)
    return starts[len(starts) // 2] if starts else page_ms


def _grown(
    signals: Sequence[Signal], span: Span, edges: Edges, symptom: Symptom | None, weights: Weights
) -> tuple[Span, Found, Scored]:
    """The guard doubles while what speaks most against the first candidate began at its edge."""
    longest = min(span.baseline_ms, span.page_ms - _start(signals, span.page_ms)) // 2
    for growth in range(GROWTHS + 1):
        found: Found = [examine(one, span) for one in signals]
        known = cases((one for one in found if isinstance(one, Evidence)), symptom, weights)
        totals = scores(known, edges, symptom, weights)
        ranked = sorted(
            ((case, totals[case.service]) for case in known), key=lambda one: (-one[1], one[0].service)
        )
        at_edge = any(one.evidence.at_edge for case, _ in ranked[:1] for one in case.weighed[:2])
        if growth == GROWTHS or not at_edge or 2 * span.guard_ms > longest:
            break
        guard = 2 * span.guard_ms
        span = Span(span.page_ms, guard, max(span.baseline_ms, GUARDS_BEFORE * guard), span.end_ms)
    return span, found, ranked


def _suspects(ranked: Scored, changes: Sequence[Change], page_ms: int, weights: Weights) -> tuple[Suspect, ...]:
    settled = []
    for case, score in ranked:
        its = preceding((one for one in changes if one.service == case.service), case.onset_ms, page_ms)
        settled.append((score + weights.change * max((one.fit for one in its), default=0.0), case, its))
    settled.sort(key=lambda one: (-one[0], one[1].service))
    shares = _softmax([score for score, _, _ in settled])
    return tuple(
        Suspect(
            case.service,
            score,
            share,
            case.onset_ms,
            None if case.onset_ms is None else page_ms - case.onset_ms,
            tuple(one.evidence for one in case.weighed),
            its,
        )
        for (score, case, its), share in zip(settled, shares, strict=True)
    )


def _softmax(numbers: Sequence[float]) -> list[float]:
    if not numbers:
        return []
    powers = np.exp(np.array(numbers) - max(numbers))
    return [float(share) for share in powers / powers.sum()]


def _unexamined(
    signals: Sequence[Signal], found: Found, edges: Edges, symptom: Symptom | None
) -> tuple[Unexamined, ...]:
    """The metrics without a judgement, and the services that are known but have no metric at all."""
    lacking = [
        Unexamined(one.service, one.metric, reason)
        for one, reason in zip(signals, found, strict=True)
        if isinstance(reason, str)
    ]
    named = {symptom[0]} if symptom else set()
    named |= {name for caller, callees in edges.items() for name in (caller, *callees)}
    silent = sorted(named - {one.service for one in signals})
    return (*lacking, *(Unexamined(service, "", "no metrics") for service in silent))
