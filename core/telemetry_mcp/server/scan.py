"""What a search for anomalies asks the sources: the window of the answer, and the history it is judged by."""

from __future__ import annotations

from dataclasses import dataclass

from telemetry_mcp.question import SeriesQuery, Window
from telemetry_mcp.server.argument import HOUR_MS, step_of

DAY_MS = 24 * HOUR_MS
WEEK_MS = 7 * DAY_MS
ONE_MS = 4 * WEEK_MS
"""For one service and a few metrics: four weeks, from which the pattern of the week can be told."""
FEW = 3
MANY_MS = WEEK_MS
"""For more: a week, from which the pattern of the day can be told."""
STEP_MS = 300_000
COARSE_STEPS = 3


@dataclass(frozen=True, slots=True)
class Scan:
    """One question to all sources. `asked` is the window of the answer, `window` the same with history before it;
    no services means all."""

    services: tuple[str, ...]
    metrics: tuple[str, ...]
    asked: Window
    window: Window
    step_ms: int

    @property
    def question(self) -> SeriesQuery:
        return SeriesQuery(self.services, self.metrics, self.window, self.step_ms)


def scan_of(services: tuple[str, ...], metrics: tuple[str, ...], asked: Window, lookback_s: float) -> Scan:
    """As much history as the season needs and the look-back allows, at a step of five minutes.

    A window longer than the usual history gets a week before it, at a longer step of about as many points.
    """
    usual = ONE_MS if services and len(metrics) <= FEW else MANY_MS
    length = usual if asked.duration_ms <= usual else asked.duration_ms + WEEK_MS
    start = min(asked.start_ms, asked.end_ms - min(length, round(lookback_s * 1000)))
    step = max(STEP_MS, step_of(Window(start, asked.end_ms), points=usual // STEP_MS))
    # On the epoch's grid, so that equal questions a moment apart are one; the bucket still filling is left out.
    end = asked.end_ms // step * step
    return Scan(
        services,
        metrics,
        asked=Window(min(asked.start_ms // step * step, end - step), end),
        window=Window(min(start // step * step, end - step), end),
        step_ms=step,
    )


def nearer(scan: Scan, finest_ms: int) -> Scan | None:
    """The same with a week of history, for sources that give more of it in steps of `finest_ms` at best; None
    where these are fine enough, or the window itself is longer."""
    fine = finest_ms <= COARSE_STEPS * scan.step_ms
    if fine or scan.window.duration_ms <= MANY_MS or scan.asked.duration_ms > MANY_MS:
        return None
    return scan_of(scan.services, scan.metrics, scan.asked, MANY_MS / 1000)
