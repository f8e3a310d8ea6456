"""`plugin = "syslog"`: RFC 5424 over TLS or TCP, one connection a batch."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Mapping, Sequence

from anyio import to_thread
from pydantic import Field, FilePath, model_validator

from telemetry_mcp import AuditRecord, AuditSink, Duration, PluginSettings, ProtocolError, clean, hookimpl
from telemetry_mcp_audit.batch import BatchSink
from telemetry_mcp_audit.delivery import deliver
from telemetry_mcp_audit.message import Facility, Header, Severity, following

TLS_PORT, TCP_PORT = 6514, 514


class SyslogSettings(PluginSettings):
    host: str = Field(min_length=1, description="where the receiver is")
    port: int | None = Field(None, ge=1, le=65535, description="default: 6514, without TLS 514")
    tls: bool = Field(True, description="false: plain TCP, which anybody on the way can read and change")
    ca_file: FilePath | None = Field(None, description="PEM of a private certificate authority")
    verify_tls: bool = Field(True, description="check the receiver's certificate")
    server_name: str | None = Field(None, description="the name in its certificate, where it is not host")
    cert_file: FilePath | None = Field(None, description="PEM of a client certificate")
    key_file: FilePath | None = Field(None, description="PEM of the client certificate's key")
    facility: Facility = "audit"
    severity: Mapping[str, Severity] = Field(default_factory=dict, description="outcome = severity")
    app_name: str = Field("telemetry-mcp", min_length=1, max_length=48)
    hostname: str = Field("", description="who the records are from (default: this machine)")
    enterprise_id: int = Field(32473, ge=0, description="of the structured data: audit@32473")
    timeout: Duration = Field(30.0, description="until when a batch must be confirmed")

    @model_validator(mode="after")
    def certificates(self) -> SyslogSettings:
        if self.key_file and not self.cert_file:
            raise ValueError("key_file needs cert_file beside it")
        if not self.tls and (self.ca_file or self.cert_file or self.server_name):
            raise ValueError("ca_file, cert_file and server_name are for tls = true")
        return self


class Syslog(BatchSink):
    Settings = SyslogSettings
    settings: SyslogSettings

    def __init__(self, settings: PluginSettings) -> None:
        super().__init__(settings)
        own = self.settings
        self.header = Header(
            facility=own.facility,
            severity=own.severity,
            hostname=own.hostname or socket.gethostname(),
            app_name=own.app_name,
            process=str(os.getpid()),
            enterprise_id=own.enterprise_id,
        )
        self.sequence = 0
        self.context: ssl.SSLContext | None = None

    async def write_batch(self, records: Sequence[AuditRecord]) -> None:
        own = self.settings
        if own.tls and self.context is None:
            self.context = await to_thread.run_sync(trust, own)
        await deliver(
            own.host,
            own.port or (TLS_PORT if own.tls else TCP_PORT),
            b"".join(map(self.framed, records)),
            tls=self.context,
            server_name=own.server_name or own.host,
            timeout_s=own.timeout,
        )

    def framed(self, record: AuditRecord) -> bytes:
        self.sequence = following(self.sequence)
        return self.header.framed(record, self.sequence)


def trust(settings: SyslogSettings) -> ssl.SSLContext:
    """The system's certificate authorities and the table's own, and who we are. ProtocolError for bad files."""
    context = ssl.create_default_context()
    try:
        if settings.ca_file:
            context.load_verify_locations(cafile=settings.ca_file)
        if settings.cert_file:
            context.load_cert_chain(settings.cert_file, settings.key_file)
    except OSError as error:
        raise ProtocolError(
            f"ca_file, cert_file or key_file cannot be used: {clean(str(error))}; each must be a PEM file"
        ) from None
    if not settings.verify_tls:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


@hookimpl
def telemetry_audit_sinks() -> Sequence[type[AuditSink]]:
    return [Syslog]
