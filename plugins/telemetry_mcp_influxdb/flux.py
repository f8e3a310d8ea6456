"""Flux, the language of InfluxDB 2.x: POST /api/v2/query. Values go in as string literals."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime

from telemetry_mcp import BadQueryError, ProtocolError, Window
from telemetry_mcp_influxdb.annotated import frames_of
from telemetry_mcp_influxdb.language import Language
from telemetry_mcp_influxdb.statement import (
    SERVICE,
    Comparison,
    Scope,
    Statement,
    duration,
    filled,
)
from telemetry_mcp_influxdb.table import Answer
from telemetry_mcp_influxdb.wire import Request

IMPORTS = re.compile(r'(?:\s*import\s+(?:\w+\s+)?"[^"]*")*')
PURE = {"array", "date", "dict", "join", "math", "regexp", "strings", "timezone", "types"}
"""Packages that only compute."""
ALLOWED = PURE | {"influxdata/influxdb/schema"}

# Searched for in the whole text, quoted or not: what reads quotes otherwise than the server does could be misled.
# `to` writes; with `host`, from() asks another server.
FORBIDDEN = re.compile(r'//|;|\b(?:to|wideTo|import|option|builtin|testcase)\b|(?<![.\w"])host\b(?!")|"host"\s*:')
START = re.compile(r"\bv\.timeRangeStart\b")
LITERAL = re.compile(r'"(?:[^"\\]|\\.)*"')
PLACE = re.compile(r"\bv\.(timeRangeStart|timeRangeStop|windowPeriod|defaultBucket)\b")
COMPARISON = Comparison(
    re.compile(
        r'(?P<operand>\w+(?:\.\w+|\["(?:[^"\\]|\\.)*"\]|\[\$service_tag\]|\[\$\{service_tag\}\]))\s*'
        rf'(?:==\s*(?:{SERVICE}|"{SERVICE}")|=~\s*/\^?\(?{SERVICE}\)?\$?/)'
    ),
    equal="==",
    either=" or ",
    named="exists {}",
)


class Flux(Language):
    """See `Language` for what each method is."""

    name = "Flux"
    listed = "_value"
    place = "bucket"
    permission = "read:buckets"

    @staticmethod
    def check(text: str) -> None:
        imports = IMPORTS.match(text)
        head, rest = (imports[0], text[imports.end() :]) if imports else ("", text)
        if unknown := set(re.findall(r'"([^"]*)"', head)) - ALLOWED:
            raise BadQueryError(f"a query imports nothing but {', '.join(sorted(ALLOWED))}: not {unknown.pop()}")
        if found := FORBIDDEN.search(rest):
            raise BadQueryError(f"a query has no {found[0]}: it reads this server only, and has no comments")
        if not re.search(r"\bfrom\s*\(\s*bucket\s*:", rest):
            raise BadQueryError("a query reads: it needs from(bucket: v.defaultBucket)")
        if not START.search(rest):
            raise BadQueryError("the query needs range(start: v.timeRangeStart, stop: v.timeRangeStop)")
        COMPARISON.check(rest)
        if any(
            re.search(SERVICE, text) and not re.fullmatch(f'"{SERVICE}"', text) for text in LITERAL.findall(rest)
        ):
            raise BadQueryError("$service can only be compared: inside of a longer text a name could be code")

    def statement(self, text: str, scope: Scope) -> Statement:
        self.check(text)
        interval = duration(scope.step_ms)
        places = {
            "timeRangeStart": instant(scope.window.start_ms),
            "timeRangeStop": instant(scope.window.end_ms),
            "windowPeriod": interval,
            "defaultBucket": literal(self.settings.bucket),
        }
        told = filled(
            PLACE.sub(lambda found: places[found[1]], text),
            __interval=interval,
            __range=duration(scope.window.duration_ms),
            service_tag=literal(self.settings.service_tag),
        )
        starts = re.search(r'timeSrc\s*:\s*"_start"', text)
        # The names last: nothing that one of them says is taken for a placeholder.
        names = [literal(name) for name in scope.services]
        return Statement(COMPARISON.apply(told, names), width_ms=scope.step_ms if starts else 0)

    def request(self, statement: Statement) -> Request:
        dialect = {"header": True, "delimiter": ",", "annotations": ["datatype", "group", "default"]}
        json = {"type": "flux", "query": statement.text, "dialect": dialect}
        return Request("/api/v2/query", params={"org": self.settings.org}, json=json)

    def inventory(self, window: Window, measurements: Sequence[str]) -> Statement:
        bucket, tag = literal(self.settings.bucket), literal(self.settings.service_tag)
        only = " or ".join(f"r._measurement == {literal(name)}" for name in measurements) or "true"
        return Statement(
            'import "influxdata/influxdb/schema"\n'
            f"schema.tagValues(bucket: {bucket}, tag: {tag}, predicate: (r) => {only},"
            f" start: {instant(window.start_ms)}, stop: {instant(window.end_ms)})"
        )

    def probe(self, now_ms: int) -> Statement:
        """The first sample of every series in the last second: as little as reads the bucket at all."""
        start, stop = instant(now_ms - 1000), instant(now_ms)
        bucket = literal(self.settings.bucket)
        return Statement(f"from(bucket: {bucket}) |> range(start: {start}, stop: {stop}) |> first()")

    def decode(self, body: bytes) -> Answer:
        try:
            text = body.decode()
        except UnicodeDecodeError:
            raise ProtocolError("the body is not UTF-8") from None
        frames, unreadable = frames_of(text)
        return Answer(frames, unreadable=unreadable)


def literal(text: str) -> str:
    """A string literal. `${` would begin an expression in it: its characters are written as bytes."""

    def escape(found: re.Match[str]) -> str:
        return f"\\{found[0]}" if found[0] in '"\\' else f"\\x{ord(found[0]):02x}"

    return '"' + re.sub(r'["\\${}\x00-\x1f\x7f]', escape, text) + '"'


def instant(at_ms: int) -> str:
    """A time literal, which is also what SQL puts between quotes."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
