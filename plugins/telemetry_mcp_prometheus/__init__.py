"""Prometheus and what speaks its HTTP API: Mimir, Thanos, VictoriaMetrics. See README.md beside this file."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial

from telemetry_mcp import (
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
    Source,
    SourceSettings,
    gather,
    hookimpl,
)
from telemetry_mcp_prometheus import alert, check, dependency, inventory, setting
from telemetry_mcp_prometheus.api import Api
from telemetry_mcp_prometheus.preset import PRESETS
from telemetry_mcp_prometheus.query import widened
from telemetry_mcp_prometheus.series import Ask


class Prometheus(Source):
    Settings = setting.Settings
    native_language = "PromQL"
    presets = PRESETS
    settings: setting.Settings

    def __init__(self, settings: setting.Settings, context: Context) -> None:
        super().__init__(settings, context)

    @classmethod
    def headers(cls, settings: SourceSettings) -> dict[str, str]:
        return settings.tenant if isinstance(settings, cls.Settings) else {}

    @property
    def api(self) -> Api:
        return Api(self.settings, self.http, self.context.threads)

    def metrics(self) -> Collection[str]:
        return tuple(self.settings.metrics)

    async def fetch_series(self, query: SeriesQuery) -> Reply[Series]:
        """One request a metric, for all services at once.

        With `latest` it is an instant query at the window's last millisecond, which is also the timestamp:
        Prometheus does not tell how old the sample is that it found there.
        """
        known = [name for name in query.metrics if name in self.settings.metrics]
        return await gather({name: partial(self.fetch_metric, query, name) for name in known})

    async def fetch_metric(self, query: SeriesQuery, name: str) -> Reply[Series]:
        api, metric, most = self.api, self.settings.metrics[name], self.settings.kind.max_points
        step_ms = query.step_ms if query.latest else widened(query.window, query.step_ms, most)
        return await api.series(
            Ask(
                promql=api.render(metric.query, query.window, step_ms, query.services),
                window=query.window,
                wished_ms=query.step_ms,
                step_ms=step_ms,
                service_label=self.settings.service_label,
                limit=self.settings.max_series,
                max_points=most,
                services=query.services,
                metric=name,
                unit=metric.unit,
                latest=query.latest,
            )
        )

    async def run_native(self, query: NativeQuery) -> Reply[Series]:
        """A range query. `metric` is `__name__`, `service` the service label, each empty where there is none."""
        api, most = self.api, self.settings.kind.max_points
        step_ms = widened(query.window, query.step_ms, most)
        return await api.series(
            Ask(
                promql=api.render(query.text, query.window, step_ms),
                window=query.window,
                wished_ms=query.step_ms,
                step_ms=step_ms,
                service_label=self.settings.service_label,
                limit=query.limit,
                max_points=most,
            )
        )

    async def list_services(self, query: ServiceQuery) -> Reply[Service]:
        """The names seen in the window, in one request, with team and environment where labels tell them."""
        return await inventory.services(self.api, query)

    async def list_incidents(self, query: IncidentQuery) -> Reply[Incident]:
        """Alerts that fire now, and those that fired in the window: three requests at once.

        `opened_ms` is when the alert became active, thus before its `for` had passed. `resolved_ms` is known to
        a minute or more; None where it was resolved after the window. Pending alerts are left out and counted.
        """
        return await alert.incidents(self.api, query)

    async def list_dependencies(self, query: DependencyQuery) -> Reply[Dependency]:
        """From the counters of calls named by `dependencies`, one request each."""
        return await dependency.dependencies(self.api, query)

    async def check(self) -> Reply[Check]:
        """Does it answer, does its clock agree with ours, what may be read, and what is it?"""
        return await check.checks(self.api)


@hookimpl
def telemetry_sources() -> Sequence[type[Source]]:
    return [Prometheus]
