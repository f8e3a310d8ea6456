"""What doctor asks: who are we, what can the server do, and may each configured table be read?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from time import time

from telemetry_mcp import Check, SourceError, clean, clock_check, side_by_side
from telemetry_mcp_timescaledb.inventory import advice, found, lacking
from telemetry_mcp_timescaledb.mapping import named
from telemetry_mcp_timescaledb.query import DATE_BIN, Server, Statement
from telemetry_mcp_timescaledb.session import Session
from telemetry_mcp_timescaledb.setting import DatabaseSettings

NEAR = ("localhost", "127.0.0.1", "::1")

ME = """SELECT extract(epoch FROM clock_timestamp())::float8, current_setting('server_version'),
  coalesce((SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user), false),
  (SELECT version FROM pg_catalog.pg_stat_ssl WHERE pid = pg_backend_pid())"""


@dataclass(frozen=True, slots=True)
class Need:
    """What each column of one table that is read is good for."""

    uses: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def and_(self, columns: Iterable[str], enables: str) -> Need:
        more = {column: (*self.uses.get(column, ()), enables) for column in columns}
        return Need({**self.uses, **more})

    def enables(self, columns: Iterable[str] = ()) -> str:
        """What needs one of these columns; none: what needs the table."""
        chosen = [use for column in columns or self.uses for use in self.uses[column]]
        return ", ".join(dict.fromkeys(chosen))


Needs = Mapping[str, Need]


async def checks(session: Session, needs: Needs) -> list[Check]:
    """Without a connection there is one check: why not. A part that fails does not hide the others."""
    try:
        async with session.reading() as reader:
            now_s, version, superuser, tls = (await reader.fetch(Statement(ME)))[0]
            server = reader.server
    except SourceError as error:
        return [Check("connect", ok=False, detail=str(error), fix=error.hint)]
    settings = session.settings
    items = [
        Check("connect", ok=True, detail=f"as {settings.username} to {clean(version)}"),
        tls_check(settings, tls),
        clock_check(now_s, time()),
        *server_checks(server),
    ]
    writable = ["it is a superuser"] if superuser else []
    looks = {
        Check(f"table {clean(table)}", ok=True, enables=need.enables()): partial(
            table_check, session, table, need, writable
        )
        for table, need in needs.items()
    }
    items += await side_by_side(looks) if looks else []
    return [*items, role_check(settings, needs, writable)]


async def table_check(session: Session, table: str, need: Need, writable: list[str]) -> list[Check]:
    """May it be read? Notes in `writable` that it may be written, too."""
    check = Check(f"table {clean(table)}", ok=True, detail="may be read", enables=need.enables())
    async with session.reading() as reader:
        seen = await found(reader, table)
        if seen is None:
            return [replace(check, ok=False, detail="not there", fix=await advice(reader, [table]))]
    if seen.writable:
        writable.append(f"it may write {clean(table)}")
    absent = [column for column in need.uses if column not in seen.columns]
    if absent:
        there = f"name columns that exist; {named(table)} has: {', '.join(map(clean, seen.columns))}"
        lost = need.enables(absent)
        return [replace(check, ok=False, detail=f"no column {', '.join(absent)}", fix=there, enables=lost)]
    grants = " ".join(lacking(seen, need.uses, session.settings.username))
    return [replace(check, ok=False, detail="may not be read", fix=grants) if grants else check]


def tls_check(settings: DatabaseSettings, version: str | None) -> Check:
    if settings.host.startswith("/") or (settings.host in NEAR and not version):
        return Check("tls", ok=True, detail="on this machine")
    if not version:
        fix = 'set sslmode = "verify-full"'
        return Check("tls", ok=False, detail="the connection is not encrypted", fix=fix, optional=True)
    if settings.sslmode == "require":
        detail, fix = f"{version}, to a server nobody checked", 'set sslmode = "verify-full" and ca_file'
        return Check("tls", ok=False, detail=detail, fix=fix, optional=True)
    return Check("tls", ok=True, detail=version)


def server_checks(server: Server) -> Iterator[Check]:
    there = server.extension is not None
    yield Check(
        "timescaledb",
        ok=there,
        detail=f"timescaledb {clean(server.extension_version)}" if there else "not installed: date_bin is used",
        fix="" if there else "CREATE EXTENSION timescaledb;",
        enables="time_bucket, hypertables, continuous aggregates",
        optional=True,
    )
    if not there and server.version < DATE_BIN:
        detail = f"PostgreSQL {server.version // 10_000} has no date_bin"
        yield Check("date_bin", ok=False, detail=detail, fix="upgrade to 14 or newer", enables="series")


def role_check(settings: DatabaseSettings, needs: Needs, writable: list[str]) -> Check:
    """A role that can only read is the last wall behind the read-only transaction."""
    tables = ", ".join(named(table) for table in needs)
    grant = f" GRANT SELECT ON {tables} TO telemetry_reader;" if tables else ""
    return Check(
        "read-only role",
        ok=not writable,
        detail="; ".join(writable) or f"{settings.username} can write none of the tables",
        fix=f"CREATE ROLE telemetry_reader LOGIN PASSWORD '...';{grant}" if writable else "",
        optional=True,
    )
