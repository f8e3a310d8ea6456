"""query_source: one query in one source's own language. Off unless the source says allow_native = true."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from telemetry_mcp.analysis.anomaly import score
from telemetry_mcp.catalog import Metric, echo, suggest
from telemetry_mcp.errors import QuestionError
from telemetry_mcp.model import Series
from telemetry_mcp.part import part_of
from telemetry_mcp.question import NativeQuery, Window
from telemetry_mcp.server.argument import aligned, period, step_of
from telemetry_mcp.server.budget import Size, budget, fitted
from telemetry_mcp.server.call import Call
from telemetry_mcp.server.envelope import Answer, ExternalText, Number, Shape, envelope, rounded, span
from telemetry_mcp.server.points import Line, Points, of_part
from telemetry_mcp.text import clean

MOST_SERIES = 20
MOST_LABELS = 12
LESS = "aggregate or use topk"
MORE = "aggregate, use topk, or ask with a larger max_tokens"


class NativeSeries(Shape):
    labels: dict[str, ExternalText]
    unit: str
    last: Number | None
    points: Points


class Native(Answer):
    source: str
    language: str
    series: list[NativeSeries]
    total: int


async def answer(
    call: Call,
    source: str,
    query: str,
    hours: float,
    start: str | None,
    end: str | None,
    step: str | None,
    max_tokens: int | None,
) -> Native:
    language = permitted(call, source)
    if not query.strip():
        raise QuestionError(f"query is empty; write {language}")
    window = period(call.now_ms, call.engine.config.defaults.lookback, hours=hours, start=start, end=end)
    step_ms = step_of(window, step)
    window = aligned(window, step_ms)
    question = NativeQuery(query, window, step_ms, limit=MOST_SERIES)
    outcomes = await call.ask(question, only=[source])
    found = [item for outcome in outcomes for item in outcome.reply.items]
    if len(found) > MOST_SERIES:
        call.warnings.append(f"the first {MOST_SERIES} of {len(found)} series are shown; aggregate or use topk")
    taken = [taken_in(series, window, step_ms) for series in found[:MOST_SERIES]]
    defaults = call.engine.config.defaults

    def make(size: Size) -> Native:
        return Native(
            source=source,
            language=language,
            series=[native_series(each, size.points) for each in relevant(taken, size.series)],
            total=len(found),
            window=span(window, step_ms),
            **envelope(outcomes, more=(*size.note, *call.warnings)),
        )

    wished = Size(max(10, defaults.max_points // max(1, len(taken))), len(taken))
    # Twenty series are searched for what is unusual: in a thread, so that other calls go on.
    room = budget(max_tokens, call.engine.config, LESS, MORE)
    return await call.engine.derivations.alone(lambda: fitted(make, wished, room.max_tokens, room.more))


@dataclass(frozen=True, eq=False)
class Taken:
    """A series of the answer. How unusual it is, is worked out once, and only where not all series fit."""

    series: Series
    last: float | None
    line: Line

    @cached_property
    def strangeness(self) -> float:
        scores = score(self.series.timestamps_ms, self.series.values)
        return float(np.nan_to_num(scores).max(initial=0.0))


def taken_in(series: Series, window: Window, step_ms: int) -> Taken:
    part = part_of("", [series], Metric())
    last = float(part.values[-1]) if part.samples else None
    return Taken(series, last, of_part(part, window, step_ms, "mean"))


def relevant(found: Sequence[Taken], most: int) -> list[Taken]:
    """At most so many of the series, in their order: those in which something is most unusual."""
    if len(found) <= most:
        return list(found)
    ranks = [each.strangeness for each in found]
    best = sorted(np.argsort(ranks, kind="stable")[::-1][:most])
    return [found[place] for place in best]


def permitted(call: Call, source: str) -> str:
    """The language of a source that lets native queries through. QuestionError with those that do."""
    instances = {instance.name: instance for instance in call.engine.registry.instances}
    able = [n for n, i in instances.items() if "native" in i.capabilities and i.source.settings.allow_native]
    open_ones = [name for name in able if call.engine.native(name)]
    if source not in instances:
        raise QuestionError(f"no source is called {echo(source)}{suggest(source, instances)}")
    if source in able and source not in open_ones:
        raise QuestionError(f"your role lets no native queries through to {source}")
    if source not in open_ones:
        allowed = f" Allowed: {', '.join(open_ones)}" if open_ones else ""
        raise QuestionError(
            f"{source} lets no native queries through: set allow_native = true under [sources.{source}].{allowed}"
        )
    return instances[source].source.native_language or "native"


def native_series(taken: Taken, points: int) -> NativeSeries:
    series = taken.series
    labels = {clean(name, 80): clean(value, 160) for name, value in list(series.labels.items())[:MOST_LABELS]}
    if series.service and "service" not in labels:
        labels["service"] = clean(series.service)
    return NativeSeries(
        labels=labels, unit=series.unit, last=rounded(taken.last), points=taken.line.points(points)
    )
