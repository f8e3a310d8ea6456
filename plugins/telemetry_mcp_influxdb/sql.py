"""SQL, the language of InfluxDB 3.x: POST /api/v3/query_sql, a row of JSON a line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from telemetry_mcp import BadQueryError, ProtocolError, Window, parse_json
from telemetry_mcp_influxdb.flux import instant
from telemetry_mcp_influxdb.language import Language
from telemetry_mcp_influxdb.statement import SERVICE, Comparison, Scope, Statement, bound, filled
from telemetry_mcp_influxdb.table import TIME, Answer, Frame
from telemetry_mcp_influxdb.wire import Request, refusal

# Searched for in the whole text, quoted or not: what reads quotes otherwise than the server does could be misled.
FORBIDDEN = re.compile(
    r";|--|/\*|\b(?:INTO|INSERT|UPDATE|DELETE|DROP|CREATE|ALTER|COPY|TRUNCATE|PREPARE|EXECUTE)\b", re.IGNORECASE
)
WITHIN = re.compile(r"\$__timeFilter(?:\(\s*([^()]+?)\s*\))?")
BINNED = re.compile(r"\$__dateBin(?:\(\s*([^()]+?)\s*\))?")
COMPARISON = Comparison(
    re.compile(
        r'(?P<operand>(?:\w+\.)?(?:"(?:[^"]|"")*"|\w+|\$service_tag|\$\{service_tag\}))\s*'
        rf"(?:=\s*(?:{SERVICE}|'{SERVICE}')|\bIN\s*\(\s*(?:{SERVICE}|'{SERVICE}')\s*\))",
        re.IGNORECASE,
    ),
    equal="=",
    either=" OR ",
    named="{} IS NOT NULL",
)
MOST_TABLES = 50


class SQL(Language):
    """See `Language` for what each method is."""

    name = "SQL"
    listed = "value"
    place = "database"
    permission = "read"

    @staticmethod
    def check(text: str) -> None:
        if not re.match(r"\s*(?:SELECT|WITH)\b", text, re.IGNORECASE):
            raise BadQueryError("only SQL that begins with SELECT or WITH is sent: one statement that reads")
        if found := FORBIDDEN.search(text):
            raise BadQueryError(f"a query has no {found[0]}: one statement, without comments, that writes nothing")
        if not WITHIN.search(text):
            raise BadQueryError("the query needs $__timeFilter in its WHERE: without it all of history is read")
        COMPARISON.check(text)

    def statement(self, text: str, scope: Scope) -> Statement:
        self.check(text)
        time, interval = identifier(self.settings.time_column), f"INTERVAL '{scope.step_ms} milliseconds'"
        told = WITHIN.sub(lambda found: time_filter(found[1] or time, scope.window), text)
        told = BINNED.sub(lambda found: f"date_bin({interval}, {found[1] or time})", told)
        told = filled(
            told,
            __interval=interval,
            __range=f"INTERVAL '{scope.window.duration_ms} milliseconds'",
            service_tag=identifier(self.settings.service_tag),
        )
        binds = bound(scope.services)
        width = scope.step_ms if re.search(r"\$__dateBin|\$\{?__interval", text) else 0
        return Statement(COMPARISON.apply(told, [f"${name}" for name in binds]), binds, width)

    def request(self, statement: Statement) -> Request:
        json: dict[str, Any] = {"db": self.settings.database, "q": statement.text, "format": "jsonl"}
        return Request(
            "/api/v3/query_sql", json={**json, **({"params": statement.binds} if statement.binds else {})}
        )

    def measurements(self) -> Statement:
        tag = text_literal(self.settings.service_tag)
        return Statement(
            "SELECT DISTINCT table_name AS value FROM information_schema.columns"
            f" WHERE table_schema = 'iox' AND column_name = {tag} LIMIT {MOST_TABLES}"
        )

    def inventory(self, window: Window, measurements: Sequence[str]) -> Statement:
        tag, within = (
            identifier(self.settings.service_tag),
            time_filter(identifier(self.settings.time_column), window),
        )
        each = (f"SELECT {tag} AS value FROM {identifier(name)} WHERE {within}" for name in measurements)
        return Statement(" UNION ".join(each))

    def probe(self, now_ms: int) -> Statement:
        return Statement("SELECT 1 AS one")

    def decode(self, body: bytes) -> Answer:
        columns: dict[str, list[Any]] = {}
        for number, row in enumerate(rows_of(body)):
            for name in row.keys() - columns.keys():
                columns[name] = [None] * number
            for name, column in columns.items():
                column.append(row.get(name))  # the server leaves nulls out
        if not columns:
            return Answer([])
        time = self.settings.time_column
        return Answer(
            [Frame("", {}, {TIME if name == time else name: column for name, column in columns.items()})]
        )


def rows_of(body: bytes) -> Iterator[dict[str, Any]]:
    """The rows of JSON lines, or of the one array that a server sends which does not know those."""
    lines = (parse_json(line) for line in body.splitlines() if line.strip())
    for row in parse_json(body) if body.lstrip().startswith(b"[") else lines:
        if not isinstance(row, dict):
            raise ProtocolError("the body is JSON, but not the rows of a query")
        if isinstance(row.get("error"), str) and set(row) <= {"error", "data", "code", "message"}:
            raise refusal(row["error"])
        yield row


def identifier(name: str) -> str:
    escaped = name.replace('"', '""')
    return f'"{escaped}"'


def text_literal(text: str) -> str:
    escaped = text.replace("'", "''")
    return f"'{escaped}'"


def time_filter(time: str, window: Window) -> str:
    return f"{time} >= '{instant(window.start_ms)}' AND {time} < '{instant(window.end_ms)}'"
