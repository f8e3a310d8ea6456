"""New Relic: NRQL and the entity inventory, through NerdGraph. See README.md beside this file."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from math import ceil
from time import time
from typing import Any, Literal

from pydantic import Field, HttpUrl, SecretStr, model_validator

from telemetry_mcp import (
    AuthError,
    Check,
    Context,
    HttpSettings,
    NativeQuery,
    ProtocolError,
    Reply,
    Series,
    SeriesQuery,
    Service,
    ServiceQuery,
    Source,
    SourceError,
    SourceSettings,
    clean,
    decode_json,
    error_for_status,
    gather,
    hookimpl,
    parse_json,
    retry_after,
)
from telemetry_mcp_newrelic import wire
from telemetry_mcp_newrelic.query import Buckets, check, render, timed, usable

HOSTS = {
    "US": "https://api.newrelic.com",
    "EU": "https://api.eu.newrelic.com",
    "JP": "https://api.jp.newrelic.com",
    "GOV": "https://gov-api.newrelic.com",
}
PATH = "/graphql"
NRQL = """query($id: Int!, $q: Nrql!) { actor { account(id: $id) { nrql(query: $q, timeout: %d) {
results otherResult metadata { facets messages } } } } }"""
ENTITIES = """query($q: String!, $cursor: String) { actor { entitySearch(query: $q) { results(cursor: $cursor) {
nextCursor entities { name alertSeverity permalink tags { key values } } } } } }"""
USER = "{ actor { user { name } } }"
ACCOUNT = "query($id: Int!) { actor { account(id: $id) { id name } } }"
DEFAULT_TIMEOUT_S = 10.0
LONGEST_TIMEOUT_S = 120
MAX_PAGES = 25


class NewRelic(Source):
    class Settings(HttpSettings):
        region: Literal["US", "EU", "JP", "GOV"] = Field("US", description="where the account lives")
        url: HttpUrl = Field(HttpUrl(HOSTS["US"]), description="base URL instead of the region's")
        api_key: SecretStr = Field(min_length=1, description="user key (NRAK-...)")
        account_id: int = Field(ge=1, description="the account that is asked")
        service_attribute: str = Field("appName", description="attribute that names the service")
        max_concurrency: int = Field(5, ge=1, le=25, description="questions under way at once")

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

    def __init__(self, settings: SourceSettings, context: Context) -> None:
        super().__init__(settings, context)

    @classmethod
    def headers(cls, settings: SourceSettings) -> dict[str, str]:
        key = settings.api_key.get_secret_value() if isinstance(settings, cls.Settings) else ""
        return {"api-key": key}

    async def fetch_series(self, query: SeriesQuery) -> Reply[Series]:
        """One NRQL a metric. With `latest`, the newest complete bucket that has a number."""
        wanted = [name for name in query.metrics if name in self.settings.metrics]
        return await gather({name: partial(self.one_metric, name, query) for name in wanted})

    async def one_metric(self, name: str, asked: SeriesQuery) -> Reply[Series]:
        names, refused = usable(asked.services)
        warnings = [f"no service can be called {name!r} at New Relic" for name in refused]
        if refused and not names:
            return Reply(warnings=warnings)
        metric = self.settings.metrics[name]
        buckets = Buckets(asked.window, asked.step_ms)
        text = render(metric, names, buckets)
        shape = wire.Shape(
            metric=name,
            attribute=self.settings.service_attribute,
            window=asked.window,
            now_ms=int(time() * 1000),
            step_ms=buckets.seconds * 1000,
            only=names[0] if len(names) == 1 else "",
            unit=metric.unit,
            query=text,
        )
        found = await self.nrql(text, shape)
        known = {clean(service): service for service in names}
        items = [
            replace(item, service=known.get(item.service, item.service))
            for item in found.items
            if not names or item.service in known
        ]
        if asked.latest:
            items = [newest(item) for item in items]
        warnings += [*buckets.warnings, *found.warnings]
        return Reply([item for item in items if len(item)], found.queries, warnings, found.partial)

    async def run_native(self, query: NativeQuery) -> Reply[Series]:
        """NRQL as it stands; the window and LIMIT are added where the query has none, TIMESERIES is not."""
        check(query.text)
        text = timed(query.text, query.window, str(query.limit))
        attribute = self.settings.service_attribute
        shape = wire.Shape("", attribute, query.window, int(time() * 1000), only="*", query=text)
        found = await self.nrql(text, shape)
        left = len(found.items) - query.limit
        cut = f"{left} more series were left out" if left > 0 else found.partial
        return Reply(found.items[: query.limit], found.queries, found.warnings, cut)

    async def nrql(self, text: str, shape: wire.Shape) -> Reply[Series]:
        limit_s = min(ceil(self.settings.timeout or DEFAULT_TIMEOUT_S), LONGEST_TIMEOUT_S)
        body = await self.ask(NRQL % limit_s, {"id": self.settings.account_id, "q": text})
        found, warnings, errors = wire.found_at(body, "actor", "account", "nrql")
        if found.get("results") is None:
            raise wire.error_of(body)
        # Rows of a long answer are many: not on the event loop.
        items, messages, rest = await self.context.threads.run(partial(wire.nrql_items, found, shape))
        reason = "; ".join(filter(None, [errors, rest])) or None
        return Reply(items, [text], [*warnings, *messages], reason)

    async def list_services(self, query: ServiceQuery) -> Reply[Service]:
        """APM applications and OpenTelemetry services that report; paging ends at a cap or a repeated cursor."""
        account = self.settings.account_id
        text = (
            "domain IN ('APM', 'EXT') AND type IN ('APPLICATION', 'SERVICE') "
            f"AND reporting = 'true' AND accountId = {account}"
        )
        items: list[Service] = []
        warnings: list[str] = []
        reasons: list[str | None] = []
        cursor, seen = None, set[str | None]()
        while cursor not in seen and len(seen) < MAX_PAGES:
            seen.add(cursor)
            body = await self.ask(ENTITIES, {"q": text, "cursor": cursor})
            found, beside, errors = wire.found_at(body, "actor", "entitySearch")
            page, cursor = wire.services(found)
            items += page
            warnings += beside
            reasons.append(errors)
            if cursor is None:
                break
        else:
            reasons.append(f"New Relic has more services than the {len(seen)} pages that were read")
        return Reply(items, [text], warnings, "; ".join(filter(None, reasons)) or None)

    async def check(self) -> Reply[Check]:
        """The key, then the account."""
        key = await self.one_check("api key", partial(self.ask_at, USER, {}, "user"))
        if not key.ok:
            return Reply([key])
        number = self.settings.account_id
        ask = partial(self.ask_at, ACCOUNT, {"id": number}, "account")
        return Reply([key, await self.one_check(f"account {number}", ask)])

    async def one_check(self, name: str, ask: Callable[[], Awaitable[dict[str, Any]]]) -> Check:
        try:
            found = await ask()
        except SourceError as error:
            return Check(name, ok=False, detail=str(error), fix=error.hint)
        return Check(name, ok=True, detail=str(found.get("name") or ""))

    async def ask_at(self, query: str, variables: dict[str, Any], step: str) -> dict[str, Any]:
        return wire.found_at(await self.ask(query, variables), "actor", step)[0]

    async def ask(self, query: str, variables: dict[str, Any]) -> Any:
        """The body of an answer with a good status; whether it holds what was asked is another question."""
        reply = await self.http.request("POST", PATH, json={"query": query, "variables": variables})
        if 200 <= reply.status < 300:
            return await decode_json(reply.body)
        try:
            body = parse_json(reply.body)
        except ProtocolError:
            body = None
        words = wire.explain(body) or reply.body[:600].decode("utf-8", "replace")
        # A wrong key comes as 401 or as 403; the code tells it from a missing permission.
        if wire.errors_of(body) and isinstance(wire.error_of(body), AuthError):
            raise wire.error_of(body)
        raise error_for_status(reply.status, words, retry_after_s=retry_after(reply.headers))


def newest(item: Series) -> Series:
    known = [index for index, value in enumerate(item.values) if value == value][-1:]
    times, values = item.timestamps_ms[known], item.values[known]
    return Series(item.service, item.metric, times, values, item.unit, item.labels, item.query)


@hookimpl
def telemetry_sources() -> Sequence[type[Source]]:
    return [NewRelic]
