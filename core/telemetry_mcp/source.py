"""The contract of a source: what an in-house team writes.

    class Zabbix(Source):
        class Settings(HttpSettings):
            token: SecretStr

        async def fetch_series(self, query: SeriesQuery) -> Reply[Series]: ...

    @hookimpl
    def telemetry_sources():
        return [Zabbix]

A method that is not overridden is a capability the source does not have: it is never asked, and the ledger says
`skipped: unsupported`. Methods are async and may be cancelled at any await; they raise SourceError and nothing
else. What blocks goes through `self.context.threads.run(...)`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from time import time
from typing import TYPE_CHECKING, Any, ClassVar

from telemetry_mcp.model import Change, Check, Dependency, Entry, Incident, OnCall, Reply, Series, Service, Slo
from telemetry_mcp.question import (
    ChangeQuery,
    DependencyQuery,
    IncidentQuery,
    NativeQuery,
    OnCallQuery,
    RelatedQuery,
    SeriesQuery,
    ServiceQuery,
    SloQuery,
    TimelineQuery,
)
from telemetry_mcp.quota import Quota
from telemetry_mcp.setting import SourceSettings
from telemetry_mcp.thread import Threads

if TYPE_CHECKING:
    from telemetry_mcp.http import Http

METHODS: Mapping[str, str] = {
    "series": "fetch_series",
    "services": "list_services",
    "incidents": "list_incidents",
    "changes": "list_changes",
    "dependencies": "list_dependencies",
    "timeline": "list_timeline",
    "related": "list_related",
    "on_call": "list_on_call",
    "slos": "list_slos",
    "native": "run_native",
    "check": "check",
}
"""Capability -> the method that gives it."""


def now_ms() -> int:
    return int(time() * 1000)


@dataclass(slots=True)
class Context:
    """What a source is handed besides its settings.

    `name` is the user's name for this instance. `http` is there when the settings are HttpSettings: a test
    hands in one over a mock transport. `quota` is what the backend's rate headers say: `http` feeds it by
    itself, a source over a vendor's SDK does so with `note` and `enter`.
    """

    name: str
    http: Http | None = None
    threads: Threads = field(default_factory=Threads)
    quota: Quota = field(default_factory=Quota)


class Source:
    """Base of every source. Subclass, name the settings, override what the backend can do."""

    Settings: ClassVar[type[SourceSettings]] = SourceSettings
    native_language: str = ""
    """What run_native takes, for the reader: `PromQL`, `NRQL`, ..."""
    capabilities: ClassVar[tuple[str, ...]] = ()
    """What it can do: filled in from the methods that it overrides."""
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Name of a preset -> its metrics, each as it would stand in plugins.toml. What the user chooses by
    `preset = [...]` is in `settings.metrics` already, under the user's own queries."""
    default_presets: ClassVar[tuple[str, ...]] = ()
    """The presets of a table that names neither a preset nor a metric."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        overridden = (
            name for name, method in METHODS.items() if getattr(cls, method) is not getattr(Source, method)
        )
        cls.capabilities = tuple(overridden)

    def __init__(self, settings: SourceSettings, context: Context) -> None:
        self.settings = settings
        self.context = context

    @classmethod
    def headers(cls, settings: SourceSettings) -> dict[str, str]:
        """The plugin's own headers for its Http, such as an API key."""
        return {}

    @property
    def http(self) -> Http:
        """The HTTP client that was handed in. Only for sources whose Settings are HttpSettings."""
        if self.context.http is None:
            raise TypeError(f"{type(self).__name__}.Settings must be HttpSettings to use self.http")
        return self.context.http

    def metrics(self) -> Collection[str] | None:
        """The normalized metrics it can answer; None means "ask me for any"."""
        return tuple(self.settings.metrics) or None

    async def fetch_series(self, query: SeriesQuery) -> Reply[Series]:
        raise NotImplementedError

    async def list_services(self, query: ServiceQuery) -> Reply[Service]:
        raise NotImplementedError

    async def list_incidents(self, query: IncidentQuery) -> Reply[Incident]:
        raise NotImplementedError

    async def list_changes(self, query: ChangeQuery) -> Reply[Change]:
        raise NotImplementedError

    async def list_dependencies(self, query: DependencyQuery) -> Reply[Dependency]:
        raise NotImplementedError

    async def list_timeline(self, query: TimelineQuery) -> Reply[Entry]:
        raise NotImplementedError

    async def list_related(self, query: RelatedQuery) -> Reply[Incident]:
        raise NotImplementedError

    async def list_on_call(self, query: OnCallQuery) -> Reply[OnCall]:
        raise NotImplementedError

    async def list_slos(self, query: SloQuery) -> Reply[Slo]:
        raise NotImplementedError

    async def run_native(self, query: NativeQuery) -> Reply[Series]:
        raise NotImplementedError

    async def check(self) -> Reply[Check]:
        raise NotImplementedError

    async def close(self) -> None:
        """Let go of what was opened. The Http that was handed in is closed by whoever handed it in."""
