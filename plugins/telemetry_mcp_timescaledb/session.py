"""The way to the database: few connections, and every statement in a read-only transaction with time limits."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anyio import move_on_after

from telemetry_mcp_timescaledb.query import Server, Statement
from telemetry_mcp_timescaledb.setting import DatabaseSettings

if TYPE_CHECKING:
    from telemetry_mcp_timescaledb.driver import Link, Pool

Rows = Sequence[Sequence[Any]]

CLOSE_S = 1.0
SERVER = """SELECT current_setting('server_version_num')::int, extension.nspname, extension.extversion
FROM (SELECT 1) AS one LEFT JOIN (
  SELECT nspname, extversion FROM pg_catalog.pg_extension
  JOIN pg_catalog.pg_namespace ON pg_namespace.oid = extnamespace WHERE extname = 'timescaledb'
) AS extension ON true"""


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    type: str


@dataclass(frozen=True, slots=True)
class Reader:
    """One connection inside one read-only transaction. Its methods raise SourceError."""

    link: Link
    server: Server
    role: str

    async def fetch(self, statement: Statement) -> Rows:
        """The rows of one statement. It goes by the extended protocol, which takes one statement only."""
        from telemetry_mcp_timescaledb.driver import speaking

        with speaking(self.role):
            return [tuple(row) for row in await self.link.fetch(statement.sql, *statement.values)]

    async def columns(self, select: str) -> list[Column]:
        """The columns that a SELECT would give. It is parsed, not run."""
        from telemetry_mcp_timescaledb.driver import speaking

        with speaking(self.role):
            prepared = await self.link.prepare(f"SELECT * FROM (\n{select}\n) AS asked", name="")
            return [Column(each.name, each.type.name) for each in prepared.get_attributes()]


class Session:
    """The connections of one source. Opened when first asked, in the event loop that asks."""

    def __init__(self, settings: DatabaseSettings) -> None:
        self.settings = settings
        self.pool: Pool | None = None
        self.server = Server(0)
        limit_ms = round(1000 * min(settings.statement_timeout, settings.timeout or settings.statement_timeout))
        self.begin = (
            "BEGIN READ ONLY; SET LOCAL TimeZone = 'UTC';"  # what has no zone is UTC
            f" SET LOCAL statement_timeout = {limit_ms}; SET LOCAL lock_timeout = {max(1, limit_ms // 2)};"
            f" SET LOCAL idle_in_transaction_session_timeout = {2 * limit_ms}"
        )

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Reader]:
        """A transaction to read in, which is always rolled back: what a function may have set does not stay.

        When the caller is cancelled, the statement is cancelled on the server too, and the connection is put in
        order in the background.
        """
        from telemetry_mcp_timescaledb.driver import ERRORS, speaking

        role = self.settings.username
        with speaking(role):
            pool = await self.opened()
            link = await pool.acquire()
        try:
            with speaking(role):
                await link.execute(self.begin)
            yield Reader(link, self.server, role)
        finally:
            with suppress(*ERRORS):  # a connection that is lost only now has given its answer
                await pool.release(link)

    async def opened(self) -> Pool:
        if self.pool is None:
            from telemetry_mcp_timescaledb import driver

            self.pool = driver.open_pool(self.settings, self.greet)
            await self.pool  # connects to nothing yet, so that nobody can come in between
        return self.pool

    async def greet(self, link: Link) -> None:
        """Learn from every new connection what the server can do: it may have been upgraded."""
        version, extension, extension_version = (await link.fetch(SERVER))[0]
        self.server = Server(version, extension, extension_version or "")

    async def close(self) -> None:
        pool, self.pool = self.pool, None
        if pool is None:
            return
        with move_on_after(CLOSE_S) as waiting:
            await pool.close()
        if waiting.cancelled_caught:
            pool.terminate()
