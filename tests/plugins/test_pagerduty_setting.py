"""Which PagerDuty is asked and with whose key, and how the client is loaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from pydantic import ValidationError

from telemetry_mcp import ServiceQuery, Window
from telemetry_mcp_pagerduty import PagerDuty, telemetry_sources

if TYPE_CHECKING:
    from tests.plugins.conftest import ConnectPagerDuty, Page, Stub

START = 1_730_000_000_000
EVERY = ServiceQuery(Window(START, START + 3_600_000))


async def test_the_environment_has_no_say(
    stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, connect_pagerduty: ConnectPagerDuty, page: Page
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    stub.on("/services", page("services", []))
    one = connect_pagerduty(stub.url)
    await one.list_services(EVERY)
    assert stub.asked[0].headers["authorization"] == "Token token=pd-key-1"


async def test_two_tenants_in_one_process_keep_their_keys_and_cookies_apart(
    stub: Stub, stranger: Stub, connect_pagerduty: ConnectPagerDuty, page: Page
) -> None:
    one, other = connect_pagerduty(stub.url), connect_pagerduty(stranger.url, api_key="pd-key-2")
    for server in (stub, stranger):
        server.on("/services", page("services", []), headers={"Set-Cookie": "session=1"})
    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(one.list_services, EVERY)
            tasks.start_soon(other.list_services, EVERY)
    assert {asked.headers["authorization"] for asked in stub.asked} == {"Token token=pd-key-1"}
    assert {asked.headers["authorization"] for asked in stranger.asked} == {"Token token=pd-key-2"}
    assert not any("cookie" in asked.headers for asked in stub.asked)


def test_the_region_says_where_to_ask() -> None:
    settings = PagerDuty.Settings.model_validate({"plugin": "pagerduty", "api_key": "k", "region": "EU"})
    assert (settings.base_url, settings.lookback) == ("https://api.eu.pagerduty.com", 180 * 86_400.0)


@pytest.mark.parametrize("wrong", [{"lookback": "181d"}, {"urgencies": ["medium"]}, {"api_key": ""}])
def test_a_setting_that_pagerduty_cannot_take_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        PagerDuty.Settings.model_validate({"plugin": "pagerduty", "api_key": "k", **wrong})


def test_the_client_loads_silently_under_warnings_as_errors_and_only_when_asked() -> None:
    code = (
        "import sys, telemetry_mcp_pagerduty; assert 'pdpyras' not in sys.modules; "
        "import telemetry_mcp_pagerduty.port; assert 'pdpyras' in sys.modules; "
        "import warnings; warnings.warn('still an error')"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip().endswith("UserWarning: still an error")


def test_the_hook_hands_over_the_class() -> None:
    assert telemetry_sources() == [PagerDuty]
