"""The tool list and the answers fill the user's context window: their tokens are counted, by o200k_base."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import pytest

from telemetry_mcp.server.app import INSTRUCTIONS

if TYPE_CHECKING:
    from tests.server.conftest import Ask, Desk

# The tokenizer reads its own tables in a way that Python is about to drop.
pytestmark = pytest.mark.filterwarnings("ignore:open_binary is deprecated:DeprecationWarning")


def tokens(text: str) -> int:
    from bpe_openai import get_encoding

    return len(get_encoding("o200k_base").encode(text))


async def test_the_tool_list_fits_its_budget(desk: Desk) -> None:
    tools = [tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in desk.tools.values()]
    assert len(tools) <= 12
    assert tokens(orjson.dumps(tools).decode()) <= 4000


def test_the_instructions_fit_their_budget() -> None:
    assert tokens(INSTRUCTIONS) < 400


@pytest.mark.parametrize("metric", ["cpu", "memory", "request_rate", "availability", "error_rate", "latency_p95"])
async def test_a_day_of_one_metric_from_four_sources_fits_its_budget(ask: Ask, metric: str) -> None:
    answer = await ask("query_historical_metrics", service="payment-processor", metric_type=metric)
    assert answer["series"]["source_points"] == 1440
    assert tokens(answer.text) <= 900


async def test_an_answer_is_never_longer_than_its_reader_can_bear(ask: Ask) -> None:
    most = await ask("query_historical_metrics", service="payment-processor", metric_type="cpu", max_points=2000)
    everything = await ask("detect_anomalies", hours=168)
    native = await ask("query_source", source="prometheus", query='{service=~".+"}', hours=168)
    assert tokens(most.text) < 10_000
    assert tokens(everything.text) < 3_500
    assert tokens(native.text) < 6_000
