"""From what the sources answered to the tally of an objective: bad and valid amounts, slice by slice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from telemetry_mcp.analysis.event import Kind, Points, of_events
from telemetry_mcp.analysis.sample import clean
from telemetry_mcp.analysis.sli import Comparison, Compliance, compliance, of_ratio, of_threshold
from telemetry_mcp.analysis.slo import objective_ppm
from telemetry_mcp.analysis.tally import Tally, summed
from telemetry_mcp.analysis.timeslice import of_slices, ratio_timeslices, timeslices
from telemetry_mcp.catalog import Catalog, Metric
from telemetry_mcp.merge import NEARLY, merge, numbers
from telemetry_mcp.model import Outcome, Series
from telemetry_mcp.objective.setting import Objective
from telemetry_mcp.server.slo.plan import View
from telemetry_mcp.unit import factor

KINDS: dict[str, Kind] = {"count": "delta", "rate": "rate", "counter": "counter"}

MOST = 1e18
"""Events, or events a second: what is more is no number of events, and its sums would have no end."""
NOISE = 1e-9
"""What a ratio may miss 0 or 1 by: the last bits of somebody's division."""

Outcomes = Sequence[Outcome[Series]]


@dataclass(frozen=True, slots=True)
class Indicator:
    """An objective's tally over one view; `kept` is the threshold's own account, and `reason` why there is less
    than was asked for, in our words."""

    tally: Tally
    kept: Compliance | None = None
    reason: str = ""


def indicator(objective: Objective, view: View, answers: dict[str, Outcomes], catalog: Catalog) -> Indicator:
    """`answers` has for each metric of the objective what the sources said of that metric in this view."""
    if objective.kind == "events":
        return events(objective, view, answers, catalog)
    if objective.kind == "ratio":
        return ratio(objective, view, answers, catalog)
    return threshold(objective, view, answers, catalog)


def threshold(objective: Objective, view: View, answers: dict[str, Outcomes], catalog: Catalog) -> Indicator:
    metric = str(objective.metric)
    limit, comparison = limit_of(objective, catalog[metric])
    times, values = series(objective, metric, view, answers, catalog)
    if objective.slice:
        tally = of_slices(view.grid, times, values, threshold=limit, comparison=comparison)
        return Indicator(tally)
    kept = compliance(
        times,
        values,
        start_ms=view.window.start_ms,
        end_ms=view.window.end_ms,
        threshold=limit,
        comparison=comparison,
    )
    return Indicator(of_threshold(view.grid, times, values, threshold=limit, comparison=comparison), kept)


def limit_of(objective: Objective, metric: Metric) -> tuple[float, Comparison]:
    """What a good value is compared with, and how. The metric has a warning limit where the objective has none."""
    limit = metric.warning if objective.threshold is None else objective.threshold
    if limit is None:
        raise ValueError(f"{objective.metric} has no threshold")
    return limit, objective.comparison or metric.comparison


def ratio(objective: Objective, view: View, answers: dict[str, Outcomes], catalog: Catalog) -> Indicator:
    metric = str(objective.ratio)
    times, values = series(objective, metric, view, answers, catalog)
    values = values * (factor(catalog[metric].unit or "ratio", "ratio") or 1.0)
    outside = (values < -NOISE) | (values > 1 + NOISE)
    odd = values_of(int(outside.sum()), shown("ratio", metric))
    reason = f"without {odd} outside 0..1" if outside.any() else ""
    kind: Literal["success", "failure"] = "success" if objective.ratio_of == "good" else "failure"
    inside = np.clip(values[~outside], 0.0, 1.0)
    return Indicator(of_ratio(view.grid, times[~outside], inside, kind=kind), reason=reason)


def shown(key: str, metric: str) -> str:
    """What a metric is called before a reader: a query of the objective's own by the key it stands under."""
    return key if metric.startswith("slo:") and metric.endswith(f":{key}") else metric


def values_of(number: int, what: str) -> str:
    return f"{number} value{'s' * (number != 1)} of {what}"


def series(
    objective: Objective, metric: str, view: View, answers: dict[str, Outcomes], catalog: Catalog
) -> Points:
    """The merged series of the objective's metric, of its own sources where it names some."""
    outcomes = [o for o in answers[metric] if not objective.sources or o.source in objective.sources]
    merged = merge(outcomes, catalog, view.window, view.step_ms)
    found = next((m for m in merged if m.service == objective.service and m.metric == metric), None)
    times, values = numbers(found)
    known = np.isfinite(values)
    return times[known], values[known]


