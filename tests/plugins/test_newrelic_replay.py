"""Kept answers of New Relic, through the source."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from telemetry_mcp import (
    NativeQuery,
    RateLimitedError,
    SeriesQuery,
    SourceError,
    SourceTimeoutError,
    UpstreamError,
    Window,
)
from telemetry_mcp_newrelic import NewRelic

if TYPE_CHECKING:
    from tests.plugins.conftest import Failure, NerdGraph

CASES = Path(__file__).parents[3] / "shared" / "wire" / "newrelic"
WINDOW = Window(1_700_000_040_000, 1_700_000_640_000)
MINUTE = 60_000
QUESTION = SeriesQuery(("a",), ("rate",), WINDOW, MINUTE)


def kept(case: str) -> dict[str, Any]:
    path = CASES / f"{case}.json"
    if not path.is_file():
        pytest.skip("the kept payloads are not beside the repository")
    response: dict[str, Any] = json.loads(path.read_text())["interactions"][0]["response"]
    return response


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("error_200_timeout", SourceTimeoutError),
        ("error_200_too_many_requests", RateLimitedError),
        ("error_500_errors_message_only", UpstreamError),
    ],
)
async def test_kept_error_payloads_are_typed(
    nerdgraph: NerdGraph, newrelic: NewRelic, case: str, expected: type[SourceError], failure: Failure
) -> None:
    response = kept(case)
    nerdgraph.says(response["body"].encode(), response["status"])
    assert type(await failure(newrelic.fetch_series(QUESTION))) is expected


async def test_kept_results_are_read(nerdgraph: NerdGraph, newrelic: NewRelic) -> None:
    nerdgraph.says(kept("nrql_facet_other_total_object")["body"].encode())
    reply = await newrelic.run_native(NativeQuery("SELECT count(*) FROM T FACET appName", WINDOW, MINUTE))
    assert [(item.service, item.values.tolist()) for item in reply.items] == [
        ("App1", [1000.0]),
        ("App2", [500.0]),
    ]
    assert "LIMIT" in (reply.partial or "")
    nerdgraph.says(kept("nrql_count_null_other_total")["body"].encode())
    plain = await newrelic.run_native(NativeQuery("SELECT count(*) FROM T", WINDOW, MINUTE))
    assert [(item.service, item.values.tolist()) for item in plain.items] == [("*", [1542.0])]
    assert plain.partial is None
