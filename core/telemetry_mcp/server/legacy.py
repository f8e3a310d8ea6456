"""What clients of protocol versions before 2026-07-28 may ask besides: to be told of updates, and a log level."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
from anyio import create_memory_object_stream, create_task_group, move_on_after
from anyio.streams.memory import MemoryObjectReceiveStream
from mcp import MCPError
from mcp.server import MCPServer
from mcp.server.connection import Connection
from mcp.server.context import ServerRequestContext
from mcp.server.subscriptions import ResourceUpdated, ServerEvent
from mcp.types import (
    INVALID_PARAMS,
    EmptyResult,
    SetLevelRequestParams,
    SubscribeRequestParams,
    UnsubscribeRequestParams,
)

TELL_S = 1.0
"""A client that does not take a notification within this time does not get it."""
WAITING = 256
"""Updates that wait to be told; beyond it the newest are dropped."""
MOST_WISHES = 100
LONGEST_URI = 2000


class Legacy:
    """The resources of which each session wishes to hear. Who may hear of what is for the gate to say."""

    def __init__(self, server: MCPServer[Any]) -> None:
        self.bus = server._subscriptions
        self.wished: dict[Connection, set[str]] = {}
        add = server._lowlevel_server.add_request_handler
        add("resources/subscribe", SubscribeRequestParams, self.subscribe)
        add("resources/unsubscribe", UnsubscribeRequestParams, self.unsubscribe)
        add("logging/setLevel", SetLevelRequestParams, self.set_level)

    async def subscribe(self, ctx: ServerRequestContext[Any, Any], params: SubscribeRequestParams) -> EmptyResult:
        connection, uri = ctx.session._connection, str(params.uri)
        if len(uri) > LONGEST_URI or len(self.wished.get(connection, ())) >= MOST_WISHES:
            raise MCPError(INVALID_PARAMS, f"at most {MOST_WISHES} resources of {LONGEST_URI} characters each")
        if connection not in self.wished:
            self.wished[connection] = set()
            connection.exit_stack.callback(self.wished.pop, connection, None)
        self.wished[connection].add(uri)
        return EmptyResult()

    async def unsubscribe(
        self, ctx: ServerRequestContext[Any, Any], params: UnsubscribeRequestParams
    ) -> EmptyResult:
        self.wished.get(ctx.session._connection, set()).discard(str(params.uri))
        return EmptyResult()

    async def set_level(self, ctx: ServerRequestContext[Any, Any], params: SetLevelRequestParams) -> EmptyResult:
        """Every level is as good as another: no log message is sent to a client."""
        return EmptyResult()

    @asynccontextmanager
    async def telling(self) -> AsyncIterator[None]:
        """Within the block, updates published on the server's bus are told to the sessions that wish it."""
        updates, heard = create_memory_object_stream[str](WAITING)

        def hear(event: ServerEvent) -> None:
            if isinstance(event, ResourceUpdated) and any(event.uri in uris for uris in self.wished.values()):
                with suppress(anyio.WouldBlock):
                    updates.send_nowait(event.uri)

        async with updates, heard, create_task_group() as tasks:
            leave = self.bus.subscribe(hear)
            tasks.start_soon(self.tell, heard)
            try:
                yield
            finally:
                leave()
                tasks.cancel_scope.cancel()

    async def tell(self, updates: MemoryObjectReceiveStream[str]) -> None:
        async for uri in updates:
            async with create_task_group() as tasks:
                for connection in [c for c, uris in self.wished.items() if uri in uris]:
                    tasks.start_soon(told, connection, uri)


async def told(connection: Connection, uri: str) -> None:
    with move_on_after(TELL_S):
        await connection.send_resource_updated(uri)
