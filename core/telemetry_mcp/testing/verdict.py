"""What is wrong with an answer, in sentences for whoever wrote the plugin. Empty: nothing."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from telemetry_mcp.errors import SourceError
from telemetry_mcp.model import Outcome, Series
from telemetry_mcp.question import NativeQuery, Question, SeriesQuery, Window
from telemetry_mcp.testing.ask import Spoilt
from telemetry_mcp.testing.fault import BODIES, ERRORS, FAULTS, RETRY_AFTER_S
from telemetry_mcp.unit import UNITS, known

SECONDS_BEFORE = 10**11
"""Epoch milliseconds below this are times in 1973: then they were seconds."""
SOFT = (*BODIES, "truncated", "gzip bomb")
"""What a check may overlook: one that only looks at the status is a check as well."""


def told(outcome: Outcome[Any]) -> str:
    """How a question ended, in the words of the ledger."""
    if outcome.failure is not None:
        return f"{outcome.failure.kind}: {outcome.failure.message}"
    return f"{outcome.status} with {len(outcome.reply.items)} items"


def where(errors: Sequence[BaseException]) -> str:
    """The end of the traceback of the last thing that is no SourceError."""
    for error in reversed(errors):
        if not isinstance(error, SourceError):
            frames = traceback.extract_tb(error.__traceback__)[-3:]
            return "".join(
                f"\n  {frame.filename}:{frame.lineno} in {frame.name}: {frame.line}" for frame in frames
            )
    return ""


def crash(method: str, outcome: Outcome[Any], errors: Sequence[BaseException] = ()) -> Iterator[str]:
    """Anything but a SourceError that left the plugin."""
    if outcome.failure is not None and outcome.failure.kind == "plugin":
        yield (
            f"{method}: {outcome.failure.message}. Raise ProtocolError for what cannot be read, or another "
            f"SourceError; hand over what the contract says{where(errors)}"
        )


def zeroed(spoilt: Spoilt, healthy: Outcome[Any]) -> Iterator[str]:
    """A number that the backend did not have, and that became a measurement of 0."""
    if zeros(spoilt.outcome) > zeros(healthy):
        yield (
            f"when {spoilt.what}, {spoilt.question.method} has a 0 that nobody measured. "
            "What is not a number is NaN, never 0"
        )


def zeros(outcome: Outcome[Any]) -> int:
    return sum(int((series.values == 0).sum()) for series in outcome.reply.items)


def unanswered(question: Question[Any], outcome: Outcome[Any], quiet: bool) -> Iterator[str]:
    """A healthy backend, and no answer."""
    if outcome.status == "ok" or (quiet and outcome.status == "no_data"):
        return
    if outcome.status == "no_data":
        yield (
            f"{question.method} found nothing for {question}. Let the healthy backend have data for that "
            f"(attributes services, metrics, window, incident_id), or name the capability in `quiet`"
            f"{notes(outcome)}"
        )
    else:
        yield f"{question.method} ended as {told(outcome)} although the backend is well{notes(outcome)}"


def notes(outcome: Outcome[Any]) -> str:
    said = [*outcome.reply.warnings, *([outcome.reply.partial] if outcome.reply.partial else [])]
    return f". It said: {'; '.join(said)}" if said else ""


def misshapen(series: Series, window: Window, metrics: Sequence[str]) -> Iterator[str]:
    """Times and values that are not as the contract says. `metrics` empty: any name will do."""
    name, times = f"the Series {series.metric!r} of {series.service!r}", series.timestamps_ms
    if metrics and series.metric not in metrics:
        yield f"{name}: nobody asked for that metric. Name it as the question did: {', '.join(metrics)}"
    if len(times) > 1 and not (np.diff(times) > 0).all():
        twice = "the same time twice" if (np.diff(np.sort(times)) == 0).any() else "times that go back"
        yield f"{name} has {twice}: sort by time, and keep one value for each"
    if len(times) and times.max() < SECONDS_BEFORE:
        yield f"{name}: its times, such as {times.max()}, are seconds: multiply them by 1000"
    elif len(times) and (times.min() < window.start_ms or times.max() >= window.end_ms):
        yield (
            f"{name} runs from {times.min()} to {times.max()}, beyond the window that was asked: "
            f"{window.start_ms} <= t < {window.end_ms}. Leave out what is outside"
        )


def unitless(series: Series) -> Iterator[str]:
    if series.unit and not known(series.unit):
        yield (
            f"the Series {series.metric!r} of {series.service!r} has the unit {series.unit!r}, which nobody "
            f"knows. Translate the backend's name into one of: {', '.join(UNITS)}; or leave it empty"
        )


def invented(question: Question[Any], outcome: Outcome[Any]) -> Iterator[str]:
    """An answer of a backend that found nothing."""
    if outcome.status == "no_data":
        return
    if outcome.failure is not None:
        yield f"{question.method} ended as {told(outcome)}. Return an empty Reply() when the backend has nothing"
    elif outcome.status == "partial":
        yield f"{question.method} is partial ({outcome.reply.partial}). Nothing was missing: return Reply()"
    else:
        yield (
            f"{question.method} made {len(outcome.reply.items)} items of nothing: {outcome.reply.items[0]}. "
            "A metric without samples is no Series (0 is a measurement): return an empty Reply()"
        )


def mistaken(
    state: str, question: Question[Any], outcome: Outcome[Any], errors: Sequence[BaseException]
) -> Iterator[str]:
    """A fault that was not told, or not by its name."""
    if outcome.failure is not None and outcome.failure.kind == "plugin":
        yield from crash(question.method, outcome, errors)
        return
    wanted = " or ".join(ERRORS[kind] for kind in FAULTS[state])
    if question.method == "check" and outcome.failure is None:
        if state not in SOFT and all(check.ok for check in outcome.reply.items):
            yield f"check() finds nothing wrong. Raise {wanted}, or return a Check with ok=False"
        return
    if outcome.failure is None:
        yield f"{question.method} answered {told(outcome)}{notes(outcome)}. Raise {wanted}: that is not 'no data'"
    elif outcome.failure.kind not in FAULTS[state]:
        yield f"{question.method} ended as {told(outcome)}. Raise {wanted}"
    elif state == "429 with Retry-After":
        after_s = outcome.failure.retry_after_s
        if after_s is None or not RETRY_AFTER_S - 2 <= after_s <= RETRY_AFTER_S + 1:
            yield (
                f"{question.method} says retry_after_s={after_s} where the header says {RETRY_AFTER_S}. "
                "Raise RateLimitedError(..., retry_after_s=retry_after(headers)), as error_for_status does"
            )


def digest(outcome: Outcome[Any]) -> tuple[str, list[str]]:
    """What an outcome says, for comparing it with another one of the same question."""
    return outcome.status, sorted(map(line, outcome.reply.items))


def line(item: Any) -> str:
    if not isinstance(item, Series):
        return repr(item)
    points = item.timestamps_ms.tolist(), item.values.tolist()
    return repr((item.service, item.metric, item.unit, dict(item.labels), points))


def differing(
    questions: Mapping[str, Question[Any]], alone: Sequence[Outcome[Any]], together: Sequence[Outcome[Any]]
) -> Iterator[str]:
    for name, one, other in zip(questions, alone, together, strict=True):
        if one.answered and digest(one) != digest(other):
            yield (
                f"{name} answered {told(other)} among other questions, and {told(one)} alone. Calls run at the "
                "same time: keep what belongs to a call in local variables, not on self"
            )


def span(question: Question[Any]) -> Window:
    assert isinstance(question, SeriesQuery | NativeQuery)  # the only ones that answer with Series
    return question.window


def asked_metrics(question: Question[Any]) -> Sequence[str]:
    return question.metrics if isinstance(question, SeriesQuery) else ()
