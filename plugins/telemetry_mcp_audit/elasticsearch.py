"""`plugin = "elasticsearch"`: the bulk API of Elasticsearch and OpenSearch, each record under its own id."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
from pydantic import BaseModel, Field, SecretStr, ValidationError, model_validator

from telemetry_mcp import (
    AuditRecord,
    AuditSink,
    AuthError,
    ForbiddenError,
    HttpReply,
    PluginSettings,
    ProtocolError,
    RateLimitedError,
    SourceError,
    UpstreamError,
    clean,
    error_for_status,
    hookimpl,
    http_for,
    retry_after,
)
from telemetry_mcp_audit.batch import BatchSink
from telemetry_mcp_audit.endpoint import Endpoint, EndpointSettings

DATA_STREAM = "logs-telemetry_mcp.audit-default"
HEADERS = {"content-type": "application/x-ndjson", "accept": "application/json"}
KEPT = {200, 201, 409}
"""409: it is there already."""
WRONG, TOO_LARGE, TOO_MANY = 400, 413, 429


class ElasticsearchSettings(EndpointSettings):
    index: str = Field(DATA_STREAM, pattern=r"^[^/?#\s]+$", description="a data stream, index or alias")
    api_key: SecretStr | None = Field(None, description="the encoded form, as Elasticsearch shows it")

    @model_validator(mode="after")
    def one_key(self) -> ElasticsearchSettings:
        if self.api_key and (self.username or self.bearer_token):
            raise ValueError("either api_key or username and password or bearer_token, not several")
        return self


class Failure(BaseModel):
    type: str = ""
    reason: str | None = ""


class Item(BaseModel):
    """What became of one record."""

    status: int
    error: Failure | str | None = None

    @property
    def why(self) -> str:
        error = self.error
        told = f"{error.type}: {error.reason}" if isinstance(error, Failure) else error or "without a word of why"
        return clean(f"HTTP {self.status}, {told}")


class Bulk(BaseModel):
    items: list[dict[str, Item]]


class Elasticsearch(BatchSink):
    Settings = ElasticsearchSettings
    settings: ElasticsearchSettings

    def __init__(self, settings: PluginSettings) -> None:
        super().__init__(settings)
        own = self.settings
        key = {"authorization": f"ApiKey {own.api_key.get_secret_value()}"} if own.api_key else {}
        self.endpoint = Endpoint(http_for(own, key), own)

    async def write_batch(self, records: Sequence[AuditRecord]) -> None:
        if not records:
            return
        body = b"".join(map(creation, records))
        reply = await self.endpoint.post(f"/{self.settings.index}/_bulk", body, HEADERS)
        if reply.status == TOO_LARGE:
            await self.write_halves(records, words(reply))
        elif reply.status != 200:
            raise fault(reply, self.settings.index)
        else:
            self.judge(records, items_of(reply, len(records)))

    def judge(self, records: Sequence[AuditRecord], items: Sequence[Item]) -> None:
        """Raise when one of them may be kept another time, and give up those that never can be.

        When it raises all are sent again: what is there already is answered with 409.
        """
        kept = any(item.status in KEPT for item in items)
        later = [item for item in items if item.status not in KEPT and not (kept and item.status == WRONG)]
        if later:
            raise postponed(later, len(items), self.settings.index)
        for record, item in zip(records, items, strict=True):
            if item.status == WRONG:
                self.refuse(record, item.why)

    async def close(self) -> None:
        await self.endpoint.http.close()


def creation(record: AuditRecord) -> bytes:
    """`create` and not `index`: what is there already stays as it is."""
    return orjson.dumps({"create": {"_id": record.id}}) + b"\n" + record.line + b"\n"


def items_of(reply: HttpReply, records: int) -> list[Item]:
    try:
        bulk = Bulk.model_validate_json(reply.body)
    except ValidationError:
        raise ProtocolError("the answer is not that of the bulk API: does url point at the cluster?") from None
    items = [item for one in bulk.items for item in one.values()]
    if len(items) != records:
        raise ProtocolError(f"{records} records were sent, the answer speaks of {len(items)}")
    return items


def postponed(items: Sequence[Item], of: int, index: str) -> SourceError:
    """The error for records that were not taken this time."""
    first = items[0]
    told = f"{len(items)} of {of} records were not taken: {first.why}"
    statuses = {item.status for item in items}
    if statuses == {TOO_MANY}:
        return RateLimitedError(told)
    if 401 in statuses or 403 in statuses:
        return ForbiddenError(f"{told}; the credentials need the privilege create_doc on {index}")
    if statuses == {WRONG}:
        return UpstreamError(f"{told}; is it the mapping of {index}?")
    if 404 in statuses:
        return UpstreamError(f"{told}; create the data stream or index {index}, or allow the key auto_configure")
    return UpstreamError(told)


def fault(reply: HttpReply, index: str) -> SourceError:
    """The error that the status of a whole request means."""
    said = words(reply)
    if reply.status == 401:
        return AuthError(f"HTTP 401: {said}; check api_key, or username and password")
    if reply.status == 403:
        return ForbiddenError(f"HTTP 403: {said}; the credentials need the privilege create_doc on {index}")
    return error_for_status(reply.status, said, retry_after_s=retry_after(reply.headers))


def words(reply: HttpReply) -> str:
    """The reason in an error body, or how the body begins."""
    try:
        answer: Any = orjson.loads(reply.body)
        error = answer["error"]
        told = error["reason"] if isinstance(error, dict) else error
    except (orjson.JSONDecodeError, KeyError, TypeError):
        told = reply.body[:300].decode("utf-8", "replace")
    return clean(str(told))


@hookimpl
def telemetry_audit_sinks() -> Sequence[type[AuditSink]]:
    return [Elasticsearch]
