"""Which Datadog is asked, with whose keys, and what of the vendor's client is in memory."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from pydantic import ValidationError

from telemetry_mcp import SeriesQuery, Window
from telemetry_mcp_datadog import Datadog, telemetry_sources
from telemetry_mcp_datadog.setting import Settings

if TYPE_CHECKING:
    from tests.plugins.conftest import ConnectDatadog, Stub

START = 1_700_000_040_000
WINDOW = Window(START, START + 600_000)
QUESTION = SeriesQuery(("a",), ("cpu",), WINDOW, 60_000)
NOTHING: dict[str, Any] = {"status": "ok", "series": []}
FOUND = {"status": "ok", "series": [{"tag_set": ["service:a"], "interval": 60, "pointlist": [[START, 1]]}]}


async def test_the_environment_cannot_turn_a_source_elsewhere(
    stub: Stub, monkeypatch: pytest.MonkeyPatch, connect_datadog: ConnectDatadog
) -> None:
    monkeypatch.setenv("DD_SITE", "datadoghq.eu")
    monkeypatch.setenv("DD_API_KEY", "of-the-environment")
    monkeypatch.setenv("DD_APP_KEY", "of-the-environment")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    stub.on("/api/v1/query", FOUND)
    one = connect_datadog(stub.url)
    assert len((await one.fetch_series(QUESTION)).items) == 1
    assert "of-the-environment" not in stub.asked[0].headers.values()
    assert one.session.client is not None
    assert one.session.client.api.configuration.host == stub.url
    assert source_of_site("us5.datadoghq.com") == "https://api.us5.datadoghq.com"


def source_of_site(site: str) -> str:
    table = {"site": site, "api_key": "a", "app_key": "b"}
    return Datadog.Settings.model_validate({"plugin": "datadog", **table}).base_url


def test_a_site_that_does_not_exist_is_refused_by_the_settings() -> None:
    with pytest.raises(ValidationError, match=r"us5\.datadoghq\.com"):
        source_of_site("datadoghq.org")


async def test_two_tenants_in_one_process_keep_their_keys_apart(
    stub: Stub, stranger: Stub, connect_datadog: ConnectDatadog
) -> None:
    one, other = connect_datadog(stub.url), connect_datadog(stranger.url, api_key="api-key-2", app_key="app-key-2")
    for server in (stub, stranger):
        server.on("/api/v1/query", NOTHING)
    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(one.fetch_series, QUESTION)
            tasks.start_soon(other.fetch_series, QUESTION)
    assert {asked.headers["dd-api-key"] for asked in stub.asked} == {"api-key-1"}
    assert {asked.headers["dd-application-key"] for asked in stranger.asked} == {"app-key-2"}


@pytest.mark.parametrize(
    ("site", "shown"),
    [
        ("datadoghq.com", "https://app.datadoghq.com"),
        ("us3.datadoghq.com", "https://us3.datadoghq.com"),
        ("datadoghq.eu", "https://app.datadoghq.eu"),
        ("ddog-gov.com", "https://app.ddog-gov.com"),
    ],
)
def test_a_person_is_led_to_the_sites_own_pages(site: str, shown: str) -> None:
    table = {"plugin": "datadog", "site": site, "api_key": "a", "app_key": "b"}
    assert Settings.model_validate(table).app_url == shown


ASK_EVERYTHING = """
import sys
from telemetry_mcp import Quota, SourceError, Window
from telemetry_mcp_datadog import Datadog
assert not [name for name in sys.modules if name.startswith("datadog_api_client")]
from telemetry_mcp_datadog.client import Client
table = {"plugin": "datadog", "url": "http://127.0.0.1:1", "api_key": "a", "app_key": "b"}
client = Client(Datadog.Settings.model_validate(table), Quota())
calls = [
    lambda: client.validate(), lambda: client.validate_keys(), lambda: client.query(1, 2, "x"),
    lambda: client.timeseries({"data": {}}), lambda: client.tags("m", "s"), lambda: client.apm_services("*"),
    lambda: client.catalog(0, 1), lambda: client.relations("RelationTypeDependsOn", 0, 1),
    lambda: client.definitions(0, 1), lambda: client.incidents("q", 0, 1),
    lambda: client.monitor_groups("q", 0, 1), lambda: client.events({"page": {}}),
    lambda: client.deployments({"data": {}}), lambda: client.slos(0, 1), lambda: client.slo_history("x", 1, 2),
]
unreachable = 0
for call in calls:
    try:
        call()
    except SourceError as error:
        unreachable += "could not be reached" in str(error)
heavy = [name for name in sys.modules if name in ("datadog_api_client.v2.models", "datadog_api_client.v1.models")]
print(unreachable == len(calls), heavy)
"""


def test_no_call_loads_the_clients_models() -> None:
    """In a process of its own, where nobody else has loaded them."""
    command = [sys.executable, "-W", "error", "-c", ASK_EVERYTHING]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (said.stdout, said.stderr) == ("True []\n", "")


def test_the_hook_hands_over_the_class() -> None:
    assert telemetry_sources() == [Datadog]
