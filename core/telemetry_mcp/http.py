"""One HTTP discipline for every source, since vendor clients' defaults are not safe in front of an agent.

No redirects (credentials would travel with them), nothing from the environment, a cap on decoded bytes, bodies
decoded off the event loop, and every failure one of our errors. The total deadline is the guard's.
"""

from __future__ import annotations

import ssl
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from math import isfinite
from time import monotonic, time
from typing import TYPE_CHECKING, Any

import anyio
import orjson
from anyio import to_thread

from telemetry_mcp.client import open_client, warm
from telemetry_mcp.errors import (
    AuthError,
    BadQueryError,
    ForbiddenError,
    NotFoundError,
    PlanError,
    ProtocolError,
    RateLimitedError,
    SourceError,
    SourceTimeoutError,
    UpstreamError,
)
from telemetry_mcp.quota import EPOCH_S, Quota
from telemetry_mcp.setting import HttpSettings
from telemetry_mcp.span import trace_headers
from telemetry_mcp.text import clean

if TYPE_CHECKING:
    import httpx

BY_STATUS: Mapping[int, type[SourceError]] = {
    401: AuthError,
    402: PlanError,
    403: ForbiddenError,
    404: NotFoundError,
    408: SourceTimeoutError,
}
OFF_LOOP_BYTES = 128 * 1024
LARGE_SHARE = 8
"""A body beyond this part of the largest allowed is read alone: many at once would fill the memory."""

Explain = Callable[["HttpReply"], str]


@dataclass(frozen=True, slots=True)
class HttpReply:
    """A whole answer: header names in lower case, the body decompressed."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def error_for_status(status: int, words: str, *, retry_after_s: float | None = None) -> SourceError:
    """The error that an HTTP status means; `words` are the backend's own, cleaned here."""
    message = f"HTTP {status}: {clean(words)}" if words.strip() else f"HTTP {status} without a word of why"
    if status == 429:
        return RateLimitedError(message, retry_after_s=retry_after_s)
    if status in BY_STATUS:
        return BY_STATUS[status](message)
    if 300 <= status < 400:
        return ProtocolError(f"{message} (a redirect; not followed, for it would carry the credentials along)")
    return UpstreamError(message) if status >= 500 else BadQueryError(message)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait by Retry-After or the usual rate-limit reset headers (lower-case names); None without."""
    for name in ("retry-after", "x-ratelimit-reset", "ratelimit-reset"):
        value = headers.get(name, "").strip()
        if not value:
            continue
        try:
            if isfinite(seconds := float(value)):
                return max(0.0, seconds - time() if seconds >= EPOCH_S else seconds)
        except ValueError:
            pass
        try:
            return max(0.0, parsedate_to_datetime(value).timestamp() - time())
        except ValueError:
            continue
    return None


def parse_json(body: bytes) -> Any:
    """JSON as backends really write it: NaN and Infinity too. ProtocolError when it is none."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass
    import json

    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        seen = clean(body[:80].decode("utf-8", "replace")) or "nothing"
        raise ProtocolError(f"the body is not JSON; it begins with: {seen}") from None


async def decode_json(body: bytes) -> Any:
    """`parse_json`, in a worker thread when the body is large."""
    if len(body) < OFF_LOOP_BYTES:
        return parse_json(body)
    return await to_thread.run_sync(parse_json, body, abandon_on_cancel=True)


class Body:
    """A body that grows, decompressed on the way. Raises ProtocolError when it cannot be what it says."""

    def __init__(self, most: int, *, zipped: bool) -> None:
        self.most, self.size = most, 0
        self.pieces: list[bytes] = []
        self.inflate = zlib.decompressobj(wbits=31) if zipped else None

    def take(self, raw: bytes) -> None:
        inflate = self.inflate
        try:
            piece = inflate.decompress(raw, self.most + 1 - self.size) if inflate else raw
        except zlib.error as error:
            raise ProtocolError(f"the gzip body is corrupt: {error}") from error
        self.size += len(piece)
        if self.size > self.most:
            raise too_large(self.most)
        self.pieces.append(piece)
        if inflate and inflate.unused_data:
            raise ProtocolError("the gzip body goes on after its end")

    def whole(self) -> bytes:
        if self.inflate and self.pieces and not self.inflate.eof:
            raise UpstreamError("the body was cut off in the middle")
        return b"".join(self.pieces)


