"""How an objective stands, in one plain sentence for a human."""

from __future__ import annotations

from math import isfinite

from telemetry_mcp.analysis.burn import PairBurn
from telemetry_mcp.analysis.slo import ENOUGH_COVERAGE
from telemetry_mcp.catalog import Catalog
from telemetry_mcp.server.argument import HOUR_MS
from telemetry_mcp.server.envelope import rounded
from telemetry_mcp.server.slo.indicator import limit_of
from telemetry_mcp.server.slo.judgement import Judged

DIGITS = 6
"""Compliance is shown with six significant digits: 99.995 must not read as 100."""
MOST_DIGITS = 15


def percentage(judged: Judged) -> int | float | None:
    """The share that was good, in percent; None when nobody can know.

    It has as many digits as it takes not to read as 100 where something was bad, or as an objective that was
    missed.
    """
    found = judged.measured
    if found.sparse and found.kept:
        return None if found.kept.ratio is None else rounded(100 * found.kept.ratio, DIGITS)
    if found.whole.ratio is None or judged.budget.ratio is None:
        return None
    below = [100.0] * (found.whole.bad > 0) + [judged.plan.objective.objective] * judged.budget.breached
    return next(
        (
            share
            for digits in range(DIGITS, MOST_DIGITS)
            if (share := at(found.whole.ratio, digits)) < min(below, default=101)
        ),
        at(found.whole.ratio, MOST_DIGITS),
    )


def at(ratio: float, digits: int) -> int | float:
    return rounded(100 * ratio, digits) or 0


def sentence(judged: Judged, catalog: Catalog) -> str:
    if judged.measured.sparse and judged.measured.kept:
        samples = judged.measured.kept.samples
        said = f"only {samples} sample{'s' * (samples != 1)} of {of_what(judged)}"
        return f"Unknown: {said} in this window, too few to judge{alarm(judged)}{why(judged)}."
    if judged.data != "ok":
        return nothing(judged)
    said = held(judged, catalog) if percentage(judged) is not None else at_once(judged)
    low = f"; only {measured(judged)} of the window was measured" * judged.low_coverage
    if judged.verdict == "UNKNOWN":
        needed = f"and {100 * ENOUGH_COVERAGE:g} % are needed to judge"
        return f"Unknown: {said}{low}, {needed}{alarm(judged)}{why(judged)}."
    return f"{said}{spent(judged)}{alarm(judged)}{low}{few(judged)}{why(judged)}."


def at_once(judged: Judged) -> str:
    """Of a composite of which too little is known for a share."""
    if judged.verdict == "BREACHED":
        goal = f"its objective of {judged.plan.objective.objective:g} %"
        return f"{of_what(judged)} was bad for longer than {goal} allows"
    return f"too little is known of {of_what(judged)} at the same time"


def nothing(judged: Judged) -> str:
    what = of_what(judged)
    if judged.state == "no_traffic":
        untouched = "so its error budget is untouched"
        return f"No traffic: there were no events of {what} in this window, {untouched}{why(judged)}."
    if judged.data == "no_traffic":
        seen = f"the {measured(judged)} of this window that was measured"
        return f"Unknown: there were no events of {what} in {seen}{alarm(judged)}{why(judged)}."
    return f"Unknown: no data of {what} in this window{alarm(judged)}{why(judged)}."


def measured(judged: Judged) -> str:
    return f"{100 * judged.measured.whole.coverage:.2g} %"


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
    length = f"{judged.plan.whole.slice_ms / 60_000:g} min"
    if objective.kind == "threshold":
        limit, comparison = limit_of(objective, catalog[str(objective.metric)])
        rule = f"{judged.plan.shown(str(objective.metric))} {comparison} {limit:g}"
        if objective.slice:
            return f"{rule} held in {share} of the measured slices of {length}, {goal}"
        return f"{rule} held for {share} of the measured time, {goal}"
    if objective.kind == "events" and whole.unit == "events":
        return f"{share} of {whole.valid:,.0f} events were good, {goal}"
    if objective.kind == "events":
        return f"{share} of the slices of {length} were good, {goal}"
    if objective.members:
        return f"{share} good over {len(objective.members)} objectives, {goal}"
    return f"{share} good on average over the measured time, {goal}"


def spent(judged: Judged) -> str:
    consumed = judged.budget.consumed
    if consumed is None:
        return ""
    if not isfinite(consumed) or judged.budget.ppm == 0:
        return "; no error budget to spend"
    calendar, forecast = judged.plan.objective.calendar, judged.forecast
    if calendar is None:
        return f"; {part(consumed)} of the error budget is spent"
    of_all = forecast.consumed_of_period if forecast else None
    whole = "" if of_all is None else f", {part(of_all)} of the whole {calendar}'s"
    return f"; {part(consumed)} of the error budget so far is spent{whole}"


def part(consumed: float) -> str:
    share = f"{100 * consumed:,.0f}"
    if share == "100" and consumed != 1:
        share = "more than 100" if consumed > 1 else "nearly 100"
    return f"{'less than 1' if share == '0' and consumed else share} %"


def alarm(judged: Judged) -> str:
    """The fastest pair that fires, or what is getting better, or that nobody can tell."""
    firing = next((each for each in judged.burns.pairs if each.firing), None)
    if firing is not None and firing.long.burn is not None:
        over = f"{hours(firing)} h ({firing.pair.severity})"
        if not isfinite(firing.long.burn):
            return f"; more was bad in the last {over}"
        return f"; it burns at {firing.long.burn:.3g} times the sustainable rate over {over}"
    if judged.verdict == "UNKNOWN":
        return ""
    match judged.state:
        case "recovering":
            return "; recovering from a fast burn"
        case "unknown" | "no_data":
            return "; how fast it burns now is unknown"
        case "no_traffic":
            return "; there is no traffic now"
    return ""


def hours(each: PairBurn) -> str:
    return f"{each.pair.long_ms / HOUR_MS:g}"


def few(judged: Judged) -> str:
    each = next((each for each in judged.burns.pairs if each.low_traffic), None)
    if each is None or judged.state in ("no_traffic", None):
        return ""
    last = "hour" if each.pair.long_ms == HOUR_MS else f"{hours(each)} hours"
    return f"; with {each.long.total.valid:,.0f} events in the last {last} one bad event decides nothing"


def why(judged: Judged) -> str:
    """Who was not heard, and what was left out. What a source said itself stands in the coverage note only."""
    found = judged.measured.unheard.items()
    unheard = [f"{source} {'failed' if status == 'failed' else 'gave only a part'}" for source, status in found]
    told = [*unheard, *([judged.measured.reason] if judged.measured.reason else [])]
    return f" ({'; '.join(told)})" if told else ""