def events(objective: Objective, view: View, answers: dict[str, Outcomes], catalog: Catalog) -> Indicator:
    """The events of one source, or the sum of those that the objective names: never of others, for two sources may
    count the same events."""
    found = {source: counted(objective, source, view, answers, catalog) for source in counting(objective, answers)}
    if not objective.sources:
        best = most_complete(found)
        found = {best: found[best]} if best else found
    whole = summed(list(found.values()) or [nothing(view)])
    mute = [str(source) for source, tally in found.items() if not np.isfinite(tally.valid).any()]
    said = []
    if mute and len(mute) < len(found):
        said.append(f"{' and '.join(mute)} told nothing, and the others' sum alone would be another ratio")
    for key, metric in objective.parts():
        odd = sum(
            impossible(each) for s in found for each in of_source(s, objective.service, str(metric), answers)
        )
        if odd:
            said.append(f"without {values_of(odd, shown(key, str(metric)))} that no number of events can be")
    if whole.clipped >= 1:
        part = "good" if objective.bad is None else "bad"
        said.append(f"without {whole.clipped:,.0f} {part} events more than there were in all")
    return Indicator(sliced(whole, objective), reason="; ".join(said))


def most_complete(found: Mapping[str, Tally]) -> str | None:
    """The first source in the file that measured nearly as much as any; None where nobody measured anything."""
    shares = {source: float(np.isfinite(tally.valid).mean()) for source, tally in found.items()}
    most = max(shares.values(), default=0.0)
    return next((source for source, share in shares.items() if share and share >= NEARLY * most), None)


def counting(objective: Objective, answers: dict[str, Outcomes]) -> list[str]:
    if objective.sources:
        return list(objective.sources)
    return list(dict.fromkeys(o.source for outcomes in answers.values() for o in outcomes if o.reply.items))


def nothing(view: View) -> Tally:
    empty = np.full(view.grid.size, np.nan)
    return Tally(view.window.start_ms, view.slice_ms, empty, empty)


def sliced(tally: Tally, objective: Objective) -> Tally:
    """Events as they are, or by slices of time where the objective counts those."""
    if not objective.slice:
        return tally
    if objective.slice_ratio == "mean":
        return ratio_timeslices(tally)
    return timeslices(tally, objective_ppm(objective.slice_objective or 100))


def counted(
    objective: Objective, source: str, view: View, answers: dict[str, Outcomes], catalog: Catalog
) -> Tally:
    several = {
        key: [possible(each) for each in of_source(source, objective.service, str(metric), answers)]
        for key, metric in objective.parts()
    }
    kind = KINDS[objective.amounts or "count"]
    if kind == "counter" and any(len(found) > 1 for found in several.values()):
        # Summed up, a counter that starts again would look like a loss of all the others.
        several = {key: [grown(each) for each in found] for key, found in several.items()}
        kind = "delta"
    specs = {key: catalog[str(metric)] for key, metric in objective.parts()}
    points = {key: together(found, specs[key], kind) for key, found in several.items()}
    good, bad, valid = (points.get(key) for key in ("good", "bad", "total"))
    return of_events(view.grid, good=good, bad=bad, valid=valid, kind=kind, absent=objective.absent)


def of_source(source: str, service: str, metric: str, answers: dict[str, Outcomes]) -> list[Series]:
    items = (item for outcome in answers[metric] if outcome.source == source for item in outcome.reply.items)
    return [item for item in items if item.service == service and item.metric == metric]


def possible(series: Series) -> Series:
    """The series with gaps in place of what no number of events can be."""
    values = series.values
    return replace(series, values=np.where((values >= 0) & (values <= MOST), values, np.nan))


def impossible(series: Series) -> int:
    return int(np.count_nonzero((series.values < 0) | (series.values > MOST)))


def together(several: Sequence[Series], metric: Metric, kind: Kind) -> Points:
    """One series of several label sets: the sum at each instant, in events or events per second."""
    if not several:
        return np.empty(0, np.int64), np.empty(0)
    wanted = "per_s" if kind == "rate" else "count"
    times = np.concatenate([each.timestamps_ms for each in several])
    values = np.concatenate([each.values * scale(each.unit or metric.unit, wanted) for each in several])
    known = np.isfinite(values)
    unique, place = np.unique(times[known], return_inverse=True)
    return unique, np.bincount(place, values[known], len(unique)).astype(np.float64)


def scale(unit: str, wanted: str) -> float:
    return (factor(unit, wanted) or 1.0) if unit else 1.0


def grown(series: Series) -> Series:
    """What a counter grew by from each sample to the next, at the earlier one."""
    samples = clean(series.timestamps_ms, series.values)
    change = np.diff(samples.values)
    values = np.where(change < 0, samples.values[1:], change)
    return replace(series, timestamps_ms=samples.timestamps_ms[:-1], values=values)
