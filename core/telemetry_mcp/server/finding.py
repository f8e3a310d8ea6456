"""What was found in one series, why, and how far it can be trusted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from telemetry_mcp.analysis.anomaly import Detection, Episode
from telemetry_mcp.catalog import Catalog
from telemetry_mcp.judge import Judge
from telemetry_mcp.merge import Merged, merge
from telemetry_mcp.model import Outcome, Series
from telemetry_mcp.part import Part
from telemetry_mcp.question import Window
from telemetry_mcp.server.envelope import iso, rounded
from telemetry_mcp.server.scan import DAY_MS, WEEK_MS, Scan

SEASON_MS = 3 * DAY_MS
"""In less history nobody can tell the pattern of the day."""
COARSE_POINTS = 24
"""A source that gives fewer points of the asked window than this is too coarse for it."""
MINUTE_MS = 60_000
LATE = "not judged within the deadline: raise deadline_s, or ask for less"
STOPPED_STEPS = 3
STOPPED_MS = 1_800_000
"""A series has stopped when its newest number is more than three steps and half an hour old."""
ENOUGH = 0.5
"""A series with numbers for less than this share of the asked window is doubted."""
SEASONS: Mapping[int | None, str] = {DAY_MS: "1d", WEEK_MS: "7d", None: "none"}
AT_THIS_TIME: Mapping[int | None, str] = {DAY_MS: " at this time of day", WEEK_MS: " at this time of the week"}
SEEN: Mapping[str, str] = {
    "sustained shift": "off on average: ",
    "spike": "far from its neighbours: ",
}
UNITS: Mapping[str, str] = {"percent": " percent", "ratio": "", "count": "", "per_s": "/s"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One series, and the `episodes` that touch the asked window.

    `blind` says why it could not be judged, `unsure` why its judgement may be wrong: both are empty where there is
    nothing to say. `gaps` are the spans of the asked window without data.
    """

    merged: Merged
    detection: Detection
    episodes: tuple[Episode, ...] = ()
    blind: str = ""
    unsure: str = ""
    gaps: tuple[Window, ...] = ()

    @property
    def service(self) -> str:
        return self.merged.service

    @property
    def metric(self) -> str:
        return self.merged.metric

    @property
    def season(self) -> str:
        return SEASONS.get(self.detection.period_ms, "none")


Witness = tuple[Part, Detection]
"""Another source's own series, and what is unusual in it."""


@dataclass(frozen=True, slots=True)
class Looked:
    """What the replies to a scan come to. `witnesses` are by service and metric, where something was found; `late`
    says why nothing came of them at all."""

    findings: Sequence[Finding] = ()
    witnesses: Mapping[tuple[str, str], Sequence[Witness]] = field(default_factory=dict)
    late: str = ""


def looked(
    scan: Scan, outcomes: Sequence[Outcome[Series]], catalog: Catalog, by: Judge, late: Callable[[], bool]
) -> Looked:
    """Everything merged and judged, one series after the other until it is `late`: the others are named as not
    judged. Many series take a while: it is for a worker thread."""
    findings = [
        left_out(merged) if late() else finding(scan, merged, by)
        for merged in merge(outcomes, catalog, scan.window, scan.step_ms)
    ]
    witnesses = {
        (found.service, found.metric): [
            (part, by.detection(part.timestamps_ms, part.values))
            for part in found.merged.parts[1:]
            if part.factor is not None and not late()
        ]
        for found in findings
        if found.episodes
    }
    return Looked(findings, witnesses)


def left_out(merged: Merged) -> Finding:
    """By the built-in detector, which says nothing of no samples at once: that of a plugin may be what is slow."""
    return Finding(merged, Judge().detection(merged.timestamps_ms[:0], merged.values[:0]), blind=LATE)


