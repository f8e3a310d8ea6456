"""Messages from one instance to all others, by Redis' pub/sub. What is sent while Redis is lost is lost, too."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from uuid import uuid4

import anyio
from anyio import CancelScope, move_on_after

from telemetry_mcp.boundary import contain
from telemetry_mcp.shared.link import LEFT_ALONE_S, Link, is_answer

Heard = Callable[[bytes], None]
"""Takes a message in; called on the event loop, must neither block nor raise."""
MARK = 32
"""Length of the sender's name, which begins every message."""


class Channel:
    """Topics and who listens to each. One's own messages are not heard."""

    def __init__(self, link: Link, prefix: str) -> None:
        self.link = link
        self.prefix = prefix
        self.own = uuid4().hex.encode()
        self.topics: dict[bytes, Heard] = {}
        self.joined: list[Callable[[], Awaitable[None]]] = []
        """Called whenever messages begin to be heard, for what was missed before."""
        self.stay = CancelScope()
        link.on_lost.append(lambda: self.stay.cancel())

    def name(self, topic: str) -> str:
        return f"{self.prefix}:{topic}"

    def listen(self, topic: str, heard: Heard) -> None:
        self.topics[self.name(topic).encode()] = heard
        self.stay.cancel()

    async def publish(self, topic: str, message: bytes) -> None:
        await self.link.run(lambda redis: redis.publish(self.name(topic), self.own + message))

    async def follow(self) -> None:
        """Hear messages, and subscribe again whenever Redis is back. For a task of its own."""
        while True:
            await self.link.available()
            with CancelScope() as self.stay, contain() as kept:
                await self.subscribed()
            if kept.error is None:  # Redis was lost, or there is one topic more
                continue
            if is_answer(kept.error):
                self.link.refuse(kept.error)
            await anyio.sleep(LEFT_ALONE_S)

    async def subscribed(self) -> None:
        listening = self.link.client.pubsub()
        try:
            await listening.subscribe(*self.topics)
            async for message in listening.listen():
                if message["type"] == "message":
                    self.hear(message["channel"], message["data"])
                elif message["type"] == "subscribe" and message["data"] == len(self.topics):
                    for join in self.joined:
                        await join()
        finally:
            with CancelScope(shield=True), move_on_after(self.link.timeout_s), contain():
                await listening.aclose()

    def hear(self, topic: bytes, message: bytes) -> None:
        heard = self.topics.get(topic)
        if heard is not None and message[:MARK] != self.own:
            heard(message[MARK:])
