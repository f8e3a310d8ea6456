"""What is asked of a source.

Time is epoch milliseconds, UTC, in every field that ends in `_ms`; windows are half-open, `[start, end)`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from telemetry_mcp.model import Change, Check, Dependency, Entry, Incident, OnCall, Reply, Series, Service, Slo

T_co = TypeVar("T_co", covariant=True)


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
class SeriesQuery(Question[Series]):
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
class ServiceQuery(Question[Service]):
    """The services a source knows about; `window` is what "recently seen" means."""

    window: Window
    method = "list_services"


@dataclass(frozen=True, slots=True)
class IncidentQuery(Question[Incident]):
    """Incidents that were open at some time inside `window`; `services` empty means all."""

    window: Window
    services: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ()
    limit: int = 100
    method = "list_incidents"


@dataclass(frozen=True, slots=True)
class ChangeQuery(Question[Change]):
    """Deployments and other changes inside `window`; `services` empty means all."""

    window: Window
    services: tuple[str, ...] = ()
    limit: int = 100
    method = "list_changes"


@dataclass(frozen=True, slots=True)
class DependencyQuery(Question[Dependency]):
    """Who calls whom, as seen during `window`."""

    window: Window
    method = "list_dependencies"


@dataclass(frozen=True, slots=True)
class TimelineQuery(Question[Entry]):
    """What happened to one incident: its alerts, log entries, notes and the changes related to it."""

    incident_id: str
    limit: int = 100
    method = "list_timeline"


@dataclass(frozen=True, slots=True)
class RelatedQuery(Question[Incident]):
    """Other incidents that the source relates to this one; `relation` of each says how."""

    incident_id: str
    limit: int = 20
    method = "list_related"


@dataclass(frozen=True, slots=True)
class OnCallQuery(Question[OnCall]):
    """Who is on call at some time inside `window`; `services` empty means for all."""

    window: Window
    services: tuple[str, ...] = ()
    limit: int = 100
    method = "list_on_call"


@dataclass(frozen=True, slots=True)
class SloQuery(Question[Slo]):
    """The service level objectives that the vendor keeps, with how they stand over `window`."""

    window: Window
    services: tuple[str, ...] = ()
    limit: int = 50
    method = "list_slos"


@dataclass(frozen=True, slots=True)
class NativeQuery(Question[Series]):
    """A query in the source's own language; only asked where the settings say `allow_native = true`."""

    text: str
    window: Window
    step_ms: int
    limit: int = 50
    method = "run_native"


@dataclass(frozen=True, slots=True)
class CheckQuery(Question[Check]):
    """Is the source reachable, are its credentials good, is each permission there?"""

    method = "check"

    async def put_to(self, source: Any) -> Reply[Check]:
        reply: Reply[Check] = await source.check()
        return reply
