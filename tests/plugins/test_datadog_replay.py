"""Answers recorded from Datadog, through the source."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qs, urlsplit

import pytest

from telemetry_mcp import (
    ChangeQuery,
    Check,
    DependencyQuery,
    IncidentQuery,
    NativeQuery,
    Reply,
    SeriesQuery,
    ServiceQuery,
    SloQuery,
    SourceError,
    Window,
)
from telemetry_mcp_datadog import Datadog
from telemetry_mcp_datadog.wire import dig

if TYPE_CHECKING:
    from tests.plugins.conftest import ConnectDatadog, Failure, Replayed, Stub, WireCase

CASES = Path(__file__).parents[3] / "shared" / "wire" / "datadog"
START = 1_700_000_040_000
WINDOW = Window(START, START + 600_000)
QUESTION = SeriesQuery(("a",), ("cpu",), WINDOW, 60_000)


def recorded(case: str) -> list[dict[str, Any]]:
    path = CASES / f"{case}.json"
    if not path.is_file():
        pytest.skip("the recorded payloads are not beside the repository")
    interactions: list[dict[str, Any]] = json.loads(path.read_text())["interactions"]
    return interactions


async def test_a_recorded_query_answer_is_read_in_full(stub: Stub, connect_datadog: ConnectDatadog) -> None:
    interaction = recorded("v1_query_ok")[0]
    stub.on("/api/v1/query", interaction["response"]["body"].encode())
    asked = parse_qs(urlsplit(interaction["request"]["url"]).query)
    start_ms, end_ms = int(asked["from"][0]) * 1000, int(asked["to"][0]) * 1000
    one = connect_datadog(stub.url, metrics={"cpu": "system.cpu.idle{*}"})
    reply = await one.fetch_series(SeriesQuery(("a",), ("cpu",), Window(start_ms, end_ms), 300_000))
    (series,) = reply.items
    # 288 buckets of 5 minutes, the last of which goes beyond the asked end.
    assert (len(series), series.timestamps_ms[0]) == (287, 1641344100000)
    assert 90.4 < series.values.min() <= series.values.max() < 93


async def test_the_recorded_catalog_is_read_in_full(stub: Stub, datadog: Datadog) -> None:
    body = recorded("catalog_entities")[0]["response"]["body"]
    stub.on("/api/v2/catalog/entity", body.encode())
    names = {entity["attributes"]["name"] for entity in json.loads(body)["data"]}
    reply = await datadog.list_services(ServiceQuery(WINDOW))
    assert {item.name for item in reply.items} == names
    assert any(item.team for item in reply.items)


@pytest.mark.parametrize(("case", "good"), [("validate_ok", True), ("validate_403", False)])
async def test_recorded_key_checks_are_told_apart(stub: Stub, datadog: Datadog, case: str, good: bool) -> None:
    response = recorded(case)[0]["response"]
    stub.on("/api/v1/validate", response["body"].encode(), response["status"])
    assert (await datadog.check()).items[0].ok is good


@dataclass(frozen=True)
class Endpoint:
    """One that the plugin asks: where a recorded answer to it is served, who asks, and what it should find."""

    asks: str
    path: str
    ask: Callable[[Datadog, Window], Awaitable[Reply[Any]]]
    count: Callable[[Any], int]


def rows(body: Any, *path: str) -> list[Any]:
    found = dig(body, *path)
    return [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []


def pointed(body: Any) -> int:
    return sum(
        any(isinstance(point, list) for point in row.get("pointlist") or []) for row in rows(body, "series")
    )


def alerting(body: Any) -> int:
    return sum(row.get("status") == "Alert" and not row.get("muted") for row in rows(body, "groups"))


def depending(body: Any) -> int:
    kinds = ("RelationTypeDependsOn", "RelationTypeDependencyOf")
    about = [dig(row, "attributes") for row in rows(body, "data")]
    services = [one for one in about if dig(one, "from", "kind") == dig(one, "to", "kind") == "service"]
    return sum(dig(one, "type") in kinds for one in services)


def services(body: Any) -> int:
    kinds = (dig(row, "attributes", "kind") for row in rows(body, "data"))
    return sum(kind in ("service", None) for kind in kinds)


def tagged(body: Any) -> int:
    found = dig(body, "data", "attributes", "tags") or []
    return sum(str(tag).startswith("service:") for tag in found)


def named(body: Any) -> int:
    return len(dig(body, "data", "attributes", "services") or [])


NATIVE = "avg:system.cpu.idle{*}"
ENDPOINTS = [
    Endpoint(
        r"GET /api/v1/query",
        "/api/v1/query",
        lambda one, window: one.run_native(NativeQuery(NATIVE, window, 60_000, 1000)),
        pointed,
    ),
    Endpoint(
        r"POST /api/v2/query/timeseries",
        "/api/v2/query/timeseries",
        lambda one, window: one.run_native(NativeQuery(NATIVE, window, 5000, 1000)),
        lambda body: len(rows(body, "data", "attributes", "series")),
    ),
    Endpoint(
        r"GET /api/v2/apm/services",
        "/api/v2/apm/services",
        lambda one, window: one.list_services(ServiceQuery(window)),
        named,
    ),
    Endpoint(
        r"GET /api/v2/catalog/entity",
        "/api/v2/catalog/entity",
        lambda one, window: one.list_services(ServiceQuery(window)),
        services,
    ),
    Endpoint(
        r"GET /api/v2/services/definitions",
        "/api/v2/services/definitions",
        lambda one, window: one.list_services(ServiceQuery(window)),
        lambda body: len(rows(body, "data")),
    ),
    Endpoint(
        r"GET /api/v2/metrics/[^/]+/all-tags",
        "/api/v2/metrics/system.cpu.total/all-tags",
        lambda one, window: one.list_services(ServiceQuery(window)),
        tagged,
    ),
    Endpoint(
        r"GET /api/v2/catalog/relation",
        "/api/v2/catalog/relation",
        lambda one, window: one.list_dependencies(DependencyQuery(window)),
        depending,
    ),
    Endpoint(
        r"GET /api/v2/incidents/search",
        "/api/v2/incidents/search",
        lambda one, window: one.list_incidents(IncidentQuery(window, limit=1000)),
        lambda body: len(rows(body, "data", "attributes", "incidents")),
    ),
    Endpoint(
        r"GET /api/v1/monitor/groups/search",
        "/api/v1/monitor/groups/search",
        lambda one, window: one.list_incidents(IncidentQuery(window, limit=1000)),
        alerting,
    ),
    # The older list has the shape of the search.
    Endpoint(
        r"(POST /api/v2/events/search|GET /api/v2/events)",
        "/api/v2/events/search",
        lambda one, window: one.list_changes(ChangeQuery(window, limit=2000)),
        lambda body: len(rows(body, "data")),
    ),
    Endpoint(
        r"POST /api/v2/dora/deployments",
        "/api/v2/dora/deployments",
        lambda one, window: one.list_changes(ChangeQuery(window, limit=2000)),
        lambda body: len(rows(body, "data")),
    ),
    Endpoint(
        r"GET /api/v1/slo",
        "/api/v1/slo",
        lambda one, window: one.list_slos(SloQuery(window, limit=1000)),
        lambda body: len(rows(body, "data")),
    ),
    Endpoint(
        r"GET /api/v1/slo/[0-9a-f]+/history",
        "/api/v1/slo/s1/history",
        lambda one, window: one.list_slos(SloQuery(window)),
        lambda body: 1,
    ),
    Endpoint(r"GET /api/v1/validate", "/api/v1/validate", lambda one, window: one.check(), lambda body: 1),
]
QUIET: dict[str, Any] = {
    "/api/v2/catalog/entity": {"data": []},
    "/api/v2/services/definitions": {"data": []},
    "/api/v2/apm/services": {"data": {"attributes": {"services": []}}},
    "/api/v2/metrics/system.cpu.total/all-tags": {"data": {"attributes": {"tags": []}}},
    "/api/v2/catalog/relation": {"data": []},
    "/api/v2/incidents/search": {"data": {"attributes": {"incidents": []}}},
    "/api/v1/monitor/groups/search": {"groups": []},
    "/api/v2/events/search": {"data": []},
    "/api/v2/dora/deployments": {"data": []},
    "/api/v1/slo": {"data": [{"id": "s1", "name": "SLO", "target_threshold": 95.0}]},
}
"""What the endpoints beside the recorded one answer: nothing, and an SLO for the history."""
WRITES = "it writes"
UNUSED = (
    (r"POST /api/v2/query/scalar", "one number for a window, where a series is wanted"),
    (r"POST /api/v2/dora/failures", "failures are read as incidents"),
    (r"(POST|PUT|PATCH|DELETE) .*", WRITES),
    (r"GET /api/v1/monitor.*", "what fires is read from the monitor groups' search"),
    (r"GET /api/v2/incidents.*", "incidents are read from the search, which can be sorted and narrowed"),
    (r"GET /api/v[12]/downtime.*", "a muted group says so itself"),
    (r"GET /api/v[12]/slo.*", "SLOs are read from the list and their history"),
    (r"GET /api/v[12]/(metrics|hosts).*", "metrics are named by the settings, hosts are no services"),
    (r".*", "an endpoint that the plugin does not ask"),
)
WHENEVER = Window(1000, 4_000_000_000_000)


def window_of(request: dict[str, Any]) -> Window:
    """The window that was asked in milliseconds, of a query; otherwise all times."""
    asked = parse_qs(urlsplit(request.get("url") or "").query)
    if "from" in asked:
        return Window(int(asked["from"][0]) * 1000, int(asked["to"][0]) * 1000)
    attributes = dig(json.loads(request.get("body") or "null"), "data", "attributes") or {}
    start, end = attributes.get("from"), attributes.get("to")
    return Window(start, end) if isinstance(start, int) and isinstance(end, int) and start < end else WHENEVER


def raw(response: dict[str, Any]) -> bytes:
    body = response.get("body") or ""
    return b64decode(body) if response.get("body_kind") == "base64" else str(body).encode()


def told(call: str) -> Endpoint | str:
    """The endpoint that a recorded call is one of, or why it is none of ours."""
    for endpoint in ENDPOINTS:
        if re.fullmatch(endpoint.asks, call):
            return endpoint
    return next(why for pattern, why in UNUSED if re.fullmatch(pattern, call))


async def replay(
    interaction: dict[str, Any], stub: Stub, connect: ConnectDatadog
) -> tuple[Literal["items", "error", "not for us"], str]:
    request, response = interaction.get("request") or {}, interaction["response"]
    call = f"{request.get('method') or 'GET'} {urlsplit(request.get('url') or '/api/v1/query').path}"
    endpoint, status = told(call), int(response.get("status") or 200)
    if isinstance(endpoint, str):
        if status < 400:
            return "not for us", endpoint
        endpoint = ENDPOINTS[0]  # an error's shape is the same everywhere
    for path, body in QUIET.items():
        stub.on(path, body)
    headers = {"Content-Type": (response.get("headers") or {}).get("content-type", "application/json")}
    rates = {name: text for name, text in (response.get("headers") or {}).items() if "ratelimit" in name.lower()}
    stub.on(endpoint.path, raw(response), status, headers={**headers, **rates})
    one = connect(stub.url, env="ci", api="v2" if "timeseries" in endpoint.path else "v1")
    try:
        reply = await endpoint.ask(one, window_of(request))
    except SourceError as error:
        return "error", f"{type(error).__name__}: {error}"[:160]
    return judged(reply, status, raw(response), endpoint)


def judged(
    reply: Reply[Any], status: int, body: bytes, endpoint: Endpoint
) -> tuple[Literal["items", "error"], str]:
    if reply.partial and not (endpoint.path.endswith("slo/s1/history")):
        return "error", reply.partial[:160]
    (found,) = [[item for item in reply.items if not isinstance(item, Check) or item.name == "api key"]]
    if found and isinstance(found[0], Check) and not found[0].ok:
        return "error", found[0].detail
    assert status < 400
    expected = endpoint.count(json.loads(body))
    assert len(found) <= expected
    assert bool(found) == bool(expected) or any("left out" in text for text in reply.warnings)
    assert "key-1" not in f"{reply}"
    name = type(found[0]).__name__ if found else "nothing found"
    return "items", f"{len(found)} {name}" if found else name


@pytest.mark.wire("datadog")
async def test_every_recorded_payload_ends_as_items_a_typed_error_or_not_for_us(
    wire_case: WireCase, replayed: Replayed, stub: Stub, connect_datadog: ConnectDatadog
) -> None:
    """Driven by the recorded requests alone. Of a case's calls, the one that is most ours is its verdict."""
    order = ("items", "error", "not for us")
    ends = [await replay(interaction, stub, connect_datadog) for interaction in wire_case.interactions]
    verdict, detail = min(ends, key=lambda end: (order.index(end[0]), end[1] == WRITES))
    replayed(wire_case, verdict, detail)


def recorded_errors() -> list[tuple[str, int, str]]:
    if not CASES.is_dir():
        return []
    found = [(path.stem, json.loads(path.read_text())) for path in sorted(CASES.glob("*.json"))]
    responses = [(name, part["response"]) for name, case in found for part in case["interactions"]]
    return [(name, each["status"], each["body"]) for name, each in responses if each["status"] >= 400]


async def test_every_recorded_error_becomes_a_typed_error_with_words(
    stub: Stub, datadog: Datadog, failure: Failure
) -> None:
    errors = recorded_errors()
    if not errors:
        pytest.skip("the recorded payloads are not beside the repository")
    for name, status, body in errors:
        stub.on("/api/v1/query", body.encode(), status)
        raised = await failure(datadog.fetch_series(QUESTION))
        assert f"HTTP {status}" in str(raised), name
        assert "{" not in str(raised), name
