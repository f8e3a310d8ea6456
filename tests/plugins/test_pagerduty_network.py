"""How PagerDuty is reached: TLS with a private authority, a proxy, and limits that are kept."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from telemetry_mcp import (
    ProtocolError,
    RateLimitedError,
    ServiceQuery,
    UpstreamError,
    Window,
)
from telemetry_mcp_pagerduty import PagerDuty

if TYPE_CHECKING:
    from tests.plugins.conftest import ConnectPagerDuty, Failure, Page, Stub

START = 1_730_000_000_000
EVERY = ServiceQuery(Window(START, START + 3_600_000))
USED_UP = {"ratelimit-limit": "960", "ratelimit-remaining": "0", "ratelimit-reset": "30"}


class Secure:
    """A PagerDuty behind TLS, with the authority that signed its certificate, and those who got through."""

    def __init__(self, host: str) -> None:
        self.authority = trustme.CA()
        self.passed: list[str] = []
        passed = self.passed

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                passed.append(self.path)
                body = b'{"services": [{"name": "a"}], "more": false}'
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, request: Any, client_address: Any) -> None:
                """A client that does not trust us hangs up."""

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert(host).configure_cert(context)
        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def secure(request: pytest.FixtureRequest) -> Iterator[Secure]:
    """For 127.0.0.1, or for the host that the test is parametrized with."""
    one = Secure(getattr(request, "param", "127.0.0.1"))
    thread = threading.Thread(target=one.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield one
    one.server.shutdown()
    thread.join()
    one.server.server_close()


@pytest.fixture
def ca_file(secure: Secure, tmp_path: Path) -> Path:
    path = tmp_path / "authority.pem"
    secure.authority.cert_pem.write_to_path(path)
    return path


async def test_a_private_authority_is_trusted_when_it_is_named(
    secure: Secure, ca_file: Path, connect_pagerduty: ConnectPagerDuty
) -> None:
    reply = await connect_pagerduty(secure.url, ca_file=ca_file).list_services(EVERY)
    assert [item.name for item in reply.items] == ["a"]


async def test_an_unknown_authority_is_refused_with_the_setting_that_mends_it(
    secure: Secure, connect_pagerduty: ConnectPagerDuty, failure: Failure
) -> None:
    raised = await failure(connect_pagerduty(secure.url).list_services(EVERY))
    assert isinstance(raised, UpstreamError)
    assert "ca_file" in raised.hint
    assert secure.passed == []


async def test_a_ca_file_that_is_none_is_an_error_that_names_it(
    secure: Secure, tmp_path: Path, connect_pagerduty: ConnectPagerDuty, failure: Failure
) -> None:
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("not a certificate\n")
    raised = await failure(connect_pagerduty(secure.url, ca_file=wrong).list_services(EVERY))
    assert isinstance(raised, ProtocolError)
    assert "ca_file" in str(raised)


@pytest.mark.parametrize("secure", ["elsewhere.example"], indirect=True)
async def test_a_certificate_for_another_host_is_refused(
    secure: Secure, ca_file: Path, connect_pagerduty: ConnectPagerDuty, failure: Failure
) -> None:
    raised = await failure(connect_pagerduty(secure.url, ca_file=ca_file).list_services(EVERY))
    assert isinstance(raised, UpstreamError)
    assert secure.passed == []


async def test_whoever_switches_the_check_of_certificates_off_gets_through_without_a_warning(
    secure: Secure, connect_pagerduty: ConnectPagerDuty
) -> None:
    reply = await connect_pagerduty(secure.url, verify_tls=False).list_services(EVERY)
    assert len(reply.items) == 1


async def test_a_proxy_carries_the_requests(stub: Stub, connect_pagerduty: ConnectPagerDuty, page: Page) -> None:
    stub.on("/services", page("services", [{"name": "a"}]))
    reply = await connect_pagerduty("http://pagerduty.invalid", proxy=stub.url).list_services(EVERY)
    assert len(reply.items) == 1
    assert stub.asked[0].headers["host"] == "pagerduty.invalid"


async def test_the_password_of_a_proxy_that_is_gone_is_not_repeated(
    connect_pagerduty: ConnectPagerDuty, failure: Failure
) -> None:
    source = connect_pagerduty("https://pagerduty.invalid", proxy="http://me:pr0xy-pass@127.0.0.1:1")
    raised = await failure(source.list_services(EVERY))
    assert isinstance(raised, UpstreamError)
    assert "pr0xy-pass" not in f"{raised!r} {raised.hint}"


async def test_a_key_that_no_header_can_hold_is_an_error_that_does_not_repeat_it(
    stub: Stub, connect_pagerduty: ConnectPagerDuty, failure: Failure
) -> None:
    raised = await failure(connect_pagerduty(stub.url, api_key="pd-key-1\nx: y").list_services(EVERY))
    assert isinstance(raised, ProtocolError)
    assert "ey-1" not in f"{raised!r} {raised.hint} {raised.__cause__!r}"
    assert stub.asked == []


async def test_what_would_be_refused_is_not_asked_until_the_limit_resets(
    stub: Stub, pagerduty: PagerDuty, page: Page, failure: Failure
) -> None:
    stub.on("/services", page("services", [{"name": "a"}]), headers=USED_UP)
    await pagerduty.list_services(EVERY)
    raised = await failure(pagerduty.list_services(EVERY))
    assert isinstance(raised, RateLimitedError)
    assert 29 <= (raised.retry_after_s or 0) <= 30
    assert len(stub.asked) == 1


async def test_the_limit_of_on_calls_holds_up_nothing_else(stub: Stub, pagerduty: PagerDuty, page: Page) -> None:
    stub.on("/oncalls", page("oncalls", []), headers=USED_UP)
    stub.on("/services", page("services", [{"name": "a"}]))
    await pagerduty.api.ask("/oncalls")
    assert len((await pagerduty.list_services(EVERY)).items) == 1
    with pytest.raises(RateLimitedError, match="on-call requests"):
        await pagerduty.api.ask("/oncalls")
