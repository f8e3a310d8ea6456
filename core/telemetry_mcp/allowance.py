"""How many questions all callers together may put to one source, with a part that is kept for open incidents."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from time import monotonic

from limits import RateLimitItem
from limits.aio.storage import Storage

from telemetry_mcp.errors import QuotaError
from telemetry_mcp.rate import Buckets, rate_of, spoken


class Allowance:
    """The quota of one source, `[sources.<name>] rate`. With a shared storage it is one for all instances."""

    def __init__(
        self,
        name: str,
        rate: str,
        incident_share: float = 0.2,
        storage: Storage | None = None,
        *,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.name = name
        self.rate = rate_of(rate)
        self.others = less(self.rate, incident_share)
        self.buckets = Buckets(f"sources/{name}", storage, clock=clock)
        self.clock = clock
        self.full_until: dict[bool, float] = {}
        """When there was no room, by whether the incident lane was asked for: when there will be."""

    def share(self, storage: Storage | None, up: Callable[[], bool]) -> None:
        """Count in `storage`, which other instances use too, while it is `up`."""
        self.buckets.share(storage, up)

    async def take(self, lane: bool) -> float:
        """0 when a question was counted, else the seconds until one may be asked. `lane` is the incident lane."""
        wait_s = 0.0 if lane else await self.buckets.take(self.others, "other")
        wait_s = wait_s or await self.buckets.take(self.rate, "all")
        if wait_s:
            self.full_until[lane] = self.clock() + wait_s
        return wait_s

    async def enter(self, lane: bool) -> None:
        """Count a question; QuotaError where there is no room for it."""
        wait_s = await self.take(lane)
        if wait_s:
            kept = "" if lane or self.others == self.rate else f" (less {self.kept} that are kept for incidents)"
            raise QuotaError(
                f"not asked: our own quota towards it, {spoken(self.rate, 'questions')}{kept}, "
                f"[sources.{self.name}] rate, is used up; ask again in {ceil(wait_s)} s",
                retry_after_s=wait_s,
            )

    @property
    def kept(self) -> int:
        return self.rate.amount - self.others.amount

    def told(self) -> str:
        """How it stands, for whoever reads a list of the sources."""
        now = self.clock()
        waits = {lane: until - now for lane, until in self.full_until.items() if until > now}
        said = f"ours: {spoken(self.rate, 'questions')}"
        if self.kept:
            said += f", {self.kept} of them for incidents"
        if not waits:
            return said
        whose = "" if True in waits or not self.kept else " but for incidents"
        return f"{said}; used up{whose}, room again in {ceil(max(waits.values()))} s"


def less(rate: RateLimitItem, share: float) -> RateLimitItem:
    """The rate without `share` of it; at least one."""
    return type(rate)(max(1, round(rate.amount * (1 - share))), rate.multiples)
