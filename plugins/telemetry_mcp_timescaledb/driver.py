"""asyncpg, as it is used here. Imported only when a source is asked, for it costs start-up time.

asyncpg and not psycopg: a cancelled task makes it cancel the statement on the server by itself, in the background,
and it speaks the extended protocol only where there is anything of the user's in a statement.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import asyncpg
from asyncpg.connect_utils import SessionAttribute

from telemetry_mcp import BadQueryError, ProtocolError, SourceError, UpstreamError, clean
from telemetry_mcp_timescaledb.error import broken, failure
from telemetry_mcp_timescaledb.setting import DatabaseSettings

if TYPE_CHECKING:
    Pool = asyncpg.Pool[asyncpg.Record]
    Link = asyncpg.pool.PoolConnectionProxy[asyncpg.Record] | asyncpg.Connection[asyncpg.Record]
    Greet = asyncpg.pool._InitCallback[asyncpg.Record]
    Base = asyncpg.Connection[asyncpg.Record]
else:
    Base = asyncpg.Connection

ERRORS = (
    *(asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError),
    *(AttributeError, LookupError, TypeError, ValueError),
)
"""All that asyncpg raises; the last line, where the other side breaks the protocol."""

CONNECT_S = 10.0
LATE_S = 5.0
"""How much later than the server the client gives up on a statement: only where the server is silent."""


class Connection(Base):
    """Ends the transaction and puts the session in order again in one message, whatever state it was left in."""

    async def reset(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 (asyncpg's own signature)
        await self.execute(f"ROLLBACK; {self.get_reset_query()}", timeout=timeout)


def open_pool(settings: DatabaseSettings, init: Greet) -> Pool:
    """A pool that connects when it is needed. All is said here, so that no PG* variable and no file is asked."""
    password = settings.password.get_secret_value() if settings.password else ""
    pool: Pool = asyncpg.create_pool(
        host=settings.host,
        port=settings.port,
        user=settings.username,
        password=password,
        database=settings.database,
        ssl=tls(settings),
        direct_tls=False,
        target_session_attrs=SessionAttribute.any,
        timeout=CONNECT_S,
        command_timeout=settings.statement_timeout + LATE_S,
        min_size=0,
        max_size=settings.pool_size,
        max_inactive_connection_lifetime=60,
        statement_cache_size=0,  # a pooler such as PgBouncer hands every transaction another session
        server_settings={"application_name": "telemetry-mcp"},
        connection_class=Connection,
        init=init,
    )
    return pool


def tls(settings: DatabaseSettings) -> ssl.SSLContext | bool:
    if settings.sslmode == "disable" or settings.host.startswith("/"):
        return False
    context = ssl.create_default_context(cafile=str(settings.ca_file) if settings.ca_file else None)
    if settings.cert_file:
        context.load_cert_chain(settings.cert_file, settings.key_file)
    context.check_hostname = settings.sslmode == "verify-full"
    if settings.sslmode == "require":
        context.verify_mode = ssl.CERT_NONE
    return context


def translated(error: Exception, role: str) -> SourceError:
    """Our error for one of ERRORS."""
    if isinstance(error, asyncpg.PostgresError):
        fields: Any = error
        if fields.sqlstate and not isinstance(error, asyncpg.ConnectionDoesNotExistError):
            return failure(fields.sqlstate, fields.message or str(error), fields.hint or "", role)
        return UpstreamError(f"the connection was lost: {clean(str(error))}")
    if isinstance(error, OSError):
        return broken(error)
    if isinstance(error, asyncpg.DataError | UnicodeError):
        return BadQueryError("the query or a name in it is not Unicode text")
    if "connection" in str(error) and "closed" in str(error):
        return UpstreamError(f"the connection was lost: {clean(str(error))}")
    return ProtocolError(
        f"not as PostgreSQL speaks: {clean(repr(error))}", hint="check that host and port are those of PostgreSQL"
    )


@contextmanager
def speaking(role: str) -> Iterator[None]:
    """Around every call of asyncpg: what it raises becomes a SourceError."""
    try:
        yield
    except ERRORS as error:
        raise translated(error, role) from error
