"""New Relic through NerdGraph: NRQL, entities, issues, changes, service levels. See README.md beside this file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import BeforeValidator, Field, HttpUrl, SecretStr, model_validator

from telemetry_mcp import (
    Change,
    ChangeQuery,
    Check,
    Dependency,
    DependencyQuery,
    HttpSettings,
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
    clean,
    gather,
    hookimpl,
    now_ms,
)
from telemetry_mcp_newrelic import change, check, entity, issue, level, series
from telemetry_mcp_newrelic.account import across, listed
from telemetry_mcp_newrelic.graph import PATH, Graph
from telemetry_mcp_newrelic.preset import PRESETS
from telemetry_mcp_newrelic.query import Buckets, attribute_of, must_read, render, timed, usable
from telemetry_mcp_newrelic.series import Shape

T = TypeVar("T")

HOSTS = {
    "US": "https://api.newrelic.com",
    "EU": "https://api.eu.newrelic.com",
    "JP": "https://api.jp.newrelic.com",
    "GOV": "https://gov-api.newrelic.com",
}
DEFAULT_TIMEOUT_S = 8.0
Accounts = Annotated[tuple[Annotated[int, Field(ge=1)], ...], BeforeValidator(listed), Field(min_length=1)]


class NewRelic(Source):
    class Settings(HttpSettings):
        region: Literal["US", "EU", "JP", "GOV"] = Field("US", description="where the account lives")
        url: HttpUrl = Field(HttpUrl(HOSTS["US"]), description="base URL instead of the region's")
        api_key: SecretStr = Field(min_length=1, description="user key (NRAK-...)")
        account_id: Accounts = Field(description="the account that is asked, or a list of several")
        service_attribute: str = Field("appName", description="attribute that names the service")
        max_concurrency: int = Field(10, ge=1, le=25, description="questions under way at once")

        @model_validator(mode="before")
        @classmethod
        def placed(cls, table: Any) -> Any:
            """The region's address where no url is given; `/graphql` is added to either, so not twice."""
            if not isinstance(table, dict):
                return table
            url = str(table.get("url") or HOSTS.get(str(table.get("region", "US")), HOSTS["US"]))
            return {**table, "url": url.rstrip("/").removesuffix(PATH)}

    settings: Settings
    native_language = "NRQL"
    presets = PRESETS
    default_presets: ClassVar[tuple[str, ...]] = ("apm",)

    @classmethod
    def headers(cls, settings: SourceSettings) -> dict[str, str]:
        key = settings.api_key.get_secret_value() if isinstance(settings, cls.Settings) else ""
        return {"api-key": key}

    @cached_property
    def graph(self) -> Graph:
        return Graph(self.http, self.settings.timeout or DEFAULT_TIMEOUT_S)

    @property
    def accounts(self) -> tuple[int, ...]:
        return self.settings.account_id

    async def fetch_series(self, query: SeriesQuery) -> Reply[Series]:
        """One NRQL a metric and account. With `latest`, the newest complete bucket that has a number."""
        wanted = [name for name in query.metrics if name in self.settings.metrics]
        calls = {name: partial(across, self.accounts, partial(self.one_metric, name, query)) for name in wanted}
        return await gather(calls)

    async def one_metric(self, name: str, asked: SeriesQuery, account: int) -> Reply[Series]:
        names, refused = usable(asked.services)
        warnings = [f"no service can be called {name!r} at New Relic" for name in refused]
        if refused and not names:
            return Reply(warnings=warnings)
        metric = self.settings.metrics[name]
        buckets = Buckets(asked.window, asked.step_ms)
        shape = replace(
            self.shape(account, attribute_of(metric, self.settings.service_attribute), asked),
            metric=name,
            step_ms=buckets.seconds * 1000,
            only=names[0] if len(names) == 1 else "",
            unit=metric.unit,
            query=render(metric, names, buckets),
        )
        found = await self.nrql(account, shape)
        known = {clean(service): service for service in names}
        items = [
            replace(item, service=known.get(item.service, item.service))
            for item in found.items
            if not names or item.service in known
        ]
        if asked.latest:
            items = [series.newest(item) for item in items]
        warnings += [*buckets.warnings, *found.warnings]
        return Reply([item for item in items if len(item)], found.queries, warnings, found.partial)

    async def run_native(self, query: NativeQuery) -> Reply[Series]:
        """NRQL as it stands; the window and LIMIT are added where the query has none, TIMESERIES is not."""
        must_read(query.text)
        found = await across(self.accounts, partial(self.one_native, query))
        left = len(found.items) - query.limit
        cut = f"{left} more series were left out" if left > 0 else found.partial
        return Reply(found.items[: query.limit], found.queries, found.warnings, cut)

    async def one_native(self, query: NativeQuery, account: int) -> Reply[Series]:
        text = timed(query.text, query.window, str(query.limit))
        shape = replace(self.shape(account, self.settings.service_attribute, query), only="*", query=text)
        return await self.nrql(account, shape)

    def shape(self, account: int, attribute: str, asked: SeriesQuery | NativeQuery) -> Shape:
        labels = (("account", str(account)),) if len(self.accounts) > 1 else ()
        return Shape("", attribute, asked.window, now_ms(), labels=labels)

    async def nrql(self, account: int, shape: Shape) -> Reply[Series]:
        found = await self.graph.nrql(account, shape.query)
        # Rows of a long answer are many: not on the event loop.
        return await self.context.threads.run(partial(series.reply_of, found, shape))

    async def list_services(self, query: ServiceQuery) -> Reply[Service]:
        """APM applications and OpenTelemetry services that report now, whatever the window."""
        return await entity.list_services(self.graph, self.accounts)

    async def list_dependencies(self, query: DependencyQuery) -> Reply[Dependency]:
        """Who calls whom as New Relic sees it now, whatever the window."""
        return await entity.list_dependencies(self.graph, self.accounts)

    async def list_incidents(self, query: IncidentQuery) -> Reply[Incident]:
        """Issues, newest first."""
        found = await across(self.accounts, lambda account: issue.list_issues(self.graph, account, query))
        return newest_first(found, lambda item: item.opened_ms, query.limit)

    async def list_changes(self, query: ChangeQuery) -> Reply[Change]:
        """Deployments and other events of change tracking, newest first."""
        found = await across(self.accounts, lambda account: change.list_changes(self.graph, account, query))
        return newest_first(found, lambda item: item.at_ms, query.limit)

    async def list_slos(self, query: SloQuery) -> Reply[Slo]:
        return await level.list_slos(self.graph, self.accounts, query)

    async def check(self) -> Reply[Check]:
        return await check.look(self.graph, self.accounts, self.context.quota)


def newest_first(found: Reply[T], at: Callable[[T], int], limit: int) -> Reply[T]:
    """The newest `limit` items; that there are more makes the reply partial."""
    items = sorted(found.items, key=at, reverse=True)
    left = len(items) - limit
    cut = f"{left} older ones were left out" if left > 0 else None
    return replace(found, items=items[:limit], partial="; ".join(filter(None, [found.partial, cut])) or None)


@hookimpl
def telemetry_sources() -> Sequence[type[Source]]:
    return [NewRelic]
