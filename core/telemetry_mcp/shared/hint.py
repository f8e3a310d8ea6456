"""A source that is to be left alone: what one instance found out, the others need not find out themselves.

Pushed when it happens, and read once when an instance begins to listen: a call never waits for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import isfinite
from typing import Any, Literal

import orjson

from telemetry_mcp.breaker import Breaker, Pause
from telemetry_mcp.shared.channel import Channel
from telemetry_mcp.shared.link import Client
from telemetry_mcp.text import clean

TOPIC = "hint"
WORDS_LIMIT = 300
Kind = Literal["breaker", "pause"]
KINDS: tuple[Kind, ...] = ("breaker", "pause")


@dataclass(frozen=True, slots=True)
class Watched:
    """What stands before one source here; `redact` takes its secrets out of a text."""

    breaker: Breaker
    pause: Pause
    redact: Callable[[str], str]


class Hints:
    """Tells the other instances when a source limits this one or its breaker opens, and heeds what they tell.

    `scope` is that of instances whose sources are the same.
    """

    def __init__(self, channel: Channel, scope: str) -> None:
        self.channel = channel
        self.topic = f"{scope}:{TOPIC}"
        self.sources: dict[str, Watched] = {}
        channel.listen(self.topic, self.heed)
        channel.joined.append(self.read)

    def watch(self, source: str, breaker: Breaker, pause: Pause, redact: Callable[[str], str]) -> None:
        self.sources[source] = Watched(breaker, pause, redact)
        breaker.opened = partial(self.tell, source, "breaker")
        pause.began = partial(self.tell, source, "pause")

    def tell(self, source: str, kind: Kind) -> None:
        seen = self.sources[source]
        hint: dict[str, Any] = {"source": source, "kind": kind}
        if kind == "breaker":
            hint |= {
                "wait_s": seen.breaker.wait_s,
                "failures": seen.breaker.failures,
                "failing_s": seen.breaker.failing_s,
            }
        else:
            words = clean(seen.redact(seen.pause.words), WORDS_LIMIT)
            hint |= {"wait_s": seen.pause.wait_s, "words": words}
        wait_ms = round(hint["wait_s"] * 1000)
        if wait_ms > 0 and self.channel.link.up:
            self.channel.link.tasks.start_soon(self.spread, self.name(source, kind), orjson.dumps(hint), wait_ms)

    async def spread(self, name: str, hint: bytes, wait_ms: int) -> None:
        await self.channel.link.run(lambda redis: redis.set(name, hint, px=wait_ms))
        await self.channel.publish(self.topic, hint)

    def name(self, source: str, kind: Kind) -> str:
        return f"{self.channel.name(self.topic)}:{kind}:{source}"

    async def read(self) -> None:
        """What was told before this instance listened, and still holds."""
        names = [self.name(source, kind) for source in self.sources for kind in KINDS]
        if not names:
            return

        async def ask(redis: Client) -> list[Any]:
            async with redis.pipeline(transaction=False) as pipe:
                for name in names:
                    pipe.get(name)
                    pipe.pttl(name)
                found: list[Any] = await pipe.execute()
                return found

        found = await self.channel.link.run(ask) or []
        for hint, left_ms in zip(found[::2], found[1::2], strict=True):
            if hint is not None and left_ms > 0:
                self.heed(hint, left_ms / 1000)

    def heed(self, message: bytes, left_s: float | None = None) -> None:
        """`left_s` is what is left of an older hint's time."""
        try:
            hint = orjson.loads(message)
            seen, kind = self.sources[hint["source"]], hint["kind"]
            told_s = amount(hint["wait_s"])
            wait_s = told_s if left_s is None else min(told_s, left_s)
            if kind == "pause":
                seen.pause.hinted(wait_s, clean(str(hint["words"]), WORDS_LIMIT))
            elif kind == "breaker":
                failing_s = amount(hint["failing_s"]) + told_s - wait_s
                seen.breaker.hinted(int(amount(hint["failures"])), failing_s, wait_s)
        except (ValueError, TypeError, KeyError):
            return  # not ours, or of another version


def amount(value: Any) -> float:
    number = float(value)
    if not isfinite(number) or number < 0:
        raise ValueError("not an amount")
    return number
