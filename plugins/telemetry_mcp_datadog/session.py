"""One source's way to Datadog: calls in worker threads, pages, and errors that name the missing permission."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from threading import Lock
from time import time
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from telemetry_mcp import (
    AuthError,
    Context,
    ForbiddenError,
    HttpReply,
    Reply,
    SourceError,
    error_for_status,
    parse_json,
    retry_after,
)
from telemetry_mcp_datadog.scope import Scope, named
from telemetry_mcp_datadog.setting import Settings
from telemetry_mcp_datadog.wire import Row, complaint, each, explain, refusal

if TYPE_CHECKING:
    from telemetry_mcp_datadog.client import Client

T = TypeVar("T")
Place = TypeVar("Place", int, str)
Call = Callable[["Client"], HttpReply]

MOST_PAGES = 50


class Session:
    """The client of one source, opened on first use. `told` is its newest answer's headers, and when it came."""

    def __init__(self, settings: Settings, context: Context) -> None:
        self.settings = settings
        self.context = context
        self.client: Client | None = None
        self.opening = Lock()
        self.told: tuple[Mapping[str, str], float] | None = None

    async def ask(self, call: Call, read: Callable[[HttpReply], T], scope: Scope | None) -> T:
        """Call and read the answer; `scope` is what a refusal most likely misses, unless it is the API key's."""
        try:
            return await self.once(call, read, scope)
        except (AuthError, ForbiddenError) as error:
            if scope is not None and isinstance(refused := await self.refusal(), AuthError | ForbiddenError):
                raise refused from error
            raise

    async def refusal(self) -> SourceError | None:
        """Why the API key cannot be used; None where it can."""
        try:
            await self.once(lambda client: client.validate(), lambda reply: None, None)
        except SourceError as error:
            return error
        return None

    async def once(self, call: Call, read: Callable[[HttpReply], T], scope: Scope | None) -> T:
        """As `ask`, of one request in one worker thread, whose refusal is taken at its word."""

        def work() -> T:
            reply = call(self.opened())
            self.told = reply.headers, time()
            if 200 <= reply.status < 300:
                return read(reply)
            wait_s = retry_after(reply.headers)
            raise named(error_for_status(reply.status, explain(reply), retry_after_s=wait_s), scope)

        return await self.context.threads.run(work)

    async def json(self, call: Call, read: Callable[[Any], T], scope: Scope | None) -> T:
        """As `ask`, of the body. An error with status 200 and nothing beside it is raised."""

        def decoded(reply: HttpReply) -> T:
            body = parse_json(reply.body)
            if (said := complaint(body)) and not body.get("data"):
                raise refusal(said, reply.headers)
            return read(body)

        return await self.ask(call, decoded, scope)

    def opened(self) -> Client:
        with self.opening:
            if self.client is None:
                from telemetry_mcp_datadog.client import Client

                self.client = Client(self.settings, self.context.quota)
            return self.client

    def close(self) -> None:
        if self.client is not None:
            self.client.close()


@dataclass(frozen=True, slots=True)
class Page(Generic[T, Place]):
    """A page of a list: what was read of it, what its rows are known by, and where the next one begins."""

    found: Reply[T]
    keys: frozenset[str]
    after: Place | None


def page(
    rows: list[Any], read: Callable[[Row], T | None], what: str, key: Callable[[Row], object], after: Place | None
) -> Page[T, Place]:
    keys = (key(row) for row in rows if isinstance(row, dict))
    return Page(each(rows, read, what), frozenset(str(one) for one in keys if one is not None), after)


async def walk(
    fetch: Callable[[Place], Awaitable[Page[T, Place]]], first: Place, what: str, most: int = MOST_PAGES
) -> Reply[T]:
    """Every page, until one says that it is the last, brings nothing new, or repeats its place; at most `most`.

    The links and totals that Datadog sends are not looked at: they differ from list to list, and some lie.
    """
    items: list[T] = []
    warnings: list[str] = []
    known: set[str] = set()
    places, place = {first}, first
    for _ in range(most):
        one = await fetch(place)
        fresh = one.keys - known
        if not fresh and known:
            break
        items += one.found.items
        warnings += one.found.warnings
        if one.after is None or not fresh or one.after in places:
            break
        known |= fresh
        place = one.after
        places.add(place)
    else:
        capped = f"there are more than {most} pages of {what}; the rest was not asked"
        return Reply(items, warnings=warnings, partial=capped)
    return Reply(items, warnings=warnings)
