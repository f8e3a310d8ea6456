"""Many sources' series into one, with provenance: units converted, an epoch-aligned common grid, one source's
values first and the others' beside them with how they differ. Sources are never averaged.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from telemetry_mcp.analysis.agreement import Difference, compare
from telemetry_mcp.analysis.factor import scale_factor
from telemetry_mcp.analysis.lag import FURTHEST, lag_steps
from telemetry_mcp.catalog import Catalog, Metric
from telemetry_mcp.model import Outcome, Series
from telemetry_mcp.part import ALIKE, Floats, Ints, Part, Shares, bucketed, coarser, collected, finer, means
from telemetry_mcp.question import Window
from telemetry_mcp.unit import TOLERATED

Rule = Literal["only", "owner", "first", "finest"]

NEARLY = 0.9
"""A source this near to the best one may be shown in its place when it comes earlier in the file: which one is
shown must not change with every lost sample."""
MOST_REMARKS = 5
FINEST_LAG = 10
"""A lag is looked for in steps no finer than this part of the grid's."""


@dataclass(frozen=True, slots=True, eq=False)
class Merged:
    """One metric of one service over the window. `timestamps_ms` are the starts of evenly spaced buckets;
    a bucket without data is NaN. `parts` has the shown source first; `rule` says why it is that one (None where
    nobody has a number): the only one, the configured owner, the first in the file, or the finest, most complete
    and freshest. `upper`: the values are upper estimates, being the largest of several percentiles."""

    service: str
    metric: str
    unit: str
    step_ms: int
    timestamps_ms: Ints
    values: Floats
    parts: tuple[Part, ...]
    warnings: tuple[str, ...] = ()
    rule: Rule | None = None
    upper: bool = False


def numbers(merged: Merged | None) -> tuple[Ints, Floats]:
    """Times and values of a merged series; both empty where there is none."""
    if merged is None:
        return np.empty(0, np.int64), np.empty(0)
    return merged.timestamps_ms, merged.values


@np.errstate(over="ignore", invalid="ignore")
def merge(outcomes: Iterable[Outcome[Series]], catalog: Catalog, window: Window, step_ms: int) -> list[Merged]:
    """Every (service, metric) that any source answered, in the order of the sources and their replies."""
    return [
        on_grid(service, metric, shares, catalog[metric], window, step_ms)
        for (service, metric), shares in collected(outcomes, catalog).items()
    ]


def remarks(merged: Iterable[Merged]) -> list[str]:
    """What is to be said about many series: the first few, and how many more there are, so that one source that is
    off everywhere leaves room for what else is to be said."""
    said = list(dict.fromkeys(warning for one in merged for warning in one.warnings))
    left = len(said) - MOST_REMARKS
    rest = f"{left} more series with remarks on their sources: query_historical_metrics tells of each"
    return [*said[:MOST_REMARKS], rest] if left > 0 else said


def on_grid(service: str, metric: str, shares: Shares, spec: Metric, window: Window, step_ms: int) -> Merged:
    """The shown source's values on the grid, its gaps filled from those that agree, and every other part compared
    with it: by means, also where the larger value is shown, for a vendor's coarse sample is a mean itself."""
    what = f"{metric} of {service}"
    inside = [within(part, window) for part in shares.parts]
    shown, rule = chosen(inside, spec, window, step_ms)
    step = coarser(step_ms, shown)
    grids = Grids(window)
    parts = [shown, *(part for part in inside if part is not shown)]
    (shown, *rest), said = scaled(parts, rule, grids, step, what)
    said += [
        f"all that {given.source} gave of {what} lies outside the window: is its clock right?"
        for given, part in zip(shares.parts, inside, strict=True)
        if given.samples > part.samples == 0
    ]
    least = TOLERATED.get(shares.unit, 0.0)
    others = [compared(shown, part, grids, step, least) for part in rest]
    notes = [note(shown, part, shares.unit) for part in others if differs(part)]
    if notes:
        said.append(f"{what}: {'; '.join(notes)}: {shown.source} is shown")
    values = bucketed(shown, window, step, spec.aggregate)
    others = filled(values, others, window, step, spec.aggregate)
    first = window.start_ms // step * step
    return Merged(
        service=service,
        metric=metric,
        unit=shares.unit,
        step_ms=step,
        timestamps_ms=first + step * np.arange(len(values), dtype=np.int64),
        values=values,
        parts=(shown, *others),
        warnings=(*shares.warnings, *said),
        rule=rule,
        upper=spec.kind == "percentile" and (shown.series > 1 or finer(shown, step)),
    )


