"""Services by how far several of their metrics are unusual at the same time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from telemetry_mcp.analysis.anomaly import Episode
from telemetry_mcp.analysis.rank import Concurrence, strongest
from telemetry_mcp.server.envelope import Number, Shape, iso, rounded
from telemetry_mcp.server.finding import Finding
from telemetry_mcp.server.scan import Scan

MOST = 10

Found = tuple[Finding, Episode]


class Ranked(Shape):
    """A service with anomalies. `score` says how far several of its metrics are unusual at the same time;
    `metrics` are those of the strongest moment, of `judged` that could be judged; `start` to `end` is theirs."""

    service: str
    score: Number | None
    metrics: list[str]
    judged: int
    start: str
    end: str


def ranked(scan: Scan, findings: Sequence[Finding]) -> list[Ranked]:
    """The services with anomalies, those first whose metrics concur most: see `analysis.rank`."""
    judged = Counter(finding.service for finding in findings if not finding.blind)
    own: dict[str, list[Found]] = {}
    for finding in findings:
        for episode in finding.episodes:
            own.setdefault(finding.service, []).append((finding, episode))
    rows = [(concurrence(scan, found), found) for found in own.values()]
    rows.sort(key=lambda row: -row[0].score)
    return [rank(most, found, judged[found[0][0].service]) for most, found in rows[:MOST]]


def concurrence(scan: Scan, found: Sequence[Found]) -> Concurrence:
    """When the metrics of a service concur most inside the asked window."""
    names = sorted({finding.metric for finding, _ in found})
    return strongest(
        np.array([names.index(finding.metric) for finding, _ in found]),
        np.array([max(episode.start_ms, scan.asked.start_ms) for _, episode in found]),
        np.array([episode.end_ms + finding.merged.step_ms for finding, episode in found]),
        np.array([episode.deviation for _, episode in found]),
    )


def rank(most: Concurrence, found: Sequence[Found], judged: int) -> Ranked:
    members = [found[place] for place in most.stretches]
    return Ranked(
        service=members[0][0].service,
        score=rounded(most.score, 3),
        metrics=list(dict.fromkeys(finding.metric for finding, _ in members)),
        judged=judged,
        start=iso(min(episode.start_ms for _, episode in members)) or "",
        end=iso(max(episode.end_ms for _, episode in members)) or "",
    )
