"""The httpx client of a source: its transport, TLS, headers; no environment, redirects or cookies."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from http.cookiejar import CookieJar, DefaultCookiePolicy
from importlib import import_module
from typing import TYPE_CHECKING

from anyio import to_thread

from telemetry_mcp.setting import HttpSettings, RemoteSettings

if TYPE_CHECKING:
    import httpx


async def warm() -> None:
    """Import the transport. It costs 0.2 s: not on the event loop, and not before it is needed."""
    await to_thread.run_sync(import_module, "httpx_aiohttp")


def open_client(settings: HttpSettings, headers: Mapping[str, str]) -> httpx.AsyncClient:
    import aiohttp
    import httpx
    from httpx_aiohttp import AiohttpTransport

    context = tls_context(settings)

    def session() -> aiohttp.ClientSession:
        # No cookies, here or in httpx: an answer must not depend on what an earlier one left behind.
        connector = aiohttp.TCPConnector(ssl=context, limit=settings.max_concurrency)
        return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False)

    proxy = httpx.Proxy(str(settings.proxy)) if settings.proxy else None
    return httpx.AsyncClient(
        transport=AiohttpTransport(verify=context, trust_env=False, client=session, proxy=proxy),
        base_url=settings.base_url,
        headers={"accept-encoding": "gzip", **headers, **own_headers(settings)},
        auth=basic_auth(settings),
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        follow_redirects=False,
        trust_env=False,
        timeout=None,
    )


def own_headers(settings: HttpSettings) -> dict[str, str]:
    headers = {name: value.get_secret_value() for name, value in settings.headers.items()}
    if settings.bearer_token:
        headers["authorization"] = f"Bearer {settings.bearer_token.get_secret_value()}"
    return headers


def basic_auth(settings: HttpSettings) -> tuple[str, str] | None:
    if not settings.username:
        return None
    return settings.username, settings.password.get_secret_value() if settings.password else ""


def tls_context(settings: RemoteSettings) -> ssl.SSLContext:
    """The system's certificate authorities and the source's own. ConfigError-worthy files raise OSError."""
    if settings.base_url.startswith("http:"):
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context = ssl.create_default_context()
    if settings.ca_file:
        context.load_verify_locations(cafile=settings.ca_file)
    if isinstance(settings, HttpSettings) and settings.cert_file:
        context.load_cert_chain(settings.cert_file, settings.key_file)
    if not settings.verify_tls:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