def within(part: Part, window: Window) -> Part:
    """The part without samples from outside the window; what reaches into it from before stays."""
    reach = part.step_ms or 1
    first, end = np.searchsorted(part.timestamps_ms, [window.start_ms - reach + 1, window.end_ms])
    if end - first == part.samples:
        return part
    kept = slice(int(first), int(end))
    weights = None if part.weights is None else part.weights[kept]
    times, values = part.timestamps_ms[kept], part.values[kept]
    return replace(part, samples=len(times), timestamps_ms=times, values=values, weights=weights)


def differs(part: Part) -> bool:
    return part.difference is not None and part.difference.verdict in ("offset", "diverge")


def usable(part: Part) -> bool:
    return part.factor is not None and part.samples > 0


def chosen(parts: Sequence[Part], spec: Metric, window: Window, step_ms: int) -> tuple[Part, Rule | None]:
    """Whose values are shown, and why. The configured owner, while it has a number; else the first in the file
    among those that are nearly the best."""
    able = [part for part in parts if usable(part)]
    if not able:
        return parts[0], None
    if len(able) == 1 or able[0].source == spec.owner:
        return able[0], "owner" if able[0].source == spec.owner else "only"
    worths = [worth(part, window, step_ms) for part in able]
    place = next(n for n, each in enumerate(worths) if each >= NEARLY * max(worths))
    return able[place], "finest" if place else "first"


def worth(part: Part, window: Window, step_ms: int) -> float:
    """How fine (against the step that was asked), how complete and how fresh a part is: the product of the three,
    each 1 at best."""
    native = max(part.step_ms or step_ms, step_ms)
    covered = min(1.0, part.samples * native / window.duration_ms)
    reached = int(part.timestamps_ms[-1]) + native - window.start_ms
    return step_ms / native * covered * min(1.0, max(0.0, reached / window.duration_ms))


