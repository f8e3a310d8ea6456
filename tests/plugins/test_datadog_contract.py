"""The Datadog plugin passes the contract that every stranger's plugin has to pass."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import pytest

from telemetry_mcp.demo import datadog
from telemetry_mcp.demo.emulator import Emulators
from telemetry_mcp.testing import Request, Response, SourceContract, relay


@pytest.fixture(scope="module")
def estate() -> Iterator[Emulators]:
    with Emulators() as emulators:
        yield emulators


class TestDatadog(SourceContract):
    plugin = "datadog"
    settings: ClassVar = {"api_key": datadog.API_KEY, "app_key": datadog.APP_KEY, "env": "production"}
    metrics: ClassVar = {
        "cpu": "avg:system.cpu.total{service:$service} by {service}",
        "latency_p95": "avg:trace.http.request.duration.by.service.95p{service:$service} by {service}",
    }
    services = ("api-gateway", "auth-service")
    native = "avg:system.cpu.total{*} by {service}"

    @pytest.fixture(autouse=True)
    def place(self, estate: Emulators) -> None:
        self.url = estate.urls["datadog"]

    def respond(self, request: Request) -> Response:
        return relay(request, self.url)
