"""Whatever stands in whichever place of an answer: items that hold the contract, or a typed error."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from copy import deepcopy
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from telemetry_mcp import (
    ChangeQuery,
    DependencyQuery,
    IncidentQuery,
    NativeQuery,
    Reply,
    ServiceQuery,
    SloQuery,
    SourceError,
    Window,
)
from telemetry_mcp.contract import checked
from telemetry_mcp.question import Question
from telemetry_mcp_datadog import Datadog

if TYPE_CHECKING:
    from tests.plugins.conftest import ConnectDatadog, Stub

AT_MS = 1_770_000_000_000
AT = "2026-02-02T02:40:00Z"
WINDOW = Window(AT_MS - 3_600_000, AT_MS + 3_600_000)
ODD: tuple[Any, ...] = (
    None,
    [],
    {},
    "x",
    "",
    -1,
    2**63,
    1e308,
    True,
    [None],
    {"a": None},
    "9" * 400,
    float("nan"),
)

UNIT = {"family": "time", "name": "microsecond", "scale_factor": 1e-06}
VALUES = {
    "tag_set": ["service:a"],
    "scope": "service:a",
    "interval": 60,
    "pointlist": [[AT_MS, 1.0]],
    "unit": [UNIT],
}
LINE = {"group_tags": ["service:a"], "query_index": 0, "unit": [UNIT, {"family": "time", "scale_factor": 60.0}]}
ENTITY = {"id": "e", "attributes": {"kind": "service", "name": "a", "owner": "t", "tags": ["env:p"]}}
SCHEMA = {"schema-version": "v2", "dd-service": "a", "team": "t", "tags": ["env:p"]}
END = {"kind": "service", "name": "a"}
FIELDS = {"services": {"value": ["a"]}, "state": {"value": "active"}, "severity": {"value": "SEV-1"}}
INCIDENT = {"public_id": 1, "title": "t", "detected": AT, "created": AT, "state": "active", "severity": "SEV-1"}
GROUP = {
    "status": "Alert",
    "monitor_id": 1,
    "monitor_name": "m",
    "group": "service:a",
    "group_tags": ["service:a"],
}
INNER = {"title": "t", "service": "a", "evt": {"uid": "u"}, "author": {"name": "n"}, "version": "v"}
OUTER = {"attributes": INNER, "message": "m", "tags": ["service:a"], "timestamp": AT}
SLO = {"id": "s", "name": "n", "tags": ["service:a"], "thresholds": [{"timeframe": "7d", "target": 99.0}]}
OVERALL = {"sli_value": 99.5, "state": "ok", "errors": [{"error_message": "m", "error_type": "t"}]}

SOUND: dict[str, Any] = {
    "/api/v1/query": {"status": "ok", "series": [VALUES], "error": ""},
    "/api/v2/query/timeseries": {"data": {"attributes": {"series": [LINE], "times": [AT_MS], "values": [[1.0]]}}},
    "/api/v2/apm/services": {"data": {"attributes": {"services": ["a"]}}},
    "/api/v2/catalog/entity": {"data": [ENTITY]},
    "/api/v2/services/definitions": {"data": [{"id": "d", "attributes": {"schema": SCHEMA}}]},
    "/api/v2/metrics/system.cpu.total/all-tags": {"data": {"attributes": {"tags": ["service:a"]}}},
    "/api/v2/catalog/relation": {
        "data": [{"id": "r", "attributes": {"type": "RelationTypeDependsOn", "from": END, "to": END}}]
    },
    "/api/v2/incidents/search": {
        "data": {
            "attributes": {"incidents": [{"data": {"id": "i", "attributes": {**INCIDENT, "fields": FIELDS}}}]}
        }
    },
    "/api/v1/monitor/groups/search": {
        "groups": [
            {**GROUP, "all_tags": ["a:b"], "last_triggered_ts": AT_MS // 1000, "priority": 1, "muted": False}
        ]
    },
    "/api/v2/events/search": {"data": [{"id": "e", "attributes": OUTER}], "meta": {"page": {"after": "c"}}},
    "/api/v2/dora/deployments": {"data": [{"id": "d", "attributes": {"service": "a", "started_at": AT}}]},
    "/api/v1/slo": {"data": [{**SLO, "timeframe": "7d", "target_threshold": 99.0, "warning_threshold": 99.5}]},
    "/api/v1/slo/s/history": {"data": {"overall": OVERALL}, "errors": None},
}

Ask = Callable[[Datadog, Any], Awaitable[Reply[Any]]]
QUESTIONS: dict[str, tuple[Question[Any], str]] = {
    "/api/v1/query": (NativeQuery("avg:a{*}", WINDOW, 60_000), "v1"),
    "/api/v2/query/timeseries": (NativeQuery("avg:a{*}", WINDOW, 60_000), "v2"),
    "/api/v2/apm/services": (ServiceQuery(WINDOW), "v1"),
    "/api/v2/catalog/entity": (ServiceQuery(WINDOW), "v1"),
    "/api/v2/services/definitions": (ServiceQuery(WINDOW), "v1"),
    "/api/v2/metrics/system.cpu.total/all-tags": (ServiceQuery(WINDOW), "v1"),
    "/api/v2/catalog/relation": (DependencyQuery(WINDOW), "v1"),
    "/api/v2/incidents/search": (IncidentQuery(WINDOW), "v1"),
    "/api/v1/monitor/groups/search": (IncidentQuery(WINDOW), "v1"),
    "/api/v2/events/search": (ChangeQuery(WINDOW), "v1"),
    "/api/v2/dora/deployments": (ChangeQuery(WINDOW), "v1"),
    "/api/v1/slo": (SloQuery(WINDOW), "v1"),
    "/api/v1/slo/s/history": (SloQuery(WINDOW), "v1"),
}


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    inside = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in inside:
        yield from places(child, (*path, key))


def with_odd(body: Any, path: tuple[Any, ...], odd: Any) -> Any:
    if not path:
        return odd
    changed = deepcopy(body)
    node = changed
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = odd
    return changed


@pytest.mark.parametrize("endpoint", SOUND)
async def test_anything_may_stand_anywhere(stub: Stub, connect_datadog: ConnectDatadog, endpoint: str) -> None:
    """Each place in turn holds what never should stand there, in an answer that is sound otherwise."""
    question, api = QUESTIONS[endpoint]
    one, trusting = connect_datadog(stub.url, env="prod", api=api), SimpleNamespace(redact=str)
    for path, body in SOUND.items():
        stub.on(path, body)
    sound = await question.put_to(one)
    assert sound.items
    assert not sound.warnings
    for place in places(SOUND[endpoint]):
        for odd in ODD:
            stub.on(endpoint, with_odd(SOUND[endpoint], place, odd))
            try:
                reply = await question.put_to(one)
            except SourceError:
                continue
            for item in reply.items:
                checked(item, trusting, question)  # type: ignore[arg-type]
