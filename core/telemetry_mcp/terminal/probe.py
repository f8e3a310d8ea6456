"""Whether a backend can be reached and its certificate trusted, found out by the core for every source alike."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from os import strerror
from socket import gaierror
from time import perf_counter
from urllib.parse import urlsplit

from anyio import BrokenResourceError, CancelScope, EndOfStream, connect_tcp, fail_after
from anyio.streams.tls import TLSAttribute

from telemetry_mcp.boundary import contain
from telemetry_mcp.client import tls_context
from telemetry_mcp.fanout import Deadline
from telemetry_mcp.model import Check
from telemetry_mcp.setting import RemoteSettings, SourceSettings
from telemetry_mcp.terminal.certificate import Certificate, certificate
from telemetry_mcp.terminal.remedy import setting
from telemetry_mcp.text import clean

PATIENCE_S = 5.0
SOON_DAYS = 14
PORTS = {"http": 80, "https": 443}

NOT_YET, EXPIRED, SELF_SIGNED, WRONG_HOST, WRONG_ADDRESS = 9, 10, 18, 62, 64
"""OpenSSL's X509_V_ERR codes."""

Broken = (ssl.SSLError, OSError, BrokenResourceError, EndOfStream)
"""What a connection may end with; TimeoutError is an OSError."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a connection leads to."""

    host: str
    port: int
    secure: bool = False
    path: str = ""

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def place(url: str) -> Place | None:
    parts = urlsplit(url)
    port = parts.port or PORTS.get(parts.scheme)
    return Place(parts.hostname, port, parts.scheme == "https", parts.path) if parts.hostname and port else None


async def network(source: str, settings: SourceSettings, deadline: Deadline) -> list[Check]:
    """Is it reachable, and is its certificate trusted? Nothing for a source that is nowhere on the network.

    What a proxy stands in front of is the proxy's to reach: then it is the proxy that is connected to.
    """
    if not isinstance(settings, RemoteSettings):
        return []
    where = None
    with contain():  # base_url is the plugin's own
        where = place(settings.base_url)
    if where is None:
        return []
    if settings.proxy is not None and (proxy := place(str(settings.proxy))):
        reached = await reachable(proxy, deadline, f"the proxy {proxy}")
        unseen = Check("TLS", True, f"not checked: {where} is reached through a proxy")
        return [reached, *([unseen] if where.secure and reached.ok else [])]
    reached = await reachable(where, deadline, str(where))
    return [reached, *([await tls(source, where, settings, deadline)] if where.secure and reached.ok else [])]


async def reachable(where: Place, deadline: Deadline, named: str) -> Check:
    began = perf_counter()
    try:
        with patience(deadline):
            await (await connect_tcp(where.host, where.port)).aclose()
    except TimeoutError as error:
        fix = f"is a firewall in the way? Try from this machine:\nnc -vz {where.host} {where.port}"
        return Check("network", False, f"{named}: {said(error)}", fix)
    except (gaierror, UnicodeError) as error:
        fix = f"is the host spelt right, and known to this machine's name server? Try:\ngetent hosts {where.host}"
        return Check("network", False, f"the name {where.host} does not resolve: {said(error)}", fix)
    except Broken as error:
        fix = f"is it running, and is this its address? Try from this machine:\nnc -vz {where.host} {where.port}"
        return Check("network", False, f"{named}: {said(error)}", fix)
    return Check("network", True, f"{named} connects in {(perf_counter() - began) * 1000:.0f} ms")


async def tls(source: str, where: Place, settings: RemoteSettings, deadline: Deadline) -> Check:
    """Connects with the context that the source itself uses."""
    try:
        context = tls_context(settings)
    except OSError as error:
        fix = "ca_file, cert_file and key_file must be PEM files that belong together"
        return Check("TLS", False, f"the files of this source cannot be used: {said(error)}", fix)
    try:
        with patience(deadline):
            async with handshake(where, context) as (shown, protocol):
                return judged(source, shown, protocol, settings)
    except ssl.SSLCertVerificationError as error:
        return distrusted(source, where, settings, error, await seen(where, deadline))
    except Broken as error:
        plainly = isinstance(error, ssl.SSLError) and error.reason == "WRONG_VERSION_NUMBER"
        fix = "does the server speak TLS at this port at all? If it does not, write http:// in its url"
        detail = "the server answers, but not in TLS" if plainly else f"the handshake fails: {said(error)}"
        return Check("TLS", False, detail, fix)


