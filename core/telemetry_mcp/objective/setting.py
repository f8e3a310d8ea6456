"""`[slos.<name>]`: what is to hold, for how much of the time or of the events, over which window."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from telemetry_mcp.analysis.slo import objective_ppm
from telemetry_mcp.setting import Duration, Strict

DEFAULT_OBJECTIVE = 99.9
DEFAULT_WINDOW_S = 30 * 86400.0
LEAST_SLICE_S = 60.0
SHORTEST_DAY_S = 23 * 3600.0
"""Every calendar window is at least as long: it may be the day on which clocks go forward."""

Kind = Literal["threshold", "events", "ratio", "composite"]
Amounts = Literal["count", "rate", "counter"]
Query = str | Mapping[str, Any]
"""The name of a metric of the catalog, or a native query of `sources` as it would stand under its [metrics]."""


def several(value: object) -> object:
    """One name may stand without brackets."""
    return (value,) if isinstance(value, str) else value


Weight = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Names = Annotated[tuple[str, ...], BeforeValidator(several)]

EVENTS = ("good", "bad", "total")
PARTS = ("metric", *EVENTS, "ratio")
"""The keys that hold what is measured."""
COMPOSITES = ("all_of", "worst_of", "weighted", "added")


class Objective(Strict):
    """A service level objective. What it measures is one of four:

    - threshold: `metric` keeps `threshold`, weighed by time; with `slice`, good slices of time are counted;
    - events: two of `good`, `bad` and `total`; with `slice`, slices that keep `slice_objective` are counted;
    - ratio: `ratio` is the share of good (or bad) things already, weighed by time;
    - composite: `all_of`, `worst_of`, `weighted` or `added` name other objectives.
    """

    service: str = Field("", description="whose objective it is; a composite may have none")
    description: str = ""
    objective: float = Field(DEFAULT_OBJECTIVE, gt=0, le=100, description="percent of the time, or of the events")
    window: Duration = DEFAULT_WINDOW_S
    calendar: Literal["day", "week", "month", "quarter", "year"] | None = Field(
        None, description="instead of window"
    )
    time_zone: str = Field("UTC", description="in which calendar windows begin and end")
    missing: Literal["ignore", "good", "bad", "last"] = Field("ignore", description="what counts where data lack")
    sources: Names = Field((), description="whose numbers count; events of several are summed")

    metric: Query | None = Field(None, description="a metric that keeps a threshold")
    threshold: float | None = Field(None, allow_inf_nan=False, description="default: the metric's warning")
    comparison: Literal["<=", "<", ">=", ">"] | None = None

    good: Query | None = Field(None, description="good events")
    bad: Query | None = Field(None, description="bad events")
    total: Query | None = Field(None, description="all events")
    amounts: Amounts | None = Field(None, description="what a sample says: count, rate (per second) or counter")
    absent: Literal["unknown", "zero", "sparse"] = Field(
        "unknown", description="what it means where bad events lack"
    )
    min_events: int | None = Field(None, ge=1, description="fewer in a window say nothing")

    ratio: Query | None = Field(None, description="a metric that is a ratio or percentage already")
    ratio_of: Literal["good", "bad"] = "good"

    slice: Duration | None = Field(None, description="length of a slice of time that is good or bad as a whole")
    slice_objective: float | None = Field(
        None, gt=0, le=100, description="percent of a slice's events that are good"
    )
    slice_ratio: Literal["kept", "mean"] = Field(
        "kept", description="count slices, or take the mean of their ratios"
    )

    all_of: tuple[str, ...] = Field((), description="a slice is good where all of these objectives are")
    worst_of: tuple[str, ...] = Field((), description="the worst of these objectives")
    weighted: Mapping[str, Weight] = Field(default_factory=dict, description="objectives and their weights")
    added: Mapping[str, Weight] = Field(default_factory=dict, description="objectives whose burn rates add up")

    @property
    def kind(self) -> Kind:
        if any(getattr(self, key) is not None for key in EVENTS):
            return "events"
        if self.ratio is not None:
            return "ratio"
        return "composite" if self.members else "threshold"

    @property
    def members(self) -> tuple[str, ...]:
        """The objectives that a composite is made of."""
        return (*self.all_of, *self.worst_of, *self.weighted, *self.added)

    @property
    def weights(self) -> tuple[float, ...]:
        """Those of `members`, in their order."""
        weights = {**self.weighted, **self.added}
        return tuple(weights.get(name, 1.0) for name in self.members)

    @property
    def ppm(self) -> int:
        """The error budget in parts per million."""
        return objective_ppm(self.objective)

    def parts(self) -> Iterator[tuple[str, Query]]:
        """What is measured: key and metric or query."""
        for key in PARTS:
            query = getattr(self, key)
            if query is not None:
                yield key, query

    @field_validator("objective", "slice_objective")
    @classmethod
    def is_a_budget(cls, objective: float | None) -> float | None:
        if objective is not None:
            objective_ppm(objective)
        return objective

    @field_validator("slice")
    @classmethod
    def is_whole_minutes(cls, length: float | None) -> float | None:
        if length is not None and (length < LEAST_SLICE_S or length % LEAST_SLICE_S):
            raise ValueError("a slice is a whole number of minutes")
        return length

    @model_validator(mode="after")
    def measures_one_thing(self) -> Objective:
        composites = [key for key in COMPOSITES if getattr(self, key)]
        events = [key for key in EVENTS if getattr(self, key) is not None]
        named = [key for key in ("metric", "ratio") if getattr(self, key) is not None]
        if len(composites) + len(named) + bool(events) != 1:
            valid = f"metric; two of {', '.join(EVENTS)}; ratio; {' or '.join(COMPOSITES)}"
            raise ValueError(f"name one thing to measure: {valid}")
        if events and len(events) != 2:
            raise ValueError("events need exactly two of good, bad and total")
        if not composites and not self.service:
            raise ValueError("service is missing: whose objective is it?")
        return self

    @model_validator(mode="after")
    def has_one_window(self) -> Objective:
        if self.calendar and self.said("window"):
            raise ValueError("either window or calendar, not both")
        if self.said("time_zone") and not self.calendar:
            raise ValueError("time_zone is for calendar windows; a rolling one has none")
        if self.slice and self.slice > (SHORTEST_DAY_S if self.calendar else self.window):
            raise ValueError("slice is longer than the window")
        if self.added and not self.ppm:
            raise ValueError("burn rates need an error budget: added has none at an objective of 100")
        return self

    @model_validator(mode="after")
    def says_nothing_in_vain(self) -> Objective:
        """A key that would be without effect is refused: its writer meant something by it."""
        meant = {
            "threshold": self.kind == "threshold",
            "comparison": self.kind == "threshold",
            "amounts": self.kind == "events",
            "absent": self.bad is not None,
            "min_events": self.kind == "events" and not self.slice,
            "slice_objective": self.kind == "events" and self.slice_ratio != "mean",
            "slice_ratio": self.kind == "events",
            "ratio_of": self.kind == "ratio",
            "slice": self.kind in ("threshold", "events"),
            "sources": self.kind != "composite",
            "missing": self.kind != "composite" or bool(self.all_of),
        }
        idle = [key for key, effect in meant.items() if self.said(key) and not effect]
        if idle:
            raise ValueError(f"{', '.join(idle)} has no meaning for an objective on {self.kind}")
        if self.kind == "events" and bool(self.slice) != bool(self.slice_objective or self.slice_ratio == "mean"):
            raise ValueError('slices of events need both slice and slice_objective (or slice_ratio = "mean")')
        return self

    def said(self, key: str) -> bool:
        return key in self.model_fields_set
