"""What is asked and what is answered.

Time is epoch milliseconds, UTC, in every field that ends in `_ms`; windows are half-open, `[start, end)`.
Numbers of a time series stay in NumPy from the wire to the answer's edge: there is no object per point.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

T_co = TypeVar("T_co", covariant=True)

Status = Literal["ok", "no_data", "partial", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time `[start_ms, end_ms)`. Raises ValueError when it is empty or reversed."""

    start_ms: int
    end_ms: int

    def __post_init__(self) -> None:
        if self.end_ms <= self.start_ms:
            raise ValueError(f"a window must end after it starts: {self.start_ms} .. {self.end_ms}")

    @property
    def duration_ms(self) -> int:
        return self.end_ms - self.start_ms


class Question(Generic[T_co]):
    """What is asked of a source; `T_co` is what its reply holds, `method` the method of Source that answers."""

    __slots__ = ()
    method: ClassVar[str]

    async def put_to(self, source: Any) -> Reply[T_co]:
        """Ask `source`, whatever its capabilities."""
        reply: Reply[T_co] = await getattr(source, self.method)(self)
        return reply


@dataclass(frozen=True, slots=True)
class SeriesQuery(Question["Series"]):
    """Time series of many services and metrics at once, so that a source asks its backend once a metric.

    `services` empty means every service the source knows. `metrics` are normalized names (`cpu`), never
    the backend's. `step_ms` is the wished distance of samples; a source may widen it and says so in a
    warning. With `latest` only the newest sample inside the window is wanted.
    """

    services: tuple[str, ...]
    metrics: tuple[str, ...]
    window: Window
    step_ms: int
    latest: bool = False
    method = "fetch_series"


@dataclass(frozen=True, slots=True)
class ServiceQuery(Question["Service"]):
    """The services a source knows about; `window` is what "recently seen" means."""

    window: Window
    method = "list_services"


@dataclass(frozen=True, slots=True)
class IncidentQuery(Question["Incident"]):
    """Incidents that were open at some time inside `window`; `services` empty means all."""

    window: Window
    services: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ()
    limit: int = 100
    method = "list_incidents"


@dataclass(frozen=True, slots=True)
class ChangeQuery(Question["Change"]):
    """Deployments and other changes inside `window`; `services` empty means all."""

    window: Window
    services: tuple[str, ...] = ()
    limit: int = 100
    method = "list_changes"


@dataclass(frozen=True, slots=True)
class DependencyQuery(Question["Dependency"]):
    """Who calls whom, as seen during `window`."""

    window: Window
    method = "list_dependencies"


@dataclass(frozen=True, slots=True)
class TimelineQuery(Question["Entry"]):
    """What happened to one incident: its alerts, log entries, notes and the changes related to it."""

    incident_id: str
    limit: int = 100
    method = "list_timeline"


@dataclass(frozen=True, slots=True)
class RelatedQuery(Question["Incident"]):
    """Other incidents that the source relates to this one; `relation` of each says how."""

    incident_id: str
    limit: int = 20
    method = "list_related"


@dataclass(frozen=True, slots=True)
class OnCallQuery(Question["OnCall"]):
    """Who is on call at some time inside `window`; `services` empty means for all."""

    window: Window
    services: tuple[str, ...] = ()
    limit: int = 100
    method = "list_on_call"


@dataclass(frozen=True, slots=True)
class SloQuery(Question["Slo"]):
    """The service level objectives that the vendor keeps, with how they stand over `window`."""

    window: Window
    services: tuple[str, ...] = ()
    limit: int = 50
    method = "list_slos"


@dataclass(frozen=True, slots=True)
class NativeQuery(Question["Series"]):
    """A query in the source's own language; only asked where the settings say `allow_native = true`."""

    text: str
    window: Window
    step_ms: int
    limit: int = 50
    method = "run_native"


