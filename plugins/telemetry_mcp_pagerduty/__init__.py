"""PagerDuty: incidents and all that belongs to them, by the REST API v2. See README.md beside this file."""

from __future__ import annotations

from collections.abc import Sequence

from telemetry_mcp import (
    Change,
    ChangeQuery,
    Check,
    Context,
    Dependency,
    DependencyQuery,
    Entry,
    Incident,
    IncidentQuery,
    OnCall,
    OnCallQuery,
    RelatedQuery,
    Reply,
    Service,
    ServiceQuery,
    Source,
    SourceSettings,
    TimelineQuery,
    hookimpl,
)
from telemetry_mcp_pagerduty import (
    change,
    check,
    dependency,
    incident,
    oncall,
    related,
    service,
    setting,
    timeline,
)
from telemetry_mcp_pagerduty.page import Api


class PagerDuty(Source):
    """Each question is answered in the module of its subject."""

    Settings = setting.Settings
    settings: setting.Settings

    def __init__(self, settings: SourceSettings, context: Context) -> None:
        super().__init__(settings, context)
        self.api = Api(self.settings, context)
        self.directory = service.Directory(self.api)

    async def list_incidents(self, query: IncidentQuery) -> Reply[Incident]:
        return await incident.find(self.api, self.directory, query)

    async def list_timeline(self, query: TimelineQuery) -> Reply[Entry]:
        return await timeline.find(self.api, query)

    async def list_related(self, query: RelatedQuery) -> Reply[Incident]:
        return await related.find(self.api, query)

    async def list_changes(self, query: ChangeQuery) -> Reply[Change]:
        return await change.find(self.api, self.directory, query)

    async def list_on_call(self, query: OnCallQuery) -> Reply[OnCall]:
        return await oncall.find(self.api, self.directory, query)

    async def list_services(self, query: ServiceQuery) -> Reply[Service]:
        return await service.find(self.api)

    async def list_dependencies(self, query: DependencyQuery) -> Reply[Dependency]:
        return await dependency.find(self.api, self.directory)

    async def check(self) -> Reply[Check]:
        return await check.run(self.api)

    async def close(self) -> None:
        self.api.close()


@hookimpl
def telemetry_sources() -> Sequence[type[Source]]:
    return [PagerDuty]
