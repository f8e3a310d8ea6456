"""get_current_metrics: the newest reading of every metric of one service."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from telemetry_mcp.catalog import Catalog
from telemetry_mcp.model import Outcome, Series
from telemetry_mcp.question import SeriesQuery, Window
from telemetry_mcp.reading import Reading, latest
from telemetry_mcp.server.call import Call
from telemetry_mcp.server.envelope import Answer, Number, Shape, envelope, iso, rounded, span

Health = Literal["OK", "WARNING", "CRITICAL", "UNKNOWN"]
SEVERITY: tuple[Health, ...] = ("UNKNOWN", "OK", "WARNING", "CRITICAL")

FRESH_MS = 600_000
"""A reading older than this is not current."""
STEP_MS = 60_000


class Beside(Shape):
    """Another source's reading of the same metric; `difference` is it minus the one shown."""

    source: str
    value: Number | None
    difference: Number | None
    agreement: Literal["agree", "differ", "unknown"]


class Current(Shape):
    metric: str
    value: Number | None
    unit: str
    status: Health
    source: str
    age_s: Number | None
    others: list[Beside]


class CurrentMetrics(Answer):
    service: str
    timestamp: str | None
    metrics: dict[str, Number | None]
    status: Health
    readings: list[Current]
    missing: list[str]


def newest(call: Call, services: tuple[str, ...], metrics: tuple[str, ...]) -> SeriesQuery:
    """The question for the newest readings."""
    window = Window(call.now_ms - FRESH_MS, call.now_ms)
    counted = any(call.engine.config.catalog[metric].kind == "counter" for metric in metrics)
    # What a counter rises by takes two samples to know.
    return SeriesQuery(services, metrics, window, STEP_MS, latest=not counted)


async def answer(call: Call, service: str, metrics: Sequence[str] | None) -> CurrentMetrics:
    names = tuple(dict.fromkeys(call.metric(name) for name in metrics or call.engine.metrics))
    await call.service(service)
    question = newest(call, (service,), names)
    outcomes = await call.ask(question)

    def make() -> CurrentMetrics:
        return current_metrics(call, service, names, outcomes, question.window)

    if call.warnings or any(each.cached_age_s is None for each in outcomes if each.status != "skipped"):
        return make()
    # Made of kept replies, an answer differs from the one before only in its ages, which are whole seconds.
    return call.engine.derivations.here(outcomes, ("current", service, names, call.now_ms // 1000), make)


def current_metrics(
    call: Call, service: str, names: Sequence[str], outcomes: Sequence[Outcome[Series]], window: Window
) -> CurrentMetrics:
    catalog = call.engine.config.catalog
    found, warnings = call.engine.derivations.here(outcomes, "latest", lambda: latest(outcomes, catalog))
    by_metric = {reading.metric: reading for reading in found if reading.service == service}
    readings = [current(by_metric[name], catalog, call.now_ms) for name in names if name in by_metric]
    return CurrentMetrics(
        service=service,
        timestamp=iso(max((reading.at_ms for reading in by_metric.values()), default=None)),
        metrics={catalog.key(name): value_of(by_metric.get(name)) for name in names},
        status=worst([reading.status for reading in readings]),
        readings=readings,
        missing=[name for name in names if name not in by_metric],
        window=span(window),
        **envelope(outcomes, more=(*call.warnings, *warnings)),
    )


def current(reading: Reading, catalog: Catalog, now_ms: int) -> Current:
    return Current(
        metric=reading.metric,
        value=rounded(reading.value),
        unit=reading.unit,
        status=catalog[reading.metric].status(reading.value),
        source=reading.source,
        age_s=max(0, now_ms // 1000 - reading.at_ms // 1000),
        others=[
            Beside(
                source=other.source,
                value=rounded(other.value),
                difference=rounded(other.difference),
                agreement="agree" if other.agrees else "differ",
            )
            for other in reading.others
        ],
    )


def value_of(reading: Reading | None) -> float | None:
    return rounded(reading.value) if reading else None


def worst(states: Sequence[Health]) -> Health:
    return max(states, key=SEVERITY.index, default="UNKNOWN")
