"""Which Datadog is asked and with whose keys, and how a check looks at them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest
from pydantic import ValidationError

from telemetry_mcp import SeriesQuery, Window
from telemetry_mcp_datadog import Datadog, telemetry_sources

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
    assert one.client is not None
    assert one.client.api.configuration.host == stub.url
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


async def test_the_check_looks_at_the_key_and_at_each_scope(stub: Stub, datadog: Datadog) -> None:
    stub.on("/api/v1/validate", {"valid": True})
    stub.on("/api/v1/query", NOTHING)
    stub.on("/api/v2/catalog/entity", {"errors": ["Forbidden"]}, 403)
    checks = (await datadog.check()).items
    assert [(check.name, check.ok) for check in checks] == [
        ("api key", True),
        ("timeseries_query", True),
        ("apm_service_catalog_read", False),
    ]
    assert "apm_service_catalog_read" in checks[2].fix
    assert "dd-application-key" not in stub.asked[0].headers


async def test_the_check_stops_at_a_refused_key(stub: Stub, datadog: Datadog) -> None:
    stub.on("/api/v1/validate", {"errors": ["API key required"]}, 403)
    (check,) = (await datadog.check()).items
    assert not check.ok
    assert "api_key" in check.fix


def test_the_hook_hands_over_the_class() -> None:
    assert telemetry_sources() == [Datadog]
