"""From rows of numbers to normalized series: whose they are, which points count, what must be said of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from telemetry_mcp import Reply, Series, Window
from telemetry_mcp_prometheus.wire import Answer, Row


@dataclass(frozen=True, slots=True)
class Ask:
    """One PromQL query and how its answer is to be read.

    `metric` empty: the query is the user's own, each series keeps its `__name__`, and one without a service
    counts too. `wished_ms` is the step that was asked for, `step_ms` the one that is sent.
    """

    promql: str
    window: Window
    wished_ms: int
    step_ms: int
    service_label: str
    limit: int
    max_points: int = 11_000
    services: tuple[str, ...] = ()
    metric: str = ""
    unit: str = ""
    latest: bool = False


def reply_of(answer: Answer, ask: Ask) -> Reply[Series]:
    """At most `ask.limit` series of the services that were asked for, with the points inside the window."""
    named = [(service_of(row, ask), row) for row in answer.rows]
    asked = [(name, row) for name, row in named if name is not None and (not ask.services or name in ask.services)]
    taken = asked[: ask.limit]
    items = [series_of(name, row, ask) for name, row in taken]
    reasons, nameless = list(answer.warnings), sum(name is None for name, _ in named)
    if len(asked) > len(taken):
        reasons.append(f"{len(taken)} of {len(asked)} series taken: aggregate by ({ask.service_label})")
    return Reply(
        items=[series for series in items if len(series)],
        queries=[ask.promql],
        warnings=[*answer.infos, *remarks(answer, ask, nameless, [row for _, row in taken])],
        partial="; ".join(reasons) or None,
    )


def service_of(row: Row, ask: Ask) -> str | None:
    """The service's name. A result without one belongs to the service that was asked for, if it was only one."""
    alone = ask.services[0] if len(ask.services) == 1 else None
    return row.labels.get(ask.service_label) or ("" if not ask.metric else alone)


def series_of(service: str, row: Row, ask: Ask) -> Series:
    inside = (row.timestamps_ms >= ask.window.start_ms) & (row.timestamps_ms < ask.window.end_ms)
    times, values = row.timestamps_ms[inside], row.values[inside]
    if ask.latest:
        times, values = times[-1:], values[-1:]
    return Series(
        service=service,
        metric=ask.metric or row.labels.get("__name__", ""),
        timestamps_ms=times,
        values=np.where(np.isinf(values), np.nan, values),
        unit=ask.unit,
        labels={name: text for name, text in row.labels.items() if name not in ("__name__", ask.service_label)},
        query=ask.promql,
    )


def remarks(answer: Answer, ask: Ask, nameless: int, taken: Sequence[Row]) -> Iterator[str]:
    if ask.step_ms != ask.wished_ms:
        wished, sent = ask.wished_ms / 1000, ask.step_ms / 1000
        yield f"step widened from {wished:g} s to {sent:g} s: {ask.max_points:,} points at most"
    if nameless:
        label = ask.service_label
        yield f"{nameless} series without the label {label} left out: aggregate by ({label})"
    if ask.metric and any(ask.service_label not in row.labels for row in taken):
        label, service = ask.service_label, ask.services[0]
        yield f"a result without the label {label} is taken for {service}: aggregate by ({label})"
    if answer.histograms:
        yield f"{answer.histograms} series hold native histograms: query a quantile of them instead"
    infinite = sum(int(np.isinf(row.values).sum()) for row in taken)
    if infinite:
        yield f"{infinite} infinite values left out"
