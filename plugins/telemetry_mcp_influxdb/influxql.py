"""InfluxQL, the language of InfluxDB 1.x: POST /query, and its JSON."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from telemetry_mcp import BadQueryError, ProtocolError, Window, clean
from telemetry_mcp_influxdb.document import documents
from telemetry_mcp_influxdb.language import Language
from telemetry_mcp_influxdb.statement import (
    SERVICE,
    Comparison,
    Scope,
    Statement,
    bound,
    duration,
    filled,
)
from telemetry_mcp_influxdb.table import Answer, Frame
from telemetry_mcp_influxdb.wire import Request, refusal

# Searched for in the whole text, quoted or not: what reads quotes otherwise than the server does could be misled.
FORBIDDEN = re.compile(r";|--|/\*|\bINTO\b", re.IGNORECASE)
TIME = re.compile(r"\$(?:\{(?:__)?timeFilter\}|(?:__)?timeFilter\b)")
COMPARISON = Comparison(
    re.compile(
        r'(?P<operand>(?:"(?:[^"\\]|\\.)*"|\w+|\$service_tag|\$\{service_tag\})(?:::tag)?)\s*'
        rf"(?:=~\s*/\^?\(?{SERVICE}\)?\$?/|=\s*(?:{SERVICE}|'{SERVICE}'))"
    ),
    equal="=",
    either=" OR ",
    named="{} != ''",
)


class InfluxQL(Language):
    """See `Language` for what each method is."""

    name = "InfluxQL"
    listed = "value"
    place = "database"
    permission = "READ"

    @staticmethod
    def check(text: str) -> None:
        if not re.match(r"\s*SELECT\b", text, re.IGNORECASE):
            raise BadQueryError("only InfluxQL that begins with SELECT is sent: one statement that reads")
        if found := FORBIDDEN.search(text):
            raise BadQueryError(f"a query has no {found[0]}: one statement, without comments, that writes nothing")
        if not TIME.search(text):
            raise BadQueryError("the query needs $timeFilter in its WHERE: without it all of history is read")
        COMPARISON.check(text)

    def statement(self, text: str, scope: Scope) -> Statement:
        self.check(text)
        within, interval = time_filter(scope.window), duration(scope.step_ms)
        told = filled(
            text,
            timeFilter=within,
            __timeFilter=within,
            __interval=interval,
            interval=interval,
            __range=duration(scope.window.duration_ms),
            service_tag=identifier(self.settings.service_tag),
        )
        binds = bound(scope.services)
        width = scope.step_ms if re.search(r"\$\{?(?:__)?interval\b", text) else 0
        return Statement(COMPARISON.apply(told, [f"${name}" for name in binds]), binds, width)

    def request(self, statement: Statement) -> Request:
        form = {"db": self.settings.database, "q": statement.text, "epoch": "ms"}
        if self.settings.retention_policy:
            form["rp"] = self.settings.retention_policy
        if statement.binds:
            form["params"] = orjson.dumps(statement.binds).decode()
        return Request("/query", form=form)

    def inventory(self, window: Window, measurements: Sequence[str]) -> Statement:
        source = f" FROM {', '.join(map(identifier, measurements))}" if measurements else ""
        tag = identifier(self.settings.service_tag)
        return Statement(f"SHOW TAG VALUES{source} WITH KEY = {tag} WHERE {time_filter(window)}")

    def probe(self, now_ms: int) -> Statement:
        return Statement(f"SHOW RETENTION POLICIES ON {identifier(self.settings.database)}")

    def decode(self, body: bytes) -> Answer:
        frames: dict[Hashable, Frame] = {}
        warnings, unreadable, cut = [], 0, False
        for result in (result for answer in documents(body) for result in results_of(answer)):
            warnings += [clean(str(message.get("text"))) for message in dicts(result.get("messages"))]
            cut = bool(result.get("partial"))  # of several chunks, only the last one can be cut off
            series = result.get("series") or []
            for one in series if isinstance(series, list) else [series]:
                frame, skipped = frame_of(one)
                unreadable += skipped
                if frame:
                    cut = cut or one.get("partial") is True
                    key = (frame.name, frozenset(frame.labels.items()), *frame.columns)
                    frames[key] = joined(frames.get(key), frame)
        partial = ["the server cut rows off: its max-row-limit"] if cut else []
        return Answer(list(frames.values()), warnings, partial, unreadable)


def identifier(name: str) -> str:
    escaped = name.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def time_filter(window: Window) -> str:
    return f"time >= {window.start_ms}ms AND time < {window.end_ms}ms"


def results_of(answer: Any) -> Iterator[dict[str, Any]]:
    """The results of a document. An error in it is raised, whatever the HTTP status was. Raises ProtocolError."""
    if not isinstance(answer, dict) or not ("results" in answer or "error" in answer):
        raise ProtocolError("the body is JSON, but not an answer of InfluxDB's /query")
    for holder in (answer, *dicts(answer.get("results"))):
        if holder.get("error"):
            raise refusal(str(holder["error"]))
    results = answer.get("results")
    if results is None:  # how some proxies write that there are none
        return
    if not isinstance(results, list) or len(dicts(results)) < len(results):
        raise ProtocolError("the results of InfluxDB's /query are not a list of objects")
    yield from results


def dicts(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def frame_of(series: Any) -> tuple[Frame | None, int]:
    """One series of a result, None where it has not the shape that InfluxDB gives it; and what was skipped."""
    if not isinstance(series, dict) or not isinstance(series.get("columns"), list):
        return None, 1
    tags, values = series.get("tags") or {}, series.get("values")
    if not isinstance(tags, dict) or not isinstance(values, list | np.ndarray | None):
        return None, 1
    labels = {str(name): str(text) for name, text in tags.items() if text not in (None, "")}
    header = [str(column) for column in series["columns"]]
    columns, skipped = columns_of(values if values is not None else [], header)
    return Frame(str(series.get("name") or ""), labels, columns), skipped


def columns_of(values: list[Any] | NDArray[np.float64], header: Sequence[str]) -> tuple[dict[str, Any], int]:
    """The rows' columns by name, and how many rows were skipped for their shape."""
    if isinstance(values, np.ndarray) and values.shape[1] == len(header):
        return dict(zip(header, values.T, strict=True)), 0
    rows = [row for row in values if isinstance(row, list) and len(row) == len(header)]
    columns = list(zip(*rows, strict=True)) or [()] * len(header)
    return dict(zip(header, columns, strict=True)), len(values) - len(rows)


def joined(old: Frame | None, new: Frame) -> Frame:
    """Chunks of one series, one after the other."""
    if old is None:
        return new
    return replace(new, columns={name: [*old.columns[name], *column] for name, column in new.columns.items()})
