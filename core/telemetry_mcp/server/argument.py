"""From what a caller wrote to what can be asked. Every refusal is one sentence that says what is valid."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from math import isfinite
from typing import Any

from pydantic import BaseModel, ValidationError

from telemetry_mcp.catalog import echo, suggest
from telemetry_mcp.errors import QuestionError
from telemetry_mcp.question import Window
from telemetry_mcp.setting import seconds

HOUR_MS = 3_600_000
STEPS_S = (15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
FETCHED_POINTS = 1440
"""Points fetched of a series at most: a day by the minute. The answer is downsampled from them."""
MILLISECONDS_FROM = 1e11
MILLISECONDS_UNTIL = 1e14
FUTURE_SLACK_MS = 60_000
SECOND_MS = 1000
LONGEST_S = 1.5e9
"""Longer durations are cut to these 47 years: further than any look-back, and every date can still be written."""
LONGEST_TEXT = 300
"""Characters of a name, a time or whatever else a caller writes."""


def moment_ms(text: str, now_ms: int, name: str) -> int:
    """`now`, `now-6h`, RFC 3339, a date, or epoch seconds -> epoch ms."""
    text = text.strip()
    if relative := re.fullmatch(r"now(?:\s*-\s*(\S+))?", text):
        return now_ms - (round(1000 * duration_s(relative[1], name)) if relative[1] else 0)
    if re.fullmatch(r"\d+(\.\d+)?", text) and float(text) < MILLISECONDS_UNTIL:
        return epoch_ms(float(text), name)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        valid = "RFC 3339 (2026-11-22T14:00:00Z), epoch seconds, or now-6h"
        raise QuestionError(f"{name}={echo(text)} is not a time; write {valid}") from None
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def epoch_ms(value: float, name: str) -> int:
    if value >= MILLISECONDS_FROM:
        raise QuestionError(
            f"{name}={value:.0f} looks like milliseconds; times are epoch seconds: {value / 1000:.0f}"
        )
    return round(value * 1000)


def duration_s(text: str, name: str) -> float:
    try:
        return positive(min(seconds(text), LONGEST_S), name)
    except ValueError as error:
        raise QuestionError(f"{name}={echo(text)} is {error}") from None


def positive(value: float, name: str) -> float:
    if not isfinite(value) or value <= 0:
        raise QuestionError(f"{name}={value:g} must be a number greater than 0")
    return value


def not_negative(value: float, name: str) -> float:
    if not isfinite(value) or value < 0:
        raise QuestionError(f"{name}={value:g} must be 0 or a number greater than 0")
    return value


def finite(value: float, name: str) -> float:
    if not isfinite(value):
        raise QuestionError(f"{name}={value} must be a finite number")
    return value


def period(
    now_ms: int, lookback_s: float, *, hours: float, start: str | None = None, end: str | None = None
) -> Window:
    """The window that was asked: `start` and `end`, or the last `hours` before `end` (default: now)."""
    hours = min(positive(hours, "hours"), LONGEST_S * 1000 / HOUR_MS)
    end_ms = moment_ms(end, now_ms, "end") if end else now_ms
    start_ms = moment_ms(start, now_ms, "start") if start else end_ms - round(hours * HOUR_MS)
    if start_ms > now_ms or end_ms > now_ms + FUTURE_SLACK_MS:
        raise QuestionError("the window lies in the future; end can be no later than now")
    if end_ms < start_ms:
        raise QuestionError(
            f"the window ends before it starts: start={echo(start or '')} end={echo(end or 'now')}"
        )
    if not reaches(start_ms, now_ms, lookback_s):
        limit = f"{lookback_s / 86400:g} days ({lookback_s / 3600:g} hours)"
        raise QuestionError(f"the window starts further back than the configured look-back of {limit}")
    end_ms = min(end_ms, now_ms)
    if end_ms - start_ms < SECOND_MS:
        raise QuestionError("the window is shorter than a second")
    return Window(start_ms, end_ms)


def reaches(start_ms: int, now_ms: int, lookback_s: float) -> bool:
    """Whether the look-back goes as far as `start_ms`; an hour is granted for aligning and for clocks."""
    return now_ms - start_ms <= lookback_s * 1000 + HOUR_MS


def step_of(window: Window, wished: str | None = None, points: int = FETCHED_POINTS) -> int:
    """The step in ms: what was wished, or the smallest usual one that keeps the window within `points`."""
    if wished:
        step_s = duration_s(wished, "step")
        if step_s * 1000 > window.duration_ms:
            raise QuestionError(
                f"step={echo(wished)} is longer than the window of {window.duration_ms / HOUR_MS:g} hours"
            )
        if step_s < 1:
            raise QuestionError(f"step={echo(wished)} is too short; the least step is 1s")
        return round(1000 * step_s)
    needed = window.duration_ms / 1000 / points
    return 1000 * next((step for step in STEPS_S if step >= needed), STEPS_S[-1])


def aligned(window: Window, step_ms: int) -> Window:
    """The window on the epoch's grid, so that equal questions a moment apart are one question. The bucket
    that is still filling is left out."""
    start = window.start_ms // step_ms * step_ms
    end = max(window.end_ms // step_ms * step_ms, start + step_ms)
    return Window(start, end)


def check_arguments(model: type[BaseModel], arguments: dict[str, Any], tool: str) -> str | None:
    """What is wrong with a tool's arguments, in one sentence; None when nothing is."""
    valid = list(model.model_fields)
    unknown = [name for name in arguments if name not in valid]
    if unknown and not valid:
        return f"{tool} takes no arguments, not even {echo(unknown[0])}"
    if unknown:
        return f"{tool} has no argument {echo(unknown[0])}{suggest(unknown[0], valid)}"
    try:
        model.model_validate(arguments)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        name = ".".join(str(part) for part in fault["loc"][:1])
        if fault["type"] == "missing":
            needed = [n for n, field in model.model_fields.items() if field.is_required()]
            return f"{tool} needs the argument {name!r}; needed: {', '.join(needed)}; all: {', '.join(valid)}"
        return f"{tool}: the argument {name!r} is not valid: {fault['msg'].removeprefix('Value error, ')}"
    return None
