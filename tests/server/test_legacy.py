"""Updates for clients of protocol versions before 2026-07-28, and the log level that they may set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest
from mcp import Client, MCPError
from mcp.server.subscriptions import ResourceUpdated
from mcp.types import EmptyResult, ResourceUpdatedNotification, SubscribeRequest, SubscribeRequestParams

from telemetry_mcp.engine import opened
from telemetry_mcp.server.app import build
from telemetry_mcp.server.legacy import MOST_WISHES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mcp.server import MCPServer

    from telemetry_mcp.config import Config
    from telemetry_mcp.demo.emulator import Emulators

# The client warns of everything that only older versions have.
pytestmark = pytest.mark.filterwarnings("ignore::mcp.MCPDeprecationWarning")

METRIC = "telemetry://services/payment-processor/metrics/cpu"
OTHER = "telemetry://services/cache-redis/metrics/cpu"


class Ear:
    """A client that hears of updates."""

    def __init__(self, server: MCPServer[Any], mode: str = "legacy") -> None:
        self.heard: list[str] = []
        self.bell = anyio.Event()
        self.client = Client(server, mode=mode, message_handler=self.hear)
        self.bus = server._subscriptions

    async def hear(self, message: Any) -> None:
        if isinstance(message, ResourceUpdatedNotification):
            self.heard.append(str(message.params.uri))
            self.bell.set()


@pytest.fixture
def server(config: Config, world: Emulators) -> MCPServer[Any]:
    return build(lambda: opened(config, clock_ms=world.clock))


@pytest.fixture
async def ear(server: MCPServer[Any]) -> AsyncIterator[Ear]:
    ear = Ear(server)
    async with ear.client:
        yield ear


async def test_an_older_client_is_told_of_what_it_subscribed_to_and_of_nothing_else(ear: Ear) -> None:
    await ear.client.session.subscribe_resource(METRIC)
    for uri in (OTHER, METRIC):
        await ear.bus.publish(ResourceUpdated(uri))
    with anyio.fail_after(5):
        await ear.bell.wait()
    assert ear.heard == [METRIC]


async def test_an_older_client_that_unsubscribes_is_told_no_more(ear: Ear) -> None:
    for uri in (METRIC, OTHER):
        await ear.client.session.subscribe_resource(uri)
    await ear.client.session.unsubscribe_resource(METRIC)
    for uri in (METRIC, OTHER):
        await ear.bus.publish(ResourceUpdated(uri))
    with anyio.fail_after(5):
        await ear.bell.wait()
    assert ear.heard == [OTHER]


@pytest.mark.parametrize("uri", ["file:///etc/passwd", "telemetry://nothing", "test://watched-resource"])
async def test_a_wish_for_what_is_not_there_is_granted_and_never_fulfilled(ear: Ear, uri: str) -> None:
    assert isinstance(await ear.client.session.subscribe_resource(uri), EmptyResult)
    await ear.client.session.subscribe_resource(METRIC)
    for each in (uri, METRIC):
        await ear.bus.publish(ResourceUpdated(each))
    with anyio.fail_after(5):
        await ear.bell.wait()
    assert ear.heard == [METRIC]


async def test_nobody_has_more_wishes_than_can_be_kept(ear: Ear) -> None:
    for nth in range(MOST_WISHES):
        await ear.client.session.subscribe_resource(f"{METRIC}?hours={nth}")
    with pytest.raises(MCPError, match="at most 100"):
        await ear.client.session.subscribe_resource(f"{METRIC}?hours=x")


async def test_what_a_client_wished_for_is_forgotten_with_it(server: MCPServer[Any]) -> None:
    ear = Ear(server)
    async with ear.client:
        await ear.client.session.subscribe_resource(METRIC)
        entry = server._lowlevel_server.get_request_handler("resources/subscribe")
        assert entry
        wished = entry.handler.__self__.wished  # type: ignore[attr-defined]
        assert len(wished) == 1
    assert wished == {}


async def test_an_older_client_may_set_a_level(ear: Ear) -> None:
    assert isinstance(await ear.client.set_logging_level("debug"), EmptyResult)


async def test_in_the_newest_version_there_is_no_such_request(server: MCPServer[Any]) -> None:
    ear = Ear(server, "auto")
    async with ear.client:
        request = SubscribeRequest(params=SubscribeRequestParams(uri=METRIC))
        with pytest.raises(MCPError) as refused:
            await ear.client.session.send_request(request, EmptyResult)
    assert refused.value.error.code == -32601
