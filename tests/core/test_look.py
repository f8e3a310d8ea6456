"""What is known of a backend before the deadline is said, whatever fails or is slow."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from anyio import fail_after, sleep_forever

from telemetry_mcp import Check, ForbiddenError, PlanError, SourceTimeoutError, side_by_side

A, B, C = (Check(name, ok=True, enables=f"what {name} is for") for name in "abc")


async def never() -> Sequence[Check]:
    await sleep_forever()
    return []


async def good() -> Sequence[Check]:
    return [A]


async def refused() -> Sequence[Check]:
    raise ForbiddenError("no", hint="ask Ines")


async def unpaid() -> Sequence[Check]:
    raise PlanError("HTTP 402")


async def test_one_that_is_slow_or_fails_hides_no_other_and_the_order_is_kept() -> None:
    with fail_after(0.2):
        slow, failed, fine = await side_by_side({B: never, C: refused, A: good})
    assert (slow.name, slow.ok, slow.detail) == ("b", False, "no answer within 0.2 s")
    assert (failed.name, failed.ok, failed.detail, failed.fix, failed.optional) == (
        "c",
        False,
        "no",
        "ask Ines",
        False,
    )
    assert fine == A
    assert slow.enables == "what b is for"


async def test_what_the_plan_lacks_is_optional() -> None:
    (check,) = await side_by_side({A: unpaid})
    assert (check.ok, check.optional, check.detail) == (False, True, "HTTP 402")


async def test_where_nothing_answers_it_is_a_time_out() -> None:
    with fail_after(0.2), pytest.raises(SourceTimeoutError, match=r"no answer within 0\.2 s"):
        await side_by_side({A: never, B: never})
