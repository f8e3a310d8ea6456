"""Answers recorded from InfluxDB servers and clients, through the source of the version that asks there."""

from __future__ import annotations

import base64
import csv
import json
import re
from collections.abc import Awaitable, Callable
from functools import partial
from io import StringIO
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from telemetry_mcp import Context, Http, NativeQuery, Reply, ServiceQuery, SourceError, Window
from telemetry_mcp_influxdb import InfluxDB

if TYPE_CHECKING:
    from tests.plugins.conftest import Replayed, Verdict, WireCase

EVERYTHING = NativeQuery("", Window(0, 4_000_000_000_000), 864_000_000, limit=100)
NOT_FOR_US = {
    "/write": "writes: nothing is ever written",
    "/api/v2/write": "writes: nothing is ever written",
    "/api/v3/write_lp": "writes: nothing is ever written",
    "/health": "the check asks /ping, which all versions have",
    "/ready": "the check asks /ping, which all versions have",
    "/debug/vars": "the server's own condition is not asked",
    "/metrics": "the server's own condition is not asked",
}
TABLES: dict[int, dict[str, Any]] = {
    1: {"database": "d", "username": "reader", "password": "password-of-test"},
    2: {"bucket": "b", "org": "o", "token": "token-of-test"},
    3: {"database": "d", "token": "token-of-test"},
}
TEXTS = {
    1: "SELECT recorded FROM m WHERE $timeFilter",
    2: "from(bucket: v.defaultBucket) |> range(start: v.timeRangeStart)",
    3: "SELECT * FROM m WHERE $__timeFilter",
}
NUMERIC = ("double", "long", "unsignedLong", "boolean")
INVENTORY = re.compile(r"\s*SHOW\s+TAG\s+VALUES\b", re.IGNORECASE)
NAMES_ONLY = re.compile(r"\s*SHOW\s+(?!TAG\s+VALUES\b|GRANTS\b|RETENTION\b)", re.IGNORECASE)
VERSIONS = {"/query": 1, "/ping": 1, "/api/v2/query": 2, "/api/v3/query_sql": 3, "/api/v3/query_influxql": 3}


async def replay(interaction: dict[str, Any]) -> tuple[Verdict, str]:
    """How it ends when whatever is asked is answered with this response."""
    request, response = interaction.get("request") or {}, interaction["response"]
    typical = "/api/v2/query" if "csv" in response["headers"].get("content-type", "") else "/query"
    path = urlsplit(request.get("url") or "").path or typical
    if path in NOT_FOR_US:
        return "not for us", f"{path}: {NOT_FOR_US[path]}"
    if path not in VERSIONS:
        return "not for us", f"{path}: an endpoint that is not asked"
    if response["status"] < 300 and NAMES_ONLY.match(query_of(request)):
        return "not for us", f"{query_of(request)[:25]}: lists names that nobody asks for; a query is a SELECT"
    source = over(VERSIONS[path], response)
    try:
        reply = await question(source, path, request)()
    except SourceError as error:
        return "error", f"{type(error).__name__}: {error}"
    told = f"{len(reply.items)} items" + (f", partial: {reply.partial}" if reply.partial else "")
    return "items", told + "".join(f", {warning}" for warning in reply.warnings)


def query_of(request: dict[str, Any]) -> str:
    """The InfluxQL of a recorded request, from its URL or its form."""
    asked = parse_qs(urlsplit(request.get("url") or "").query) | parse_qs(str(request.get("body") or ""))
    return (asked.get("q") or [""])[0]


def over(version: int, response: dict[str, Any]) -> InfluxDB:
    raw = (response.get("body") or "").encode()
    content = base64.b64decode(raw) if response.get("body_kind") == "base64" else raw
    headers = {name: text for name, text in response["headers"].items() if name.lower() != "content-encoding"}

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(response["status"], headers=headers, stream=httpx.ByteStream(content))

    table = {"plugin": "influxdb", "url": "http://influx.test", "version": version, **TABLES[version]}
    settings = InfluxDB.Settings.model_validate(table)
    client = partial(httpx.AsyncClient, transport=httpx.MockTransport(answer), base_url=settings.base_url)
    return InfluxDB(settings, Context("influx", http=Http(client)))


