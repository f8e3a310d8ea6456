"""How much one caller may ask: so many calls a minute, so many at once; more while it is at an open incident."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import lru_cache
from hashlib import sha256
from math import ceil
from time import time

from limits import RateLimitItem
from limits.aio.storage import Storage

from telemetry_mcp.access.caller import Caller
from telemetry_mcp.access.setting import LimitSettings
from telemetry_mcp.errors import LimitedError
from telemetry_mcp.rate import Buckets, rate_of, spoken, unknown
from telemetry_mcp.text import clean

INCIDENT_S = 4 * 3600.0
"""An incident that is not named again makes its caller's bucket larger for so long."""
HEARSAY_S = 60.0
"""What another instance knew of a caller's incident is asked for again after this: it may be resolved."""
LONGEST_NAME = 80

Who = tuple[str, str]
"""Kind and subject of a caller, the latter as a digest: it becomes part of a key that others can read."""


class Limits:
    """The limits of every caller; `local` ones have none.

    Rates, and who works on an incident, are kept in `storage` where one is handed in, so that they hold for all
    instances together, while it is `up`; calls under way are counted in each. `clock` is epoch seconds, and times
    incidents only.
    """

    def __init__(
        self,
        settings: LimitSettings,
        storage: Storage | None = None,
        *,
        up: Callable[[], bool] = unknown,
        clock: Callable[[], float] = time,
    ) -> None:
        self.concurrency = settings.concurrency
        self.rates = {"user": rate_of(settings.user), "service_account": rate_of(settings.service_account)}
        self.incident = rate_of(settings.incident)
        self.buckets = Buckets("callers")
        self.buckets.share(storage, up)
        self.clock = clock
        self.under_way: Counter[tuple[Who, bool]] = Counter()
        self.incidents: dict[Who, dict[str, float]] = {}
        """Who works on which open incidents, and until when that is believed; "" is one known by hearsay."""

    @asynccontextmanager
    async def admitted(
        self, caller: Caller, *, incident: bool = False, stream: bool = False
    ) -> AsyncIterator[bool]:
        """One call while it is under way; gives whether it goes by the incident lane. LimitedError when it is one
        too many.

        `incident`: whether the caller's role has that lane at all times. A `stream` stays open for as long as the
        caller likes: it counts once, and takes no place from the calls.
        """
        if caller.kind == "local":
            yield incident
            return
        with self.place(caller, stream):
            yield await self.counted(caller, incident)

    async def vouch(self, caller: Caller, incident_id: str, until: float | None = None) -> None:
        """The caller named this incident, and it is open: from now on it has the larger bucket, until the incident
        is resolved or `until` (default: four hours from now)."""
        if caller.kind == "local":
            return
        now = self.clock()
        until = now + INCIDENT_S if until is None else until
        self.forget(now)
        self.incidents.setdefault(who(caller), {})[incident_id] = until
        await self.buckets.mark(mark(who(caller)), until - now)

    async def resolved(self, incident_id: str) -> None:
        """The incident is over: who has no other one loses the larger bucket."""
        for caller, known in list(self.incidents.items()):
            if known.pop(incident_id, None) is not None and not known:
                self.incidents.pop(caller, None)
                await self.buckets.unmark(mark(caller))

    # ---- what makes up `admitted`

    @contextmanager
    def place(self, caller: Caller, stream: bool) -> Iterator[None]:
        """One of the caller's places, for as long as the block lasts."""
        key = (who(caller), stream)
        if self.under_way[key] >= self.concurrency:
            what = "streams" if stream else "calls"
            raise LimitedError(
                f"{self.concurrency} {what} of {name(caller)} are open already, and no more may be at once; "
                "ask again in 1 s, when one of them has ended",
                1,
            )
        self.under_way[key] += 1
        try:
            yield
        finally:
            self.under_way[key] -= 1
            if not self.under_way[key]:
                del self.under_way[key]

    async def counted(self, caller: Caller, incident: bool) -> bool:
        """Count the call, and say whether it was by the incident lane."""
        whose, usual = who(caller), self.rates[caller.kind]
        lane = incident or self.works_on_incident(whose)
        wait_s, rate = await self.take(whose, usual, lane)
        if wait_s and not lane and await self.buckets.marked(mark(whose)):
            lane = True
            self.incidents.setdefault(whose, {})[""] = self.clock() + HEARSAY_S
            wait_s, rate = await self.take(whose, usual, lane)
        if wait_s:
            seconds = ceil(wait_s)
            limit = f"limit of {spoken(rate, 'calls')} for {name(caller)}"
            raise LimitedError(f"{limit} is used up; ask again in {seconds} s", seconds)
        return lane

    async def take(self, whose: Who, usual: RateLimitItem, lane: bool) -> tuple[float, RateLimitItem]:
        # A service account may have more than the incident rate as it is: it neither loses nor wins by naming one.
        rate = max(usual, self.incident, key=per_second) if lane else usual
        return await self.buckets.take(rate, *whose), rate

    def works_on_incident(self, whose: Who) -> bool:
        now = self.clock()
        return any(until > now for until in self.incidents.get(whose, {}).values())

    def forget(self, now: float) -> None:
        """Drop what is not believed any more, of everybody."""
        for whose, known in list(self.incidents.items()):
            left = {incident: until for incident, until in known.items() if until > now}
            if left:
                self.incidents[whose] = left
            else:
                del self.incidents[whose]


def who(caller: Caller) -> Who:
    return caller.kind, digest(caller.subject)


@lru_cache(10_000)
def digest(subject: str) -> str:
    return sha256(subject.encode("utf-8", "replace")).hexdigest()[:32]


def mark(whose: Who) -> str:
    return "/".join(("incident", *whose))


def name(caller: Caller) -> str:
    return clean(caller.subject, LONGEST_NAME)


def per_second(rate: RateLimitItem) -> float:
    return float(rate.amount) / float(rate.get_expiry())
