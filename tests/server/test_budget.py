"""The tool list and the answers fill the user's context window: their tokens are counted, by o200k_base."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from pydantic import BaseModel

from telemetry_mcp.config import Defaults
from telemetry_mcp.server.app import INSTRUCTIONS
from telemetry_mcp.server.budget import TOKEN, Size, fitted, smaller
from telemetry_mcp.server.budget import tokens as count

if TYPE_CHECKING:
    from telemetry_mcp.config import Config
    from tests.server.conftest import Answer, Ask, Desk, OpenDesk

# The tokenizer reads its own tables in a way that Python is about to drop.
pytestmark = pytest.mark.filterwarnings("ignore:open_binary is deprecated:DeprecationWarning")


DAY = {"tool": "query_historical_metrics", "service": "payment-processor", "metric_type": "latency_p95"}
EXAMPLES: dict[str, dict[str, Any]] = {
    "list_services": {},
    "get_current_metrics": {"service": "payment-processor"},
    "query_historical_metrics": {"service": "payment-processor", "metric_type": "cpu", "per_source": True},
    "check_sli_compliance": {"service": "payment-processor", "metric": "latency_p95", "threshold": 500},
    "detect_anomalies": {},
    "list_incidents": {"status": "all"},
    "query_source": {"source": "prometheus", "query": '{service=~".+"}'},
}


def estimated(answer: Answer) -> int:
    return len(TOKEN.findall(answer.text.encode()))


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


async def test_the_estimate_is_what_a_tokenizer_counts_or_a_little_more(ask: Ask) -> None:
    for tool, arguments in EXAMPLES.items():
        answer = await ask(tool, **arguments)
        counted = tokens(answer.text)
        assert counted <= estimated(answer) <= 1.15 * counted, tool


@pytest.mark.parametrize(
    "text",
    [
        "订单服务节点数据库",
        "служба-заказов",
        "支払いサービス",
        "결제처리서비스",
        "بوابةالدفع",
        "checkout-7f9c6d5b8-xkq2z",
    ],
)
def test_names_in_any_script_are_not_counted_for_less_than_they_cost(text: str) -> None:
    assert tokens(text) <= len(TOKEN.findall(text.encode())) <= 2.5 * tokens(text)


class Lines(BaseModel):
    """An answer that is as long as it is let."""

    said: list[str]


@pytest.mark.parametrize("max_tokens", [1, 30, 333, 1000, 2900])
def test_the_largest_that_fits_is_found_in_few_tries(max_tokens: int) -> None:
    tried = []

    def make(size: Size) -> Lines:
        tried.append(size)
        return Lines(said=[*size.note, *(["a word"] * size.points)])

    wished = Size(2000, 8)
    answer = fitted(make, wished, max_tokens, "ask again")
    last = tried[-1]
    assert len(tried) <= 8
    fitting = [size for size in smaller(wished) if count(make(replace(size, note=last.note))) <= max_tokens]
    assert last.points == (fitting or [Size(0, 0)])[0].points
    assert (count(answer) <= max_tokens) is bool(fitting)


@pytest.mark.parametrize("max_tokens", [700, 900, 1500])
async def test_an_answer_keeps_to_its_tokens_and_says_what_was_left_out(ask: Ask, max_tokens: int) -> None:
    whole = await ask(**DAY, max_points=2000, per_source=True)
    short = await ask(**DAY, max_points=2000, per_source=True, max_tokens=max_tokens)
    assert tokens(whole.text) > 10_000
    assert tokens(short.text) <= max_tokens
    assert short["series"]["returned_points"] < whole["series"]["returned_points"]
    (said,) = [w for w in short["warnings"] if "max_tokens" in w]
    assert "of 2000 points" in said
    assert "ask for a shorter window, or with a larger max_tokens" in said


async def test_what_must_not_be_overlooked_survives_every_budget(ask: Ask) -> None:
    whole = await ask(**DAY)
    least = await ask(**DAY, max_tokens=100)
    assert least["statistics"] == whole["statistics"]
    assert [line["name"] for line in least["sources"]] == [line["name"] for line in whole["sources"]]
    assert least["coverage"] == whole["coverage"]
    assert least["series"]["values"] == []
    assert least["series"]["method"] == "none"
    assert least["series"]["source_points"] == 1440
    assert any("max_tokens=100 is too few" in warning for warning in least["warnings"])


async def test_points_go_before_series(ask: Ask) -> None:
    promql = 'avg by (service) (service_cpu_percent{service=~"payment-processor|api-gateway"})'
    pair = {"source": "prometheus", "query": promql}
    both = await ask("query_source", **pair)
    fewer = await ask("query_source", **pair, max_tokens=tokens(both.text) - 100)
    assert len(fewer["series"]) == len(both["series"]) == 2
    assert fewer["series"][0]["points"]["returned_points"] < both["series"][0]["points"]["returned_points"]


async def test_of_several_series_the_most_unusual_stay(ask: Ask) -> None:
    query = {"source": "prometheus", "query": '{service=~".+"}', "hours": 1}
    whole = await ask("query_source", **query)
    few = await ask("query_source", **query, max_tokens=900)
    assert 0 < len(few["series"]) < len(whole["series"])
    assert few["total"] == whole["total"]
    named = [series["labels"] for series in whole["series"]]
    places = [named.index(series["labels"]) for series in few["series"]]
    assert places == sorted(places)
    assert tokens(few.text) <= 900


async def test_a_default_budget_holds_for_calls_that_name_none(open_desk: OpenDesk, config: Config) -> None:
    config.defaults = Defaults(max_tokens=720)
    desk = await open_desk(config)
    assert tokens((await desk.ask(**DAY)).text) <= 720
    assert tokens((await desk.ask(**DAY, max_tokens=2000)).text) > 720


async def test_an_answer_is_never_longer_than_its_reader_can_bear(ask: Ask) -> None:
    most = await ask("query_historical_metrics", service="payment-processor", metric_type="cpu", max_points=2000)
    everything = await ask("detect_anomalies", hours=168)
    native = await ask("query_source", source="prometheus", query='{service=~".+"}', hours=168)
    assert tokens(most.text) < 10_000
    assert tokens(everything.text) < 4_000
    assert tokens(native.text) < 6_000
