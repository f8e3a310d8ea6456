"""detect_anomalies: unusual stretches of one metric, of all metrics of a service, or of everything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from math import inf
from time import monotonic
from typing import Literal

from anyio import move_on_after, to_thread

from telemetry_mcp.analysis.anomaly import Episode, Options
from telemetry_mcp.judge import Judge, judge
from telemetry_mcp.merge import remarks
from telemetry_mcp.model import Outcome, Series
from telemetry_mcp.server.argument import HOUR_MS, not_negative, period, positive
from telemetry_mcp.server.call import Call
from telemetry_mcp.server.envelope import Answer, ExternalText, Lean, Number, Shape, envelope, iso, rounded, span
from telemetry_mcp.server.finding import LATE, Finding, Looked, looked, saw, why
from telemetry_mcp.server.ranking import Found, Ranked, ranked
from telemetry_mcp.server.scan import Scan, nearer, scan_of
from telemetry_mcp.server.unjudged import Short, Unjudged, expected, sentences, shorts, unjudged
from telemetry_mcp.text import capped

ALL = "*"
MOST = 20
GRACE_S = 0.5
LEAST_S = 2.0
"""Time to judge what has come, also where the sources took all of the deadline."""


class Anomaly(Lean):
    """`deviation` is in robust sigmas; expected, lower and upper are those of the peak. `sources` saw it too: they
    are unusual at the same time. A detector of a plugin draws no band."""

    service: str
    metric: str
    unit: str
    start: str
    end: str
    peak: str
    value: Number | None
    expected: Number | None
    lower: Number | None = None
    upper: Number | None = None
    deviation: Number | None
    relative_deviation: Number | None = None
    direction: Literal["up", "down"]
    lens: str
    severity: Literal["low", "medium", "high"]
    ongoing: bool
    sources: list[str]
    why: str


class Baseline(Shape):
    """The history (`hours`, a point every `step_s`) that ordinary values were learned from, how many series follow
    which season (`periods`), and what could not be judged. Nothing unusual was seen where confidence is low: that
    may be for want of data."""

    hours: Number
    step_s: Number
    method: str
    sensitivity: Number
    threshold: Number
    periods: dict[str, int]
    series_judged: int
    series_not_judged: int
    low_confidence: list[ExternalText]
    not_judged: list[ExternalText]
    gaps: list[ExternalText]


class Anomalies(Answer):
    """`anomalies_detected` is null where nothing was found and nothing could be judged well: it is not known."""

    summary: str
    anomalies_detected: int | None
    services: list[Ranked]
    anomalies: list[Anomaly]
    baseline: Baseline


async def answer(
    call: Call, service: str, metric: str, hours: float, options: Options, detector: str | None
) -> Anomalies:
    positive(options.sensitivity, "sensitivity")
    not_negative(options.min_relative, "min_relative")
    by = judge(call.engine.registry, detector, options)
    metrics = call.engine.metrics if metric == ALL else (call.metric(metric),)
    lookback = call.engine.config.defaults.lookback
    services = () if service == ALL else (service,)
    scan = scan_of(services, metrics, period(call.now_ms, lookback, hours=hours), lookback)
    if services:
        await call.service(service)
    scan, outcomes, seen = await search(call, scan, by)
    found = sorted(((f, e) for f in seen.findings for e in f.episodes), key=strongest_first)
    if len(found) > MOST:
        call.warnings.append(f"the {MOST} strongest of {len(found)} anomalies are shown")
    due = expected(scan, call.engine.registry)
    short = list(shorts(outcomes, call.engine.registry, due))
    unknown = unjudged(scan, seen, short, due, call.engine.seen)
    sure = any(not f.blind and not f.unsure for f in seen.findings)
    return Anomalies(
        summary=summary(seen.findings, found, unknown, short),
        anomalies_detected=len(found) if found or sure else None,
        services=ranked(scan, seen.findings),
        anomalies=[anomaly(finding, episode, seen) for finding, episode in found[:MOST]],
        baseline=baseline(scan, seen.findings, unknown, by),
        window=span(scan.asked, scan.step_ms),
        **envelope(outcomes, more=(*call.warnings, *remarks(f.merged for f in seen.findings))),
    )


async def search(call: Call, scan: Scan, by: Judge) -> tuple[Scan, Sequence[Outcome[Series]], Looked]:
    """One question to all sources. Only where all of them give a long history in steps too coarse for what happens
    within an hour, a second one for a week."""
    if by.detector is None:
        outcomes, seen = await call.ask_ahead(scan.question, lambda told: judged(call, scan, told, by))
    else:  # twice is once too often for a plugin's detector, and what it says is not kept
        outcomes = await call.ask(scan.question)
        seen = await judged(call, scan, outcomes, by)
    finest_ms = min((found.merged.step_ms for found in seen.findings), default=0)
    near = nearer(scan, finest_ms)
    if near is None:
        return scan, outcomes, seen
    again = await call.ask(near.question)
    looked_again = await judged(call, near, again, by)
    return (near, again, looked_again) if looked_again.findings else (scan, outcomes, seen)


def strongest_first(pair: Found) -> tuple[float, float]:
    """Scores end at 99: of equal ones what is further off in proportion comes first."""
    episode = pair[1]
    return -episode.deviation, -abs(inf if episode.relative is None else episode.relative)


async def judged(call: Call, scan: Scan, outcomes: Sequence[Outcome[Series]], by: Judge) -> Looked:
    """In a worker thread, so that other calls go on. A plugin's detector that does not come to an end is left
    behind, in a thread that nothing else needs."""
    catalog, granted_s = call.engine.config.catalog, max(LEAST_S, call.deadline.left_s)
    until = monotonic() + granted_s

    def is_late() -> bool:
        return monotonic() > until

    def look() -> Looked:
        return looked(scan, outcomes, catalog, by, is_late)

    with move_on_after(granted_s + GRACE_S):
        if by.detector is not None:
            return await to_thread.run_sync(look, abandon_on_cancel=True)
        key = ("looked", scan, by.options, call.deadline.seconds)
        return await call.engine.derivations.aside(outcomes, key, look, lasts=lambda seen: not is_late())
    return Looked(late=LATE)


def anomaly(found: Finding, episode: Episode, seen: Looked) -> Anomaly:
    merged = found.merged
    witnesses = seen.witnesses.get((merged.service, merged.metric), ())
    return Anomaly(
        service=merged.service,
        metric=merged.metric,
        unit=merged.unit,
        start=iso(episode.start_ms) or "",
        end=iso(episode.end_ms) or "",
        peak=iso(episode.peak_ms) or "",
        value=rounded(episode.value),
        expected=rounded(episode.expected),
        lower=rounded(episode.lower),
        upper=rounded(episode.upper),
        deviation=rounded(episode.deviation, 3),
        relative_deviation=rounded(episode.relative, 3),
        direction=episode.direction,
        lens=episode.lens,
        severity=episode.severity,
        ongoing=episode.ongoing,
        sources=[merged.parts[0].source, *(each[0].source for each in witnesses if saw(each, episode))],
        why=why(found, episode),
    )


def baseline(scan: Scan, findings: Sequence[Finding], unknown: Sequence[Unjudged], by: Judge) -> Baseline:
    judged = [finding for finding in findings if not finding.blind]
    kinds = Counter((finding.detection.method, finding.detection.threshold) for finding in judged)
    # Series with few points have a method and a threshold of their own: what holds for most is told.
    method, threshold = kinds.most_common(1)[0][0] if judged else (by.name or "none", 0.0)
    return Baseline(
        hours=rounded(scan.window.duration_ms / HOUR_MS) or 0,
        step_s=rounded(scan.step_ms / 1000) or 0,
        method=method,
        sensitivity=by.options.sensitivity,
        threshold=rounded(threshold) or 0,
        periods=dict(Counter(finding.season for finding in judged).most_common()),
        series_judged=len(judged),
        series_not_judged=len(unknown),
        low_confidence=capped(
            sentences(Unjudged(f.service, f.metric, f.unsure) for f in judged if f.unsure), MOST
        ),
        not_judged=capped(sentences(unknown), MOST),
        gaps=capped([gap for finding in judged for gap in gaps(finding)], MOST),
    )


def gaps(finding: Finding) -> Iterator[str]:
    for gap in finding.gaps:
        yield f"{finding.metric} of {finding.service}: no data {iso(gap.start_ms)} to {iso(gap.end_ms)}"


def summary(
    findings: Sequence[Finding], found: Sequence[Found], unknown: Sequence[Unjudged], short: Sequence[Short]
) -> str:
    """One sentence that never takes silence for an all-clear."""
    judged = [finding for finding in findings if not finding.blind]
    unsure = [finding for finding in judged if finding.unsure]
    sure, total = len(judged) - len(unsure), len(judged) + len(unknown)
    said = []
    if found:
        struck, of = ({finding.service for finding in each} for each in ((f for f, _ in found), judged))
        where = f"in {len(struck)} of {len(of)} services" if len(of) > 1 else f"of {min(of)}"
        said.append(f"{'1 anomaly' if len(found) == 1 else f'{len(found)} anomalies'} {where}")
    elif sure:
        said.append(f"nothing unusual in the {sure} series that could be judged well")
    else:
        said.append("Unknown: nothing unusual was seen" if unsure else "Unknown: no series could be judged")
    if unsure:
        said.append(f"of {len(unsure)} of {total} series too little is known")
    if unknown:
        said.append(f"{len(unknown)} of {total} series could not be judged")
    if short:
        names = ", ".join(source.source for source in short)
        said.append(f"what else {names} would have said is unknown")
    return "; ".join(said)
