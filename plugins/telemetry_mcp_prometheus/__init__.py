"""Prometheus and what speaks its HTTP API: Thanos, Mimir, VictoriaMetrics. See README.md beside this file."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from time import time

from pydantic import Field, field_validator

from telemetry_mcp import (
    Check,
    Context,
    Duration,
    HttpReply,
    HttpSettings,
    MetricQuery,
    NativeQuery,
    Reply,
    Series,
    SeriesQuery,
    Service,
    ServiceQuery,
    Source,
    SourceError,
    SourceSettings,
    Window,
    gather,
    hookimpl,
)
from telemetry_mcp_prometheus.query import LABEL, check_template, render, seconds, widened
from telemetry_mcp_prometheus.series import Ask, reply_of
from telemetry_mcp_prometheus.wire import ahead_s, decode, failure, listed, services_of

OFF_LOOP_BYTES = 128 * 1024
CHECKED_MS = 300_000
CLOCK_SKEW_S = 30


class Prometheus(Source):
    class Settings(HttpSettings):
        service_label: str = Field("service", pattern=LABEL, description="label that holds a service's name")
        service_metric: str = Field("", description="selector whose services are the inventory, such as `up`")
        team_label: str | None = Field(None, pattern=LABEL, description="the inventory's label for the team")
        environment_label: str | None = Field(None, pattern=LABEL, description="the one for the environment")
        environment: str | None = Field(None, description="environment of services without that label")
        org_id: str | None = Field(None, description="tenant, sent as X-Scope-OrgID; several as `a|b`")
        params: dict[str, str] = Field(default_factory=dict, description="more parameters for every request")
        lookback: Duration | None = Field(None, description="oldest sample that is current (default: 5 m)")
        scrape_interval: Duration = Field(15.0, description="what `$__rate_interval` is made from")
        max_series: int = Field(1000, ge=1, le=100_000, description="most series taken of one query")

        @field_validator("metrics")
        @classmethod
        def service_is_quoted(cls, metrics: dict[str, MetricQuery]) -> dict[str, MetricQuery]:
            for name, metric in metrics.items():
                try:
                    check_template(metric.query)
                except ValueError as error:
                    raise ValueError(f"$service in the query of {name}: {error}") from None
            return metrics

    native_language = "PromQL"
    settings: Settings

    def __init__(self, settings: Settings, context: Context) -> None:
        super().__init__(settings, context)

    @classmethod
    def headers(cls, settings: SourceSettings) -> dict[str, str]:
        org_id = settings.org_id if isinstance(settings, cls.Settings) else None
        return {"x-scope-orgid": org_id} if org_id else {}

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
        metric = self.settings.metrics[name]
        step_ms = query.step_ms if query.latest else widened(query.window, query.step_ms)
        return await self.run(
            Ask(
                promql=self.render(metric.query, query.window, step_ms, query.services),
                window=query.window,
                wished_ms=query.step_ms,
                step_ms=step_ms,
                service_label=self.settings.service_label,
                limit=self.settings.max_series,
                services=query.services,
                metric=name,
                unit=metric.unit,
                latest=query.latest,
            )
        )

    async def run_native(self, query: NativeQuery) -> Reply[Series]:
        """A range query. `metric` is `__name__`, `service` the service label, each empty where there is none."""
        step_ms = widened(query.window, query.step_ms)
        return await self.run(
            Ask(
                promql=self.render(query.text, query.window, step_ms),
                window=query.window,
                wished_ms=query.step_ms,
                step_ms=step_ms,
                service_label=self.settings.service_label,
                limit=query.limit,
            )
        )

    async def list_services(self, query: ServiceQuery) -> Reply[Service]:
        """The names seen in the window, in one request, with team and environment where labels tell them."""
        settings, label = self.settings, self.settings.service_label
        form = {"start": seconds(query.window.start_ms), "end": seconds(query.window.end_ms)}
        if settings.team_label or settings.environment_label:
            form["match[]"] = settings.service_metric or f'{{{label}!=""}}'
            label_sets, lacking = listed(await self.request("POST", "series", form))
        else:
            if settings.service_metric:
                form["match[]"] = settings.service_metric
            names, lacking = listed(await self.request("GET", f"label/{label}/values", form))
            label_sets = [{label: name} for name in names]
        found = services_of(label_sets, label, settings.team_label, settings.environment_label)
        items = [replace(one, environment=one.environment or settings.environment) for one in found]
        return Reply(items=items, partial=lacking)

    async def check(self) -> Reply[Check]:
        """Does it answer, does its clock agree with ours, and can the query of every metric run?"""
        try:
            reply = await self.request("POST", "query", {"query": "1"})
            decode(reply)
        except SourceError as error:
            return Reply(items=[Check("query", ok=False, detail=str(error), fix=error.hint)])
        first = [Check("query", ok=True, detail="answers PromQL"), clock_check(reply, time())]
        rest = await gather({name: partial(self.check_metric, name) for name in self.settings.metrics})
        return Reply(items=[*first, *rest.items])

    async def check_metric(self, name: str) -> Reply[Check]:
        now = int(time() * 1000)
        query = SeriesQuery((), (name,), Window(now - CHECKED_MS, now), CHECKED_MS, latest=True)
        try:
            found = await self.fetch_metric(query, name)
        except SourceError as error:
            return Reply(items=[Check(f"metric {name}", ok=False, detail=str(error), fix=error.hint)])
        seen = f"{len(found.items)} series" if found.items else "no data"
        return Reply(items=[Check(f"metric {name}", ok=True, detail="; ".join([seen, *found.warnings]))])

    def render(self, promql: str, window: Window, step_ms: int, services: Sequence[str] = ()) -> str:
        return render(promql, window, step_ms, int(self.settings.scrape_interval * 1000), services)

    async def run(self, ask: Ask) -> Reply[Series]:
        """Send the query and read its answer, in a thread when it is large."""
        form = {"query": ask.promql, "limit": str(ask.limit)}
        if ask.latest:
            form["time"] = seconds(ask.window.end_ms - 1)
            if self.settings.lookback:
                form["lookback_delta"] = f"{self.settings.lookback:g}"
        else:
            form["start"], form["end"] = seconds(ask.window.start_ms), seconds(ask.window.end_ms)
            form["step"] = seconds(ask.step_ms)
        reply = await self.request("POST", "query" if ask.latest else "query_range", form)
        if len(reply.body) < OFF_LOOP_BYTES:
            return reply_of(decode(reply), ask)
        return await self.context.threads.run(lambda: reply_of(decode(reply), ask))

    async def request(self, method: str, path: str, form: Mapping[str, str]) -> HttpReply:
        """One request of the API; a form in the body, for queries grow longer than an URL may be."""
        where = "form" if method == "POST" else "params"
        reply = await self.http.request(method, f"/api/v1/{path}", **{where: {**self.settings.params, **form}})
        if not 200 <= reply.status < 300:
            raise failure(reply)
        return reply


def clock_check(reply: HttpReply, now_s: float) -> Check:
    """Clocks that disagree let windows miss the newest samples, without any error."""
    ahead = ahead_s(reply, now_s)
    if ahead is None:
        return Check("clock", ok=True, detail="the answer carries no Date to compare with")
    skew = f"the backend's clock is {abs(ahead):.0f} s {'ahead' if ahead > 0 else 'behind'}"
    return Check("clock", ok=abs(ahead) <= CLOCK_SKEW_S, detail=skew, fix="let both hosts keep time by NTP")


@hookimpl
def telemetry_sources() -> Sequence[type[Source]]:
    return [Prometheus]