def question(source: InfluxDB, path: str, request: dict[str, Any]) -> Callable[[], Awaitable[Reply[Any]]]:
    """The method that asks such a thing, by what the recorded request asked."""
    if path == "/ping":
        return source.check
    if INVENTORY.match(query_of(request)):
        return partial(source.list_services, ServiceQuery(EVERYTHING.window))
    native = NativeQuery(TEXTS[source.settings.version], EVERYTHING.window, EVERYTHING.step_ms, EVERYTHING.limit)
    return partial(source.run_native, native)


def documents(body: str) -> list[Any]:
    """The JSON of a body, one document or one a line; none where it cannot be read."""
    for pieces in ([body], [line for line in body.splitlines() if line.strip()]):
        try:
            return [document for piece in pieces if isinstance(document := json.loads(piece), dict)]
        except ValueError:
            continue
    return []


def results(body: str) -> list[dict[str, Any]]:
    return [result for document in documents(body) for result in document.get("results") or [] if result]


def held(body: str) -> int:
    """How many columns of numbers an InfluxQL answer holds, counted by hand: neither texts nor what is of 1970."""
    found = set()
    for series in (series for result in results(body) for series in result.get("series", [])):
        key = (series.get("name"), *sorted((series.get("tags") or {}).items()))
        texts = {n for row in series["values"] for n, value in enumerate(row) if isinstance(value, str)} - {0}
        for row in series["values"]:
            told = (*key, *(row[n] for n in texts))
            numbers = (n for n, value in enumerate(row) if isinstance(value, int | float) and row[0])
            found |= {(*told, series["columns"][n]) for n in numbers if n}
    return len(found)


def tagged(body: str) -> int:
    """How many names an inventory holds."""
    return len(
        {row[1] for result in results(body) for series in result.get("series", []) for row in series["values"]}
    )


def tables(body: str) -> int:
    """How many columns of numbers an annotated CSV holds, told apart by the texts beside them."""
    found: set[tuple[str, ...]] = set()
    header: list[str] = []
    types: list[str] = []
    result = ""
    for row in csv.reader(StringIO(body)):
        if row and row[0].startswith("#"):
            header, types = [], row if row[0] == "#datatype" else types
            result = row[1] if row[0] == "#default" else result
        elif row and not row[0] and not header:
            header = row
        elif row and not row[0] and "_time" in header:
            texts = [cell for cell, kind in zip(row[3:], types[3:], strict=True) if kind == "string"]
            cells = zip(header[3:], types[3:], row[3:], strict=True)
            named = [name for name, kind, cell in cells if kind in NUMERIC and cell]
            found |= {(row[1] or result, name, *texts) for name in (["_value"] if "_value" in named else named)}
    return len(found)


def expected(interaction: dict[str, Any]) -> str:
    """How the verdict and its detail must begin, where the payload itself tells."""
    response, url = interaction["response"], (interaction.get("request") or {}).get("url") or ""
    body = response.get("body") or ""
    if url.startswith("/ping"):
        return "items 4"
    said = [*documents(body), *results(body)]
    if response["status"] >= 300 or any(one.get("error") for one in said) or "\n,error,reference" in body:
        return "error"
    if "SHOW+TAG+VALUES" in url:
        return f"items {tagged(body)} items"
    if '"time"' in body and results(body):
        return f"items {held(body)} items"
    return f"items {tables(body)} items" if "#datatype" in body and ",_time," in body else ""


@pytest.mark.wire("influxdb")
async def test_every_recorded_payload_ends_as_items_a_typed_error_or_not_for_us(
    wire_case: WireCase, replayed: Replayed
) -> None:
    for interaction in wire_case.interactions:
        verdict, detail = await replay(interaction)
        replayed(wire_case, verdict, detail)
        assert "of-test" not in detail
        assert verdict == "not for us" or f"{verdict} {detail}".startswith(expected(interaction))
