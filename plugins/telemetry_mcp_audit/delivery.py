"""Bytes over TCP or TLS to a receiver that never answers, with a proof that it has read them all.

Syslog over TCP has no acknowledgement. The end of a connection is one: we say that nothing follows (TLS:
close_notify; TCP: FIN) and wait until the receiver has said so too. A receiver that is being stopped may do that
by itself, with some of what we sent still on the way: its system answers those bytes with a reset, which comes
after its FIN and is seen only in the socket's own state.
"""

from __future__ import annotations

import socket
import ssl

import anyio
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.tls import TLSStream

from telemetry_mcp import SourceTimeoutError, UpstreamError, clean

TCP_CLOSE = 7
"""Linux's state of a socket once both sides have confirmed the other's end; macOS keeps it to itself."""
GLANCE_S = 0.002


async def deliver(
    host: str, port: int, data: bytes, *, tls: ssl.SSLContext | None, server_name: str, timeout_s: float
) -> None:
    """Returns when the receiver has read all of `data`.

    UpstreamError or SourceTimeoutError when that is not sure; it may have read some, or all of it.
    """
    try:
        with anyio.fail_after(timeout_s):
            async with await anyio.connect_tcp(host, port) as stream:
                await send(stream, data, tls, server_name)
    except TimeoutError:
        raise SourceTimeoutError(
            f"{host}:{port} did not confirm {len(data)} bytes within {timeout_s:g} s; they are sent again"
        ) from None
    except ssl.SSLCertVerificationError as error:
        raise UpstreamError(
            f"the certificate of {host}:{port} is not trusted: {clean(error.verify_message)}; "
            "set ca_file to the authority that signed it, or server_name to the name that it carries"
        ) from None
    except (OSError, anyio.BrokenResourceError, anyio.EndOfStream) as error:
        told = error.__cause__ or error
        raise UpstreamError(
            f"{host}:{port} is not there or did not read everything: {clean(str(told)) or type(told).__name__}; "
            "what it may not have read is sent again"
        ) from None


async def send(stream: SocketStream, data: bytes, tls: ssl.SSLContext | None, server_name: str) -> None:
    if tls is None:
        await stream.send(data)
    else:
        secure = await TLSStream.wrap(stream, hostname=server_name, ssl_context=tls)
        await secure.send(data)
        # A FIN in the place of the receiver's close_notify could be anybody's: it is an error here.
        await secure.unwrap()
    await stream.send_eof()
    try:
        while True:
            await stream.receive()
    except anyio.EndOfStream:
        pass
    await confirmed(stream.extra(SocketAttribute.raw_socket))


async def confirmed(raw: socket.socket) -> None:
    """Returns when every byte that was sent, up to the FIN, is acknowledged; OSError when one was refused."""
    while True:
        # The state before the error: what is reset in between is closed, too.
        known = hasattr(socket, "TCP_INFO")
        ended = not known or raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == TCP_CLOSE
        if number := raw.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(number, "it was closed before everything was read")
        if ended:
            return
        await anyio.sleep(GLANCE_S)