def judged(source: str, shown: Certificate | None, protocol: str, settings: RemoteSettings) -> Check:
    if shown is None:
        return Check("TLS", True, f"{protocol}; the certificate cannot be read")
    told = f"{protocol}, {shown.words}, expires in {shown.days_left} days"
    if not settings.verify_tls:
        fix = "anybody can pose as this backend: name its authority in place of verify_tls = false"
        paste = setting(source, "ca_file", "/path/to/authority.pem")
        return Check("TLS", False, f"{told}; not verified", f"{fix}\n{paste}", optional=True)
    if shown.days_left < SOON_DAYS:
        return Check("TLS", False, told, "have the server's certificate renewed", optional=True)
    return Check("TLS", True, told)


def distrusted(
    source: str,
    where: Place,
    settings: RemoteSettings,
    error: ssl.SSLCertVerificationError,
    shown: Certificate | None,
) -> Check:
    """Why the certificate is refused, with the remedy for just that."""
    code, host = error.verify_code, where.host
    whose = f"the certificate, {shown.words if shown else 'which cannot be read'},"
    named = setting(source, "ca_file", "/path/to/authority.pem")
    if code == EXPIRED and shown:
        detail = f"{whose} expired on {shown.expires:%Y-%m-%d}, {-shown.days_left} days ago"
        fix = f"have the certificate of {host} renewed on the server"
    elif code in (EXPIRED, NOT_YET):
        detail = f"{whose} does not hold now: {clean(error.verify_message)}"
        fix = f"is the clock of this machine right, and that of {host}?"
    elif code in (WRONG_HOST, WRONG_ADDRESS):
        detail, fix = f"{whose} is not for {host}", f"correct the host in url{elsewhere(source, where, shown)}"
    elif code == SELF_SIGNED:
        detail = f"{whose} is signed by itself"
        fix = f"save the server's own certificate as a PEM file and name it\n{named}"
    else:
        lacking = f"{settings.ca_file} does not hold" if settings.ca_file else "this machine does not know"
        detail = f"{whose} is not trusted: {lacking} the authority that signed it"
        fix = f"name the PEM file of that authority\n{named}"
    return Check("TLS", False, detail, fix)


def elsewhere(source: str, where: Place, shown: Certificate | None) -> str:
    """The url with a host that the certificate is for."""
    hosts = [host for host in shown.hosts if "*" not in host] if shown else []
    if not hosts:
        return ""
    port = "" if where.port == PORTS["https"] else f":{where.port}"
    return f"; it is for {', '.join(hosts[:3])}\n{setting(source, 'url', f'https://{hosts[0]}{port}{where.path}')}"


async def seen(where: Place, deadline: Deadline) -> Certificate | None:
    """The certificate that was refused, looked at without sending anything."""
    careless = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    careless.check_hostname, careless.verify_mode = False, ssl.CERT_NONE
    try:
        with patience(deadline):
            async with handshake(where, careless) as (shown, _):
                return shown
    except Broken:
        return None


@asynccontextmanager
async def handshake(where: Place, context: ssl.SSLContext) -> AsyncIterator[tuple[Certificate | None, str]]:
    """The server's certificate, None where it cannot be read, and the protocol."""
    async with await connect_tcp(
        where.host, where.port, ssl_context=context, tls_hostname=where.host, tls_standard_compatible=False
    ) as stream:
        der = stream.extra(TLSAttribute.peer_certificate_binary)
        try:
            shown = certificate(der) if der else None
        except ValueError:
            shown = None
        yield shown, stream.extra(TLSAttribute.tls_version)


def patience(deadline: Deadline) -> AbstractContextManager[CancelScope]:
    return fail_after(min(PATIENCE_S, deadline.left_s))


def said(error: BaseException) -> str:
    """The system's own words, which may be a level or two below."""
    if isinstance(error, TimeoutError):
        return f"no answer within {PATIENCE_S:g} s"
    cause = error.__cause__ or error
    while isinstance(cause, BaseExceptionGroup):
        cause = cause.exceptions[0]
    if isinstance(cause, OSError) and not isinstance(cause, ssl.SSLError | gaierror) and cause.errno:
        return strerror(cause.errno)  # asyncio puts words of its own in place of the system's
    words = getattr(cause, "reason", None) or getattr(cause, "strerror", None) or str(cause)
    return clean(str(words)) or type(cause).__name__
