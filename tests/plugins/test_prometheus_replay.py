"""Answers recorded from real servers, through the source: each ends in items, a typed error, or is not for us.

`pytest -rP` on this file prints what became of each.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from telemetry_mcp import (
    Context,
    Http,
    NativeQuery,
    Reply,
    SeriesQuery,
    ServiceQuery,
    SourceError,
    Window,
)
from telemetry_mcp_prometheus import Prometheus

PACK = Path(__file__).parents[2].parent / "shared" / "wire" / "prometheus"
WINDOW = Window(1_000_000_000_000, 2_000_000_000_000)
STEP_MS = 86_400_000

NOT_FOR_US = {
    "/-/healthy": "a check asks for a query, which proves more than that the process lives",
    "/-/ready": "as /-/healthy",
    "/api/v1/alertmanagers": "where alerts are sent is not asked",
    "/api/v1/alerts": "alerts are not taken as incidents yet",
    "/api/v1/features": "nothing depends on a feature flag",
    "/api/v1/format_query": "queries are sent as they are written",
    "/api/v1/labels": "which labels there are is the configuration's knowledge",
    "/api/v1/metadata": "units are the configuration's knowledge",
    "/api/v1/parse_query": "Prometheus parses a query when it runs it",
    "/api/v1/rules": "as /api/v1/alerts",
    "/api/v1/scrape_pools": "scraping is not our concern, and targets leak topology",
    "/api/v1/scrape_pools/config": "as /api/v1/scrape_pools, and it can leak secrets",
    "/api/v1/status/buildinfo": "a check asks for a query, which Thanos and VictoriaMetrics answer too",
    "/api/v1/status/runtimeinfo": "the server's own condition is not asked",
    "/api/v1/status/tsdb/blocks": "as /api/v1/status/runtimeinfo",
    "/api/v1/status/walreplay": "as /api/v1/status/runtimeinfo",
    "/api/v1/targets": "as /api/v1/scrape_pools",
    "/api/v1/targets/metadata": "as /api/v1/scrape_pools",
    "/api/v1/admin/tsdb/snapshot": "nothing is ever written",
    "/federate": "text exposition; samples come from queries",
}

# The examples of the documentation came without their requests.
DOCUMENTED = {
    "01_instant_queries": "/api/v1/query",
    "02_range_queries": "/api/v1/query_range",
    "04_parsing_a_promql_expressions_into_a_abst": "/api/v1/parse_query",
    "05_finding_series_by_label_matchers": "/api/v1/series",
    "07_querying_label_values": "/api/v1/label/service/values",
    "08_querying_label_values": "/api/v1/label/service/values",
    "10_scrape_pools": "/api/v1/scrape_pools",
    "11_scrape_pool_configuration": "/api/v1/scrape_pools/config",
    "13_targets": "/api/v1/targets",
    "14_targets": "/api/v1/targets",
    "16_rules": "/api/v1/rules",
    "17_alerts": "/api/v1/alerts",
    "19_querying_metric_metadata": "/api/v1/metadata",
    "20_querying_metric_metadata": "/api/v1/metadata",
    "22_alertmanagers": "/api/v1/alertmanagers",
    "23_runtime_information": "/api/v1/status/runtimeinfo",
    "25_tsdb_blocks": "/api/v1/status/tsdb/blocks",
    "26_wal_replay_stats": "/api/v1/status/walreplay",
    "28_snapshot": "/api/v1/admin/tsdb/snapshot",
    "29_features": "/api/v1/features",
}


def recorded() -> Iterable[Any]:
    """Every interaction of the pack, or one that is skipped where the pack is not."""
    files = [file for file in sorted(PACK.glob("*.json")) if not file.name.endswith(".meta.json")]
    if not files:
        reason = "the payload pack (../shared/wire/prometheus beside the repository) is not here"
        yield pytest.param("", {}, marks=pytest.mark.skip(reason=reason))
    for file in files:
        case = json.loads(file.read_text())
        for nth, interaction in enumerate(case["interactions"]):
            url = interaction["request"].get("url")
            path = urlsplit(url).path if url else DOCUMENTED[case["case"].removeprefix("docs314_")]
            yield pytest.param(path, interaction["response"], id=f"{case['case']}-{nth}" if nth else case["case"])


async def replay(path: str, response: dict[str, Any]) -> Reply[Any]:
    """Whatever the source asks is answered with this response; the path says which of its methods asks."""
    body = response["body"].encode()
    content = base64.b64decode(body) if response["body_kind"] == "base64" else body
    headers = {name: text for name, text in response["headers"].items() if name != "content-encoding"}

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(response["status"], headers=headers, stream=httpx.ByteStream(content))

    settings = Prometheus.Settings.model_validate(
        {
            "plugin": "prometheus",
            "url": "http://prometheus.test",
            "metrics": {"recorded": "recorded"},
            # No recorded series has the second: each belongs to the one service that is asked for.
            "service_label": "job" if path == "/api/v1/series" else "nobody_has_it",
            "environment_label": "env" if path == "/api/v1/series" else None,
        }
    )
    client = partial(httpx.AsyncClient, transport=httpx.MockTransport(answer), base_url=settings.base_url)
    source = Prometheus(settings, Context("prometheus", http=Http(client)))
    if path.endswith("/values") or path == "/api/v1/series":
        return await source.list_services(ServiceQuery(WINDOW))
    if path == "/api/v1/query_range":
        return await source.run_native(NativeQuery("recorded", WINDOW, STEP_MS))
    return await source.fetch_series(SeriesQuery(("asked",), ("recorded",), WINDOW, STEP_MS, latest=True))


async def outcome(path: str, response: dict[str, Any]) -> str:
    if path in NOT_FOR_US:
        return f"not for us: {path}: {NOT_FOR_US[path]}"
    try:
        reply = await replay(path, response)
    except SourceError as error:
        return f"{type(error).__name__}: {error}"
    return f"items: {len(reply.items)}, warnings {list(reply.warnings)}, partial: {reply.partial}"


@pytest.mark.parametrize(("path", "response"), list(recorded()))
async def test_a_recorded_answer_ends_in_items_or_a_typed_error(path: str, response: dict[str, Any]) -> None:
    became = await outcome(path, response)

    print(became)  # noqa: T201
    kind = became.partition(":")[0]
    if response["status"] >= 300:
        assert kind.endswith("Error")
    elif path.startswith("/api/v1/query") and kind == "items":
        data = json.loads(response["body"])["data"]
        held = 1 if data["resultType"] == "scalar" else len(data["result"])
        assert became.startswith(f"items: {held},")
    else:
        assert kind in ("items", "not for us") or became.startswith("BadQueryError: the query gives a text")
