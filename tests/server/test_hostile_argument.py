"""Arguments of every tool as its schema has them, and as nobody should: each call has an answer or a sentence."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from telemetry_mcp.server.app import build
from tests.server.conftest import Answer

if TYPE_CHECKING:
    from mcp.server.mcpserver.tools import Tool

    from tests.server.conftest import Desk

DEADLINE_S = 2.0
SLACK_S = 0.5
LONGEST_S = 60.0
EXAMPLES = 300
ODD = (
    "",
    " ",
    "\0",
    "\n",
    "\u202e",
    "\U000e0041",
    "é" * 400,
    "x" * 5000,
    "*",
    "%",
    "{}",
    "'; --",
    "../..",
    "${HOME}",
)
KNOWN = (
    *("payment-processor", "notification-service", "*", "cpu", "error_rate", "latency_p99", "now-6h", "now", "1h"),
    *(
        "2026-02-16T12:00:00Z",
        "1771243200",
        "99999999999999999999",
        "-1",
        "1e999",
        "NaN",
        "prometheus",
        "up",
        "open",
    ),
)
TEXT = st.one_of(st.sampled_from(KNOWN), st.sampled_from(ODD), st.text(st.characters(exclude_categories=["Cs"])))
EXTREMES = (1e308, -1e308, -0.0, 5e-324, 1e-9, 5000, 2**63, 10**400, float("nan"), float("inf"))
EXTREME = st.sampled_from(EXTREMES)
NUMBER = st.one_of(st.integers(-3, 30), st.integers(), st.floats(), EXTREME)
JUNK = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBER, TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXT, inner, max_size=3)),
    max_leaves=5,
)
SENTENCE = re.compile(r"\w.*\w\W*$", re.DOTALL)


def fitting(schema: dict[str, Any]) -> SearchStrategy[Any]:
    """Values that a schema lets through, or nearly."""
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "anyOf" in schema:
        return st.one_of(*(fitting(each) for each in schema["anyOf"]))
    match schema.get("type"):
        case "string":
            return TEXT
        case "integer":
            return st.one_of(st.integers(-3, 200), EXTREME)
        case "number":
            return st.one_of(st.integers(-3, 100), st.floats(), EXTREME)
        case "boolean":
            return st.booleans()
        case "array":
            return st.lists(fitting(schema.get("items", {})), max_size=4)
        case "null":
            return st.none()
        case _:
            return JUNK


SENSIBLE: dict[str, SearchStrategy[Any]] = {
    "service": st.sampled_from(["payment-processor", "notification-service", "cache-redis"]),
    "metric": st.sampled_from(["cpu", "error_rate", "latency_p99"]),
    "metric_type": st.sampled_from(["cpu", "memory", "request_rate"]),
    "metrics": st.lists(st.sampled_from(["cpu", "memory"]), max_size=3),
    "hours": st.sampled_from([0.25, 1, 6, 24]),
    "time_window_hours": st.sampled_from([1, 6]),
    "start": st.sampled_from(["now-6h", "2026-02-16T12:00:00Z"]),
    "end": st.sampled_from(["now", "2026-02-16T14:30:00Z"]),
    "since": st.sampled_from(["now-24h", "2026-02-16T12:00:00Z"]),
    "step": st.sampled_from(["1m", "300"]),
    "threshold": st.sampled_from([0, 80, 99.9]),
    "objective": st.sampled_from([90, 99.9]),
    "sensitivity": st.sampled_from([2, 3.5]),
    "source": st.sampled_from(["prometheus", "datadog", "newrelic"]),
    "query": st.sampled_from(["up", "payment", "sum(cpu_percent)"]),
}


def arguments(schema: dict[str, Any]) -> SearchStrategy[dict[str, Any]]:
    """Arguments of a tool: sensible ones, of which mostly one is odd; or nothing but odd ones."""
    properties, needed = schema["properties"], schema.get("required", ())
    sensible = {name: SENSIBLE.get(name, fitting(each)) for name, each in properties.items()}
    usual = st.fixed_dictionaries(
        {name: sensible[name] for name in needed},
        optional={name: each for name, each in sensible.items() if name in SENSIBLE and name not in needed},
    )
    values = {**{name: st.one_of(fitting(each), JUNK) for name, each in properties.items()}, "x": JUNK}
    odd = st.one_of(*(st.fixed_dictionaries({name: each}) for name, each in values.items()))
    broken = st.dictionaries(st.one_of(st.sampled_from([*properties, "x"]), TEXT), JUNK, max_size=4)
    return st.one_of(usual, st.builds(dict.__or__, usual, odd), st.builds(dict.__or__, usual, odd), broken)


def a_sentence(answer: Answer) -> None:
    """A refusal says why, in words of ours, and not at length."""
    assert answer.is_error
    assert not re.fullmatch(r"Error executing tool \w+", answer.text)
    assert "pydantic" not in answer.text
    assert "validation error" not in answer.text
    assert SENTENCE.search(answer.text)
    assert len(answer.text) < 3000


def opened_never() -> Any:
    raise NotImplementedError


TOOLS = build(opened_never)._tool_manager.list_tools()
CALLS = st.one_of(*(st.tuples(st.just(tool.name), arguments(tool.parameters)) for tool in TOOLS))
ALL_ODD: tuple[Any, ...] = (*ODD, *EXTREMES, None, True, [], {}, ["x"], [[]], {"x": {}})
USUAL = {
    **{"service": "cache-redis", "metric": "cpu", "metric_type": "cpu", "threshold": 80},
    **{"source": "prometheus", "query": "up"},
}


@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(call=CALLS)
async def test_a_tool_answers_whatever_it_is_asked(desk: Desk, call: tuple[str, dict[str, Any]]) -> None:
    await answered(desk, *call)


@pytest.mark.parametrize("tool", TOOLS, ids=[tool.name for tool in TOOLS])
async def test_a_tool_answers_where_one_argument_is_odd(desk: Desk, tool: Tool) -> None:
    properties = tool.parameters["properties"]
    usual = {name: value for name, value in USUAL.items() if name in properties}
    for name in properties:
        for odd in ALL_ODD:
            await answered(desk, tool.name, {**usual, name: odd})


async def answered(desk: Desk, tool: str, asked: dict[str, Any]) -> None:
    """Ask, and hold what comes to the promises: in time, and a whole answer or a sentence."""
    if "deadline_s" in desk.tools[tool].input_schema["properties"]:
        asked.setdefault("deadline_s", DEADLINE_S)
    answer = await desk.ask(tool, **asked)
    granted = asked.get("deadline_s")
    limit_s = granted if isinstance(granted, int | float) and 0 < granted < LONGEST_S else LONGEST_S
    assert answer.took_s < limit_s + SLACK_S
    if not answer.fields:
        a_sentence(answer)
