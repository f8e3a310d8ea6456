"""What has to be asked to judge an objective: its windows, and the questions that many objectives share."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, replace

from telemetry_mcp.analysis.grid import Grid
from telemetry_mcp.analysis.period import calendar_period, previous_period
from telemetry_mcp.catalog import Catalog
from telemetry_mcp.objective.setting import Objective
from telemetry_mcp.question import SeriesQuery, Window
from telemetry_mcp.server.argument import HOUR_MS, reaches, step_of

FINE_POINTS = 8640
"""Points fetched at most: 30 days by five minutes. What is coarser would step over short violations."""
RECENT_MS = 6 * HOUR_MS
RECENT_STEP_MS = 60_000
"""The short windows of burn rates are five minutes: a long objective's own step is too coarse for them."""


@dataclass(frozen=True, slots=True)
class View:
    """A stretch of time and the slices that it is judged in; `step_ms` is what sources are asked for."""

    window: Window
    slice_ms: int
    step_ms: int

    @property
    def grid(self) -> Grid:
        return Grid(self.window.start_ms, self.window.end_ms, self.slice_ms)


@dataclass(frozen=True, slots=True)
class Plan:
    """An objective and where it is looked at. `objective` names metrics of the catalog only.

    `whole` is its window so far, from `begun_ms` on in whole slices, and `period_ms` how long that will be: longer
    while a calendar period lasts.
    `recent` are its last hours in fine slices, None where `whole` is fine enough; `before` is the period before,
    None where the look-back does not go that far. `members` are those of a composite, over its own windows.
    """

    name: str | None
    objective: Objective
    whole: View
    recent: View | None
    before: View | None
    begun_ms: int
    period_ms: int
    now_ms: int
    members: tuple[Plan, ...] = ()

    @property
    def metrics(self) -> tuple[str, ...]:
        return tuple(str(query) for _, query in self.objective.parts())

    @property
    def identity(self) -> Hashable:
        """Equal for plans that come to the same by the same replies, though one is made a moment later."""
        begun_ms = self.begun_ms if self.objective.calendar else None
        views, members = tuple(self.views()), tuple(member.identity for member in self.members)
        return self.name, repr(self.objective), views, self.before is None, begun_ms, self.period_ms, members

    def shown(self, metric: str) -> str:
        """What a metric is called before a reader: a query of the objective's own by the key it stands under."""
        return metric.removeprefix(f"slo:{self.name}:")

    def views(self) -> list[View]:
        return [view for view in (self.whole, self.recent, self.before) if view]

    def leaves(self) -> tuple[Plan, ...]:
        """What has to be asked: itself, or its members."""
        return self.members or (self,)


def plan_of(
    name: str | None, objective: Objective, now_ms: int, lookback_s: float, objectives: Mapping[str, Objective]
) -> Plan:
    """The plan of one objective; `objectives` are all that there are, by name."""
    members = [(member, objectives[member]) for member in objective.members]
    wished_ms = round(1000 * max(each.slice or 0 for each in (objective, *(m for _, m in members))))
    own = planned(name, objective, now_ms, lookback_s, wished_ms)
    window = {"window": objective.window, "calendar": objective.calendar, "time_zone": objective.time_zone}
    return replace(
        own,
        members=tuple(
            planned(member, each.model_copy(update=window), now_ms, lookback_s, wished_ms)
            for member, each in members
        ),
    )


def planned(name: str | None, objective: Objective, now_ms: int, lookback_s: float, wished_ms: int) -> Plan:
    start_ms, end_ms, before_ms, until_ms = bounds(objective, now_ms)
    step_ms = step_of(Window(start_ms, max(end_ms, start_ms + 1000)), points=FINE_POINTS)
    # No finer than the samples: a slice without one of its own could not be judged.
    slice_ms = -(-wished_ms // step_ms) * step_ms or step_ms
    whole = view(start_ms, end_ms, slice_ms, step_ms)
    recent = None
    if slice_ms > RECENT_STEP_MS and whole.window.duration_ms > RECENT_MS:
        recent = view(now_ms - RECENT_MS, now_ms, slice_ms if wished_ms else RECENT_STEP_MS, RECENT_STEP_MS)
    before = view(before_ms, whole.window.start_ms, slice_ms, step_ms)
    near = reaches(before.window.start_ms, now_ms, lookback_s)
    return Plan(name, objective, whole, recent, before if near else None, start_ms, until_ms - start_ms, now_ms)


def bounds(objective: Objective, now_ms: int) -> tuple[int, int, int, int]:
    """When the objective's window began, where it is now, when the one before it began, and when it will end."""
    if objective.calendar:
        start_ms, until_ms = calendar_period(now_ms, objective.calendar, objective.time_zone)
        return start_ms, now_ms, previous_period(now_ms, objective.calendar, objective.time_zone)[0], until_ms
    length_ms = round(objective.window * 1000)
    return now_ms - length_ms, now_ms, now_ms - 2 * length_ms, now_ms


def view(start_ms: int, end_ms: int, slice_ms: int, step_ms: int) -> View:
    """On the epoch's grid of slices; the slice that is still filling is left out, unless it is the only one."""
    start = start_ms // slice_ms * slice_ms
    end = max(end_ms // slice_ms * slice_ms, start + slice_ms)
    return View(Window(start, end), slice_ms, step_ms)


Key = tuple[Window, int, str]
"""Which question answers a view: window, step, and the service where it cannot be asked together with others."""


def questions(plans: Iterable[Plan], catalog: Catalog) -> dict[Key, SeriesQuery]:
    """The fewest questions that answer all plans. What the catalog names is asked for all services at once; an
    objective's own query is asked for its service alone, as its result may not name it."""
    wanted: dict[Key, tuple[dict[str, None], dict[str, None]]] = {}
    for plan in (leaf for whole in plans for leaf in whole.leaves()):
        for view in plan.views():
            for metric in plan.metrics:
                services, metrics = wanted.setdefault(key_of(plan, view, metric, catalog), ({}, {}))
                services[plan.objective.service] = None
                metrics[metric] = None
    return {
        key: SeriesQuery(tuple(services), tuple(metrics), key[0], key[1])
        for key, (services, metrics) in wanted.items()
    }


def key_of(plan: Plan, view: View, metric: str, catalog: Catalog) -> Key:
    return view.window, view.step_ms, plan.objective.service if catalog[metric].hidden else ""
