"""detect_anomalies: unusual stretches of one metric, of all metrics of a service, or of everything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from telemetry_mcp.analysis.anomaly import Detection, Episode, Options
from telemetry_mcp.judge import Judge, judge
from telemetry_mcp.merge import Merged, Part, merge
from telemetry_mcp.question import SeriesQuery, Window
from telemetry_mcp.server.argument import HOUR_MS, aligned, period, positive, step_of
from telemetry_mcp.server.call import Call
from telemetry_mcp.server.envelope import Answer, ExternalText, Number, Shape, envelope, iso, rounded, span

ALL = "*"
MOST = 20
BASELINE_MS = 24 * HOUR_MS
"""What is ordinary is learned from a day at least: in an hour, an outage would be half of what there is."""


class Anomaly(Shape):
    """`deviation` is in robust sigmas. `sources` saw it too: they are unusual at the same time."""

    service: str
    metric: str
    start: str
    end: str
    peak: str
    value: Number | None
    expected: Number | None
    deviation: Number | None
    direction: Literal["up", "down"]
    severity: Literal["low", "medium", "high"]
    ongoing: bool
    sources: list[str]


class Baseline(Shape):
    """How ordinary values were told from unusual ones, and what could not be judged."""

    hours: Number
    method: str
    sensitivity: Number
    threshold: Number
    series_judged: int
    low_confidence: list[ExternalText]
    not_judged: list[ExternalText]


class Anomalies(Answer):
    anomalies_detected: int
    anomalies: list[Anomaly]
    baseline: Baseline


@dataclass(frozen=True, slots=True)
class Finding:
    merged: Merged
    detection: Detection


async def answer(
    call: Call, service: str, metric: str, sensitivity: float, hours: float, detector: str | None
) -> Anomalies:
    positive(sensitivity, "sensitivity")
    by = judge(call.engine.registry, detector, Options(sensitivity))
    metrics = call.engine.metrics if metric == ALL else (call.metric(metric),)
    lookback = call.engine.config.defaults.lookback
    asked = period(call.now_ms, lookback, hours=hours)
    window = Window(min(asked.start_ms, call.now_ms - BASELINE_MS), asked.end_ms)
    step_ms = step_of(window)
    window = aligned(window, step_ms)
    if service != ALL:
        await call.service(service)
    question = SeriesQuery(() if service == ALL else (service,), metrics, window, step_ms)
    outcomes = await call.ask(question)
    merged = merge(outcomes, call.engine.config.catalog, window, step_ms)
    detections = await by.judged([(m.timestamps_ms, m.values) for m in merged])
    findings = [Finding(m, detection) for m, detection in zip(merged, detections, strict=True)]
    found = sorted(
        (
            (finding, episode)
            for finding in findings
            for episode in finding.detection.episodes
            if episode.end_ms >= asked.start_ms
        ),
        key=lambda pair: -pair[1].deviation,
    )
    if len(found) > MOST:
        call.warnings.append(f"the {MOST} strongest of {len(found)} anomalies are shown")
    said = [warning for m in merged for warning in m.warnings]
    witnesses = await heard(by, [finding for finding, _ in found[:MOST]])
    return Anomalies(
        anomalies_detected=len(found),
        anomalies=[anomaly(finding, episode, witnesses) for finding, episode in found[:MOST]],
        baseline=baseline(findings, window, sensitivity, service, metrics),
        window=span(aligned(asked, step_ms), step_ms),
        **envelope(outcomes, more=(*call.warnings, *said)),
    )


Witnesses = dict[tuple[str, str], list[tuple[Part, Detection]]]
"""Service and metric -> the other sources that have it, and what is unusual in their own series."""


async def heard(by: Judge, findings: Sequence[Finding]) -> Witnesses:
    merged = {(f.merged.service, f.merged.metric): f.merged for f in findings}
    parts = [(key, part) for key, m in merged.items() for part in m.parts[1:] if part.factor is not None]
    detections = await by.judged([(part.timestamps_ms, part.values) for _, part in parts])
    found: Witnesses = {}
    for (key, part), detection in zip(parts, detections, strict=True):
        found.setdefault(key, []).append((part, detection))
    return found


def anomaly(finding: Finding, episode: Episode, witnesses: Witnesses) -> Anomaly:
    merged = finding.merged
    others = witnesses.get((merged.service, merged.metric), [])
    return Anomaly(
        service=merged.service,
        metric=merged.metric,
        start=iso(episode.start_ms) or "",
        end=iso(episode.end_ms) or "",
        peak=iso(episode.peak_ms) or "",
        value=rounded(episode.value),
        expected=rounded(episode.expected),
        deviation=rounded(episode.deviation, 3),
        direction=episode.direction,
        severity=episode.severity,
        ongoing=episode.ongoing,
        sources=[merged.parts[0].source, *(part.source for part, own in others if saw(part, own, episode))],
    )


def saw(part: Part, own: Detection, episode: Episode) -> bool:
    """Whether another source's own series is unusual at the same time, in the same direction."""
    slack = part.step_ms or 0
    return any(
        other.direction == episode.direction
        and other.start_ms - slack <= episode.end_ms
        and other.end_ms + slack >= episode.start_ms
        for other in own.episodes
    )


def baseline(
    findings: Sequence[Finding], window: Window, sensitivity: float, service: str, metrics: Sequence[str]
) -> Baseline:
    """Series that could not be judged are named: they are not part of any "nothing unusual"."""
    judged = [f for f in findings if f.detection.confidence != "none"]
    unsure = [f for f in judged if f.detection.confidence == "low"]
    unable = [
        f"{f.merged.metric} of {f.merged.service}: {f.detection.reason}"
        for f in findings
        if f.detection.confidence == "none"
    ]
    without = set(metrics) - {f.merged.metric for f in findings}
    unable += [
        f"{metric} of {'any service' if service == ALL else service}: no data" for metric in sorted(without)
    ]
    return Baseline(
        hours=rounded(window.duration_ms / HOUR_MS) or 0,
        method=findings[0].detection.method if findings else "none",
        sensitivity=sensitivity,
        threshold=rounded(findings[0].detection.threshold if findings else 0.0) or 0.0,
        series_judged=len(judged),
        low_confidence=[f"{f.merged.metric} of {f.merged.service}: {f.detection.reason}" for f in unsure][:MOST],
        not_judged=unable[:MOST],
    )
