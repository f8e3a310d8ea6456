"""What splunk and elasticsearch share: a batch is one POST, compressed, under a deadline."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Any, TypeVar

import anyio
from pydantic import Field, model_validator

from telemetry_mcp import Duration, Http, HttpReply, HttpSettings, ProtocolError, SourceTimeoutError, parse_json

T = TypeVar("T")

ASKED = ("allow_native", "preset", "metrics", "max_concurrency")
"""Keys of a source that is asked. A sink is not."""


class EndpointSettings(HttpSettings):
    """`url`, credentials, TLS and proxy as sources have them."""

    timeout: Duration = Field(30.0, description="longest wait for the answer to one batch")
    gzip: bool = Field(True, description="compress what is sent")

    @model_validator(mode="after")
    def asks_nothing(self) -> EndpointSettings:
        for key in ASKED:
            if key in self.model_fields_set:
                raise ValueError(f"{key} is for sources; an audit sink is not asked")
        return self


class Endpoint:
    """`post` sends one request; whatever the status, its answer comes back."""

    def __init__(self, http: Http, settings: EndpointSettings) -> None:
        self.http, self.settings = http, settings

    async def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> HttpReply:
        """UpstreamError, SourceTimeoutError when there is none: the backend may have the records all the same."""
        sent = dict(headers)
        if self.settings.gzip:
            body = await anyio.to_thread.run_sync(zipped, body)
            sent["content-encoding"] = "gzip"
        request = self.http.request("POST", path, content=body, headers=sent)
        return await within(self.settings.timeout, request, "no answer")


async def within(limit_s: float, awaited: Awaitable[T], what: str) -> T:
    """SourceTimeoutError where it takes longer."""
    try:
        with anyio.fail_after(limit_s):
            return await awaited
    except TimeoutError:
        raise SourceTimeoutError(f"{what} within {limit_s:g} s; the batch is sent again") from None


def zipped(body: bytes) -> bytes:
    import gzip

    return gzip.compress(body, compresslevel=1)


def document(reply: HttpReply) -> dict[str, Any]:
    """The answer as an object; ProtocolError when it is something else."""
    answer = parse_json(reply.body)
    if not isinstance(answer, dict):
        raise ProtocolError(f"the answer is JSON, but no object (HTTP {reply.status})")
    return answer