def finding(scan: Scan, merged: Merged, by: Judge) -> Finding:
    numbers = np.flatnonzero(np.isfinite(merged.values))
    # The history begins with the first number: what lies before it is no gap.
    first = int(numbers[0]) if len(numbers) else 0
    times, values = merged.timestamps_ms[first:], merged.values[first:]
    found = Finding(merged, by.detection(times, values))
    if not len(numbers):
        return replace(found, blind="no data")
    if found.detection.confidence == "none":
        return replace(found, blind=found.detection.reason)
    step_ms, last_ms = merged.step_ms, int(merged.timestamps_ms[numbers[-1]])
    if last_ms + step_ms <= scan.asked.start_ms:
        return replace(found, blind=f"no data since {iso(last_ms)}")
    reach_ms = last_ms + step_ms - int(times[0])
    stopped = scan.window.end_ms - last_ms - step_ms > max(STOPPED_STEPS * step_ms, STOPPED_MS)
    return replace(
        found,
        episodes=tuple(
            replace(episode, ongoing=episode.ongoing and not stopped)
            for episode in found.detection.episodes
            if episode.end_ms + step_ms > scan.asked.start_ms
        ),
        unsure="; ".join(
            (*unseen(scan, merged, last_ms if stopped else None), *doubts(scan, found, by, reach_ms))
        ),
        gaps=tuple(gaps(scan, found.detection, last_ms if stopped else None)),
    )


def doubts(scan: Scan, found: Finding, by: Judge, length_ms: int) -> Iterator[str]:
    """Why nothing unusual may be all that could be seen."""
    if found.detection.confidence == "low":
        yield found.detection.reason
    if by.detector is None and by.options.period == "auto" and length_ms < SEASON_MS:
        yield f"{length_ms / DAY_MS:.1f} days of history: no daily pattern can be known"
    step_ms = found.merged.step_ms
    if step_ms > scan.step_ms and scan.asked.duration_ms < COARSE_POINTS * step_ms:
        yield f"a point every {step_ms / MINUTE_MS:g} min: what is shorter cannot be seen"


def unseen(scan: Scan, merged: Merged, stopped_ms: int | None) -> Iterator[str]:
    """What of the asked window nobody has seen: whether something is unusual there, nobody can say."""
    if stopped_ms is not None:
        yield f"no data since {iso(stopped_ms)}"
        return
    inside = merged.timestamps_ms >= scan.asked.start_ms // merged.step_ms * merged.step_ms
    seen = float(np.isfinite(merged.values[inside]).mean())
    if seen < ENOUGH:
        yield f"data of {100 * seen:.0f} % of the window only"


def gaps(scan: Scan, detection: Detection, stopped_ms: int | None) -> Iterator[Window]:
    """The spans without data inside the asked window; of a series that has stopped, the one until now too."""
    found = [(gap.start_ms, gap.end_ms) for gap in detection.gaps]
    if stopped_ms is not None:
        found.append((stopped_ms, scan.window.end_ms))
    yield from (Window(start, end) for start, end in found if end > scan.asked.start_ms)


def saw(witness: Witness, episode: Episode) -> bool:
    """Whether another source's own series is unusual at the same time, in the same direction."""
    part, own = witness
    slack = part.step_ms or 0
    return any(
        other.direction == episode.direction
        and other.start_ms - slack <= episode.end_ms
        and other.end_ms + slack >= episode.start_ms
        for other in own.episodes
    )


def why(found: Finding, episode: Episode) -> str:
    """What was expected, how wide the band around it is, what made it so wide; and what a band does not show."""
    detection, unit = found.detection, UNITS.get(found.merged.unit, f" {found.merged.unit}".rstrip())
    expected = f"{rounded(episode.expected)}"
    if episode.lens == "left constant value":
        return f"it had held {expected}{unit}"
    if episode.lens == "flatline":
        return f"it moves all the time, but stood still at {rounded(episode.value)}{unit}"
    if episode.upper is not None and episode.lower is not None:
        expected += f" +/- {rounded((episode.upper - episode.lower) / 2, 2)}"
    said = f"{SEEN.get(episode.lens, '')}expected {expected}{unit}{AT_THIS_TIME.get(detection.period_ms, '')}"
    if detection.binding == "habitual excursions" and detection.habit is not None:
        return f"{said}; habitual excursions up to +/-{rounded(detection.habit, 2)}"
    return f"{said}; it hardly ever moves" if detection.binding == "floor" else said
