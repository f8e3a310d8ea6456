"""What became of a question to one source: its reply or its failure as a line of the ledger."""

from __future__ import annotations

from dataclasses import replace
from math import isfinite
from typing import Any, TypeVar, cast

import numpy as np

from telemetry_mcp.boundary import words
from telemetry_mcp.errors import SourceError, SourceTimeoutError
from telemetry_mcp.model import Failure, Outcome, Reply, Series, Status
from telemetry_mcp.question import Question, SeriesQuery
from telemetry_mcp.registry import Absent, Instance
from telemetry_mcp.source import METHODS
from telemetry_mcp.text import clean

T = TypeVar("T")

CAPABILITY = {method: name for name, method in METHODS.items()}


def narrow(instance: Instance, question: Question[T]) -> Question[T] | None:
    """The part of the question that this source can answer; None when there is none."""
    if CAPABILITY[question.method] not in instance.capabilities:
        return None
    if not isinstance(question, SeriesQuery):
        return question
    metrics = tuple(metric for metric in question.metrics if instance.offers(metric))
    return cast("Question[T]", replace(question, metrics=metrics)) if metrics else None


def status_of(reply: Reply[Any]) -> Status:
    if reply.partial:
        return "partial"
    return "ok" if any(not isinstance(item, Series) or has_numbers(item) for item in reply.items) else "no_data"


def has_numbers(series: Series) -> bool:
    return len(series) > 0 and bool(isfinite(series.values[-1]) or np.isfinite(series.values).any())


def failed(instance: Instance, error: BaseException, latency_ms: float | None) -> Outcome[Any]:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, SourceError):
        message = clean(instance.redact(words(error)))
        failure = Failure(error.kind, message, instance.redact(error.hint), getattr(error, "retry_after_s", None))
    else:
        message = clean(instance.redact(f"the plugin failed: {type(error).__name__}: {words(error)}"))
        failure = Failure("plugin", message, "report this to whoever wrote the plugin")
    return Outcome(instance.name, instance.plugin, "failed", Reply(), latency_ms, failure)


def late(instance: Instance, deadline_s: float, had_s: float) -> Outcome[Any]:
    """The call's deadline passed while the source was still at work, for which it had `had_s`."""
    had = f", of which {had_s:.1f} s were left for this" if deadline_s - had_s >= 0.1 else ""
    error = SourceTimeoutError(
        f"no answer by the call's deadline of {deadline_s:g} s{had}",
        hint="ask for a shorter window, or with a larger deadline_s",
    )
    return failed(instance, error, had_s * 1000)


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
