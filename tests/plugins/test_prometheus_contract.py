"""The Prometheus plugin passes the contract that every stranger's plugin has to pass."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import pytest

from telemetry_mcp.demo.emulator import Emulators
from telemetry_mcp.testing import Request, Response, SourceContract, relay


@pytest.fixture(scope="module")
def estate() -> Iterator[Emulators]:
    with Emulators() as emulators:
        yield emulators


class TestPrometheus(SourceContract):
    plugin = "prometheus"
    settings: ClassVar = {"bearer_token": "planted-in-the-test"}
    metrics: ClassVar = {
        "cpu": 'avg by (service) (service_cpu_percent{service=~"$service"})',
        "latency_p95": {
            "query": 'avg by (service) (service_latency_seconds{service=~"$service",quantile="0.95"})',
            "unit": "s",
        },
    }
    services = ("api-gateway", "auth-service")

    @pytest.fixture(autouse=True)
    def place(self, estate: Emulators) -> None:
        self.url = estate.urls["prometheus"]

    def respond(self, request: Request) -> Response:
        return relay(request, self.url)
