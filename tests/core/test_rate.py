"""So many in so long: what is let through, when there is room again, and what becomes of it when the storage that
all instances share is lost."""

from __future__ import annotations

import logging
from collections.abc import Callable

import anyio
import pytest
from anyio import fail_after
from pydantic import BaseModel, ValidationError

from telemetry_mcp.rate import AWAY_S, Buckets, Level, rate_of, spoken
from telemetry_mcp.setting import Rate
from tests.core.counting import Clock, Clocked, Shaky

FEW = rate_of("10/day")
"""A window that does not end while a test runs."""


async def let_through(buckets: Buckets, tries: int, rate: str = "10/day", key: str = "a") -> int:
    return sum([not await buckets.take(rate_of(rate), key) for _ in range(tries)])


# ---- what a rate is


class Table(BaseModel):
    rate: Rate


@pytest.mark.parametrize(
    ("text", "amount", "window_s", "words"),
    [
        ("100/minute", 100, 60, "100 calls a minute"),
        ("3/second", 3, 1, "3 calls a second"),
        ("5000 / hour", 5000, 3600, "5000 calls an hour"),
        ("500/5 minutes", 500, 300, "500 calls in 5 minutes"),
        ("7/day", 7, 86_400, "7 calls a day"),
    ],
)
def test_a_rate_is_so_many_in_so_long(text: str, amount: int, window_s: int, words: str) -> None:
    rate = rate_of(Table(rate=text).rate)
    assert (rate.amount, rate.get_expiry(), spoken(rate, "calls")) == (amount, window_s, words)


@pytest.mark.parametrize(
    "text",
    ["", "100", "0/minute", "-1/minute", "100/fortnight", "1/second; 5/minute", "many/minute", "5/0 minutes"],
)
def test_what_is_no_rate_is_refused_and_the_refusal_shows_one(text: str) -> None:
    with pytest.raises(ValidationError, match='such as "100/minute"'):
        Table(rate=text)


# ---- when there is room again


@pytest.mark.parametrize(
    ("level", "wait_s"),
    [
        (Level(0, 0, 0, 60), 0),
        (Level(0, 0, 9, 60), 0),
        (Level(0, 0, 10, 42), 42),  # full in this window: not before it weighs less
        (Level(10, 30, 4, 30), 0),  # half of the window before counts: 9 of 10
        (Level(10, 30, 5, 30), 0),  # exactly full: the next moment there is room
        (Level(10, 60, 5, 60), 30),
        (Level(20, 60, 0, 60), 30),  # more than there may be, after the rate was lowered
        (Level(0, 0, 20, 15), 45),
    ],
)
def test_the_wait_is_until_one_more_fits(level: Level, wait_s: float) -> None:
    assert level.wait_s(60, 10) == pytest.approx(wait_s, abs=0.01)


async def test_who_waits_as_long_as_told_is_let_through_and_not_before() -> None:
    clock = Clock()
    buckets = Buckets("x", Clocked(clock))
    rate = rate_of("10/minute")
    clock.now = 1_000_000 * 60 + 20.0
    assert await let_through(buckets, 30, "10/minute") == 10
    for _ in range(5):
        wait_s = await buckets.take(rate, "a")
        clock.now += wait_s - 0.1
        assert await buckets.take(rate, "a") > 0
        clock.now += 0.1
        assert await buckets.take(rate, "a") == 0


# ---- in this process


async def test_a_bucket_lets_its_amount_through_and_says_when_to_come_again() -> None:
    buckets = Buckets("x")
    assert await let_through(buckets, 25) == 10
    assert 0 < await buckets.take(FEW, "a") <= 2 * 86_400
    assert await let_through(buckets, 25, key="b") == 10


async def test_a_second_later_there_is_room() -> None:
    buckets, rate = Buckets("x"), rate_of("3/second")
    assert await let_through(buckets, 12, "3/second") < 12
    with fail_after(5):
        while wait_s := await buckets.take(rate, "a"):
            assert wait_s <= 2
            await anyio.sleep(wait_s)


# ---- in a storage that is shared


async def test_all_instances_together_let_the_amount_through() -> None:
    storage = Shaky()
    one, other = Buckets("x", storage), Buckets("x", storage)
    assert await let_through(one, 6) == 6
    assert await let_through(other, 12) == 4
    assert await let_through(one, 3) == 0


@pytest.mark.parametrize("how", ["lost", "hangs"])
async def test_a_storage_that_is_lost_costs_no_call_and_lets_nothing_more_through(
    how: str, caplog: pytest.LogCaptureFixture
) -> None:
    storage, clock = Shaky(), Clock()
    buckets = Buckets("x", storage, timeout_s=0.05, clock=clock)
    assert await let_through(buckets, 6) == 6
    setattr(storage, how, True)
    with fail_after(5):
        assert await let_through(buckets, 20) == 4  # it goes on counting where the storage ended
    assert storage.asked == 7, "a storage that has just failed is left alone"
    (said,) = [record.getMessage() for record in caplog.records]
    assert "failed" in said
    assert "secret" not in said


