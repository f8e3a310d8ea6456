"""PagerDuty: incidents and services, by the REST API v2. See README.md beside this file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from threading import Lock
from time import time
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import Field, HttpUrl, SecretStr

from telemetry_mcp import (
    BadQueryError,
    Check,
    Context,
    Duration,
    Incident,
    IncidentQuery,
    RemoteSettings,
    Reply,
    Service,
    ServiceQuery,
    Source,
    SourceError,
    SourceSettings,
    gather,
    hookimpl,
    parse_json,
)
from telemetry_mcp_pagerduty import wire

if TYPE_CHECKING:
    from telemetry_mcp_pagerduty.port import Port

T = TypeVar("T")

HOSTS = {"US": "https://api.pagerduty.com", "EU": "https://api.eu.pagerduty.com"}
PAGE = 100
LAST_POSITION = 10_000
"""PagerDuty refuses offset + limit beyond this."""
LONGEST_MS = 180 * 86_400_000
"""A little under the six months between since and until that PagerDuty takes."""


class PagerDuty(Source):
    class Settings(RemoteSettings):
        region: Literal["US", "EU"] = Field("US", description="where the account lives")
        url: HttpUrl | None = Field(None, description="base URL instead of the region's")
        api_key: SecretStr = Field(min_length=1, description="REST API key; read-only is enough")
        lookback: Duration = Field(
            "1d",
            validate_default=True,
            description="how long before a window an incident resolved in it may begin",
        )
        max_body_mb: int = Field(16, ge=1, le=1024, description="largest answer taken, after decompression")

        @property
        def base_url(self) -> str:
            return str(self.url).rstrip("/") if self.url else HOSTS[self.region]

    settings: Settings

    def __init__(self, settings: SourceSettings, context: Context) -> None:
        super().__init__(settings, context)
        self.port: Port | None = None
        self.opening = Lock()

    async def list_incidents(self, query: IncidentQuery) -> Reply[Incident]:
        """Incidents open at some time in the window, newest first.

        PagerDuty selects by the time of opening. So two questions are asked: what was opened in the window or
        `lookback` before it, and what was opened earlier and is open still. An incident that began earlier than
        `lookback` before the window and has been resolved since is not found.
        """
        unknown = set(query.statuses) - set(wire.STATUSES)
        if unknown:
            raise BadQueryError(f"no such status: {', '.join(sorted(unknown))}. Valid: {', '.join(wire.STATUSES)}")
        statuses = query.statuses or wire.STATUSES
        earliest_ms = query.window.start_ms - int(self.settings.lookback * 1000)
        since_ms = max(earliest_ms, query.window.end_ms - LONGEST_MS)
        calls = {"incidents": partial(self.incidents, query, since_ms, query.window.end_ms, statuses)}
        still_open = tuple(status for status in statuses if status != "resolved")
        if still_open:
            oldest_ms = since_ms - LONGEST_MS
            calls["earlier incidents"] = partial(self.incidents, query, oldest_ms, since_ms, still_open)
        found = await gather(calls)
        byid = {incident.id or str(index): incident for index, incident in enumerate(found.items)}
        items = sorted(byid.values(), key=lambda incident: -incident.opened_ms)
        reasons = [found.partial, f"only the newest {query.limit} are given" if len(items) > query.limit else None]
        if since_ms > query.window.start_ms:
            reasons.append("PagerDuty looks at most six months back; resolved incidents before that are missing")
        return Reply(items[: query.limit], found.queries, found.warnings, "; ".join(filter(None, reasons)) or None)

    async def incidents(
        self, query: IncidentQuery, since_ms: int, until_ms: int, statuses: Sequence[str]
    ) -> Reply[Incident]:
        params = {
            "since": wire.rfc3339(since_ms),
            "until": wire.rfc3339(until_ms + 999),
            "statuses[]": list(statuses),
            "time_zone": "UTC",
            "sort_by": "created_at:desc",
        }
        wanted = set(query.services)

        def read(entry: dict[str, Any]) -> Incident | None:
            found = wire.incident(entry)
            return found if found and concerns(found, query, wanted, statuses) else None

        return await self.pages("incidents", params, read, enough=query.limit)

    async def list_services(self, query: ServiceQuery) -> Reply[Service]:
        return await self.pages("services", {"sort_by": "name"}, wire.service)

    async def pages(
        self,
        name: str,
        params: Mapping[str, Any],
        read: Callable[[dict[str, Any]], T | None],
        enough: int = LAST_POSITION,
    ) -> Reply[T]:
        """Every entry of a list that `read` keeps, until the last page, `enough` kept, or PagerDuty's cap."""
        items: list[T] = []
        for offset in range(0, LAST_POSITION, PAGE):
            body = await self.ask(f"/{name}", {**params, "limit": PAGE, "offset": offset})
            entries, more = wire.page(body, name)
            items += [item for item in map(read, entries) if item is not None]
            if not more:
                return Reply(items, [f"/{name}"])
            if not entries:
                return Reply(items, [f"/{name}"], partial=f"PagerDuty promises more {name} but gives none")
            if len(items) >= enough:
                return Reply(items, [f"/{name}"], partial=f"there are more {name} than the {len(items)} read")
        return Reply(items, [f"/{name}"], partial=f"PagerDuty gives no more than the first {LAST_POSITION} {name}")

    async def check(self) -> Reply[Check]:
        """The key, then each list that is read."""
        now_ms = int(time() * 1000)
        today = {"since": wire.rfc3339(now_ms - 86_400_000), "until": wire.rfc3339(now_ms)}
        steps: dict[str, tuple[str, dict[str, Any]]] = {
            "api key": ("/abilities", {}),
            "read incidents": ("/incidents", {"limit": 1, **today}),
            "read services": ("/services", {"limit": 1}),
        }
        checks: list[Check] = []
        for name, (path, params) in steps.items():
            checks.append(await self.one_check(name, path, params))
            if not checks[0].ok:
                break
        return Reply(checks)

    async def one_check(self, name: str, path: str, params: Mapping[str, Any]) -> Check:
        try:
            await self.ask(path, params)
        except SourceError as error:
            return Check(name, ok=False, detail=str(error), fix=error.hint)
        return Check(name, ok=True)

    async def ask(self, path: str, params: Mapping[str, Any]) -> Any:
        """Call and decode in one worker thread, since pdpyras blocks."""

        def work() -> Any:
            reply = self.opened().get(path, params)
            if not 200 <= reply.status < 300:
                raise wire.error_of(reply)
            return parse_json(reply.body)

        return await self.context.threads.run(work)

    def opened(self) -> Port:
        with self.opening:
            if self.port is None:
                from telemetry_mcp_pagerduty.port import Port

                self.port = Port(self.settings)
            return self.port

    async def close(self) -> None:
        if self.port is not None:
            self.port.close()


def concerns(incident: Incident, query: IncidentQuery, services: set[str], statuses: Sequence[str]) -> bool:
    """Whether an incident was open inside the window, and is of a service and a status that were asked."""
    window = query.window
    over = incident.resolved_ms is not None and incident.resolved_ms <= window.start_ms
    named = not services or incident.service in services
    return named and not over and incident.opened_ms < window.end_ms and incident.status in statuses


@hookimpl
def telemetry_sources() -> Sequence[type[Source]]:
    return [PagerDuty]
