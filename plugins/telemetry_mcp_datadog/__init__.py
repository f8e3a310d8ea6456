"""Datadog: metric queries, the APM service list and the software catalog, through the official client."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from threading import Lock
from time import time
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
from pydantic import Field, HttpUrl, SecretStr

from telemetry_mcp import (
    Check,
    Context,
    ForbiddenError,
    HttpReply,
    NativeQuery,
    RemoteSettings,
    Reply,
    Series,
    SeriesQuery,
    Service,
    ServiceQuery,
    Source,
    SourceError,
    SourceSettings,
    Window,
    error_for_status,
    gather,
    hookimpl,
    parse_json,
    retry_after,
)
from telemetry_mcp_datadog import wire
from telemetry_mcp_datadog.query import Names, render, usable

if TYPE_CHECKING:
    from telemetry_mcp_datadog.transport import Client

T = TypeVar("T")

Site = Literal[
    "datadoghq.com",
    "us3.datadoghq.com",
    "us5.datadoghq.com",
    "ap1.datadoghq.com",
    "ap2.datadoghq.com",
    "uk1.datadoghq.com",
    "datadoghq.eu",
    "ddog-gov.com",
    "us2.ddog-gov.com",
]
LOOK_BACK_MS = 120_000
"""How much earlier a question for the latest value starts, so that a bucket of a minute is complete in it."""
PAGE = 100
MAX_PAGES = 50


class Datadog(Source):
    class Settings(RemoteSettings):
        site: Site = Field("datadoghq.com", description="which Datadog: the host behind app. in your browser")
        url: HttpUrl | None = Field(None, description="base URL instead of https://api.<site>, for a proxy")
        api_key: SecretStr = Field(min_length=1, description="API key")
        app_key: SecretStr = Field(min_length=1, description="application key; needs timeseries_query at least")
        env: str | None = Field(None, description="environment whose APM services are listed; * for all")
        service_tag: str = Field("service", description="tag that names the service")

        @property
        def base_url(self) -> str:
            """Where the API is, without a trailing slash. The environment's DD_SITE has no say."""
            return str(self.url).rstrip("/") if self.url else f"https://api.{self.site}"

    settings: Settings
    native_language = "Datadog metric query"

    def __init__(self, settings: SourceSettings, context: Context) -> None:
        super().__init__(settings, context)
        self.client: Client | None = None
        self.opening = Lock()

    async def fetch_series(self, query: SeriesQuery) -> Reply[Series]:
        """One GET /api/v1/query a metric. Timestamps are the beginnings of Datadog's buckets."""
        wanted = [name for name in query.metrics if name in self.settings.metrics]
        return await gather({name: partial(self.one_metric, name, query) for name in wanted})

    async def one_metric(self, name: str, asked: SeriesQuery) -> Reply[Series]:
        names = usable(asked.services)
        warnings = [f"no service can be called {refused!r} at Datadog" for refused in names.refused]
        if not names.usable and not names.all:
            return Reply(warnings=warnings)
        text = render(self.settings.metrics[name], names, asked)
        window = asked.window
        earlier = Window(window.start_ms - LOOK_BACK_MS, window.end_ms) if asked.latest else window
        found = await self.ask_series(text, earlier)
        known = {service.lower(): service for service in names.usable}
        items: list[Series] = []
        for row in found.items:
            service = self.service_of(row, names)
            if service and (names.all or service in known):
                like = self.empty(row, known.get(service, service), name, text)
                items.append(wire.series(row, like, window, latest=asked.latest))
        warnings += coarse(found.items, asked.step_ms)
        if not all(self.service_of(row, names) for row in found.items):
            warnings.append(f"{name}: series without a {self.settings.service_tag} tag; group by it in the query")
        return Reply([item for item in items if len(item)], [text], warnings, found.partial)

    def empty(self, row: dict[str, Any], service: str, metric: str, text: str) -> Series:
        """A Series that has its names but no points yet; the tags besides the service's are its labels."""
        labels = {tag: value for tag, value in wire.tags(row).items() if tag != self.settings.service_tag}
        unit = self.settings.metrics[metric].unit if metric in self.settings.metrics else ""
        return Series(service, metric, np.empty(0, np.int64), np.empty(0), unit, labels, text)

    def service_of(self, row: dict[str, Any], names: Names) -> str:
        """The service of a row in lower case where one was asked by name, as Datadog stores tag values."""
        named = wire.tags(row).get(self.settings.service_tag, "")
        if names.all:
            return named
        return named.lower() or (names.usable[0].lower() if len(names.usable) == 1 else "")

    async def ask_series(self, text: str, window: Window) -> Reply[dict[str, Any]]:
        def read(reply: HttpReply) -> Reply[dict[str, Any]]:
            rows, complaint = wire.query_series(parse_json(reply.body), reply.headers)
            return Reply(rows, [text], partial=complaint or None)

        # Datadog counts in seconds; the end is rounded up so that the window's last second is in.
        start_s, end_s = window.start_ms // 1000, -(-window.end_ms // 1000)
        return await self.ask(lambda client: client.query(start_s, end_s, text), read, "timeseries_query")

    async def list_services(self, query: ServiceQuery) -> Reply[Service]:
        """The APM services of `env` united with the software catalog, which knows teams and tags."""
        calls: dict[str, Callable[[], Any]] = {"software catalog": self.catalog}
        if self.settings.env:
            calls["APM services"] = partial(self.apm_services, self.settings.env)
        found: Reply[Service] = await gather(calls)
        return Reply(wire.united(found.items), found.queries, found.warnings, found.partial)

    async def apm_services(self, env: str) -> Reply[Service]:
        items = await self.ask(
            lambda client: client.apm_services(env),
            lambda reply: wire.apm_services(parse_json(reply.body), env),
            "apm_read",
        )
        return Reply(items, [f"/api/v2/apm/services?filter[env]={env}"])

    async def catalog(self) -> Reply[Service]:
        """Every page, until one brings fewer than asked or nothing new, or the cap."""
        listed: dict[str, Service] = {}
        for number in range(MAX_PAGES):
            items = await self.catalog_page(number * PAGE)
            fresh = {item.name: item for item in items if item.name not in listed}
            listed.update(fresh)
            if len(items) < PAGE or not fresh:
                return Reply(list(listed.values()), ["/api/v2/catalog/entity"])
        capped = f"the software catalog has more than {MAX_PAGES * PAGE} services; the rest was not asked"
        return Reply(list(listed.values()), ["/api/v2/catalog/entity"], partial=capped)

    async def catalog_page(self, offset: int) -> list[Service]:
        return await self.ask(
            lambda client: client.catalog(offset, PAGE),
            lambda reply: wire.catalog_services(parse_json(reply.body)),
            "apm_service_catalog_read",
        )

    async def run_native(self, query: NativeQuery) -> Reply[Series]:
        """A metric query as it stands; a series without a service tag is named by its scope."""
        found = await self.ask_series(query.text, query.window)
        items = []
        for row in found.items[: query.limit]:
            service = wire.tags(row).get(self.settings.service_tag) or str(row.get("scope") or "*")
            name = str(row.get("expression") or row.get("metric") or query.text)
            items.append(wire.series(row, self.empty(row, service, name, query.text), query.window))
        left = len(found.items) - len(items)
        cut = f"{left} more series were left out" if left else None
        warnings = coarse(found.items, query.step_ms)
        return Reply(items, [query.text], warnings, "; ".join(filter(None, [found.partial, cut])) or None)

    async def check(self) -> Reply[Check]:
        """The API key, then each scope of the application key that this plugin uses."""
        end_s = int(time())
        steps: dict[str, Callable[[Client], HttpReply]] = {
            "api key": lambda client: client.validate(),
            "timeseries_query": lambda client: client.query(end_s - 60, end_s, "avg:system.cpu.idle{*}"),
            "apm_service_catalog_read": lambda client: client.catalog(0, 1),
        }
        if env := self.settings.env:
            steps["apm_read"] = lambda client: client.apm_services(env)
        checks: list[Check] = []
        for name, call in steps.items():
            checks.append(await self.one_check(name, call))
            if name == "api key" and not checks[0].ok:
                break
        return Reply(checks)

    async def one_check(self, name: str, call: Callable[[Client], HttpReply]) -> Check:
        scope = "" if name == "api key" else name
        try:
            await self.ask(call, lambda reply: parse_json(reply.body), scope)
        except SourceError as error:
            return Check(name, ok=False, detail=str(error), fix=error.hint)
        return Check(name, ok=True)

    async def ask(self, call: Callable[[Client], HttpReply], read: Callable[[HttpReply], T], scope: str) -> T:
        """Call and read the answer in one worker thread; `scope` is what a 403 most likely misses."""

        def work() -> T:
            reply = call(self.opened())
            if 200 <= reply.status < 300:
                return read(reply)
            error = error_for_status(reply.status, wire.explain(reply), retry_after_s=retry_after(reply.headers))
            if isinstance(error, ForbiddenError):
                raise forbidden(error, scope)
            raise error

        return await self.context.threads.run(work)

    def opened(self) -> Client:
        with self.opening:
            if self.client is None:
                from telemetry_mcp_datadog.transport import Client

                self.client = Client(self.settings)
            return self.client

    async def close(self) -> None:
        if self.client is not None:
            self.client.close()


def forbidden(error: ForbiddenError, scope: str) -> ForbiddenError:
    """Datadog answers 403 to a wrong key as to a missing scope, mostly without saying which."""
    if not scope:
        return ForbiddenError(f"{error}; the API key was refused", hint="check api_key, and that site is right")
    return ForbiddenError(
        f"{error}; the application key may lack the scope {scope}",
        hint=f"give the application key the scope {scope}; if it has it, check api_key, app_key and site",
    )


def coarse(rows: Sequence[dict[str, Any]], step_ms: int) -> list[str]:
    """Datadog chooses the distance of points by the length of the window."""
    widest = max((row["interval"] for row in rows if isinstance(row.get("interval"), int | float)), default=0)
    if widest * 1000 <= step_ms:
        return []
    return [f"a point every {widest:g} s, not {step_ms / 1000:g} s"]


@hookimpl
def telemetry_sources() -> Sequence[type[Source]]:
    return [Datadog]
