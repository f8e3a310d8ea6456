"""Every fault switch of the emulator: each capability ends in a typed error in time, and no secret gets out."""

from __future__ import annotations

import logging
import traceback
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from time import monotonic
from typing import Any

import pytest

from telemetry_mcp import (
    ChangeQuery,
    Context,
    DependencyQuery,
    IncidentQuery,
    ProtocolError,
    RateLimitedError,
    Reply,
    SeriesQuery,
    ServiceQuery,
    SloQuery,
    SourceError,
    SourceTimeoutError,
    UpstreamError,
    Window,
)
from telemetry_mcp.demo import datadog as emulated
from telemetry_mcp.demo.emulator import Emulators
from telemetry_mcp.demo.estate import Estate
from telemetry_mcp.demo.fault import Fault
from telemetry_mcp_datadog import Datadog

NOW_MS = (20_500 * 86_400 + 15 * 3600) * 1000
DAY = Window(NOW_MS - 2 * 86_400_000, NOW_MS)
TIMEOUT_S = 0.4
SECRETS = (emulated.API_KEY, emulated.APP_KEY)

Ask = Callable[[Datadog], Awaitable[Reply[Any]]]

CAPABILITIES: dict[str, Ask] = {
    "series": lambda one: one.fetch_series(SeriesQuery((), ("cpu",), DAY, 600_000)),
    "services": lambda one: one.list_services(ServiceQuery(DAY)),
    "incidents": lambda one: one.list_incidents(IncidentQuery(DAY)),
    "changes": lambda one: one.list_changes(ChangeQuery(DAY)),
    "dependencies": lambda one: one.list_dependencies(DependencyQuery(DAY)),
    "slos": lambda one: one.list_slos(SloQuery(DAY)),
}
FAULTS: dict[str, tuple[Fault, type[SourceError]]] = {
    "hang": (Fault("hang"), SourceTimeoutError),
    "drip": (Fault("drip", seconds=0.01), SourceTimeoutError),
    "delay": (Fault("delay", seconds=3), SourceTimeoutError),
    "500": (Fault("status", code=500, body=b"<html>caf\xe9</html>"), UpstreamError),
    "reset": (Fault("reset"), UpstreamError),
    "truncate": (Fault("truncate"), UpstreamError),
    "truncate chunked": (Fault("truncate", chunked=True), UpstreamError),
    "gzip bomb": (Fault("gzip_bomb", size=8 << 20), ProtocolError),
    "html": (Fault("html"), ProtocolError),
    "empty": (Fault("empty"), ProtocolError),
    "rate limit": (emulated.LIMITED, RateLimitedError),
    "rate limit, an hour": (Fault("rate_limit", headers={"retry-after": "3600"}), RateLimitedError),
}


@pytest.fixture(scope="module")
def emulators() -> Iterator[Emulators]:
    with Emulators(Estate.today(NOW_MS), clock=lambda: NOW_MS) as running:
        yield running


@pytest.fixture
def world(emulators: Emulators) -> Iterator[Emulators]:
    yield emulators
    emulators.faults["datadog"].clear()
    for asked in emulators.requests.values():
        asked.clear()


@pytest.fixture
async def source(world: Emulators) -> AsyncIterator[Datadog]:
    cpu = "avg:system.cpu.total{service:$service} by {service}"
    table: dict[str, Any] = {
        "url": world.urls["datadog"],
        "api_key": emulated.API_KEY,
        "app_key": emulated.APP_KEY,
    }
    table |= {"plugin": "datadog", "env": "production", "max_body_mb": 1, "metrics": {"cpu": cpu}}
    one = Datadog(Datadog.Settings.model_validate(table | {"timeout": TIMEOUT_S}), Context("dd"))
    yield one
    await one.close()


@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_is_a_typed_error_in_time_and_tells_no_secret(
    world: Emulators, source: Datadog, capability: str, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    switched, error = FAULTS[fault]
    world.faults["datadog"].set("/", switched)
    before = monotonic()
    with pytest.raises(SourceError) as raised:
        await CAPABILITIES[capability](source)
    assert type(raised.value) is error
    assert monotonic() - before < TIMEOUT_S + 1.5
    told = "".join(traceback.format_exception(raised.value)) + raised.value.hint + caplog.text
    assert not [secret for secret in SECRETS if secret in told]


@pytest.mark.parametrize("fault", ["hang", "drip", "reset", "500", "rate limit", "rate limit, an hour"])
async def test_nothing_is_asked_twice(world: Emulators, source: Datadog, fault: str) -> None:
    world.faults["datadog"].set("/", FAULTS[fault][0])
    with pytest.raises(SourceError):
        await CAPABILITIES["series"](source)
    assert len(world.requests["datadog"]) == 1


@pytest.mark.parametrize("capability", CAPABILITIES)
async def test_a_redirect_is_not_followed_and_carries_no_key_along(
    world: Emulators, source: Datadog, capability: str
) -> None:
    world.faults["datadog"].set("/", Fault("redirect", url=world.stranger))
    with pytest.raises(ProtocolError, match="redirect"):
        await CAPABILITIES[capability](source)
    assert world.requests["stranger"] == deque()


@pytest.mark.parametrize("kind", ["wrong_content_type", "partial"])
@pytest.mark.parametrize("capability", CAPABILITIES)
async def test_what_is_only_odd_is_read_all_the_same(
    world: Emulators, source: Datadog, capability: str, kind: Any
) -> None:
    well = await CAPABILITIES[capability](source)
    world.faults["datadog"].set("/", Fault(kind))
    odd = await CAPABILITIES[capability](source)
    assert len(odd.items) == len(well.items) > 0


@pytest.mark.parametrize("blank", [False, True])
@pytest.mark.parametrize("capability", set(CAPABILITIES) - {"series"})
async def test_pages_that_never_end_come_to_an_end(
    world: Emulators, source: Datadog, capability: str, blank: bool
) -> None:
    world.faults["datadog"].set("/", Fault("endless_pages", blank=blank))
    await CAPABILITIES[capability](source)
    assert len(world.requests["datadog"]) < 12


async def test_all_is_well_again_after_a_fault_that_passed(world: Emulators, source: Datadog) -> None:
    world.faults["datadog"].set("/", Fault("reset", times=1))
    with pytest.raises(UpstreamError):
        await CAPABILITIES["series"](source)
    assert len((await CAPABILITIES["series"](source)).items) == 8