class Http:
    """What a source is handed to speak HTTP. `client` is made on first use; a test hands in its own."""

    def __init__(
        self,
        client: Callable[[], httpx.AsyncClient],
        *,
        max_body_mb: int = 64,
        quota: Quota | None = None,
    ) -> None:
        self.make_client = client
        self.client: httpx.AsyncClient | None = None
        self.max_body = max_body_mb * 1024 * 1024
        self.quota = quota or Quota()
        self.opening = anyio.Lock()
        self.large = anyio.Lock()

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        form: Mapping[str, Any] | None = None,
        json: Any = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> HttpReply:
        """Send one request and read its whole answer, whatever the status.

        Raises UpstreamError (refused, reset, truncated), SourceTimeoutError, ProtocolError (too large, or
        compressed in a way that was not asked for), or RateLimitedError while the quota is known to be used up.
        """
        import aiohttp
        import httpx

        self.quota.enter(path)
        try:
            client = await self.opened()
            async with client.stream(
                method,
                path,
                params=params,
                data=form,
                json=json,
                content=content,
                headers={**(headers or {}), **trace_headers()},
            ) as response:
                body = await self.read(response)
                lowered = {name.lower(): value for name, value in response.headers.items()}
                self.quota.note(lowered, path)
                return HttpReply(response.status_code, lowered, body)
        except (httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError, OSError) as error:
            raise transport_error(error) from error

    async def json(self, method: str, path: str, *, explain: Explain | None = None, **arguments: Any) -> Any:
        """The decoded JSON of a 2xx answer; any other status raises its error.

        `explain` finds the backend's own words in an error body; without it the body's start is quoted.
        """
        reply = await self.request(method, path, **arguments)
        if not 200 <= reply.status < 300:
            words = explain(reply) if explain else reply.body[:600].decode("utf-8", "replace")
            raise error_for_status(reply.status, words, retry_after_s=retry_after(reply.headers))
        return await decode_json(reply.body)

    async def read(self, response: httpx.Response) -> bytes:
        """The body, decompressed piece by piece: a few kilobytes of gzip can hold gigabytes."""
        if response.is_stream_consumed:  # a mock's answer, which is whole from the beginning
            return response.content
        coding = response.headers.get("content-encoding", "identity").strip().lower()
        if coding not in ("gzip", "identity", ""):
            raise ProtocolError(f"the body came with content-encoding {clean(coding)}, which was not asked for")
        body = Body(self.max_body, zipped=coding == "gzip")
        chunks = response.aiter_raw()
        async for raw in chunks:
            body.take(raw)
            if body.size > self.max_body // LARGE_SHARE:
                async with self.large:
                    async for more in chunks:
                        body.take(more)
        return body.whole()

    async def opened(self) -> httpx.AsyncClient:
        if self.client is None:
            async with self.opening:
                if self.client is None:
                    await warm()
                    self.client = self.make_client()
        return self.client

    async def close(self) -> None:
        if self.client is not None:
            await self.client.aclose()


def bounded(pieces: Iterable[bytes], max_bytes: int, patience_s: float) -> bytes:
    """The body that a blocking client reads piece by piece, for plugins over a vendor's SDK.

    Raises ProtocolError when it grows beyond `max_bytes`, SourceTimeoutError when it drips for longer than
    `patience_s`: a thread cannot be cancelled from outside.
    """
    deadline, whole = monotonic() + patience_s, bytearray()
    for piece in pieces:
        whole += piece
        if len(whole) > max_bytes:
            raise too_large(max_bytes)
        if monotonic() > deadline:
            raise SourceTimeoutError(f"the body was not complete within {patience_s:g} s")
    return bytes(whole)


def too_large(max_bytes: int) -> ProtocolError:
    return ProtocolError(
        f"the body is larger than {max_bytes // 2**20} MB after decompression",
        hint="ask for a shorter window or fewer services, or raise max_body_mb for this source",
    )


def transport_error(error: Exception) -> SourceError:
    """What went wrong below HTTP. The transport reports a refused connection as a time-out: its cause tells."""
    import httpx

    cause = error.__cause__ or error
    words = clean(str(cause)) or type(cause).__name__
    if (refused := distrusted(error)) is not None:
        return refused
    if isinstance(error, httpx.ReadTimeout):
        return SourceTimeoutError(f"the backend went silent: {words}")
    if isinstance(error, httpx.ReadError):
        return UpstreamError(f"the body was cut off in the middle: {words}")
    return UpstreamError(f"the backend could not be reached: {words}", hint="is it up, and is its url right?")


def distrusted(error: BaseException | None) -> UpstreamError | None:
    """The error for a certificate that is not trusted, wherever in the chain of causes it is; else None."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            # aiohttp wraps the error in one of its own that is of the same class and lacks its words.
            told = getattr(error, "certificate_error", error)
            return UpstreamError(
                f"the server's certificate is not trusted: {clean(told.verify_message)}",
                hint="set ca_file to the PEM of the authority that signed it, or correct the host in url",
            )
        error = error.__cause__ or error.__context__
    return None


def http_for(
    settings: HttpSettings, headers: Mapping[str, str] | None = None, *, quota: Quota | None = None
) -> Http:
    """The Http of a source with these settings; `headers` are the plugin's own, such as its API key."""

    def client() -> httpx.AsyncClient:
        return open_client(settings, headers or {})

    return Http(client, max_body_mb=settings.max_body_mb, quota=quota)
