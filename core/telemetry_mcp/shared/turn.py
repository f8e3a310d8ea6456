"""One upstream call for a question that several instances are about to ask: a short lease in Redis says whose."""

from __future__ import annotations

from uuid import uuid4

import anyio
from anyio import move_on_after

from telemetry_mcp.cache import Entry
from telemetry_mcp.shared.cache import SharedCache
from telemetry_mcp.shared.link import Client, Link

LEASE_S = 1.0
"""What a holder that dies costs the others. One that lives renews it until it is answered."""
RENEWALS = 3
"""Within the time of one lease."""
LOOK_S, LOOK_MOST_S = 0.01, 0.1
"""How soon, and then how often, one who waits looks whether the answer is there."""

END = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end"
RENEW = """for place, key in ipairs(KEYS) do
if redis.call('get', key) == ARGV[place + 1] then redis.call('pexpire', key, ARGV[1]) end
end"""


class SharedTurns:
    """Makes the turns of this instance (the protocol `telemetry_mcp.turn.Turn`), and renews their leases.

    While Redis is lost, every instance asks for itself.
    """

    def __init__(self, cache: SharedCache, lease_s: float = LEASE_S) -> None:
        self.cache = cache
        self.lease_s = lease_s
        self.held: dict[str, str] = {}
        """Token -> key in Redis, of every lease that this instance has."""

    def __call__(self, key: str) -> SharedTurn:
        return SharedTurn(self, key)

    @property
    def link(self) -> Link:
        return self.cache.link

    @property
    def lease_ms(self) -> int:
        return round(self.lease_s * 1000)

    async def renew(self) -> None:
        """For a task of its own."""
        while True:
            await anyio.sleep(self.lease_s / RENEWALS)
            if self.held:
                await self.link.run(self.renewed)

    async def renewed(self, redis: Client) -> None:
        tokens, leases = [*self.held], [*self.held.values()]
        await redis.eval(RENEW, len(leases), *leases, self.lease_ms, *tokens)


class SharedTurn:
    """One question of one instance."""

    def __init__(self, turns: SharedTurns, key: str) -> None:
        self.turns = turns
        self.key = key
        self.lease = f"{turns.cache.folder}:lease:{key}"
        self.answer = turns.cache.name(key)
        self.token = uuid4().hex

    async def take(self, longest_s: float) -> Entry | None:
        self.turns.held[self.token] = self.lease
        got = await self.turns.link.run(self.claim)
        if got is None:
            return None
        mine, raw = got
        entry = await self.turns.cache.received(self.key, raw)
        if mine or entry is not None:
            # Between the look into the cache and this one somebody may have been answered.
            return entry
        del self.turns.held[self.token]
        return await self.others(longest_s)

    async def claim(self, redis: Client) -> tuple[bool, bytes | None]:
        async with redis.pipeline(transaction=False) as pipe:
            pipe.set(self.lease, self.token, nx=True, px=self.turns.lease_ms)
            pipe.get(self.answer)
            mine, raw = await pipe.execute()
        return bool(mine), raw

    async def others(self, longest_s: float) -> Entry | None:
        """The answer to whoever has the lease; None when there is none any more, or Redis is lost."""
        pause_s = LOOK_S
        with move_on_after(longest_s):
            while True:
                await anyio.sleep(pause_s)
                pause_s = min(2 * pause_s, LOOK_MOST_S)
                got = await self.turns.link.run(lambda redis: redis.mget([self.answer, self.lease]))
                if got is None:
                    return None
                raw, holder = got
                if raw is not None or holder is None:
                    return await self.turns.cache.received(self.key, raw)
        return None

    def end(self) -> None:
        if self.turns.held.pop(self.token, None) and self.turns.link.up:
            self.turns.link.tasks.start_soon(self.turns.link.run, self.release)

    async def release(self, redis: Client) -> None:
        await redis.eval(END, 1, self.lease, self.token)
