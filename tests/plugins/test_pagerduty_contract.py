"""The PagerDuty plugin passes the contract that every stranger's plugin has to pass."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import pytest

from telemetry_mcp.demo import pagerduty
from telemetry_mcp.demo.emulator import Emulators
from telemetry_mcp.testing import Request, Response, SourceContract, relay


@pytest.fixture(scope="module")
def estate() -> Iterator[Emulators]:
    with Emulators() as emulators:
        yield emulators


class TestPagerDuty(SourceContract):
    plugin = "pagerduty"
    settings: ClassVar = {"api_key": pagerduty.API_KEY}
    services = ("api-gateway", "auth-service")

    @pytest.fixture(autouse=True)
    def place(self, estate: Emulators) -> None:
        self.url = estate.urls["pagerduty"]
        known = estate.estate.incidents(0, estate.clock())
        (self.incident_id,) = (str(one.number) for one in known if one.id == "payment-slow-payment-processor")

    def respond(self, request: Request) -> Response:
        return relay(request, self.url)
