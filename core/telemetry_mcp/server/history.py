"""query_historical_metrics: one metric of one service over a window, merged and per source, with statistics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from telemetry_mcp.analysis.statistic import Statistics as Figures
from telemetry_mcp.analysis.statistic import summarize
from telemetry_mcp.catalog import Catalog
from telemetry_mcp.errors import QuestionError
from telemetry_mcp.merge import Merged, merge, numbers
from telemetry_mcp.model import Outcome, Series
from telemetry_mcp.part import Part
from telemetry_mcp.question import SeriesQuery, Window
from telemetry_mcp.server.argument import aligned, duration_s, period, step_of
from telemetry_mcp.server.budget import Size, budget, fitted
from telemetry_mcp.server.call import Call
from telemetry_mcp.server.envelope import Answer, Number, Shape, Span, envelope, iso, rounded, span
from telemetry_mcp.server.points import Line, Points, of_merged, of_part
from telemetry_mcp.server.provenance import Provenance, provenance

LIGHT_BYTES = 160_000
"""About 10,000 points, of which one metric's history is worked out in a few milliseconds."""
LESS = "ask for a shorter window"
MORE = f"{LESS}, or with a larger max_tokens"


class Statistics(Shape):
    count: int
    missing: int
    min: Number | None
    min_at: str | None
    max: Number | None
    max_at: str | None
    mean: Number | None
    p50: Number | None
    p95: Number | None
    p99: Number | None
    last: Number | None
    trend_per_hour: Number | None
    trend: Literal["rising", "falling", "flat"] | None


class Comparison(Shape):
    window: Span
    mean: Number | None
    p95: Number | None
    mean_change: Number | None


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
    *,
    hours: float = 24,
    start: str | None = None,
    end: str | None = None,
    step: str | None = None,
    max_points: int | None = None,
    compare_to: str | None = None,
    per_source: bool = False,
    max_tokens: int | None = None,
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
    topic, drawn = Topic(service, metric, window, step_ms), call.engine.derivations
    known = await knowledge(call, answers[0], topic)
    then = await knowledge(call, answers[1], replace(topic, window=before)) if before else None

    def tale(size: Size) -> Told:
        return tell(known, size.points, size.series)

    wished = Size(max_points or defaults.max_points, len(answers[0]) if per_source else 0)
    # To find the peaks takes long, and they are the same for any smaller size.
    await drawn.aside(answers[0], (topic, wished), lambda: tale(wished), light_bytes=LIGHT_BYTES)

    def make(size: Size) -> History:
        told = drawn.here(answers[0], (topic, replace(size, note=())), lambda: tale(size))
        return History(
            service=service,
            metric=metric,
            unit=told.unit,
            statistics=told.statistics,
            series=told.series,
            per_source=told.per_source,
            comparison=compare(told.figures, then.figures, before) if then and before else None,
            window=span(window, told.step_ms),
            **envelope(
                *answers,
                more=(*size.note, *call.warnings, *told.warnings, *unlike(known, then)),
            ),
        )

    room = budget(max_tokens, call.engine.config, LESS, MORE)
    return fitted(make, wished, room.max_tokens, room.more)


@dataclass(frozen=True, slots=True)
class Topic:
    """What a history is of."""

    service: str
    metric: str
    window: Window
    step_ms: int


@dataclass(frozen=True, slots=True)
class Known:
    """What the replies to one question come to, however much of it an answer holds. `own` are the lines of the
    parts, in their order."""

    unit: str
    merged: Merged | None
    figures: Figures
    line: Line
    own: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Told:
    """As much of it as an answer holds, apart from who gave it when."""

    unit: str
    figures: Figures
    statistics: Statistics
    series: Points
    per_source: list[Provenance]
    step_ms: int
    warnings: tuple[str, ...]


async def knowledge(call: Call, outcomes: Sequence[Outcome[Series]], topic: Topic) -> Known:
    catalog = call.engine.config.catalog
    return await call.engine.derivations.aside(
        outcomes, topic, lambda: known_of(outcomes, catalog, topic), light_bytes=LIGHT_BYTES
    )


def known_of(outcomes: Sequence[Outcome[Series]], catalog: Catalog, topic: Topic) -> Known:
    merged = one(outcomes, catalog, topic)
    spec, line = catalog[topic.metric], of_merged(merged, topic.step_ms)
    return Known(
        unit=merged.unit if merged else spec.unit,
        merged=merged,
        figures=summarize(*numbers(merged)),
        line=line,
        own=tuple(of_part(part, topic.window, line.step_ms, spec.aggregate) for part in merged.parts)
        if merged
        else (),
    )


def tell(known: Known, max_points: int, most_series: int) -> Told:
    merged = known.merged
    parts = merged.parts if merged else ()
    detailed = telling(parts)[:most_series]
    return Told(
        unit=known.unit,
        figures=known.figures,
        statistics=statistics(known.figures),
        series=known.line.points(max_points),
        per_source=[
            provenance(part, merged, own.points(max_points) if part in detailed else None)
            for part, own in zip(parts, known.own, strict=True)
            if merged
        ],
        step_ms=known.line.step_ms,
        warnings=merged.warnings if merged else (),
    )


def shown_source(merged: Merged | None) -> str | None:
    """Whose values are shown; None where nobody has a number."""
    return merged.parts[0].source if merged and merged.rule else None


def unlike(known: Known, then: Known | None) -> Iterator[str]:
    """Where the earlier window is another source's: part of the change may be how the two differ."""
    shown, other = shown_source(known.merged), shown_source(then.merged if then else None)
    if shown and other and shown != other:
        yield f"compared with what {other} says, for it is shown in the earlier window and {shown} in this one"


def telling(parts: Sequence[Part]) -> list[Part]:
    """The parts, those first whose own points tell most that the merged series does not: they differ most."""
    return sorted(parts, key=lambda part: -abs((part.difference and part.difference.relative) or 0.0))


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


def one(outcomes: Sequence[Outcome[Series]], catalog: Catalog, topic: Topic) -> Merged | None:
    merged = merge(outcomes, catalog, topic.window, topic.step_ms)
    return next((m for m in merged if m.service == topic.service and m.metric == topic.metric), None)


def statistics(found: Figures) -> Statistics:
    return Statistics(
        count=found.count,
        missing=found.missing,
        min=rounded(found.min),
        min_at=iso(found.min_ms),
        max=rounded(found.max),
        max_at=iso(found.max_ms),
        mean=rounded(found.mean),
        p50=rounded(found.p50),
        p95=rounded(found.p95),
        p99=rounded(found.p99),
        last=rounded(found.last),
        trend_per_hour=rounded(found.trend_per_hour, 2),
        trend=found.trend_direction,
    )


def compare(now: Figures, then: Figures, window: Window) -> Comparison:
    change = None
    if now.mean is not None and then.mean:
        change = rounded((now.mean - then.mean) / abs(then.mean))
    return Comparison(window=span(window), mean=rounded(then.mean), p95=rounded(then.p95), mean_change=change)