async def test_a_storage_that_is_back_counts_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    storage, clock = Shaky(), Clock()
    one, other = Buckets("x", storage, clock=clock), Buckets("x", storage)
    storage.lost = True
    assert await let_through(one, 2) == 2
    storage.lost = False
    clock.now += AWAY_S
    assert await let_through(one, 3) == 3
    assert await let_through(other, 20) == 7
    assert [record.getMessage().split()[-1] for record in caplog.records][-1] == "back"


async def test_while_one_call_looks_for_the_storage_the_others_do_not_wait() -> None:
    storage, clock = Shaky(), Clock()
    buckets = Buckets("x", storage, timeout_s=30, clock=clock)
    storage.lost = True
    await let_through(buckets, 1)
    clock.now += AWAY_S
    storage.hangs = True
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(buckets.take, FEW, "a")
        await anyio.wait_all_tasks_blocked()
        with fail_after(1):
            assert await let_through(buckets, 3) == 3
        tasks.cancel_scope.cancel()


async def test_a_storage_that_somebody_knows_to_be_lost_is_not_looked_for() -> None:
    storage, clock, up = Shaky(), Clock(), [True]
    buckets = Buckets("x", timeout_s=30, clock=clock)
    buckets.share(storage, lambda: up[0])
    assert await let_through(buckets, 6) == 6
    asked, storage.hangs, up[0] = storage.asked, True, False
    clock.now += 10 * AWAY_S
    with fail_after(1):
        assert await let_through(buckets, 20) == 4
    assert storage.asked == asked
    storage.hangs, up[0] = False, True
    await buckets.take(FEW, "b")
    assert storage.asked > asked, "it is counted together again at once"


async def test_cancellation_passes_through() -> None:
    storage = Shaky()
    storage.hangs = True
    buckets = Buckets("x", storage, timeout_s=30)
    with anyio.move_on_after(0.01) as scope:
        await buckets.take(FEW, "a")
    assert scope.cancelled_caught
    assert buckets.retry_at is None


@pytest.fixture
def fleet() -> Callable[[int], tuple[list[Buckets], Shaky, Clock]]:
    """So many instances over one storage that have seen each other, in the minute before."""

    def make(instances: int) -> tuple[list[Buckets], Shaky, Clock]:
        storage, clock = Shaky(), Clock()
        return [Buckets("x", storage, clock=clock, wall=clock) for _ in range(instances)], storage, clock

    return make


@pytest.mark.parametrize("instances", [1, 2, 4, 8])
async def test_without_the_storage_all_instances_together_let_no_more_than_twice_the_amount_through(
    instances: int, fleet: Callable[[int], tuple[list[Buckets], Shaky, Clock]]
) -> None:
    several, storage, clock = fleet(instances)
    for _ in range(2):
        for each in several:
            await let_through(each, 1, "1000/day", "other")
        clock.now += 60
    for each in several:
        await let_through(each, 1, "1000/day", "other")
    assert [each.instances for each in several] == [instances] * instances
    storage.lost = True
    alone = sum([await let_through(each, 100, "40/day") for each in several])
    assert 40 <= alone <= 80
    storage.forget()
    storage.lost = False
    clock.now += AWAY_S
    after = sum([await let_through(each, 100, "40/day") for each in several])
    assert alone + after <= 80, "a storage that has forgotten must not grant everything anew"


async def test_an_instance_that_ended_is_no_longer_counted(
    fleet: Callable[[int], tuple[list[Buckets], Shaky, Clock]],
) -> None:
    several, _, clock = fleet(2)
    for each in several:
        await let_through(each, 1)
    for _ in range(2):
        clock.now += 60
        await let_through(several[0], 1)
    assert several[0].instances == 1


# ---- marks


async def test_a_mark_is_seen_by_all_until_it_is_taken_away_or_its_time_is_over() -> None:
    clock = Clock()
    storage = Clocked(clock)
    one, other = Buckets("x", storage), Buckets("x", storage)
    assert not await other.marked("m")
    await one.mark("m", 100)
    assert await other.marked("m")
    clock.now += 60
    await one.mark("m", 100)
    clock.now += 60
    assert await other.marked("m"), "marked again, it lasts as long again"
    await other.unmark("m")
    assert not await one.marked("m")
    await one.mark("m", 100)
    clock.now += 101
    assert not await other.marked("m")
    assert not await Buckets("x").marked("m")
