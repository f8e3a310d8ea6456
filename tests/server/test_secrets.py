"""Nothing that leaves the process holds a credential, whatever a vendor does: answers, logs, exceptions, reprs."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from telemetry_mcp.demo.fault import Fault
from telemetry_mcp.fanout import Deadline
from telemetry_mcp.question import CheckQuery

if TYPE_CHECKING:
    from telemetry_mcp.demo.emulator import Emulators
    from tests.server.conftest import Desk

FAULTS = {
    "down": Fault("status", code=500, body=b"upstream said no"),
    "refused": Fault("status", code=401, body=b"<html>who are you</html>"),
    "forbidden": Fault("status", code=403),
    "limited": Fault("rate_limit"),
    "html": Fault("html"),
    "empty": Fault("empty"),
    "reset": Fault("reset"),
    "truncate": Fault("truncate"),
    "redirect": Fault("redirect", url="http://127.0.0.1:9"),
    "hang": Fault("hang"),
    "drip": Fault("drip", seconds=0.05),
}
DEADLINE_S = 0.5


def leaked(text: str, secrets: tuple[str, ...]) -> list[str]:
    """The secrets that `text` holds, or all but a little of."""
    return [secret for secret in secrets if secret[:-4] in text or secret[4:] in text]


@pytest.mark.parametrize("vendor", ["datadog", "newrelic", "pagerduty"])
@pytest.mark.parametrize("name", FAULTS)
async def test_no_credential_leaves_whatever_befalls_a_vendor(
    desk: Desk, world: Emulators, caplog: pytest.LogCaptureFixture, vendor: str, name: str
) -> None:
    secrets = tuple(value for key, value in world.environ.items() if "KEY" in key)
    assert len(secrets) >= 4
    world.faults[vendor].set("/", FAULTS[name])
    said: list[str] = []
    with caplog.at_level(logging.DEBUG):
        for tool in ("list_services", "list_incidents"):
            said.append((await desk.ask(tool, deadline_s=DEADLINE_S)).text)
        checks = await desk.engine.fanout.ask(CheckQuery(), Deadline(DEADLINE_S), only=[vendor])
        said.append((await desk.ask("list_sources")).text)
    instance = desk.engine.registry[vendor]
    said += [repr(checks), str(checks), repr(instance), repr(instance.source.settings), str(vars(instance.source))]
    said += [repr(desk.engine.config), caplog.text, *(repr(record.args) for record in caplog.records)]
    assert vendor in said[0]
    for text in said:
        assert leaked(text, secrets) == []
