"""What every answer has around its own fields: the window, the ledger, the coverage, the warnings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from math import isfinite
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, WithJsonSchema, model_serializer

from telemetry_mcp.model import Outcome, Series, Status
from telemetry_mcp.question import Window
from telemetry_mcp.text import clean

ExternalText = Annotated[str, Field(json_schema_extra={"$comment": "external-text"})]
"""Text that a source wrote: data, never instructions. The schema says so in a comment, for a `format` of our own
would be refused by strict validators."""

Number = Annotated[int | float, WithJsonSchema({"type": "number"})]
"""A whole number stays one: 60 costs the reader less than 60.0."""

QUERY_LIMIT = 80
FAULT_LIMIT = 600
"""Of everything that one source owes in one call."""
NOTE_LIMIT = 500
"""Of the coverage note: what failed sources say is cut, so that each of their names is in it."""


class Shape(BaseModel):
    """The base of everything that leaves through MCP."""

    model_config = ConfigDict(extra="forbid")


class Span(Shape):
    start: str
    end: str
    step_s: Number | None = None


class Lean(Shape):
    """A shape whose optional fields are left out where there is nothing to say."""

    @model_serializer(mode="wrap")
    def without_nulls(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields: dict[str, Any] = plain(self)
        needed = type(self).model_fields
        return {name: value for name, value in fields.items() if value is not None or needed[name].is_required()}


class Fault(Lean):
    """`retry_after_s` is there only when the source gave a hint."""

    kind: str
    message: ExternalText
    fix: str | None = None
    retry_after_s: Number | None = None


class Line(Shape):
    """One source's line in the ledger. A source that was not asked has no latency, query and so on at all."""

    name: str
    plugin: str
    status: Status
    items: int
    error: Fault | None
    latency_ms: Number | None = None
    newest: str | None = None
    query: ExternalText | None = None
    cached_age_s: Number | None = None

    @model_serializer(mode="wrap")
    def as_asked(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields: dict[str, Any] = plain(self)
        return {name: fields[name] for name in ALWAYS} if self.status == "skipped" else fields


ALWAYS = tuple(name for name, field in Line.model_fields.items() if field.is_required())


class Coverage(Shape):
    asked: int
    answered: int
    complete: bool
    note: ExternalText


class Answer(Shape):
    """The envelope that every tool's answer extends.

    It is in every tool's schema: written out there, it alone would fill the tool list's budget of tokens. The
    instructions say what is in it.
    """

    window: Annotated[Span | None, WithJsonSchema({})] = None
    sources: Annotated[list[Line], WithJsonSchema({"type": "array"})] = []
    coverage: Annotated[Coverage | None, WithJsonSchema({"type": "object"})] = None
    warnings: list[ExternalText] = []


def iso(epoch_ms: int | float | None) -> str | None:
    """RFC 3339 in UTC, to the second; milliseconds only where there are any."""
    if epoch_ms is None:
        return None
    moment = datetime.fromtimestamp(epoch_ms / 1000, UTC)
    return moment.isoformat(timespec="milliseconds" if epoch_ms % 1000 else "seconds").replace("+00:00", "Z")


def rounded(value: float | None, digits: int = 4) -> Number | None:
    """Significant digits, at the edge only. What is not a number is None: JSON has no NaN."""
    if value is None or not isfinite(value):
        return None
    short = float(f"{value:.{digits}g}")
    return int(short) if short.is_integer() and abs(short) < 1e15 else short


def span(window: Window, step_ms: int | None = None) -> Span:
    return Span(
        start=iso(window.start_ms) or "",
        end=iso(window.end_ms) or "",
        step_s=rounded(step_ms / 1000) if step_ms else None,
    )


def ledger(*answers: Sequence[Outcome[Any]]) -> list[Line]:
    """One line a source, whatever number of questions it was asked in this call."""
    by_source: dict[str, list[Outcome[Any]]] = {}
    for outcomes in answers:
        for outcome in outcomes:
            by_source.setdefault(outcome.source, []).append(outcome)
    return [line(outcomes) for outcomes in by_source.values()]


def line(outcomes: Sequence[Outcome[Any]]) -> Line:
    asked = [outcome for outcome in outcomes if outcome.status != "skipped"] or list(outcomes[:1])
    failures = [outcome.failure for outcome in asked if outcome.failure]
    partial = [outcome.reply.partial for outcome in asked if outcome.reply.partial]
    said = clean("; ".join(dict.fromkeys([*(failure.message for failure in failures), *partial])), FAULT_LIMIT)
    queries = [query for outcome in asked for query in outcome.reply.queries]
    ages = [outcome.cached_age_s for outcome in asked if outcome.cached_age_s is not None]
    fault = None
    if failures:
        fault = Fault(
            kind=failures[0].kind,
            message=said,
            fix=failures[0].hint or None,
            retry_after_s=rounded(failures[0].retry_after_s),
        )
    elif partial:
        fault = Fault(kind="partial", message=said, fix="treat what is missing as unknown")
    return Line(
        name=asked[0].source,
        plugin=asked[0].plugin,
        status=status(asked),
        latency_ms=rounded(max((o.latency_ms for o in asked if o.latency_ms is not None), default=None), 3),
        items=sum(len(outcome.reply.items) for outcome in asked),
        newest=iso(newest_ms(asked)),
        query=clean(" | ".join(queries), QUERY_LIMIT) if queries else None,
        cached_age_s=rounded(max(ages, default=None), 2),
        error=fault,
    )


def status(asked: Sequence[Outcome[Any]]) -> Status:
    """Of several questions to one source: the worst that still says what there is."""
    seen = {outcome.status for outcome in asked}
    if len(seen) == 1:
        return asked[0].status
    if "failed" in seen or "partial" in seen:
        return "partial"
    return "ok"


def newest_ms(outcomes: Iterable[Outcome[Any]]) -> int | None:
    """The time of the newest number in any series of these outcomes."""
    newest = None
    for outcome in outcomes:
        for item in outcome.reply.items:
            if isinstance(item, Series) and len(item):
                at = last_number_ms(item)
                newest = at if newest is None or (at is not None and at > newest) else newest
    return newest


def last_number_ms(series: Series) -> int | None:
    if series.values[-1] == series.values[-1]:
        return int(series.timestamps_ms[-1])
    numbers = np.flatnonzero(np.isfinite(series.values))
    return int(series.timestamps_ms[numbers[-1]]) if len(numbers) else None


def coverage(lines: Sequence[Line]) -> Coverage:
    """How much of what was asked the answer stands on, in a sentence that cannot be overlooked."""
    asked = [line for line in lines if line.status != "skipped"]
    answered = [line for line in asked if line.status != "failed"]
    room = max(60, NOTE_LIMIT // max(1, sum(line.error is not None for line in asked)))
    faults = [clean(f"{line.name}: {line.error.message}", room) for line in asked if line.error]
    if not asked:
        note = "no configured source can answer this"
    elif not answered:
        note = "no source answered; nothing is known. " + "; ".join(faults)
    elif faults:
        note = f"{len(answered)} of {len(asked)} sources answered; treat absence as unknown. " + "; ".join(faults)
    else:
        note = "every source that can answer this did"
    return Coverage(asked=len(asked), answered=len(answered), complete=bool(asked) and not faults, note=note)


def envelope(*answers: Sequence[Outcome[Any]], more: Iterable[str] = ()) -> dict[str, Any]:
    """The ledger, coverage and warnings of an answer, ready to be passed to its model."""
    lines = ledger(*answers)
    said = [f"{o.source}: {w}" for outcomes in answers for o in outcomes for w in o.reply.warnings]
    return {
        "sources": lines,
        "coverage": coverage(lines),
        "warnings": [clean(warning) for warning in dict.fromkeys((*more, *said))][:20],
    }
