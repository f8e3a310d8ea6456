"""Updates of resources and lists, from whichever instance noticed them to the clients that listen at any."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import orjson
from anyio.lowlevel import checkpoint
from mcp.server.subscriptions import (
    PromptsListChanged,
    ResourcesListChanged,
    ResourceUpdated,
    ServerEvent,
    ToolsListChanged,
)

from telemetry_mcp.shared.channel import Channel

LISTEN = "subscriptions/listen"
"""The request that a client listens by, of today's protocol."""
TOPIC = "event"
EVENTS: dict[str, type[ServerEvent]] = {
    kind.__name__: kind for kind in (ToolsListChanged, PromptsListChanged, ResourcesListChanged, ResourceUpdated)
}


class Bus:
    """The SDK's SubscriptionBus. Of this process alone, until it joins the channel of its fleet."""

    def __init__(self) -> None:
        self.listeners: dict[object, Callable[[ServerEvent], None]] = {}
        self.channel: Channel | None = None

    def join(self, channel: Channel | None) -> None:
        """Exchange events with the other instances; with None, no more."""
        self.channel = channel
        if channel is not None:
            channel.listen(TOPIC, self.hear)

    async def publish(self, event: ServerEvent) -> None:
        """To those who listen here at once, then to the other instances; never raises for these."""
        self.deliver(event)
        await checkpoint()  # a burst of events must not overflow what a stream has not read yet
        if self.channel is not None:
            await self.channel.publish(TOPIC, orjson.dumps([type(event).__name__, uri_of(event)]))

    def subscribe(self, listener: Callable[[ServerEvent], None]) -> Callable[[], None]:
        token = object()  # the same listener may come twice
        self.listeners[token] = listener

        def leave() -> None:
            self.listeners.pop(token, None)

        return leave

    def deliver(self, event: ServerEvent) -> None:
        for listener in [*self.listeners.values()]:
            listener(event)

    def hear(self, message: bytes) -> None:
        with suppress(ValueError, TypeError, KeyError):  # of another version, which knows other events
            name, uri = orjson.loads(message)
            self.deliver(EVENTS[name](*([] if uri is None else [str(uri)])))


def uri_of(event: ServerEvent) -> str | None:
    return event.uri if isinstance(event, ResourceUpdated) else None