class Grids:
    """Parts by their means on the grids of a window, each worked out once."""

    def __init__(self, window: Window) -> None:
        self.window = window
        self.made: dict[tuple[Part, int], Floats] = {}
        self.lags: dict[tuple[Part, Part, int], int] = {}

    def of(self, part: Part, step_ms: int) -> Floats:
        if (part, step_ms) not in self.made:
            self.made[part, step_ms] = means(part, self.window, step_ms)
        return self.made[part, step_ms]

    def pair(self, shown: Part, part: Part, step_ms: int) -> tuple[Floats, Floats, int]:
        """Both on the coarser of their steps, the part moved back by its lag, which is the third."""
        shared = coarser(step_ms, part)
        lag_ms = self.lag_ms(shown, part, shared)
        if lag_ms:
            part = replace(part, timestamps_ms=part.timestamps_ms - lag_ms)
        return self.of(shown, shared), self.of(part, shared), lag_ms

    def lag_ms(self, shown: Part, part: Part, shared: int) -> int:
        """By how much a part is behind the shown one: in the finest steps that both have, else in the grid's."""
        key = (shown, part, shared)
        if key not in self.lags:
            self.lags[key] = self.found_lag_ms(shown, part, shared)
        return self.lags[key]

    def found_lag_ms(self, shown: Part, part: Part, shared: int) -> int:
        finest = max(shown.step_ms or shared, part.step_ms or shared, shared // FINEST_LAG)
        for step in (finest, shared) if finest * ALIKE < shared else (shared,):
            steps = lag_steps(self.of(shown, step), self.of(part, step))
            if 0 < abs(steps) < FURTHEST or (steps and step == shared):
                return steps * step
        return 0


def scaled(
    parts: Sequence[Part], rule: Rule | None, grids: Grids, step_ms: int, what: str
) -> tuple[list[Part], list[str]]:
    """The parts; those that declare no unit, in the one that their values are plainly of. They are measured by the
    shown source, or, where neither it nor the configuration vouches for its unit, by one that declares its own."""
    shown, out, said = parts[0], list[Part](), list[str]()
    sure = next((part for part in parts if part.declared and usable(part)), shown)
    reference = shown if shown.declared or rule == "owner" else sure
    for part in parts:
        by = None
        if part is not reference and not part.declared and usable(part) and usable(reference):
            x, y, _ = grids.pair(reference, part, step_ms)
            by = scale_factor(x, y)
        if by is not None and by != 1:
            said.append(
                f"{part.source} declares no unit for {what} and reads {by:.4g} times what {reference.source} does:"
                f" divided by {by:.4g}"
            )
            part = replace(part, values=part.values / by, factor=1 / by, inferred=True)
        out.append(part)
    return out, said


def compared(shown: Part, part: Part, grids: Grids, step_ms: int, least: float) -> Part:
    """The part with its difference from the shown one."""
    if not usable(part) or not usable(shown):
        return replace(part, difference=Difference("insufficient", 0))
    x, y, lag_ms = grids.pair(shown, part, step_ms)
    shared = coarser(step_ms, part)
    start_ms = grids.window.start_ms // shared * shared
    found = replace(compare(x, y, least=least, start_ms=start_ms, step_ms=shared), lag_ms=lag_ms)
    # A declared unit is never overruled, but when it cannot be right that is said.
    odd = scale_factor(x, y) if found.significant and part.declared else None
    return replace(part, difference=found, odd=odd if odd != 1 else None)


def note(shown: Part, part: Part, unit: str) -> str:
    """How a source differs, for a sentence."""
    found = part.difference
    assert found is not None
    assert found.bias is not None
    r = "" if found.correlation is None else f", r {found.correlation:.2f}"
    if part.odd is not None:
        how = f"as if {part.unit} were not its unit" if part.unit else "as if in another unit"
        return f"{part.source} reads {part.odd:.4g} times what {shown.source} does, {how} (not converted{r})"
    measure = f"{found.bias:+.3g} {'points' if unit == 'percent' else unit}".strip()
    if found.verdict == "diverge":
        return f"{part.source} does not follow {shown.source} (bias {measure}{r})"
    side = "above" if found.bias > 0 else "below"
    much = f"{abs(found.relative):.0%}".replace("%", " %") if found.relative is not None else "far"
    return f"{part.source} reads {much} {side} {shown.source} (bias {measure}{r})"


def filled(values: Floats, others: Sequence[Part], window: Window, step_ms: int, aggregate: str) -> list[Part]:
    """The other parts, once the gaps in `values` are filled from those that agree, in their order: with what each
    has in the same bucket, its bias taken off. What comes late belongs to another bucket, and fills nothing."""
    out = []
    for part in others:
        found, gaps = part.difference, np.isnan(values)
        fits = found is not None and found.verdict == "agree" and not found.lag_ms
        if found and found.bias is not None and fits and gaps.any():
            own = bucketed(part, window, step_ms, aggregate)
            gaps &= np.isfinite(own)
            # No share beyond the whole and no negative count: never further than either of both measured.
            known = np.concatenate([values[np.isfinite(values)], own[np.isfinite(own)]])
            values[gaps] = np.clip(own[gaps] - found.bias, known.min(), known.max())
            part = replace(part, filled=int(gaps.sum()))
        out.append(part)
    return out
