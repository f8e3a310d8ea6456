"""What is worked out from replies is worked out once for the same replies, and never for others."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from telemetry_mcp import Reply, Series
from telemetry_mcp.config import Config
from telemetry_mcp.engine import DRAWN_BYTES, Engine, opened
from telemetry_mcp.model import Outcome
from telemetry_mcp.registry import Registry


def outcome(reply: Reply[Series], status: str = "ok") -> Outcome[Series]:
    return Outcome("one", "test", status, reply)  # type: ignore[arg-type]


def reply(points: int = 3) -> Reply[Series]:
    return Reply([Series("checkout", "cpu", np.arange(points), np.zeros(points))])


async def drawn(*asked: tuple[list[Outcome[Series]], str]) -> list[int]:
    """The number of the run that each answer came from."""
    runs = 0

    def make() -> int:
        nonlocal runs
        runs += 1
        return runs

    async with opened(Config(Path("test")), registry=Registry(())) as engine:
        assert isinstance(engine, Engine)
        return [engine.draw(outcomes, key, make) for outcomes, key in asked]


async def test_the_same_replies_are_worked_out_once() -> None:
    same = reply()
    assert await drawn(([outcome(same)], "a"), ([outcome(same)], "a")) == [1, 1]


async def test_other_replies_and_other_questions_are_worked_out_anew() -> None:
    same = reply()
    assert await drawn(([outcome(same)], "a"), ([outcome(same)], "b"), ([outcome(reply())], "a")) == [1, 2, 3]


async def test_a_source_that_was_not_asked_makes_no_difference() -> None:
    same = reply()
    first = [outcome(same), outcome(Reply(), "skipped")]
    assert await drawn((first, "a"), ([outcome(same), outcome(Reply(), "skipped")], "a")) == [1, 1]


async def test_what_is_too_large_to_keep_is_worked_out_each_time() -> None:
    large = reply(DRAWN_BYTES // 16)
    assert await drawn(([outcome(large)], "a"), ([outcome(large)], "a")) == [1, 2]
