"""InfluxDB 1.x by InfluxQL, 2.x by Flux, 3.x by SQL. See README.md beside this file."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial

from telemetry_mcp import (
    Check,
    Context,
    HttpReply,
    NativeQuery,
    ProtocolError,
    Reply,
    Series,
    SeriesQuery,
    Service,
    ServiceQuery,
    Source,
    SourceSettings,
    error_for_status,
    gather,
    hookimpl,
)
from telemetry_mcp_influxdb.check import checks
from telemetry_mcp_influxdb.preset import PRESETS
from telemetry_mcp_influxdb.series import Ask, reply_of
from telemetry_mcp_influxdb.setting import LANGUAGES, InfluxSettings
from telemetry_mcp_influxdb.statement import Scope, Statement, sound, widened
from telemetry_mcp_influxdb.table import Answer
from telemetry_mcp_influxdb.wire import failure

OFF_LOOP_BYTES = 128 * 1024


class InfluxDB(Source):
    Settings = InfluxSettings
    presets = PRESETS
    settings: InfluxSettings

    def __init__(self, settings: InfluxSettings, context: Context) -> None:
        super().__init__(settings, context)
        self.language = LANGUAGES[settings.version](settings)
        self.native_language = self.language.name

    @classmethod
    def headers(cls, settings: SourceSettings) -> dict[str, str]:
        if not isinstance(settings, InfluxSettings) or not settings.token:
            return {}
        scheme = "Token" if settings.version == 2 else "Bearer"
        return {"authorization": f"{scheme} {settings.token.get_secret_value()}"}

    def metrics(self) -> Collection[str]:
        return tuple(self.settings.metrics)

    async def fetch_series(self, query: SeriesQuery) -> Reply[Series]:
        """One request a metric, for all services at once. With `latest`, the newest number of a whole bucket."""
        sound(query.services)
        known = [name for name in query.metrics if name in self.settings.metrics]
        return await gather({name: partial(self.fetch_metric, query, name) for name in known})

    async def fetch_metric(self, query: SeriesQuery, name: str) -> Reply[Series]:
        metric = self.settings.metrics[name]
        step_ms = widened(query.window, query.step_ms)
        scope = Scope(query.window, step_ms, query.services)
        return await self.run(
            Ask(
                statement=self.language.statement(metric.query, scope),
                window=query.window,
                wished_ms=query.step_ms,
                step_ms=step_ms,
                service_tag=self.settings.service_tag,
                limit=self.settings.max_series,
                services=query.services,
                metric=name,
                unit=metric.unit,
                latest=query.latest,
            )
        )

    async def run_native(self, query: NativeQuery) -> Reply[Series]:
        """A series for each column of numbers; `metric` is its measurement and field, `service` may be empty."""
        step_ms = widened(query.window, query.step_ms)
        return await self.run(
            Ask(
                statement=self.language.statement(query.text, Scope(query.window, step_ms)),
                window=query.window,
                wished_ms=query.step_ms,
                step_ms=step_ms,
                service_tag=self.settings.service_tag,
                limit=query.limit,
            )
        )

    async def list_services(self, query: ServiceQuery) -> Reply[Service]:
        """The values of the service's tag, as far as the server can tell those of the window from older ones."""
        measurements = await self.measurements()
        if measurements is None:
            return Reply()
        statement = self.language.inventory(query.window, measurements)
        answer = await self.ask(statement)
        names = sorted(set(listed(answer, self.language.listed)))
        if answer.unreadable and not names:
            raise ProtocolError("the inventory is not as InfluxDB documents it: nothing of it can be read")
        lost = [f"{answer.unreadable} rows could not be read"] if answer.unreadable else []
        return Reply(
            items=[Service(name) for name in names],
            queries=[str(statement)],
            warnings=[*answer.warnings, *lost],
            partial="; ".join(answer.partial) or None,
        )

    async def measurements(self) -> Sequence[str] | None:
        """Those to look through for services; None where no measurement has their tag."""
        if self.settings.service_measurement:
            return [self.settings.service_measurement]
        statement = self.language.measurements()
        if statement is None:
            return []
        return listed(await self.ask(statement), self.language.listed) or None

    async def check(self) -> Reply[Check]:
        return await checks(self.settings, self.language, self.ping, self.ask)

    async def ping(self) -> HttpReply:
        """Any answer will do: 3.x lets in nobody without a token."""
        reply = await self.http.request("GET", "/ping")
        if reply.status >= 300 and reply.status not in (401, 403):
            raise error_for_status(reply.status, reply.body[:600].decode("utf-8", "replace"))
        return reply

    async def run(self, ask: Ask) -> Reply[Series]:
        """Send the statement and read its answer, in a thread when it is large."""
        reply = await self.request(ask.statement)
        if len(reply.body) < OFF_LOOP_BYTES:
            return reply_of(self.language.decode(reply.body), ask)
        return await self.context.threads.run(lambda: reply_of(self.language.decode(reply.body), ask))

    async def ask(self, statement: Statement) -> Answer:
        reply = await self.request(statement)
        return await self.context.threads.run(lambda: self.language.decode(reply.body))

    async def request(self, statement: Statement) -> HttpReply:
        asked = self.language.request(statement)
        reply = await self.http.request("POST", asked.path, params=asked.params, form=asked.form, json=asked.json)
        if not 200 <= reply.status < 300:
            raise failure(reply)
        return reply


def listed(answer: Answer, column: str) -> list[str]:
    """The texts of one column of an inventory, in all of its frames."""
    found = (name for frame in answer.frames for name in frame.columns.get(column, ()))
    return [name for name in found if isinstance(name, str) and name]


@hookimpl
def telemetry_sources() -> Sequence[type[Source]]:
    return [InfluxDB]
