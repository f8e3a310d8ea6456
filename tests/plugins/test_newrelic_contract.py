"""The New Relic plugin passes the contract that every stranger's plugin has to pass."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import pytest

from telemetry_mcp.demo import newrelic
from telemetry_mcp.demo.emulator import Emulators
from telemetry_mcp.testing import Request, Response, SourceContract, relay


@pytest.fixture(scope="module")
def estate() -> Iterator[Emulators]:
    with Emulators() as emulators:
        yield emulators


class TestNewRelic(SourceContract):
    plugin = "newrelic"
    settings: ClassVar = {"api_key": newrelic.API_KEY, "account_id": 1234567}
    metrics: ClassVar = {
        "error_rate": "SELECT percentage(count(*), WHERE error IS true) FROM Transaction "
        "WHERE appName IN ($service) FACET appName",
        "latency_p95": {
            "query": "SELECT percentile(duration, 95) FROM Transaction WHERE appName IN ($service) FACET appName",
            "unit": "s",
        },
    }
    services = ("api-gateway", "auth-service")
    native = "SELECT count(*) FROM Transaction FACET appName"

    @pytest.fixture(autouse=True)
    def place(self, estate: Emulators) -> None:
        self.url = estate.urls["newrelic"]

    def respond(self, request: Request) -> Response:
        return relay(request, self.url)
