"""The HTTP discipline on what is sent, over which connection, against a raw server on loopback."""

from __future__ import annotations

import base64
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from telemetry_mcp.errors import ProtocolError, SourceError, UpstreamError
from telemetry_mcp.http import http_for
from telemetry_mcp.setting import HttpSettings

if TYPE_CHECKING:
    from tests.core.conftest import ConnectHttp, Saying, ServeRaw


# ---- what is sent


async def test_a_request_carries_its_parts_and_the_answer_is_whole(
    serve_raw: ServeRaw, connect_http: ConnectHttp, saying: Saying
) -> None:
    async with serve_raw(saying(b'{"up": 1}', "X-Took: 3")) as server, connect_http(f"{server.url}/api/") as http:
        reply = await http.request("GET", "/v1/query", params={"q": "up{a='b'}"}, headers={"x-one": "1"})
    assert (reply.status, reply.headers["x-took"], reply.body) == (200, "3", b'{"up": 1}')
    (head,) = server.heads
    assert head.startswith("get /api/v1/query?q=up%7ba%3d'b'%7d http/1.1")
    assert "x-one: 1" in head
    assert "accept-encoding: gzip\r\n" in head


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"bearer_token": "t0ken"}, "authorization: bearer t0ken"),
        ({"username": "u", "password": "p"}, f"authorization: basic {base64.b64encode(b'u:p').decode().lower()}"),
        ({"username": "u"}, f"authorization: basic {base64.b64encode(b'u:').decode().lower()}"),
        ({"headers": {"X-Scope-OrgID": "team"}}, "x-scope-orgid: team"),
    ],
)
async def test_credentials_are_sent_as_configured(
    settings: dict[str, Any], line: str, serve_raw: ServeRaw, connect_http: ConnectHttp, saying: Saying
) -> None:
    async with serve_raw(saying(b"{}")) as server, connect_http(server.url, **settings) as http:
        await http.json("GET", "/")
    assert f"{line}\r\n" in server.heads[0]


async def test_a_plugins_own_headers_are_sent_beside_the_users(serve_raw: ServeRaw, saying: Saying) -> None:
    async with serve_raw(saying(b"{}")) as server:
        settings = HttpSettings.model_validate({"plugin": "x", "url": server.url, "headers": {"a": "1"}})
        http = http_for(settings, {"dd-api-key": "k"})
        await http.json("GET", "/")
        await http.close()
    assert "a: 1\r\n" in server.heads[0]
    assert "dd-api-key: k\r\n" in server.heads[0]


async def test_the_environments_proxy_and_netrc_are_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, serve_raw: ServeRaw, connect_http: ConnectHttp, saying: Saying
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login eve password stolen\n", encoding="utf-8")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    async with serve_raw(saying(b"{}")) as proxy, serve_raw(saying(b"{}")) as server:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "https_proxy"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        async with connect_http(server.url) as http:
            await http.json("GET", "/")
    assert proxy.heads == []
    assert "authorization" not in server.heads[0]


async def test_the_configured_proxy_is_used(
    serve_raw: ServeRaw, connect_http: ConnectHttp, saying: Saying
) -> None:
    url = "http://backend.invalid:9090/api"
    async with serve_raw(saying(b'{"by": "proxy"}')) as proxy, connect_http(url, proxy=proxy.url) as http:
        assert await http.json("GET", "/up") == {"by": "proxy"}
    assert proxy.heads[0].startswith("get http://backend.invalid:9090/api/up http/1.1")


async def test_cookies_are_not_kept(serve_raw: ServeRaw, connect_http: ConnectHttp, saying: Saying) -> None:
    async with (
        serve_raw(saying(b"{}", "Set-Cookie: session=1; Path=/")) as server,
        connect_http(server.url) as http,
    ):
        await http.json("GET", "/")
        await http.json("GET", "/")
    assert len(server.heads) == 2
    assert all("cookie" not in head for head in server.heads)


async def test_a_redirect_is_not_followed_and_its_target_hears_nothing(
    serve_raw: ServeRaw, connect_http: ConnectHttp, saying: Saying
) -> None:
    async with serve_raw(saying(b"{}")) as elsewhere:
        redirect = saying(b"", f"Location: {elsewhere.url}/", status="302 Found")
        async with serve_raw(redirect) as server, connect_http(server.url, bearer_token="t0ken") as http:
            with pytest.raises(ProtocolError, match="redirect; not followed"):
                await http.json("GET", "/")
        assert len(server.heads) == 1
        assert elsewhere.heads == []


# ---- TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


async def test_a_private_authority_is_trusted_when_it_is_named(
    server_tls: ssl.SSLContext, ca_file: str, serve_raw: ServeRaw, connect_http: ConnectHttp, saying: Saying
) -> None:
    async with serve_raw(saying(b"[1]"), server_tls) as server:
        async with connect_http(server.url, ca_file=ca_file) as http:
            assert await http.json("GET", "/") == [1]
        async with connect_http(server.url) as http:
            with pytest.raises(UpstreamError, match=r"(?i)certificate"):
                await http.json("GET", "/")
        assert len(server.heads) == 1


async def test_verification_can_be_switched_off(
    server_tls: ssl.SSLContext, serve_raw: ServeRaw, connect_http: ConnectHttp, saying: Saying
) -> None:
    async with serve_raw(saying(b"[1]"), server_tls) as server, connect_http(server.url, verify_tls=False) as http:
        assert await http.json("GET", "/") == [1]


async def test_a_certificate_of_another_host_is_refused(
    authority: trustme.CA, ca_file: str, serve_raw: ServeRaw, connect_http: ConnectHttp, saying: Saying
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("other.test").configure_cert(context)
    async with serve_raw(saying(b"[1]"), context) as server, connect_http(server.url, ca_file=ca_file) as http:
        with pytest.raises(UpstreamError, match=r"(?i)certificate"):
            await http.json("GET", "/")
    assert server.heads == []


async def test_a_client_certificate_is_shown_when_it_is_configured(
    authority: trustme.CA,
    server_tls: ssl.SSLContext,
    ca_file: str,
    tmp_path: Path,
    serve_raw: ServeRaw,
    connect_http: ConnectHttp,
    saying: Saying,
) -> None:
    authority.configure_trust(server_tls)
    server_tls.verify_mode = ssl.CERT_REQUIRED
    issued = authority.issue_cert("client.test")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    issued.cert_chain_pems[0].write_to_path(cert)
    issued.private_key_pem.write_to_path(key)
    async with serve_raw(saying(b"[1]"), server_tls) as server:
        async with connect_http(server.url, ca_file=ca_file, cert_file=str(cert), key_file=str(key)) as http:
            assert await http.json("GET", "/") == [1]
        async with connect_http(server.url, ca_file=ca_file) as http:
            with pytest.raises(UpstreamError):
                await http.json("GET", "/")


async def test_a_certificate_file_that_holds_none_is_said_in_our_own_error(
    tmp_path: Path, connect_http: ConnectHttp
) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("no certificate")
    async with connect_http("https://127.0.0.1:1", ca_file=str(empty)) as http:
        with pytest.raises(SourceError, match="certificate"):
            await http.json("GET", "/")
