"""Requests to the HTTP API of Prometheus, and their answers as rows of numbers or lists."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from telemetry_mcp import (
    AuthError,
    ForbiddenError,
    Http,
    HttpReply,
    NotFoundError,
    Reply,
    Series,
    SourceError,
    Threads,
    Window,
)
from telemetry_mcp_prometheus.query import render, seconds
from telemetry_mcp_prometheus.series import Ask, reply_of
from telemetry_mcp_prometheus.setting import Settings
from telemetry_mcp_prometheus.wire import Answer, decode, failure

T = TypeVar("T")

OFF_LOOP_BYTES = 128 * 1024


@dataclass(frozen=True, slots=True)
class Api:
    """One backend, as its settings describe it. Every method raises SourceError and nothing else."""

    settings: Settings
    http: Http
    threads: Threads

    async def request(self, method: str, path: str, form: Mapping[str, str]) -> HttpReply:
        """A 2xx reply; any other is raised."""
        return self.taken(await self.send(method, path, form))

    def taken(self, reply: HttpReply) -> HttpReply:
        if not 200 <= reply.status < 300:
            raise hinted(failure(reply), self.settings)
        return reply

    async def send(self, method: str, path: str, form: Mapping[str, str]) -> HttpReply:
        """A reply of any status. Queries are posted, for they grow longer than an URL may be."""
        fields = {**self.settings.kind.params, **self.settings.params, **form}
        if method == "POST":
            return await self.http.request(method, f"/api/v1/{path}", form=fields)
        return await self.http.request(method, f"/api/v1/{path}", params=fields)

    async def query(self, path: str, form: Mapping[str, str]) -> Answer:
        reply = await self.request("POST", path, form)
        return await self.read(reply, lambda: decode(reply))

    async def read(self, reply: HttpReply, work: Callable[[], T]) -> T:
        """What `work` makes of the reply, in a thread when it is large."""
        return work() if len(reply.body) < OFF_LOOP_BYTES else await self.threads.run(work)

    async def series(self, ask: Ask) -> Reply[Series]:
        """Send the query and read its answer as series."""
        form = {"query": ask.promql, "limit": str(ask.limit)}
        if ask.latest:
            form["time"] = seconds(ask.window.end_ms - 1)
            if self.settings.lookback:
                form[self.settings.kind.lookback] = f"{self.settings.lookback:g}"
        else:
            form["start"], form["end"] = seconds(ask.window.start_ms), seconds(ask.window.end_ms)
            form["step"] = seconds(ask.step_ms)
        reply = await self.request("POST", "query" if ask.latest else "query_range", form)
        return await self.read(reply, lambda: reply_of(decode(reply), ask))

    def render(self, promql: str, window: Window, step_ms: int = 0, services: Sequence[str] = ()) -> str:
        """The query with its placeholders filled; see `query.render`."""
        scrape_ms = int(self.settings.scrape_interval * 1000)
        label = self.settings.service_label
        return render(promql, window, step_ms or scrape_ms, scrape_ms, services, label)


def hinted(error: SourceError, settings: Settings) -> SourceError:
    """With a hint that knows the settings: Prometheus itself refuses nobody, and a flavor changes the path."""
    words, added = str(error).lower(), settings.added_path
    given = settings.username or settings.bearer_token or settings.headers
    if "org id" in words or "tenant" in words:
        error.hint = 'name the tenant: org_id = "<tenant>" in this source\'s table'
    elif isinstance(error, AuthError) or (isinstance(error, ForbiddenError) and not given):
        error.hint = "set bearer_token, or username and password, to credentials that may read"
    elif isinstance(error, ForbiddenError):
        error.hint = "let these credentials read /api/v1, in the proxy or gateway before the backend"
    elif isinstance(error, NotFoundError) and added:
        title, flavor = settings.kind.title, settings.flavor
        error.hint = f"is it really {title}? The flavor {flavor} adds {added} to the url's path"
    return error
