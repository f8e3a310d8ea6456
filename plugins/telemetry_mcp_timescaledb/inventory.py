"""What is there: tables and columns with what the role may do with them, from the system catalog."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from telemetry_mcp import clean
from telemetry_mcp_timescaledb.mapping import named
from telemetry_mcp_timescaledb.query import Statement, quoted
from telemetry_mcp_timescaledb.session import Reader
from telemetry_mcp_timescaledb.setting import relation

SHOWN = 10

RELATION = """SELECT n.nspname::text, has_schema_privilege(n.oid, 'USAGE'),
  has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE'),
  array(SELECT attname::text FROM pg_catalog.pg_attribute
        WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped ORDER BY attnum),
  array(SELECT attname::text FROM pg_catalog.pg_attribute
        WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped
          AND has_column_privilege(c.oid, attnum, 'SELECT'))
FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relname = $2::text
  AND CASE WHEN $1::text IS NULL THEN pg_table_is_visible(c.oid) ELSE n.nspname = $1::text END"""

TABLES = """SELECT n.nspname::text || '.' || c.relname::text
FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition
  AND n.nspname !~ '^(pg_|information_schema$|_?timescaledb)' AND has_schema_privilege(n.oid, 'USAGE')
ORDER BY 1 LIMIT 1000"""


@dataclass(frozen=True, slots=True)
class Relation:
    """A table as this role sees it."""

    table: str
    schema: str
    usable: bool
    writable: bool
    columns: tuple[str, ...]
    readable: tuple[str, ...]


async def found(reader: Reader, table: str) -> Relation | None:
    """The table of a setting; None where there is none of that name."""
    *schema, name = relation(table)
    rows = await reader.fetch(Statement(RELATION, [schema[0] if schema else None, name]))
    if not rows:
        return None
    in_schema, usable, writable, columns, readable = rows[0]
    return Relation(table, in_schema, usable, writable, tuple(columns), tuple(readable))


def lacking(seen: Relation, columns: Iterable[str], role: str) -> Iterator[str]:
    """The exact statements that let the role read these columns."""
    if not seen.usable:
        yield f"GRANT USAGE ON SCHEMA {quoted(seen.schema)} TO {quoted(role)};"
    if not set(columns) <= set(seen.readable):
        yield f"GRANT SELECT ON {named(seen.table)} TO {quoted(role)};"


async def advice(reader: Reader, tables: Sequence[str]) -> str:
    """What is there, for somebody who named a table or a column that is not."""
    said = []
    for table in dict.fromkeys(tables):
        seen = await found(reader, table)
        if seen:
            said.append(f"columns of {named(table)}: {shown(seen.columns)}")
        else:
            there = [row[0] for row in await reader.fetch(Statement(TABLES))]
            said.append(f"no table {named(table)}; {near(table, there)}")
    if not said:
        said.append(f"tables: {shown([row[0] for row in await reader.fetch(Statement(TABLES))])}")
    return "; ".join(said)


def near(name: str, there: Sequence[str]) -> str:
    by_last = {one.rpartition(".")[2]: one for one in there} | {one: one for one in there}
    close = get_close_matches(name, by_last, n=1, cutoff=0.5)
    meant = f"did you mean {clean(by_last[close[0]])}? " if close else ""
    return f"{meant}There are: {shown(there)}"


def shown(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return (", ".join(clean(name, 80) for name in names[:SHOWN]) or "none that this role can see") + more
