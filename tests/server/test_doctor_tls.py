"""What doctor says of the way to a backend: the port, the name, and above all the certificate."""

from __future__ import annotations

import asyncio
import ssl
import tomllib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from telemetry_mcp.fanout import Deadline
from telemetry_mcp.model import Check
from telemetry_mcp.setting import HttpSettings, RemoteSettings
from telemetry_mcp.terminal.probe import network

Listen = Callable[..., Awaitable[int]]
Examine = Callable[..., Awaitable[Check]]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA(organization_name="Acme Trust")


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


@pytest.fixture
async def listen() -> AsyncIterator[Listen]:
    """Opens a port on loopback, for TLS where there is a certificate, and gives its number."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            if await reader.read(1):
                writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with AsyncExitStack() as stack:

        async def start(certificate: trustme.LeafCert | None = None) -> int:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if certificate else None
            if certificate and context:
                certificate.configure_cert(context)
            server = await stack.enter_async_context(
                await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
            )
            port: int = server.sockets[0].getsockname()[1]
            return port

        yield start


async def way(url: str, **settings: Any) -> dict[str, Check]:
    """The checks of the way to `url`, by name."""
    made = HttpSettings.model_validate({"plugin": "x", "url": url, **settings})
    return {check.name: check for check in await network("a", made, Deadline(10))}


@pytest.fixture
def examine(listen: Listen, ca_file: str) -> Examine:
    """What is said of a certificate, by default to somebody who knows its authority."""

    async def run(certificate: trustme.LeafCert, **settings: Any) -> Check:
        url = f"https://127.0.0.1:{await listen(certificate)}/api"
        return (await way(url, **(settings or {"ca_file": ca_file})))["TLS"]

    return run


def in_days(days: int) -> datetime:
    return datetime.now(UTC) + timedelta(days=days, hours=1)


def pasted(check: Check) -> dict[str, Any]:
    """What stands in the source's table after the fix was pasted."""
    table: dict[str, Any] = tomllib.loads(check.fix.partition("\n")[2])["sources"]["a"]
    return table


async def test_a_certificate_says_whose_it_is_who_signed_it_and_how_long_it_lasts(
    authority: trustme.CA, examine: Examine
) -> None:
    check = await examine(authority.issue_cert("127.0.0.1", not_after=in_days(90), common_name="metrics.acme"))
    assert check == Check("TLS", True, "TLSv1.3, for metrics.acme, signed by Acme Trust, expires in 90 days")


@pytest.mark.parametrize(("days", "ok"), [(13, False), (14, True)])
async def test_a_certificate_that_ends_within_two_weeks_is_a_warning(
    authority: trustme.CA, examine: Examine, days: int, ok: bool
) -> None:
    check = await examine(authority.issue_cert("127.0.0.1", not_after=in_days(days)))
    assert (check.ok, check.optional) == (ok, not ok)


async def test_an_expired_certificate_is_told_from_one_that_does_not_hold_yet(
    authority: trustme.CA, examine: Examine
) -> None:
    ended = in_days(-3)
    past = await examine(authority.issue_cert("127.0.0.1", not_before=in_days(-30), not_after=ended))
    assert f"expired on {ended:%Y-%m-%d}, 3 days ago" in past.detail
    assert "renewed" in past.fix
    future = await examine(authority.issue_cert("127.0.0.1", not_before=in_days(3), not_after=in_days(30)))
    assert "not yet valid" in future.detail
    assert "clock of this machine" in future.fix


async def test_a_certificate_for_another_host_comes_with_the_url_that_it_is_for(
    authority: trustme.CA, examine: Examine
) -> None:
    check = await examine(authority.issue_cert("metrics.acme.example"))
    assert "is not for 127.0.0.1" in check.detail
    url = pasted(check)["url"]
    assert url.startswith("https://metrics.acme.example:")
    assert url.endswith("/api")


async def test_an_authority_that_nobody_named_is_asked_for(authority: trustme.CA, examine: Examine) -> None:
    check = await examine(authority.issue_cert("127.0.0.1"), timeout="5s")
    assert "signed by Acme Trust, is not trusted: this machine does not know" in check.detail
    assert pasted(check) == {"ca_file": "/path/to/authority.pem"}


async def test_another_authority_than_the_named_one_is_told_by_its_name(
    authority: trustme.CA, examine: Examine, tmp_path: Path
) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    check = await examine(authority.issue_cert("127.0.0.1"), ca_file=tmp_path / "other.pem")
    assert f"{tmp_path / 'other.pem'} does not hold the authority" in check.detail
    assert "signed by Acme Trust" in check.detail


async def test_a_certificate_that_is_not_verified_is_a_warning(authority: trustme.CA, examine: Examine) -> None:
    check = await examine(authority.issue_cert("127.0.0.1"), verify_tls=False)
    assert (check.ok, check.optional) == (False, True)
    assert "signed by Acme Trust" in check.detail
    assert pasted(check) == {"ca_file": "/path/to/authority.pem"}


async def test_a_file_that_is_no_certificate_is_named_as_such(
    authority: trustme.CA, examine: Examine, tmp_path: Path
) -> None:
    (tmp_path / "empty.pem").write_text("nothing")
    check = await examine(authority.issue_cert("127.0.0.1"), ca_file=tmp_path / "empty.pem")
    assert not check.ok
    assert "the files of this source cannot be used" in check.detail


async def test_a_server_without_tls_is_told_from_one_that_is_not_trusted(listen: Listen) -> None:
    check = (await way(f"https://127.0.0.1:{await listen()}"))["TLS"]
    assert check.detail == "the server answers, but not in TLS"
    assert "http://" in check.fix


async def test_a_plain_connection_has_no_certificate(listen: Listen) -> None:
    checks = await way(f"http://127.0.0.1:{await listen()}")
    assert [(name, check.ok) for name, check in checks.items()] == [("network", True)]


async def test_what_is_behind_a_proxy_is_not_connected_to(listen: Listen) -> None:
    port = await listen()
    checks = await way("https://metrics.acme.example", proxy=f"http://user:planted@127.0.0.1:{port}")
    assert checks["network"].detail.startswith(f"the proxy 127.0.0.1:{port} connects in ")
    assert checks["TLS"].detail == "not checked: metrics.acme.example:443 is reached through a proxy"


class Nowhere(RemoteSettings):
    @property
    def base_url(self) -> str:
        return f"https://{'x' * 64}.example"


async def test_a_name_that_does_not_resolve_is_a_fault_of_its_own() -> None:
    (check,) = await network("a", Nowhere(plugin="x"), Deadline(5))
    assert (check.name, check.ok) == ("network", False)
    assert "does not resolve" in check.detail
    assert check.fix.endswith(f"getent hosts {'x' * 64}.example")


async def test_a_source_that_cannot_say_where_it_is_is_not_connected_to() -> None:
    assert await network("a", RemoteSettings(plugin="x"), Deadline(5)) == []
