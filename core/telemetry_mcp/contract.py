"""What a reply must be for everything behind the fan-out to rely on it; and what must not be in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from numbers import Integral, Real
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from telemetry_mcp.access.injection import concealing
from telemetry_mcp.model import Change, Check, Dependency, Entry, Incident, OnCall, Reply, Series, Service, Slo
from telemetry_mcp.question import Question, SeriesQuery
from telemetry_mcp.registry import Instance
from telemetry_mcp.text import clean, plain

T = TypeVar("T")

ITEMS: Mapping[str, type] = {
    "fetch_series": Series,
    "list_services": Service,
    "list_incidents": Incident,
    "list_changes": Change,
    "list_dependencies": Dependency,
    "list_timeline": Entry,
    "list_related": Incident,
    "list_on_call": OnCall,
    "list_slos": Slo,
    "run_native": Series,
    "check": Check,
}
"""The method of a source -> what its reply holds."""

KINDS: Mapping[str, tuple[type, ...]] = {
    "str": (str,),
    "str | None": (str, type(None)),
    "int": (Integral,),
    "int | None": (Integral, type(None)),
    "float": (Real,),
    "float | None": (Real, type(None)),
    "tuple[str, ...]": (tuple,),
    "bool": (bool,),
    "Mapping[str, str]": (Mapping,),
}
"""The annotation of an item's field -> what may stand there."""

OWN_WORDS = ("query", "detail", "fix", "enables")
"""The fields that a plugin writes itself, and into which a credential could get."""
PROSE = ("title", "reason", *OWN_WORDS)
PROSE_LIMIT = 2000
LAST_MS = 253_402_300_799_000
"""The end of the year 9999: a time beyond it was not in milliseconds."""
LARGEST, LEAST = 1e100, 1e-100
"""Sizes of numbers between which every measurement lies; what is larger is unknown, what is smaller is 0."""
AHEAD_MS = 60_000
"""How far a source's clock may run before ours."""


def fit(reply: Reply[T], instance: Instance, question: Question[T]) -> Reply[T]:
    """The reply, checked, without credentials and without characters that could deceive a reader.

    Raises TypeError when it is not what the contract says.
    """
    if not isinstance(reply, Reply):
        raise TypeError(f"{question.method} must return a Reply, not {type(reply).__name__}")
    warnings = [tidy(text, instance) for text in reply.warnings]
    items = [checked(item, instance, question) for item in reply.items]
    # To be told before they are gone: whoever hides letters between others has a reason.
    hiding = tuple(n for n, item in enumerate(reply.items) if not isinstance(item, Series) and conceals(item))
    if isinstance(question, SeriesQuery):
        items = asked_for(cast("list[Any]", items), question, warnings)
    partial = clean(instance.redact(reply.partial)) if reply.partial else None
    return Reply(items, [tidy(text, instance) for text in reply.queries], warnings, partial, hiding)


def conceals(item: Any) -> bool:
    texts = (getattr(item, field.name) for field in fields(item))
    return any(isinstance(text, str) and concealing(text) for text in texts)


def tidy(text: str, instance: Instance) -> str:
    return clean(instance.redact(text), PROSE_LIMIT)


def checked(item: T, instance: Instance, question: Question[T]) -> T:
    wanted = ITEMS[question.method]
    if not isinstance(item, wanted):
        raise TypeError(f"{question.method} must hand over {wanted.__name__}, not {type(item).__name__}")
    changed: dict[str, Any] = {}
    if isinstance(item, Series):
        check_shape(item)
        changed = numbers(item)
    for field in fields(cast("Any", item)):
        value = getattr(item, field.name)
        kinds = KINDS.get(str(field.type))
        if kinds and not isinstance(value, kinds):
            raise TypeError(f"{wanted.__name__}.{field.name} must be {field.type}, not {type(value).__name__}")
        told = settled(field.name, value, instance)
        if told is not value and (type(told) is not type(value) or told != value):
            changed[field.name] = told
    return cast("T", replace(cast("Any", item), **changed)) if changed else item


def settled(name: str, value: Any, instance: Instance) -> Any:
    """A field's value as it may leave."""
    if name == "url" and isinstance(value, str):
        return plain(value, PROSE_LIMIT) if value.startswith(("https://", "http://")) else None
    if isinstance(value, str):
        text = instance.redact(value) if name in OWN_WORDS else value
        return clean(text, PROSE_LIMIT) if name in PROSE else plain(text)
    if name.endswith("_ms") and isinstance(value, Integral):
        at_ms = int(value)
        if not 0 <= at_ms <= LAST_MS:
            raise TypeError(f"{name} must be epoch milliseconds, not {at_ms}")
        return at_ms
    return value


def check_shape(series: Series) -> None:
    times, values = series.timestamps_ms, series.values
    arrays = isinstance(times, np.ndarray) and isinstance(values, np.ndarray)
    if not arrays or times.dtype.kind not in "iu" or values.dtype.kind not in "fiu":
        raise TypeError("a Series needs NumPy arrays: int64 timestamps_ms and float64 values")
    if times.ndim != 1 or times.shape != values.shape:
        raise TypeError(f"a Series of {times.shape} timestamps has values of {values.shape}")
    weights = series.weights
    if weights is not None and not (isinstance(weights, np.ndarray) and weights.dtype.kind in "fiu"):
        raise TypeError("the weights of a Series are a NumPy array of numbers")
    if weights is not None and weights.shape != values.shape:
        raise TypeError(f"a Series of {values.shape} values has weights of {weights.shape}")
    if len(times) and not (times.min() >= 0 and times.max() <= LAST_MS):
        raise TypeError(f"timestamps_ms must be epoch milliseconds, not {times.max()}")


def numbers(series: Series) -> dict[str, Any]:
    """The arrays that are not as the maths behind needs them: int64 (unsigned times cannot be subtracted) and
    float64 whose squares can be written."""
    arrays = {"values": series.values, "weights": series.weights}
    fit = {
        name: measurable(array.astype(np.float64, copy=False))
        for name, array in arrays.items()
        if array is not None
    }
    changed: dict[str, Any] = {name: array for name, array in fit.items() if array is not arrays[name]}
    if series.timestamps_ms.dtype != np.int64:
        changed["timestamps_ms"] = series.timestamps_ms.astype(np.int64)
    return changed


def measurable(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """No number where one is larger than anything that is measured, and 0 where it is nearer to 0."""
    sizes = np.abs(values)
    far, near = sizes > LARGEST, (sizes < LEAST) & (values != 0)
    if not (far.any() or near.any()):
        return values
    return np.where(far, np.nan, np.where(near, 0.0, values))


def asked_for(items: Sequence[Series], question: SeriesQuery, warnings: list[str]) -> list[Any]:
    """The series of the services that were asked for; of the newest readings, those inside the window."""
    wanted = {plain(service) for service in question.services}
    kept = [series for series in items if not wanted or series.service in wanted]
    if len(kept) < len(items):
        warnings.append(f"{len(items) - len(kept)} series of services that were not asked for were left out")
    if not question.latest:
        return kept
    current = [inside(series, question) for series in kept]
    outside = sum(len(series) for series in kept) - sum(len(series) for series in current)
    if outside:
        warnings.append(f"{outside} readings from outside the asked window were left out: not current")
    return current


def inside(series: Series, question: SeriesQuery) -> Series:
    window, times = question.window, series.timestamps_ms
    current = (times >= window.start_ms) & (times < window.end_ms + AHEAD_MS)
    if current.all():
        return series
    weights = None if series.weights is None else series.weights[current]
    return replace(series, timestamps_ms=times[current], values=series.values[current], weights=weights)
