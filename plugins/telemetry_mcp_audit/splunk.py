"""`plugin = "splunk"`: Splunk's HTTP Event Collector, with indexer acknowledgement where the token has it."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import anyio
import orjson
from pydantic import Field, SecretStr, model_validator

from telemetry_mcp import (
    AuditRecord,
    AuditSink,
    Duration,
    ForbiddenError,
    PluginSettings,
    ProtocolError,
    hookimpl,
    http_for,
)
from telemetry_mcp_audit.batch import BatchSink
from telemetry_mcp_audit.collector import fault, faulty, words
from telemetry_mcp_audit.endpoint import Endpoint, EndpointSettings, document, within

EVENTS, ACKS = "/services/collector/event", "/services/collector/ack"
FIRST_POLL_S, LONGEST_POLL_S = 0.1, 5.0
TOO_LARGE = 413


class SplunkSettings(EndpointSettings):
    token: SecretStr = Field(description="of the HTTP Event Collector")
    index: str | None = Field(None, description="default: the token's own")
    source: str = "telemetry-mcp"
    sourcetype: str = "telemetry_mcp:audit"
    host: str = Field("", description="who the records are from (default: this machine)")
    ack: bool = Field(False, description="insist on indexer acknowledgement")
    ack_timeout: Duration = Field(60.0, description="until when a batch must be indexed")

    @model_validator(mode="after")
    def by_token_only(self) -> SplunkSettings:
        if self.username or self.bearer_token:
            raise ValueError("token is what lets in: leave out username and bearer_token")
        return self


class Splunk(BatchSink):
    Settings = SplunkSettings
    settings: SplunkSettings

    def __init__(self, settings: PluginSettings) -> None:
        super().__init__(settings)
        own = self.settings
        # Always sent: a token with acknowledgement refuses what comes without a channel, the others do not mind.
        self.headers = {"x-splunk-request-channel": str(uuid4()), "content-type": "application/json"}
        token = {"authorization": f"Splunk {own.token.get_secret_value()}"}
        self.endpoint = Endpoint(http_for(own, token), own)
        fields = {"source": own.source, "sourcetype": own.sourcetype, "index": own.index}
        fields["host"] = own.host or socket.gethostname()
        self.fields = {key: value for key, value in fields.items() if value is not None}

    async def write_batch(self, records: Sequence[AuditRecord]) -> None:
        left, wrong = list(records), list[tuple[AuditRecord, str]]()
        while left:
            reply = await self.endpoint.post(EVENTS, b"".join(map(self.event, left)), self.headers)
            if reply.status == TOO_LARGE:
                await self.write_halves(left, words(reply))
                break
            if reply.status == 200:
                await self.settled(document(reply))
                break
            bad = faulty(reply, len(left))
            if bad is None or len(left) == 1:
                raise fault(reply, self.settings.index)
            # Those before it may be indexed already; they come twice then, which the id tells.
            wrong.append((left.pop(bad), words(reply)))
        for record, why in wrong:
            self.refuse(record, why)

    def event(self, record: AuditRecord) -> bytes:
        return orjson.dumps(
            {
                "time": record.at_ms / 1000,
                **self.fields,
                "event": orjson.Fragment(record.line),
                "fields": {"event_id": record.id},
            }
        )

    async def settled(self, answer: dict[str, Any]) -> None:
        """Wait until the batch is indexed, if the token tells; what is not fetched fills Splunk's memory."""
        ack = answer.get("ackId")
        if answer.get("code") != 0:
            raise ProtocolError("the answer is not that of an HTTP Event Collector: is its port (8088) in url?")
        if ack is not None:
            limit_s = self.settings.ack_timeout
            await within(limit_s, self.indexed(ack), "Splunk took the batch, but did not say that it is indexed")
        elif self.settings.ack:
            raise ForbiddenError(
                "the token has no indexer acknowledgement: enable it for the token in Splunk, or set ack = false"
            )

    async def indexed(self, ack: Any) -> None:
        pause_s = FIRST_POLL_S
        while True:
            reply = await self.endpoint.post(ACKS, orjson.dumps({"acks": [ack]}), self.headers)
            if reply.status != 200:
                raise fault(reply, self.settings.index)
            if (document(reply).get("acks") or {}).get(str(ack)) is True:
                return
            await anyio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_POLL_S)

    async def close(self) -> None:
        await self.endpoint.http.close()


@hookimpl
def telemetry_audit_sinks() -> Sequence[type[AuditSink]]:
    return [Splunk]
