"""`telemetry-mcp serve`: the MCP endpoint on stdio or HTTP, until it is told to end."""

from __future__ import annotations

import errno
import logging
import socket

import anyio

from telemetry_mcp import log
from telemetry_mcp.access.setting import AccessSettings, is_loopback
from telemetry_mcp.config import Config
from telemetry_mcp.errors import ConfigError
from telemetry_mcp.terminal.ending import aside, end_within
from telemetry_mcp.terminal.target import CommandError, server_over
from telemetry_mcp.terminal.tracing import traced

LOG = logging.getLogger(__name__)

LAST_S = 3.0
"""What is left for closing down once everything under way is cancelled: connections may take their leave."""


def stdio(config: Config) -> None:
    """Serve on stdin and stdout until stdin ends or a signal comes."""
    from telemetry_mcp.server import stdio

    async def run() -> None:
        await stdio.run(server, lambda: end_within(LAST_S))

    with traced():
        # What a plugin prints while it is imported must not get among the protocol's lines; later it cannot.
        with aside():
            server = server_over(config, stdout_taken=True)
        anyio.run(run)


def http(config: Config, host: str | None, port: int | None, *, insecure: bool = False) -> None:
    """Serve on HTTP until a signal comes. What is None is taken from [server] in plugins.toml.

    Raises CommandError when the address cannot be had, or would let strangers in.
    """
    with listening(config, host, port, insecure=insecure) as sock:
        serve_on(config, sock)


def listening(config: Config, host: str | None, port: int | None, *, insecure: bool = False) -> socket.socket:
    from telemetry_mcp.server.web import bound

    host = config.server.host if host is None else host
    port = config.server.port if port is None else port
    if config.problems:
        # What [access] was meant to say is not known then.
        raise ConfigError(config.problems)
    if not insecure and not is_loopback(host) and not config.access.authenticates:
        raise CommandError(
            f"{host} can be reached from other machines, and nobody is asked who they are: write [access.oauth] "
            "or [access] keys in plugins.toml (docs/security.md), serve on 127.0.0.1, or add --insecure"
        )
    if not is_loopback(host) and config.access.authenticates and not is_private(config.access):
        LOG.warning(
            "tokens and keys reach %s in clear: let a proxy with TLS stand before it, and write its address as "
            "[access] resource",
            host,
        )
    try:
        return bound(host, port)
    except OSError as error:
        why = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be had: {error.strerror or error}"
        raise CommandError(f"port {port} of {host} {why}; name another with --port", code=1) from None


def serve_on(config: Config, sock: socket.socket) -> None:
    from telemetry_mcp.server.metric import Metrics
    from telemetry_mcp.server.web import FAREWELL_S, GRACE_S, PATH, run

    def announce() -> None:
        host, port = sock.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        log.announce(f"listening on http://{shown}:{port}{PATH}")

    async def serve() -> None:
        metrics = Metrics()
        server = server_over(config, metrics)
        last_s = GRACE_S + FAREWELL_S + LAST_S
        await run(server, metrics, config.server, sock, announce, lambda: end_within(last_s), access=config.access)

    with traced():
        anyio.run(serve)


def is_private(access: AccessSettings) -> bool:
    """Whether clients come by TLS, as far as the configuration tells."""
    return (access.resource or "").startswith("https://")
