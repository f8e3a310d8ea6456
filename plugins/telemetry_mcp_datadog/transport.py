"""The official client under our rules. Imported lazily: the SDK costs 0.15 s.

The SDK builds urls, parameters and authentication; what it would do with the answer (follow redirects with the
keys on board, obey Retry-After without a limit, decompress without a limit, decode into models at 60 times the
cost) is done here instead, by a `Transport` put in the place of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import urllib3
from datadog_api_client import ApiClient, Configuration
from datadog_api_client.exceptions import OpenApiException
from datadog_api_client.v1.api.authentication_api import AuthenticationApi
from datadog_api_client.v1.api.metrics_api import MetricsApi
from datadog_api_client.v2.api.apm_api import APMApi
from datadog_api_client.v2.api.software_catalog_api import SoftwareCatalogApi
from urllib3.exceptions import DecodeError, HTTPError, ReadTimeoutError, SSLError
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
)

if TYPE_CHECKING:
    from telemetry_mcp_datadog import Datadog

CONNECT_S = 3.0
READ_S = 8.0
PIECE = 64 * 1024


class Transport:
    """Sends one request and reads its whole answer, whatever the status. Shared by all threads of a source."""

    def __init__(self, settings: Datadog.Settings) -> None:
        self.pool_manager = open_pool(settings)
        self.max_body = settings.max_body_mb * 2**20
        self.patience_s = settings.timeout or READ_S

    def request(
        self,
        method: str,
        url: str,
        query_params: Sequence[tuple[str, Any]] | None = None,
        headers: Mapping[str, str] | None = None,
        **unused: Any,
    ) -> HttpReply:
        """What the SDK calls; only reads are ever sent, so a body has no place here."""
        response = self.pool_manager.request(
            method,
            url,
            fields=query_params,
            headers=headers,
            timeout=urllib3.Timeout(connect=CONNECT_S, read=self.patience_s),
            preload_content=False,
            redirect=False,
            retries=False,
        )
        try:
            pieces = iter(lambda: response.read1(PIECE, decode_content=True), b"")
            body = bounded(pieces, self.max_body, self.patience_s)
        except BaseException:
            response.close()
            raise
        finally:
            response.release_conn()
        lowered = {name.lower(): value for name, value in response.headers.items()}
        return HttpReply(response.status, lowered, body)


class Client:
    """The calls this plugin makes, one method each. They block, and raise only SourceError."""

    def __init__(self, settings: Datadog.Settings) -> None:
        # `host` switches the SDK's server table off, and with it DD_SITE; both keys being given, DD_API_KEY and
        # DD_APP_KEY are not looked at either. So two tenants can live in one process.
        configuration = Configuration(  # type: ignore[no-untyped-call]
            host=settings.base_url,
            api_key={
                "apiKeyAuth": settings.api_key.get_secret_value(),
                "appKeyAuth": settings.app_key.get_secret_value(),
            },
            preload_content=False,
        )
        self.api = ApiClient(configuration)
        self.api.rest_client = Transport(settings)
        self.authentication = AuthenticationApi(self.api)  # type: ignore[no-untyped-call]
        self.metrics = MetricsApi(self.api)  # type: ignore[no-untyped-call]
        self.apm = APMApi(self.api)  # type: ignore[no-untyped-call]
        self.software = SoftwareCatalogApi(self.api)  # type: ignore[no-untyped-call]

    def validate(self) -> HttpReply:
        return self.ask(self.authentication.validate)

    def query(self, start_s: int, end_s: int, text: str) -> HttpReply:
        return self.ask(self.metrics.query_metrics, _from=start_s, to=end_s, query=text)

    def apm_services(self, env: str) -> HttpReply:
        return self.ask(self.apm.get_service_list, filter_env=env)

    def catalog(self, offset: int, limit: int) -> HttpReply:
        return self.ask(
            self.software.list_catalog_entity,
            page_offset=offset,
            page_limit=limit,
            filter_kind="service",
            include_discovered=True,
        )

    def ask(self, call: Any, **arguments: Any) -> HttpReply:
        try:
            reply: HttpReply = call(**arguments)
        except (HTTPError, OSError, OpenApiException, ValueError, TypeError) as error:
            raise transport_error(error) from error
        return reply

    def close(self) -> None:
        self.api.close()


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
    if isinstance(error, HTTPError | OSError):
        return UpstreamError(f"the backend could not be reached: {words}", hint="is it up, and is its url right?")
    return ProtocolError(f"the client library could not make the request ({type(error).__name__})")


def open_pool(settings: Datadog.Settings) -> urllib3.PoolManager:
    context = tls_context(settings)
    if settings.proxy:
        return urllib3.ProxyManager(str(settings.proxy), ssl_context=context, maxsize=settings.max_concurrency)
    return urllib3.PoolManager(ssl_context=context, maxsize=settings.max_concurrency)
