"""Every fault switch in front of the emulator: one typed error, in time, without a credential in it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from telemetry_mcp import (
    Context,
    DependencyQuery,
    IncidentQuery,
    ProtocolError,
    RateLimitedError,
    SeriesQuery,
    ServiceQuery,
    SourceError,
    SourceTimeoutError,
    UpstreamError,
    Window,
    http_for,
)
from telemetry_mcp.demo.emulator import Emulators
from telemetry_mcp.demo.fault import Fault
from telemetry_mcp.guard import Guard
from telemetry_mcp_prometheus import Prometheus

SECRET = "planted-in-this-test"
TIMEOUT_S = 0.5
FAULTS: dict[str, tuple[Fault, type[SourceError], int]] = {
    "hang": (Fault("hang"), SourceTimeoutError, 1),
    "drip": (Fault("drip", seconds=0.01), SourceTimeoutError, 1),
    "delay": (Fault("delay", seconds=5), SourceTimeoutError, 1),
    "not ready": (Fault("status", code=503, body=b"Service Unavailable"), UpstreamError, 2),
    "proxy time-out": (Fault("status", code=504, body=b"<html>Gateway Time-out</html>"), UpstreamError, 2),
    "reset": (Fault("reset"), UpstreamError, 4),  # aiohttp itself repeats a GET whose connection was dropped
    "truncate": (Fault("truncate"), UpstreamError, 2),
    "gzip bomb": (Fault("gzip_bomb"), ProtocolError, 1),
    "login page": (Fault("html"), ProtocolError, 1),
    "empty": (Fault("empty"), ProtocolError, 1),
    "429": (Fault("rate_limit", headers={"retry-after": "3600"}), RateLimitedError, 1),
    "bare 429": (Fault("rate_limit"), RateLimitedError, 1),
}
"""Fault -> the error it must become, and how often the backend may be asked by each request of a question."""


@pytest.fixture(scope="module")
def estate() -> Iterator[Emulators]:
    with Emulators() as emulators:
        yield emulators


def questions() -> dict[str, tuple[Any, int]]:
    """Kind of question -> the question, and how many requests it is."""
    now = int(time.time() * 1000)
    window = Window(now - 3_600_000, now)
    return {
        "series": (SeriesQuery((), ("cpu",), window, 60_000), 1),
        "services": (ServiceQuery(window), 1),
        "incidents": (IncidentQuery(window), 3),
        "dependencies": (DependencyQuery(window), 2),
    }


@pytest.mark.parametrize("fault", list(FAULTS))
@pytest.mark.parametrize("kind", list(questions()))
async def test_a_fault_is_one_typed_error_in_time(estate: Emulators, kind: str, fault: str) -> None:
    switch, error, asked = FAULTS[fault]
    question, requests = questions()[kind]
    settings = Prometheus.Settings.model_validate(
        {
            **{"plugin": "prometheus", "url": estate.urls["prometheus"], "bearer_token": SECRET, "max_body_mb": 1},
            "metrics": {"cpu": 'avg by (service) (service_cpu_percent{service=~"$service"})'},
        }
    )
    http = http_for(settings)
    source = Prometheus(settings, Context("prometheus", http=http))
    await http.opened()  # imports the transport, which is not what is timed
    estate.faults["prometheus"].set("/", switch)
    estate.requests["prometheus"].clear()
    began = time.monotonic()
    try:
        with pytest.raises(error) as caught:
            await Guard(timeout_s=TIMEOUT_S, max_concurrency=8).ask(source, question)
    finally:
        estate.faults["prometheus"].clear()
        await http.close()
    assert type(caught.value) is error
    assert time.monotonic() - began < TIMEOUT_S + 0.5
    assert 1 <= len(estate.requests["prometheus"]) <= asked * requests
    assert SECRET not in f"{caught.value!r} {caught.value.hint}"


async def test_a_redirect_is_not_followed_with_the_tenant(estate: Emulators) -> None:
    table = {"plugin": "prometheus", "url": estate.urls["prometheus"], "org_id": SECRET}
    settings = Prometheus.Settings.model_validate(table)
    http = http_for(settings, Prometheus.headers(settings))
    estate.faults["prometheus"].set("/", Fault("redirect", url=estate.stranger))
    try:
        with pytest.raises(ProtocolError, match="redirect"):
            await Prometheus(settings, Context("prometheus", http=http)).list_services(questions()["services"][0])
    finally:
        estate.faults["prometheus"].clear()
        await http.close()
    assert list(estate.requests["stranger"]) == []
