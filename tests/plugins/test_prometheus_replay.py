"""Answers recorded from real servers and documentation, through the source that asks for them."""

from __future__ import annotations

import base64
import json
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import pytest

from telemetry_mcp import (
    Context,
    Http,
    IncidentQuery,
    NativeQuery,
    Reply,
    SeriesQuery,
    ServiceQuery,
    SourceError,
    Window,
)
from telemetry_mcp_prometheus import Prometheus

if TYPE_CHECKING:
    from tests.plugins.conftest import Replayed, WireCase

WINDOW = Window(1_000_000_000_000, 2_000_000_000_000)
STEP_MS = 86_400_000
ASKED = ("query", "query_range", "series", "alerts", "rules", "status/buildinfo")

NOT_FOR_US = {
    "alertmanagers": "where alerts are sent is not asked",
    "features": "nothing depends on a feature flag",
    "format_query": "queries are sent as they are written",
    "labels": "which labels there are is the configuration's knowledge",
    "metadata": "units are the configuration's knowledge",
    "parse_query": "Prometheus parses a query when it runs it",
    "query_exemplars": "exemplars are left out",
    "scrape_pools": "scraping is not our concern, and it can leak secrets",
    "status": "the server's own condition is not asked, and its configuration can leak secrets",
    "targets": "targets leak topology",
    "admin": "nothing is ever written",
    "write": "nothing is ever written",
    "-": "a check asks for a query, which proves more than that the process lives",
    "federate": "text exposition; samples come from queries",
}
"""First part of a path after /api/v1 -> why nothing of ours asks there."""


def path_of(url: str | None, body: str) -> str:
    """What stands after /api/v1 of the request; where the record has none, what the answer looks like."""
    if url:
        return urlsplit(url).path.removeprefix("/api/v1").strip("/")
    data = json.loads(body)["data"]
    if isinstance(data, list):
        return "series" if data and isinstance(data[0], dict) else "label/service/values"
    return next((name for name, key in (("alerts", "alerts"), ("rules", "groups")) if key in data), "query")


async def replay(path: str, response: dict[str, Any]) -> Reply[Any]:
    """Whatever the source asks is answered with this response; the path says which of its methods asks."""
    body = str(response.get("body") or "").encode()
    content = base64.b64decode(body) if response.get("body_kind") == "base64" else body
    headers = {name: text for name, text in response["headers"].items() if name != "content-encoding"}

    def answer(request: httpx.Request) -> httpx.Response:
        mine = path not in ("alerts", "rules") or request.url.path == f"/api/v1/{path}"
        sent = content if mine else EMPTY[request.url.path.removeprefix("/api/v1/")]
        status = response["status"] if mine else 200
        return httpx.Response(status, headers=headers if mine else {}, stream=httpx.ByteStream(sent))

    settings = Prometheus.Settings.model_validate(
        {
            "plugin": "prometheus",
            "url": "http://prometheus.test",
            "metrics": {"recorded": "recorded"},
            # No recorded series has the second: each belongs to the one service that is asked for.
            "service_label": "job" if path == "series" else "nobody_has_it",
            "environment_label": "env" if path == "series" else None,
        }
    )
    client = partial(httpx.AsyncClient, transport=httpx.MockTransport(answer), base_url=settings.base_url)
    source = Prometheus(settings, Context("prometheus", http=Http(client)))
    if path.endswith("/values") or path == "series":
        return await source.list_services(ServiceQuery(WINDOW))
    if path in ("alerts", "rules"):
        return await source.list_incidents(IncidentQuery(WINDOW))
    if path == "status/buildinfo":
        return Reply([check for check in (await source.check()).items if check.name == "build"])
    if path == "query_range":
        return await source.run_native(NativeQuery("recorded", WINDOW, STEP_MS, limit=1000))
    return await source.fetch_series(SeriesQuery(("asked",), ("recorded",), WINDOW, STEP_MS, latest=True))


EMPTY = {
    "alerts": b'{"status":"success","data":{"alerts":[]}}',
    "rules": b'{"status":"success","data":{"groups":[]}}',
    "query_range": b'{"status":"success","data":{"resultType":"matrix","result":[]}}',
}


def held(path: str, body: str) -> int | None:
    """How many items the raw answer holds, where that is easily counted."""
    data = json.loads(body)["data"]
    if path in ("query", "query_range"):
        if data["resultType"] == "scalar":
            return 1
        return sum(bool(one.get("value") or one.get("values")) for one in data["result"])
    if path == "status/buildinfo":
        return 1
    if path not in ("alerts", "rules"):
        return None
    rules = [rule for group in data.get("groups", ()) for rule in group["rules"]]
    alerts = data.get("alerts") or [one for rule in rules for one in rule.get("alerts", ())]
    return len([one for one in alerts if one["state"] == "firing" and one["labels"].get("severity") != "none"])


@pytest.mark.wire("prometheus")
async def test_every_recorded_payload_ends_as_items_a_typed_error_or_not_for_us(
    wire_case: WireCase, replayed: Replayed
) -> None:
    if not wire_case.interactions:
        assert wire_case.text
        replayed(wire_case, "not for us", NOT_FOR_US["federate"])
    for interaction in wire_case.interactions:
        response = interaction["response"]
        path = path_of(interaction["request"].get("url"), response["body"])
        first = path.split("/")[0]
        if path not in ASKED and first in NOT_FOR_US:
            replayed(wire_case, "not for us", f"{path}: {NOT_FOR_US[first]}")
            continue
        try:
            reply = await replay(path, response)
        except SourceError as error:
            replayed(wire_case, "error", f"{type(error).__name__}: {error}"[:160])
            assert response["status"] >= 300 or not json_of_ours(response["body"])
            continue
        assert response["status"] < 300
        expected = held(path, response["body"])
        assert expected is None or len(reply.items) == expected
        replayed(
            wire_case, "items", f"{len(reply.items)} from {path}; {'; '.join(reply.warnings) or 'no warnings'}"
        )


def json_of_ours(body: str) -> bool:
    """Whether a 2xx body is an answer that must be read: numbers, or a list of ours."""
    try:
        document = json.loads(body)
    except ValueError:
        return False
    data = document.get("data") if isinstance(document, dict) else None
    shape = data.get("resultType") if isinstance(data, dict) else None
    return document.get("status") == "success" and shape in ("vector", "matrix", "scalar")
