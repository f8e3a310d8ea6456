"""What is answered.

Time is epoch milliseconds, UTC, in every field that ends in `_ms`.
Numbers of a time series stay in NumPy from the wire to the answer's edge: there is no object per point.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

T_co = TypeVar("T_co", covariant=True)

Status = Literal["ok", "no_data", "partial", "failed", "skipped"]


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """One metric of one service as one source has it.

    `timestamps_ms` is int64, `values` float64, of one length; sorted by time. A value that is not a number
    is NaN: it is counted, and left out of every statistic. `unit` is the source's own (`ratio`, `s`, ...),
    empty where it says none; the merge converts. `weights`, where a source knows them, are what each value of a
    ratio is a share of (the requests of that interval): several of them become the ratio of their sums.
    """

    service: str
    metric: str
    timestamps_ms: NDArray[np.int64]
    values: NDArray[np.float64]
    unit: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    query: str = ""
    weights: NDArray[np.float64] | None = None

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
    `concealing` is filled in by the server: the places of items whose text held invisible characters.
    """

    items: Sequence[T_co] = ()
    queries: Sequence[str] = ()
    warnings: Sequence[str] = ()
    partial: str | None = None
    concealing: Sequence[int] = ()


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
