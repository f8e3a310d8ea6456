"""Objectives made ready to be asked: what they measure becomes metrics of the catalog, native queries included."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from telemetry_mcp.catalog import Catalog, Metric, suggest
from telemetry_mcp.objective.document import Backend
from telemetry_mcp.objective.setting import Amounts, Objective, Query

DAY_S = 86_400.0
LONGEST_S = {"day": DAY_S, "week": 7 * DAY_S, "month": 31 * DAY_S, "quarter": 92 * DAY_S, "year": 366 * DAY_S}
RATES = ("per_s", "per_min", "per_h")


@dataclass(frozen=True, slots=True)
class Draft:
    """An objective as it is written: `file` and `table` say where, `backend` what a document says of its source,
    `source` which one was named for its file."""

    name: str
    objective: Objective
    file: str
    table: str
    backend: Backend | None = None
    source: str | None = None


@dataclass(slots=True)
class Resolution:
    """`metrics` are what the catalog lacks, `queries` what each source is to answer them with."""

    objectives: dict[str, Objective] = field(default_factory=dict)
    metrics: dict[str, Metric] = field(default_factory=dict)
    queries: dict[str, dict[str, Any]] = field(default_factory=dict)


Report = Callable[[Draft, str, str, str], None]
"""Takes what is wrong: the draft, the key, what was found, what is valid."""


def resolve(
    drafts: Sequence[Draft], catalog: Catalog, sources: Mapping[str, str], lookback_s: float, report: Report
) -> Resolution:
    """Every draft that can be used. `sources` is name -> plugin of every source in the file."""
    made = Resolution()
    for draft in drafts:
        if draft.name in made.objectives:
            report(draft, "", f"there is an objective {draft.name!r} already", "Rename one of them")
            continue
        made.objectives[draft.name] = resolved(draft, catalog, sources, made, report)
        check_window(draft, lookback_s, report)
    for draft in drafts:
        check_members(draft, made.objectives, report)
    return made


def resolved(
    draft: Draft, catalog: Catalog, sources: Mapping[str, str], made: Resolution, report: Report
) -> Objective:
    """The objective with the names of metrics only, and with its sources."""
    objective = draft.objective
    for name in objective.sources:
        if name not in sources:
            report(draft, "sources", f"found {name!r}", f"No source is called that{suggest(name, sources)}")
    parts = dict(objective.parts())
    # In a file of another system a name is that system's, whatever the catalog calls by it.
    known = {} if draft.backend else catalog.names
    named = {key: known[query] for key, query in parts.items() if isinstance(query, str) and query in known}
    native = {key: query for key, query in parts.items() if key not in named}
    asked = objective.sources or (asked_of(draft, native, catalog, sources, report) if native else ())
    if native and not asked:
        return objective
    for key, query in native.items():
        named[key] = f"slo:{draft.name}:{key}"
        made.metrics[named[key]] = hidden(key, objective)
        for source in asked:
            made.queries.setdefault(source, {})[named[key]] = query
    check_threshold(draft, named, catalog, report)
    amounts = amounts_of(draft, named, catalog, report)
    return objective.model_copy(update={**named, "sources": tuple(asked), "amounts": amounts})


def check_threshold(draft: Draft, named: Mapping[str, str], catalog: Catalog, report: Report) -> None:
    if draft.objective.kind == "threshold" and draft.objective.threshold is None:
        spec = catalog.metrics.get(named["metric"])
        if spec is None or spec.warning is None:
            metric = draft.objective.metric if spec else "a native query"
            report(draft, "threshold", "is missing", f"{metric} has no warning limit to take instead")


def hidden(key: str, objective: Objective) -> Metric:
    """What a native query of an objective answers, as a metric that no other tool asks for."""
    if objective.kind == "events":
        amounts = objective.amounts or "count"
        kind: Literal["counter", "gauge"] = "counter" if amounts == "counter" else "gauge"
        return Metric(kind=kind, unit="count" if amounts == "count" else "per_s", hidden=True)
    return Metric(unit="ratio" if key == "ratio" else "", hidden=True)


def amounts_of(draft: Draft, named: Mapping[str, str], catalog: Catalog, report: Report) -> Amounts | None:
    """What the samples of an objective's events say: as it has it, else by its metrics, which must agree."""
    if draft.objective.kind != "events" or draft.objective.amounts:
        return draft.objective.amounts
    told: set[Amounts] = {by_metric(catalog.metrics.get(metric)) for metric in named.values()}
    if len(told) > 1:
        words = " and ".join(f"{metric} as {by_metric(catalog.metrics.get(metric))}" for metric in named.values())
        report(draft, "amounts", "is missing", f"Its metrics count differently ({words}): say what both are")
    return min(told)


def by_metric(metric: Metric | None) -> Amounts:
    if metric is not None and metric.kind == "counter":
        return "counter"
    return "rate" if metric is not None and metric.unit in RATES else "count"


def asked_of(
    draft: Draft, native: Mapping[str, Query], catalog: Catalog, sources: Mapping[str, str], report: Report
) -> tuple[str, ...]:
    """The source for native queries: the one named for the file, else that which the document names, else the only
    one of its kind."""
    backend = draft.backend
    if backend is None:
        key, query = next(iter(native.items()))
        near = isinstance(query, str) and query.isidentifier()
        words = suggest(str(query), catalog) if near else "; for a native query name its source: sources = [...]"
        report(draft, key, f"found {query!r}", f"It is no metric{words}")
        return ()
    for name in (draft.source, backend.name):
        if name in sources:
            return (str(name),)
    alike = [name for name, plugin in sources.items() if plugin == backend.type]
    if len(alike) == 1:
        return (alike[0],)
    known = ", ".join(sources) or "none"
    what = f"its queries are for {backend.name or backend.type or 'a source that it does not name'}"
    report(draft, "source", what, f"Name the source under [slo_files.NAME]: source = ... (there are: {known})")
    return ()


def check_window(draft: Draft, lookback_s: float, report: Report) -> None:
    objective = draft.objective
    key = "calendar" if objective.calendar else "window"
    length_s = LONGEST_S[objective.calendar] if objective.calendar else objective.window
    if length_s > lookback_s:
        valid = f"It must not be longer than the look-back ({lookback_s / 86400:g} days)"
        report(draft, key, f"is {length_s / 86400:g} days", valid)
    try:
        ZoneInfo(objective.time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        report(draft, "time_zone", f"found {objective.time_zone!r}", "It is no time zone, such as Europe/Berlin")


def check_members(draft: Draft, objectives: Mapping[str, Objective], report: Report) -> None:
    for name in draft.objective.members:
        if name not in objectives:
            report(draft, "members", f"found {name!r}", f"No objective is called that{suggest(name, objectives)}")
        elif objectives[name].members:
            report(draft, "members", f"found {name!r}", "It is a composite itself; name its members instead")
