"""query_historical_metrics: one metric of one service over a window, merged and per source, with statistics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from telemetry_mcp.analysis.downsample import keep_extremes
from telemetry_mcp.analysis.statistic import summarize
from telemetry_mcp.errors import QuestionError
from telemetry_mcp.merge import Floats, Ints, Merged, Part, merge, numbers
from telemetry_mcp.model import Outcome, Series, SeriesQuery, Window
from telemetry_mcp.server.argument import aligned, duration_s, period, step_of
from telemetry_mcp.server.call import Call
from telemetry_mcp.server.envelope import Answer, ExternalText, Shape, Span, envelope, iso, rounded, span


class Points(Shape):
    """A time series in columns: `values[k]` is at start + index[k] x step_s, or start + k x step_s without
    an index. null is "no data"."""

    start: str | None
    step_s: float
    index: list[int] | None
    values: list[float | None]
    method: Literal["all", "min-max"]
    source_points: int
    returned_points: int


class Statistics(Shape):
    count: int
    missing: int
    min: float | None
    max: float | None
    mean: float | None
    p50: float | None
    p95: float | None
    p99: float | None
    last: float | None
    trend_per_hour: float | None
    trend: Literal["rising", "falling", "flat"] | None


class Provenance(Shape):
    """One source's share. `difference` is its values minus the owner's, as a median over shared buckets."""

    source: str
    owner: bool
    unit: str
    samples: int
    step_s: float | None
    mean: float | None
    difference: float | None
    agreement: Literal["agree", "differ", "unknown"] | None
    query: ExternalText


class Comparison(Shape):
    window: Span
    mean: float | None
    p95: float | None
    mean_change: float | None


class History(Answer):
    service: str
    metric: str
    unit: str
    statistics: Statistics
    series: Points
    per_source: list[Provenance]
    comparison: Comparison | None


async def answer(
    call: Call,
    service: str,
    metric_type: str,
    hours: float,
    start: str | None,
    end: str | None,
    step: str | None,
    max_points: int | None,
    compare_to: str | None,
) -> History:
    metric = call.metric(metric_type)
    defaults = call.engine.config.defaults
    window = period(call.now_ms, defaults.lookback, hours=hours, start=start, end=end)
    step_ms = step_of(window, step)
    window = aligned(window, step_ms)
    before = earlier(window, compare_to, step_ms, call)
    await call.service(service)
    wanted = [window] + ([before] if before else [])
    answers = await call.ask_all(*(SeriesQuery((service,), (metric,), w, step_ms) for w in wanted))
    merged = one(answers[0], call, window, step_ms, service, metric)
    comparison = (
        compare(merged, one(answers[1], call, before, step_ms, service, metric), before) if before else None
    )
    points = max_points or defaults.max_points
    return History(
        service=service,
        metric=metric,
        unit=call.engine.config.catalog[metric].unit,
        statistics=statistics(merged),
        series=points_of(merged, points, step_ms),
        per_source=[provenance(part, merged) for part in merged.parts] if merged else [],
        comparison=comparison,
        window=span(window, merged.step_ms if merged else step_ms),
        **envelope(*answers, more=(*call.warnings, *(merged.warnings if merged else ()))),
    )


def earlier(window: Window, compare_to: str | None, step_ms: int, call: Call) -> Window | None:
    """The window of the same length that `compare_to` names: "previous", or so long before ("1d", "7d")."""
    if not compare_to:
        return None
    shift_s = window.duration_ms / 1000 if compare_to == "previous" else duration_s(compare_to, "compare_to")
    shift_ms = round(shift_s * 1000) // step_ms * step_ms
    if shift_ms <= 0:
        raise QuestionError(f"compare_to={compare_to!r} is shorter than one step of the series")
    period(call.now_ms, call.engine.config.defaults.lookback, hours=1, start=iso(window.start_ms - shift_ms))
    return Window(window.start_ms - shift_ms, window.end_ms - shift_ms)


def one(
    outcomes: Sequence[Outcome[Series]], call: Call, window: Window, step_ms: int, service: str, metric: str
) -> Merged | None:
    merged = merge(outcomes, call.engine.config.catalog, window, step_ms)
    return next((m for m in merged if m.service == service and m.metric == metric), None)


def statistics(merged: Merged | None) -> Statistics:
    times, values = numbers(merged)
    found = summarize(times, values)
    return Statistics(
        count=found.count,
        missing=found.missing,
        min=rounded(found.min),
        max=rounded(found.max),
        mean=rounded(found.mean),
        p50=rounded(found.p50),
        p95=rounded(found.p95),
        p99=rounded(found.p99),
        last=rounded(found.last),
        trend_per_hour=rounded(found.trend_per_hour),
        trend=found.trend_direction,
    )


def points_of(merged: Merged | None, max_points: int, step_ms: int) -> Points:
    times, values = numbers(merged)
    return points_in_columns(times, values, max_points, merged.step_ms if merged else step_ms)


def points_in_columns(times: Ints, values: Floats, max_points: int, step_ms: int) -> Points:
    """At most `max_points` of a series; spikes survive the thinning, each at its own time."""
    thinned = len(values) > max_points
    kept = keep_extremes(times, values, max_points) if thinned else np.arange(len(values))
    places = np.round((times - times[0]) / step_ms).astype(int) if len(times) else kept
    even = not thinned and bool((places == np.arange(len(places))).all())
    return Points(
        start=iso(int(times[0])) if len(times) else None,
        step_s=step_ms / 1000,
        index=None if even else [int(place) for place in places[kept]],
        values=[rounded(float(value)) for value in values[kept]],
        method="min-max" if thinned else "all",
        source_points=len(values),
        returned_points=len(kept),
    )


def provenance(part: Part, merged: Merged) -> Provenance:
    difference = part.difference
    return Provenance(
        source=part.source,
        owner=part is merged.parts[0],
        unit=part.unit,
        samples=part.samples,
        step_s=rounded(part.step_ms / 1000) if part.step_ms else None,
        mean=rounded(float(part.values.mean())) if part.samples else None,
        difference=rounded(difference.median) if difference else None,
        agreement=difference.agreement if difference else None,
        query=part.query,
    )


def compare(now: Merged | None, then: Merged | None, window: Window) -> Comparison:
    current, before = statistics(now), statistics(then)
    change = None
    if current.mean is not None and before.mean:
        change = rounded((current.mean - before.mean) / abs(before.mean))
    return Comparison(window=span(window), mean=before.mean, p95=before.p95, mean_change=change)