@dataclass(frozen=True, slots=True)
class CheckQuery(Question["Check"]):
    """Is the source reachable, are its credentials good, is each permission there?"""

    method = "check"

    async def put_to(self, source: Any) -> Reply[Check]:
        reply: Reply[Check] = await source.check()
        return reply


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """One metric of one service as one source has it.

    `timestamps_ms` is int64, `values` float64, of one length; sorted by time. A value that is not a number
    is NaN: it is counted, and left out of every statistic. `unit` is the source's own (`ratio`, `s`, ...),
    empty where it says none; the merge converts.
    """

    service: str
    metric: str
    timestamps_ms: NDArray[np.int64]
    values: NDArray[np.float64]
    unit: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    query: str = ""

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True, slots=True)
class Service:
    """A service. `listed_by` names the vendor's own lists that it came from, where there are several."""

    name: str
    team: str | None = None
    environment: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    status: str | None = None
    url: str | None = None
    listed_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Incident:
    """An incident, or with `kind` "alert" a firing alert: something that a person may be paged for.

    `status` is triggered, acknowledged or resolved, unknown where a source does not say; `urgency` high or low.
    `relation` and `score` are set where it stands in relation to another one: "past" (an earlier one like it) or
    "related" (of the same time).
    """

    id: str
    title: str
    status: str
    opened_ms: int
    service: str | None = None
    urgency: str | None = None
    severity: str | None = None
    acknowledged_ms: int | None = None
    resolved_ms: int | None = None
    url: str | None = None
    kind: str = "incident"
    relation: str | None = None
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """A change. `kind` is "deployment", "change", "flag", ...; `version` what was deployed."""

    id: str
    title: str
    at_ms: int
    kind: str = "change"
    service: str | None = None
    author: str | None = None
    url: str | None = None
    version: str | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of an incident's timeline. `kind` is alert, log_entry, note or change."""

    id: str
    at_ms: int
    kind: str
    title: str
    service: str | None = None
    author: str | None = None
    url: str | None = None


@dataclass(frozen=True, slots=True)
class OnCall:
    """A person who is on call. `level` 1 is paged first; a `start_ms` or `end_ms` of None: permanently."""

    person: str
    level: int
    service: str | None = None
    policy: str | None = None
    schedule: str | None = None
    start_ms: int | None = None
    end_ms: int | None = None
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Slo:
    """A service level objective that a vendor keeps. `objective` and `sli` are percent.

    `sli` is None, and `state` "unknown", where nobody can know it: without data or traffic it is neither 0 nor
    100 %. `state` is ok, warning, breached or unknown. `budget_left` is the share of the error budget that is
    left in percent (negative: overspent). `reason` says why something is unknown.
    """

    id: str
    title: str
    objective: float
    window_ms: int
    service: str | None = None
    sli: float | None = None
    state: str = "unknown"
    budget_left: float | None = None
    reason: str | None = None
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Dependency:
    caller: str
    callee: str


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that `doctor` looked at. `fix` says what to do when it is not ok.

    `enables` says what a permission is good for. What is `optional` and not there costs only that: no fault.
    """

    name: str
    ok: bool
    detail: str = ""
    fix: str = ""
    enables: str = ""
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Reply(Generic[T_co]):
    """What a source hands back.

    `queries` are the native queries that ran. `partial` says why the items are not all there were
    (None: they are). An empty reply without `partial` means that the source looked and found nothing.
    """

    items: Sequence[T_co] = ()
    queries: Sequence[str] = ()
    warnings: Sequence[str] = ()
    partial: str | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a source did not answer, for the reader who must act: `hint` says what to do next."""

    kind: str
    message: str
    hint: str
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T_co]):
    """One line of the ledger, with what the source gave."""

    source: str
    plugin: str
    status: Status
    reply: Reply[T_co]
    latency_ms: float | None = None
    failure: Failure | None = None
    cached_age_s: float | None = None

    @property
    def answered(self) -> bool:
        return self.status in ("ok", "no_data", "partial")
