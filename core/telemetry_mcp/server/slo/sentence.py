"""How an objective stands, in one plain sentence for a human."""

from __future__ import annotations

from math import isfinite

from telemetry_mcp.analysis.slo import ENOUGH_COVERAGE
from telemetry_mcp.catalog import Catalog
from telemetry_mcp.server.envelope import rounded
from telemetry_mcp.server.slo.indicator import limit_of
from telemetry_mcp.server.slo.judgement import Judged

DIGITS = 6
"""Compliance is shown with six significant digits: 99.995 must not read as 100."""


def percentage(judged: Judged) -> int | float | None:
    """The share that was good, in percent; None when nobody can know."""
    found = judged.measured
    ratio = found.kept.ratio if found.sparse and found.kept else found.whole.ratio
    return None if ratio is None else rounded(100 * ratio, DIGITS)


def sentence(judged: Judged, catalog: Catalog) -> str:
    if judged.measured.sparse and judged.measured.kept:
        samples = judged.measured.kept.samples
        said = f"only {samples} sample{'s' * (samples != 1)} of {of_what(judged)}"
        return f"Unknown: {said} in this window, too few to judge."
    if judged.data != "ok":
        return nothing(judged)
    said = held(judged, catalog)
    low = f"; only {100 * judged.measured.whole.coverage:.2g} % of the window was measured" * judged.low_coverage
    if judged.verdict == "UNKNOWN":
        return f"Unknown: {said}{low}, and {100 * ENOUGH_COVERAGE:g} % are needed to judge."
    return f"{said}{spent(judged)}{alarm(judged)}{low}{few(judged)}{why(judged)}."


def nothing(judged: Judged) -> str:
    what = of_what(judged)
    if judged.data == "no_traffic":
        return f"No traffic: there were no events of {what} in this window, so its error budget is untouched."
    return f"Unknown: no data of {what} in this window{why(judged)}."


def of_what(judged: Judged) -> str:
    """What is measured, and whose."""
    objective = judged.plan.objective
    if objective.members:
        return f"{judged.plan.name or 'the composite'} ({', '.join(objective.members)})"
    return f"{' and '.join(map(judged.plan.shown, judged.plan.metrics))} for {objective.service}"


def held(judged: Judged, catalog: Catalog) -> str:
    objective, whole = judged.plan.objective, judged.measured.whole
    share = f"{percentage(judged)} %"
    goal = f"objective {objective.objective:g} %"
    if objective.kind == "threshold":
        limit, comparison = limit_of(objective, catalog[str(objective.metric)])
        rule = f"{judged.plan.shown(str(objective.metric))} {comparison} {limit:g}"
        if objective.slice:
            return f"{rule} held in {share} of the measured slices of {objective.slice / 60:g} min, {goal}"
        return f"{rule} held for {share} of the measured time, {goal}"
    if objective.kind == "events" and whole.unit == "events":
        return f"{share} of {whole.valid:,.0f} events were good, {goal}"
    if objective.kind == "events":
        return f"{share} of the slices of {judged.plan.whole.slice_ms / 60_000:g} min were good, {goal}"
    if objective.members:
        return f"{share} good over {len(objective.members)} objectives, {goal}"
    return f"{share} good on average over the measured time, {goal}"


def spent(judged: Judged) -> str:
    consumed = judged.budget.consumed
    if consumed is None or not isfinite(consumed) or judged.budget.ppm == 0:
        return "; no error budget to spend"
    return f"; {100 * consumed:.0f} % of the error budget is spent"


def alarm(judged: Judged) -> str:
    """The fastest pair that fires, or what is getting better."""
    firing = next((each for each in judged.burns.pairs if each.firing), None)
    if firing is not None and firing.long.burn is not None:
        hours = firing.pair.long_ms / 3_600_000
        rate = f"{firing.long.burn:.3g} times the sustainable rate" if isfinite(firing.long.burn) else "any rate"
        return f"; it burns at {rate} over {hours:g} h ({firing.pair.severity})"
    return "; recovering from a fast burn" if judged.state == "recovering" else ""


def few(judged: Judged) -> str:
    if not judged.burns.low_traffic or judged.state in ("no_traffic", None):
        return ""
    hour = judged.burns.pairs[0].long.total.valid
    return f"; with {hour:,.0f} events in the last hour one bad event decides nothing"


def why(judged: Judged) -> str:
    """Who was not heard, and what was left out. What a source said itself stands in the coverage note only."""
    found = judged.measured.unheard.items()
    unheard = [f"{source} {'failed' if status == 'failed' else 'gave only a part'}" for source, status in found]
    told = [*unheard, *([judged.measured.reason] if judged.measured.reason else [])]
    return f" ({'; '.join(told)})" if told else ""
