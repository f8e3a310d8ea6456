"""One HTTP request under our rules, in the place of the SDK's own.

What the SDK would do with an answer (follow redirects with the keys on board, obey Retry-After without a limit,
decompress without a limit, decode into models at 60 times the cost) does not happen here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import orjson
import urllib3
from urllib3.exceptions import (
    DecodeError,
    HTTPError,
    InsecureRequestWarning,
    ProxyError,
    ReadTimeoutError,
    SSLError,
)
from urllib3.exceptions import ProtocolError as CutOffError

from telemetry_mcp import (
    HttpReply,
    ProtocolError,
    SourceError,
    SourceTimeoutError,
    UpstreamError,
    bounded,
    clean,
    tls_context,
    trace_headers,
)
from telemetry_mcp_datadog.setting import Settings

CONNECT_S = 3.0
READ_S = 8.0
PIECE = 64 * 1024
POOL = 8
"""Connections kept: not fewer than the threads of a source, or urllib3 complains of each that it throws away."""


class Transport:
    """Sends one request and reads its whole answer, whatever the status. Shared by all threads of a source."""

    def __init__(self, settings: Settings) -> None:
        self.pool_manager = open_pool(settings)
        self.max_body = settings.max_body_mb * 2**20
        self.patience_s = settings.timeout or READ_S

    def request(
        self,
        method: str,
        url: str,
        query_params: Sequence[tuple[str, Any]] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Any = None,
        **unused: Any,
    ) -> HttpReply:
        """What the SDK calls. A body is plain JSON: its models are never built."""
        response = self.pool_manager.request(
            method,
            f"{url}?{urlencode(query_params)}" if query_params else url,
            body=None if body is None else orjson.dumps(body),
            headers={**(headers or {}), **trace_headers()},
            timeout=urllib3.Timeout(connect=CONNECT_S, read=self.patience_s),
            preload_content=False,
            redirect=False,
            retries=False,
        )
        try:
            pieces = iter(lambda: response.read1(PIECE, decode_content=True), b"")
            whole = bounded(pieces, self.max_body, self.patience_s)
        except BaseException:
            response.close()
            raise
        finally:
            response.release_conn()
        lowered = {name.lower(): value for name, value in response.headers.items()}
        return HttpReply(response.status, lowered, whole)


def open_pool(settings: Settings) -> urllib3.PoolManager:
    context, size = tls_context(settings), max(POOL, settings.max_concurrency)
    if not settings.verify_tls:
        # Said once by whoever wrote it into the settings; not again with every request.
        urllib3.disable_warnings(InsecureRequestWarning)
    if settings.proxy is None:
        return urllib3.PoolManager(ssl_context=context, maxsize=size)
    proxy, login = settings.proxy, None
    if proxy.username:
        login = urllib3.make_headers(proxy_basic_auth=f"{proxy.username}:{proxy.password or ''}")
    address = f"{proxy.scheme}://{proxy.host}:{proxy.port}"
    return urllib3.ProxyManager(address, proxy_headers=login, ssl_context=context, maxsize=size)


def transport_error(error: Exception) -> SourceError:
    """What went wrong below HTTP. Only urllib3's words are repeated: a ValueError may quote a header."""
    words = clean(str(error)) or type(error).__name__
    if isinstance(error, ReadTimeoutError):
        return SourceTimeoutError(f"the backend went silent: {words}")
    if isinstance(error, DecodeError):
        return ProtocolError(f"the body is corrupt: {words}")
    if isinstance(error, CutOffError):
        return UpstreamError(f"the body was cut off in the middle: {words}")
    if isinstance(error, SSLError):
        return UpstreamError(f"no secure connection: {words}", hint="set ca_file to the authority's certificate")
    if isinstance(error, ProxyError):
        return UpstreamError(f"the proxy does not let us through: {words}", hint="is proxy right, and is it up?")
    if isinstance(error, HTTPError | OSError):
        return UpstreamError(f"the backend could not be reached: {words}", hint="is it up, and is its url right?")
    return ProtocolError(f"the client library could not make the request ({type(error).__name__})")
