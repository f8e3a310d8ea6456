"""What became of a question to one source: its reply or its failure as a line of the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar, cast

import numpy as np

from telemetry_mcp.errors import SourceError, SourceTimeoutError
from telemetry_mcp.model import Failure, Outcome, Question, Reply, Series, SeriesQuery, Status
from telemetry_mcp.registry import Absent, Instance
from telemetry_mcp.source import METHODS
from telemetry_mcp.text import clean

T = TypeVar("T")

CAPABILITY = {method: name for name, method in METHODS.items()}
OWN_WORDS = ("query", "detail", "fix")
"""The fields of items that a plugin writes itself; names and titles are the backend's, and stay as they are."""


def narrow(instance: Instance, question: Question[T]) -> Question[T] | None:
    """The part of the question that this source can answer; None when there is none."""
    if CAPABILITY[question.method] not in instance.capabilities:
        return None
    offered = instance.source.metrics()
    if not isinstance(question, SeriesQuery) or offered is None:
        return question
    metrics = tuple(metric for metric in question.metrics if metric in offered)
    return cast("Question[T]", replace(question, metrics=metrics)) if metrics else None


def status_of(reply: Reply[Any]) -> Status:
    if reply.partial:
        return "partial"
    return "ok" if any(not isinstance(item, Series) or has_numbers(item) for item in reply.items) else "no_data"


def has_numbers(series: Series) -> bool:
    return len(series) > 0 and bool(np.isfinite(series.values[-1]) or np.isfinite(series.values).any())


def fit(reply: Reply[T], instance: Instance) -> Reply[T]:
    """The reply with this source's credentials out of everything that the plugin itself says.

    TypeError when it is not what the contract says: what comes after may rely on the shapes.
    """

    def tidy(texts: Sequence[str]) -> list[str]:
        return [clean(instance.redact(text), 2000) for text in texts]

    def safe(item: T) -> T:
        if isinstance(item, Series):
            check_shape(item)
        said = {name: text for name in OWN_WORDS if isinstance(text := getattr(item, name, None), str)}
        hidden = {name: instance.redact(text) for name, text in said.items()}
        return item if hidden == said else cast("T", replace(cast("Any", item), **hidden))

    partial = clean(instance.redact(reply.partial)) if reply.partial else None
    return Reply([safe(item) for item in reply.items], tidy(reply.queries), tidy(reply.warnings), partial)


def check_shape(series: Series) -> None:
    times, values = series.timestamps_ms, series.values
    arrays = isinstance(times, np.ndarray) and isinstance(values, np.ndarray)
    if not arrays or times.dtype.kind not in "iu" or values.dtype.kind not in "fiu":
        raise TypeError("a Series needs NumPy arrays: int64 timestamps_ms and float64 values")
    if times.ndim != 1 or times.shape != values.shape:
        raise TypeError(f"a Series of {times.shape} timestamps has values of {values.shape}")


def failed(instance: Instance, error: BaseException, latency_ms: float | None) -> Outcome[Any]:
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, SourceError):
        message = clean(instance.redact(str(error)))
        failure = Failure(error.kind, message, instance.redact(error.hint), getattr(error, "retry_after_s", None))
    else:
        message = clean(instance.redact(f"the plugin failed: {type(error).__name__}: {error}"))
        failure = Failure("plugin", message, "report this to whoever wrote the plugin")
    return Outcome(instance.name, instance.plugin, "failed", Reply(), latency_ms, failure)


def late(instance: Instance, deadline_s: float) -> Outcome[Any]:
    """The call's deadline passed while the source was still at work."""
    error = SourceTimeoutError(
        f"no answer by the call's deadline of {deadline_s:g} s",
        hint="ask for a shorter window, or with a larger deadline_s",
    )
    return failed(instance, error, deadline_s * 1000)


def unsupported(instance: Instance, question: Question[Any]) -> Outcome[Any]:
    capability = CAPABILITY[question.method]
    if capability in instance.capabilities and isinstance(question, SeriesQuery):
        what, hint = f"has none of {', '.join(question.metrics)}", ""
    else:
        what, hint = f"has no {capability}", ""
    return Outcome(instance.name, instance.plugin, "skipped", Reply(), None, Failure("unsupported", what, hint))


def missing(absent: Absent) -> Outcome[Any]:
    failure = Failure("plugin", absent.reason, absent.fix)
    return Outcome(absent.name, absent.plugin, "failed", Reply(), None, failure)
