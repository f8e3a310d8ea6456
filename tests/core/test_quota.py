"""What rate headers say about the next call."""

from __future__ import annotations

import pytest

from telemetry_mcp import Quota, RateLimitedError

USED_UP = {"x-ratelimit-limit": "100", "x-ratelimit-remaining": "0", "x-ratelimit-reset": "12"}


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_limit_that_is_used_up_refuses_the_next_call_and_says_how_long() -> None:
    quota = Quota(Clock())
    quota.note({**USED_UP, "x-ratelimit-name": "batch_query"}, "/query")
    with pytest.raises(RateLimitedError, match=r"the limit batch_query is used up; it resets in 12 s") as refused:
        quota.enter("/query")
    assert refused.value.retry_after_s == 12


def test_after_the_reset_the_call_is_let_through() -> None:
    clock = Clock()
    quota = Quota(clock)
    quota.note(USED_UP, "/query")
    clock.now += 12
    quota.enter("/query")
    assert quota.left() == []


def test_one_limit_does_not_hold_back_what_counts_against_another() -> None:
    quota = Quota(Clock())
    quota.note({**USED_UP, "x-ratelimit-name": "logs"}, "/logs")
    quota.enter("/query")
    quota.note({**USED_UP, "x-ratelimit-remaining": "7", "x-ratelimit-name": "query"}, "/query")
    quota.enter("/query")
    assert [(limit.name, limit.limit, limit.remaining) for limit in quota.left()] == [
        ("logs", 100, 0),
        ("query", 100, 7),
    ]


def test_paths_that_share_a_limit_are_held_back_together() -> None:
    quota = Quota(Clock())
    quota.note({**USED_UP, "x-ratelimit-remaining": "1"}, "/a")
    quota.note(USED_UP, "/b")
    with pytest.raises(RateLimitedError):
        quota.enter("/a")


def test_a_reset_an_hour_away_is_tried_again_after_a_minute() -> None:
    quota = Quota(Clock())
    quota.note({**USED_UP, "x-ratelimit-reset": "3600"})
    with pytest.raises(RateLimitedError) as refused:
        quota.enter()
    assert refused.value.retry_after_s == 60


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-ratelimit-remaining": "0"},
        {**USED_UP, "x-ratelimit-reset": "soon"},
        {**USED_UP, "x-ratelimit-reset": "nan"},
    ],
)
def test_headers_that_say_nothing_hold_nobody_back(headers: dict[str, str]) -> None:
    quota = Quota(Clock())
    quota.note(headers, "/query")
    quota.enter("/query")


def test_the_other_spelling_is_read_too() -> None:
    quota = Quota(Clock())
    quota.note({"ratelimit-remaining": "0", "ratelimit-reset": "5"})
    with pytest.raises(RateLimitedError, match="the limit requests"):
        quota.enter()
