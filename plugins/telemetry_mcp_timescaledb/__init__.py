"""TimescaleDB and plain PostgreSQL: metrics in tables. See README.md beside this file."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial

from telemetry_mcp import (
    Check,
    Context,
    ForbiddenError,
    NativeQuery,
    Reply,
    Series,
    SeriesQuery,
    Service,
    ServiceQuery,
    Source,
    SourceError,
    gather,
    hookimpl,
)
from telemetry_mcp_timescaledb.check import Need, checks
from telemetry_mcp_timescaledb.error import UnknownNameError
from telemetry_mcp_timescaledb.inventory import advice, found, lacking
from telemetry_mcp_timescaledb.mapping import Columns, inventory, select, shape_of_mapped
from telemetry_mcp_timescaledb.native import shape_of_metric, shape_of_native
from telemetry_mcp_timescaledb.placeholder import render
from telemetry_mcp_timescaledb.query import Ask, Binds, Shape, Statement, packed
from telemetry_mcp_timescaledb.session import Reader, Rows, Session
from telemetry_mcp_timescaledb.setting import DatabaseSettings, Inventory, SqlMetric
from telemetry_mcp_timescaledb.wire import Decoder

OFF_LOOP_BYTES = 512 * 1024


class TimescaleDB(Source):
    Settings = DatabaseSettings
    native_language = "SQL"
    settings: DatabaseSettings

    def __init__(self, settings: DatabaseSettings, context: Context, session: Session | None = None) -> None:
        super().__init__(settings, context)
        self.session = session or Session(settings)

    def metrics(self) -> Collection[str]:
        return tuple(self.settings.metrics)

    async def fetch_series(self, query: SeriesQuery) -> Reply[Series]:
        """One SELECT a metric, for all services at once. The time of a point is the start of its interval."""
        known = [name for name in query.metrics if name in self.settings.metrics]
        ask = Ask.of(query)
        return await gather({name: partial(self.fetch_metric, ask, name) for name in known})

    async def fetch_metric(self, ask: Ask, name: str) -> Reply[Series]:
        metric, binds = self.settings.metrics[name], Binds()
        try:
            async with self.session.reading() as reader:
                sql, shape = await self.prepared(reader, metric, name, ask, binds)
                statement = self.packed(sql, shape, ask, binds, self.settings.max_series)
                rows = await reader.fetch(statement)
        except (ForbiddenError, UnknownNameError) as error:
            tables = {metric.table: Columns.of(metric, self.settings).used} if metric.table else {}
            await self.explain(error, tables)
            raise
        return await self.decoded(rows, Decoder(shape, ask, statement.sql), self.settings.max_series)

    async def prepared(
        self, reader: Reader, metric: SqlMetric, name: str, ask: Ask, binds: Binds
    ) -> tuple[str, Shape]:
        """The SELECT of a metric, and what its columns are."""
        if metric.table is not None:
            columns = Columns.of(metric, self.settings)
            sql = select(columns, metric.aggregate, ask, reader.server, binds)
            return sql, shape_of_mapped(columns, name, metric.unit)
        sql = render(metric.query, ask, reader.server, binds)
        seen = await reader.columns(sql)
        return sql, shape_of_metric(seen, name, metric.unit, self.settings.service_column)

    async def run_native(self, query: NativeQuery) -> Reply[Series]:
        """One SELECT, with the placeholders of a `query`. Every number column becomes a metric of its name; rows
        outside the window are left out."""
        ask, binds = Ask(query.window, query.step_ms), Binds()
        try:
            async with self.session.reading() as reader:
                sql = render(query.text, ask, reader.server, binds)
                shape = shape_of_native(await reader.columns(sql), self.settings.service_column)
                statement = self.packed(sql, shape, ask, binds, query.limit)
                rows = await reader.fetch(statement)
        except (ForbiddenError, UnknownNameError) as error:
            await self.explain(error, {})
            raise
        return await self.decoded(rows, Decoder(shape, ask, statement.sql), query.limit)

    def packed(self, sql: str, shape: Shape, ask: Ask, binds: Binds, series: int) -> Statement:
        return packed(sql, shape, ask, binds, self.settings.max_points, series)

    async def decoded(self, rows: Rows, decoder: Decoder, series: int) -> Reply[Series]:
        """The rows as series, in a thread when they are large."""
        points = self.settings.max_points
        if sum(len(row[-1]) for row in rows) < OFF_LOOP_BYTES:
            return decoder.reply(rows, points, series)
        return await self.context.threads.run(lambda: decoder.reply(rows, points, series))

    async def explain(self, error: SourceError, tables: Mapping[str, Sequence[str]]) -> None:
        """Say in the error's hint what is there, or which GRANT is missing; as it was where that fails too."""
        with suppress(SourceError):
            async with self.session.reading() as reader:
                if isinstance(error, UnknownNameError):
                    there = await advice(reader, list(tables))
                    error.hint = "; ".join(filter(None, [error.words, there]))
                for table, columns in tables.items() if isinstance(error, ForbiddenError) else ():
                    seen = await found(reader, table)
                    grants = list(lacking(seen, columns, self.settings.username)) if seen else []
                    error.hint = " ".join(grants) or error.hint

    async def list_services(self, query: ServiceQuery) -> Reply[Service]:
        """The names in the inventory table, or in the tables of the metrics during the window."""
        settings = self.settings
        if settings.inventory:
            return await self.listed(settings.inventory, query)
        used = [Columns.of(metric, settings) for metric in settings.metrics.values() if metric.table]
        tables = dict.fromkeys(Inventory(table=one.table, time=one.time, service=one.service) for one in used)
        calls = {f"{one.table}.{one.service}": partial(self.listed, one, query) for one in tables}
        reply = await gather(calls)
        items = {service.name: service for service in reply.items}
        return Reply([items[name] for name in sorted(items)], reply.queries, reply.warnings, reply.partial)

    async def listed(self, table: Inventory, query: ServiceQuery) -> Reply[Service]:
        most, columns = self.settings.max_series, (table.time, table.service, table.team, table.environment)
        statement = inventory(table, self.settings, query.window, Binds(), most)
        try:
            async with self.session.reading() as reader:
                rows = await reader.fetch(statement)
        except (ForbiddenError, UnknownNameError) as error:
            await self.explain(error, {table.table: [column for column in columns if column]})
            raise
        items: dict[str, Service] = {}
        for name, team, environment in rows[:most]:
            items.setdefault(name, Service(name, team=team, environment=environment))
        partial = f"the first {most} services taken, there are more" if len(rows) > most else None
        return Reply(list(items.values()), [statement.sql], partial=partial)

    async def check(self) -> Reply[Check]:
        """Reachable and encrypted, clock, extension, each table's permissions, and whether the role may write."""
        needs: dict[str, Need] = {}
        for name, metric in self.settings.metrics.items():
            if metric.table:
                columns = Columns.of(metric, self.settings).used
                needs[metric.table] = needs.get(metric.table, Need()).and_(columns, f"series of {name}")
        if table := self.settings.inventory:
            service = table.service or self.settings.service_column
            names = [each for each in (table.time, service, table.team, table.environment) if each]
            needs[table.table] = needs.get(table.table, Need()).and_(names, "services")
        return Reply(await checks(self.session, needs))

    async def close(self) -> None:
        await self.session.close()


@hookimpl
def telemetry_sources() -> Sequence[type[Source]]:
    return [TimescaleDB]
