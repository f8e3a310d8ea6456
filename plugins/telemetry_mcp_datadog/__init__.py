"""Datadog: metrics, services, incidents, alerts, changes, dependencies and SLOs, through the official client."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from telemetry_mcp import (
    Change,
    ChangeQuery,
    Check,
    Context,
    Dependency,
    DependencyQuery,
    Incident,
    IncidentQuery,
    NativeQuery,
    Reply,
    Series,
    SeriesQuery,
    Service,
    ServiceQuery,
    Slo,
    SloQuery,
    Source,
    SourceSettings,
    hookimpl,
)
from telemetry_mcp_datadog import change, check, dependency, incident, preset, series, service, setting, slo
from telemetry_mcp_datadog.session import Session


class Datadog(Source):
    Settings: ClassVar[type[setting.Settings]] = setting.Settings
    settings: setting.Settings
    native_language = "Datadog metric query"
    presets = preset.PRESETS

    def __init__(self, settings: SourceSettings, context: Context) -> None:
        super().__init__(settings, context)
        self.session = Session(self.settings, context)

    async def fetch_series(self, query: SeriesQuery) -> Reply[Series]:
        """Timestamps are the beginnings of Datadog's buckets; the unfinished last one is left out."""
        return await series.fetch(self.session, query)

    async def run_native(self, query: NativeQuery) -> Reply[Series]:
        return await series.run_native(self.session, query)

    async def list_services(self, query: ServiceQuery) -> Reply[Service]:
        return await service.listed_services(self.session, query)

    async def list_incidents(self, query: IncidentQuery) -> Reply[Incident]:
        """Incidents, and as kind "alert" the monitor groups that fire now."""
        return await incident.listed_incidents(self.session, query)

    async def list_changes(self, query: ChangeQuery) -> Reply[Change]:
        return await change.listed_changes(self.session, query)

    async def list_dependencies(self, query: DependencyQuery) -> Reply[Dependency]:
        return await dependency.listed_dependencies(self.session, query)

    async def list_slos(self, query: SloQuery) -> Reply[Slo]:
        return await slo.listed_slos(self.session, query)

    async def check(self) -> Reply[Check]:
        return await check.looked_at(self.session)

    async def close(self) -> None:
        self.session.close()


@hookimpl
def telemetry_sources() -> Sequence[type[Source]]:
    return [Datadog]
