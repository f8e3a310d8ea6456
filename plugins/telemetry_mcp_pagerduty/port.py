"""The one place that knows pdpyras: `Port(settings).get(path, params)` and `close()` are all that is used of it.

pdpyras by itself retries a 429 for ever and a lost connection for minutes, takes proxies and credentials from the
environment, follows redirects and reads any body whole; each of these is switched off below. Imported lazily.

Its successor `pagerduty` (7.x) fits here by changing this file alone. APISession becomes
RestApiV2Client(key, base_url=...), PDHTTPError, PDClientError and URLError become HttpError, Error and UrlError.
It stands on httpx2, so `Trusting`, `bounded` and the exceptions of requests and urllib3 give way to a transport of
httpx2. It raises on a redirect by itself, retries a 429 for ever just the same, and takes no base URL but https.
"""

from __future__ import annotations

import logging
import ssl
import warnings
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import urllib3
from requests import Response
from requests.adapters import HTTPAdapter
from requests.exceptions import SSLError, Timeout
from urllib3.exceptions import DecodeError, HTTPError, IncompleteRead, InsecureRequestWarning, ReadTimeoutError
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
from telemetry_mcp_pagerduty.secret import without_secrets
from telemetry_mcp_pagerduty.setting import Settings

with warnings.catch_warnings():
    # It warns of its own end of life at import: known, and nothing that a reader of our log can change.
    warnings.simplefilter("ignore", UserWarning)
    import pdpyras

CONNECT_S = 3.0
PIECE = 64 * 1024


class Trusting(HTTPAdapter):
    """Trusts whom every other source trusts: the system's authorities and ca_file. requests has its own."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context
        super().__init__()

    def init_poolmanager(self, *args: Any, **more: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self.context, **more)

    def proxy_manager_for(self, proxy: str, **more: Any) -> Any:
        return super().proxy_manager_for(proxy, ssl_context=self.context, **more)

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Nothing: the context says it all."""


class Port:
    """One session of a source, shared by its threads. `get` blocks and raises only SourceError."""

    def __init__(self, settings: Settings) -> None:
        self.patience_s = settings.patience_s
        self.max_body = settings.max_body_mb * 2**20
        self.session = session = pdpyras.APISession(settings.api_key.get_secret_value())
        session.url = settings.base_url
        session.headers["Accept-Encoding"] = "gzip"
        session.trust_env = False
        session.mount("https://", Trusting(trusted(settings)))
        session.verify = settings.verify_tls
        if not settings.verify_tls:
            urllib3.disable_warnings(InsecureRequestWarning)
        if settings.proxy:
            session.proxies = {"http": str(settings.proxy), "https": str(settings.proxy)}
        session.timeout = (CONNECT_S, self.patience_s)
        session.max_network_attempts = 0
        # A retry value of 0 means "as usual", which for 429 is "for ever"; so one is allowed and then forbidden
        # by the limit over all statuses. When to ask again is the engine's to decide.
        session.retry = {429: 1, 502: 1, 503: 1, 504: 1}
        session.max_http_attempts = -1
        session.sleep_timer = 0.05
        session.hooks["response"].append(self.bounded)
        # It logs every bad status and lost connection as an error; they are reported as ours already.
        session.log = logging.Logger("pdpyras", logging.CRITICAL + 1)

    def get(self, path: str, params: Mapping[str, Any]) -> HttpReply:
        """One GET, whatever its status. Redirects are handed back as they are."""
        try:
            response = self.session.get(path, params=dict(params), headers=trace_headers(), allow_redirects=False)
        except pdpyras.PDHTTPError as error:
            # It raises on 401, and names a part of the key in its text.
            response = error.response
        except pdpyras.PDClientError as error:
            # No cause is kept, here and below: it may quote the request with its key.
            raise transport_error(error.__cause__ or error) from None
        except (pdpyras.URLError, OSError, ValueError) as error:
            raise transport_error(error) from None
        lowered = {name.lower(): value for name, value in response.headers.items()}
        return HttpReply(response.status_code, lowered, response.content)

    def bounded(self, response: Response, **unused: Any) -> None:
        """Read the body before requests does: decompressed piece by piece, with a limit of size and of time."""
        raw = response.raw
        try:
            body = bounded(
                iter(lambda: raw.read1(PIECE, decode_content=True), b""), self.max_body, self.patience_s
            )
        except BaseException:
            raw.close()
            raise
        finally:
            raw.release_conn()
        response.raw = BytesIO(body)

    def close(self) -> None:
        self.session.close()


def trusted(settings: Settings) -> ssl.SSLContext:
    """Whom to trust. ProtocolError when ca_file is none."""
    try:
        return tls_context(settings)
    except OSError as error:
        raise ProtocolError(
            f"ca_file cannot be used: {clean(str(error))}", hint="ca_file must be a PEM file of certificates"
        ) from None


def transport_error(error: BaseException) -> SourceError:
    """What went wrong below HTTP. Only the network's words are repeated: a ValueError may quote the key."""
    words = clean(without_secrets(str(error))) or type(error).__name__
    if isinstance(error, Timeout | ReadTimeoutError):
        return SourceTimeoutError(f"the backend went silent: {words}")
    if isinstance(error, DecodeError):
        return ProtocolError(f"the body is corrupt: {words}")
    if isinstance(error, CutOffError | IncompleteRead):
        return UpstreamError(f"the body was cut off in the middle: {words}")
    if isinstance(error, SSLError):
        return UpstreamError(f"no secure connection: {words}", hint="set ca_file to the authority's certificate")
    if isinstance(error, HTTPError | OSError) and not isinstance(error, ValueError):
        return UpstreamError(f"the backend could not be reached: {words}", hint="is it up, and is its url right?")
    return ProtocolError(f"the client library could not make the request ({type(error).__name__})")
