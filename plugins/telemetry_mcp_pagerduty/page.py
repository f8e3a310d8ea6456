"""PagerDuty's objects and paged lists over the port: decoded, within its limits, failing as our errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Lock
from time import monotonic, time
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from telemetry_mcp import Context, HttpReply, ProtocolError, Reply, parse_json
from telemetry_mcp_pagerduty import wire
from telemetry_mcp_pagerduty.secret import without_planted
from telemetry_mcp_pagerduty.setting import Settings

if TYPE_CHECKING:
    from telemetry_mcp_pagerduty.port import Port

T = TypeVar("T")

PAGE = 100
LAST_POSITION = 10_000
"""PagerDuty refuses offset + limit beyond this."""
SHARE = 0.5
"""The part of a source's patience that may go by in paging: what was read by then is better than a time-out."""
NOTHING: Mapping[str, Any] = MappingProxyType({})

Parse = Callable[[dict[str, Any]], T | None]
"""One entry of a list to one of ours; None where it cannot be read."""


@dataclass(slots=True)
class Listing(Generic[T]):
    """What was read of one list so far. `keep` chooses among what could be read.

    `repeated` says that the last page was the same as the one before it, and so was not taken.
    """

    path: str
    name: str
    parse: Parse[T]
    keep: Callable[[T], bool] = lambda item: True
    items: list[T] = field(default_factory=list)
    unread: int = 0
    before: list[Any] = field(default_factory=list)
    repeated: bool = False

    def read(self, reply: HttpReply) -> tuple[list[Any], bool | None]:
        """Take the entries of a page; they come back with whether there are more. Raises ProtocolError."""
        entries, more = wire.page(decode(reply), self.name)
        self.repeated = bool(entries) and entries == self.before
        self.before = entries
        if not self.repeated:
            self.take(entries)
        return entries, more

    def take(self, entries: list[Any]) -> None:
        for entry in entries:
            item = self.parse(entry) if isinstance(entry, dict) else None
            if item is None:
                self.unread += 1
            elif self.keep(item):
                self.items.append(item)

    def reply(self, partial: str | None = None) -> Reply[T]:
        spelt = self.name.replace("_", " ")
        warnings = [f"{self.unread} {spelt} could not be read"] if self.unread else []
        return Reply(self.items, [self.path], warnings, partial)


class Api:
    """What every question of one source goes through. `told` is the newest answer's headers, and when it came."""

    def __init__(self, settings: Settings, context: Context, clock: Callable[[], float] = monotonic) -> None:
        self.clock = clock
        self.settings = settings
        self.context = context
        self.port: Port | None = None
        self.opening = Lock()
        self.told: tuple[Mapping[str, str], float] | None = None

    async def listed(
        self,
        listing: Listing[T],
        params: Mapping[str, Any] = NOTHING,
        *,
        enough: int = LAST_POSITION,
        over: Callable[[dict[str, Any]], bool] = lambda last: False,
    ) -> Reply[T]:
        """The entries of a list, page by page: to the last one, to the first whose last entry is `over`, or until
        `enough` are kept, time or PagerDuty's own cap runs out, or it repeats itself; these four are partial."""
        until = self.clock() + self.settings.patience_s * SHARE
        for offset in range(0, LAST_POSITION, PAGE):
            asked = {**params, "limit": PAGE, "offset": offset}
            entries, more = await self.fetch(listing.path, asked, listing.read)
            if listing.repeated:
                return listing.reply(f"PagerDuty gives the same page of {listing.name} again and again")
            if more is False or (more is None and len(entries) < PAGE) or (entries and over(last(entries))):
                return listing.reply()
            if stop := self.stop(listing, entries, more, enough, self.clock() > until):
                return listing.reply(stop)
        return listing.reply(f"PagerDuty gives no more than the first {LAST_POSITION} {listing.name}")

    def stop(self, listing: Listing[T], entries: list[Any], more: bool | None, enough: int, late: bool) -> str:
        """Why the next page is not asked for, if it is not."""
        if not entries:
            return f"PagerDuty promises more {listing.name} but gives none"
        if more is None:
            return f"PagerDuty does not say whether there are more {listing.name} than the first {len(entries)}"
        if len(listing.items) >= enough or late:
            late_words = f" within {self.settings.patience_s * SHARE:g} s" if late else ""
            return f"there are more {listing.name} than the {len(listing.items)} read{late_words}"
        return ""

    async def whole(self, listing: Listing[T], params: Mapping[str, Any] = NOTHING) -> Reply[T]:
        """The entries of a list that comes in one piece."""
        await self.fetch(listing.path, params, listing.read)
        return listing.reply()

    async def ask(self, path: str, params: Mapping[str, Any] = NOTHING) -> dict[str, Any]:
        """The JSON object of a 2xx answer, without integration keys; any other status raises its error."""
        return await self.fetch(path, params, decode)

    async def fetch(self, path: str, params: Mapping[str, Any], read: Callable[[HttpReply], T]) -> T:
        """Call and `read` in one worker thread, since pdpyras blocks and reading takes its time too."""
        quota, limit = self.context.quota, limited_as(path)
        quota.enter(limit)

        def work() -> T:
            reply = self.opened().get(path, params)
            self.told = reply.headers, time()
            quota.note({**reply.headers, "ratelimit-name": limit}, limit)
            if not 200 <= reply.status < 300:
                raise wire.error_of(reply)
            return read(reply)

        return await self.context.threads.run(work)

    def opened(self) -> Port:
        with self.opening:
            if self.port is None:
                from telemetry_mcp_pagerduty.port import Port

                self.port = Port(self.settings)
            return self.port

    def close(self) -> None:
        if self.port is not None:
            self.port.close()


def decode(reply: HttpReply) -> dict[str, Any]:
    body = parse_json(without_planted(reply.body))
    if not isinstance(body, dict):
        raise ProtocolError("the answer is not a JSON object")
    return body


def limited_as(path: str) -> str:
    """The limit that a request counts against: on-calls have a stricter one of their own."""
    return "on-call requests" if path.startswith("/oncalls") else "requests"


def last(entries: list[Any]) -> dict[str, Any]:
    return wire.mapping(entries[-1])
