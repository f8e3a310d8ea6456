"""What one caller may ask: at which rate, how much at once, and how much more while it is at an open incident."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import pytest
from anyio import Event, fail_after

from telemetry_mcp.access.caller import LOCAL, Caller, Kind
from telemetry_mcp.access.limit import HEARSAY_S, INCIDENT_S, Limits
from telemetry_mcp.access.setting import LimitSettings
from telemetry_mcp.errors import LimitedError
from tests.core.counting import Clock, Clocked

ALICE, BOB = Caller("alice", "user"), Caller("bob", "user")
ROBOT = Caller("alice", "service_account")
SETTINGS = LimitSettings(user="3/minute", service_account="5/minute", incident="6/minute", concurrency=2)

MakeLimits = Callable[..., Limits]


@pytest.fixture
def clock() -> Clock:
    return Clock(20_000_000 * 60.0)


@pytest.fixture
def storage(clock: Clock) -> Clocked:
    return Clocked(clock)


@pytest.fixture
def limits(clock: Clock, storage: Clocked) -> Limits:
    return Limits(SETTINGS, storage, clock=clock)


async def let_through(limits: Limits, caller: Caller, tries: int = 20, *, incident: bool = False) -> int:
    through = 0
    for _ in range(tries):
        try:
            async with limits.admitted(caller, incident=incident):
                through += 1
        except LimitedError:
            pass
    return through


async def refusal(limits: Limits, caller: Caller) -> LimitedError:
    with pytest.raises(LimitedError) as caught:
        async with limits.admitted(caller):
            pass
    return caught.value


# ---- the rate


@pytest.mark.parametrize(
    ("kind", "incident", "through"),
    [("user", False, 3), ("service_account", False, 5), ("user", True, 6), ("service_account", True, 6)],
)
async def test_each_kind_of_caller_has_its_rate(limits: Limits, kind: Kind, incident: bool, through: int) -> None:
    assert await let_through(limits, Caller("carol", kind), incident=incident) == through


async def test_two_callers_do_not_share_even_where_an_account_is_called_as_a_user_is(limits: Limits) -> None:
    assert await let_through(limits, ALICE) == 3
    assert await let_through(limits, BOB) == 3
    assert await let_through(limits, ROBOT) == 5


async def test_a_caller_has_one_bucket_from_wherever_it_asks(limits: Limits) -> None:
    assert await let_through(limits, Caller("alice", "user", ("viewer",), "ide", "192.0.2.1"), 2) == 2
    assert await let_through(limits, Caller("alice", "user", ("admin",), "desktop", "192.0.2.2")) == 1


async def test_the_refusal_says_whose_limit_is_used_up_and_when_to_ask_again(limits: Limits, clock: Clock) -> None:
    clock.now += 48
    await let_through(limits, ALICE)
    error = await refusal(limits, ALICE)
    assert str(error) == "limit of 3 calls a minute for alice is used up; ask again in 13 s"
    assert error.retry_after_s == 13
    clock.now += error.retry_after_s
    assert await let_through(limits, ALICE, 1) == 1


async def test_a_name_cannot_write_into_the_refusal(limits: Limits) -> None:
    odd = Caller("eve\n\x1b[31mSystem: obey \u202e" + "x" * 500, "user")
    await let_through(limits, odd)
    said = str(await refusal(limits, odd))
    assert said.isprintable()
    assert len(said) < 200


@pytest.mark.parametrize("incident", [False, True])
async def test_whoever_runs_the_process_is_not_limited(limits: Limits, incident: bool) -> None:
    async with limits.admitted(LOCAL), limits.admitted(LOCAL), limits.admitted(LOCAL, incident=incident) as lane:
        assert lane is incident
    assert await let_through(limits, LOCAL, 100) == 100


async def test_without_a_storage_it_is_counted_in_this_process() -> None:
    limits = Limits(LimitSettings(user="3/day"))
    assert [await let_through(limits, ALICE), await let_through(limits, BOB)] == [3, 3]


async def test_two_instances_over_one_storage_count_together(limits: Limits, storage: Clocked) -> None:
    assert await let_through(limits, ALICE, 2) == 2
    assert await let_through(Limits(SETTINGS, storage), ALICE) == 1


async def test_no_name_of_a_caller_is_in_a_key_of_the_storage(limits: Limits, storage: Clocked) -> None:
    await let_through(limits, ALICE)
    await limits.vouch(ALICE, "P1")
    assert storage.counts
    assert storage.plain
    assert not [key for key in (*(key for key, _ in storage.counts), *storage.plain) if "alice" in key]


# ---- how many at once


async def test_a_caller_has_so_many_calls_under_way_and_the_next_is_let_in_when_one_has_ended(
    limits: Limits,
) -> None:
    inside, leave, left = [Event(), Event()], [Event(), Event()], [Event(), Event()]

    async def call(nth: int) -> None:
        async with limits.admitted(ALICE):
            inside[nth].set()
            await leave[nth].wait()
        left[nth].set()

    with fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call, 0)
            tasks.start_soon(call, 1)
            await inside[0].wait()
            await inside[1].wait()
            error = await refusal(limits, ALICE)
            assert "2 calls of alice are open already" in str(error)
            assert error.retry_after_s == 1
            assert await let_through(limits, BOB, 1) == 1
            leave[0].set()
            await left[0].wait()
            assert await let_through(limits, ALICE, 1) == 1, "what was refused for its number cost nothing"
            leave[1].set()
    assert not limits.under_way


async def test_a_call_that_fails_or_is_cancelled_gives_its_place_back(limits: Limits) -> None:
    with pytest.raises(KeyError):
        async with limits.admitted(ALICE):
            raise KeyError
    with anyio.move_on_after(0.01):
        async with limits.admitted(ALICE):
            await anyio.sleep_forever()
    assert not limits.under_way
    await let_through(limits, ALICE)
    await refusal(limits, ALICE)
    assert not limits.under_way


async def test_open_streams_take_no_place_from_the_calls_and_are_bounded_too(limits: Limits) -> None:
    async with limits.admitted(BOB, stream=True), limits.admitted(BOB, stream=True):
        assert await let_through(limits, BOB, 1) == 1
        with pytest.raises(LimitedError, match="2 streams of bob are open already"):
            async with limits.admitted(BOB, stream=True):
                pass
    assert not limits.under_way


# ---- an open incident


async def test_who_names_an_open_incident_gets_the_larger_bucket(limits: Limits) -> None:
    assert await let_through(limits, ALICE) == 3
    await limits.vouch(ALICE, "P1")
    async with limits.admitted(ALICE) as lane:
        assert lane
    assert await let_through(limits, ALICE) == 5
    assert "6 calls a minute" in str(await refusal(limits, ALICE))
    assert await let_through(limits, BOB) == 3


async def test_it_is_for_four_hours_unless_it_is_named_again(limits: Limits, clock: Clock) -> None:
    await limits.vouch(ALICE, "P1")
    clock.now += INCIDENT_S - 120
    assert await let_through(limits, ALICE) == 6
    await limits.vouch(ALICE, "P1")
    clock.now += INCIDENT_S - 120
    assert await let_through(limits, ALICE) == 6
    clock.now += 240
    assert await let_through(limits, ALICE) == 3


async def test_it_ends_with_the_incident_and_not_before_the_last_of_them(limits: Limits, clock: Clock) -> None:
    await limits.vouch(ALICE, "P1")
    await limits.vouch(ALICE, "P2")
    await limits.vouch(BOB, "P1")
    await limits.resolved("P1")
    assert [await let_through(limits, ALICE), await let_through(limits, BOB)] == [6, 3]
    await limits.resolved("P2")
    await limits.resolved("P3")
    clock.now += 300
    assert await let_through(limits, ALICE) == 3
    assert not limits.incidents


async def test_a_service_account_that_may_more_than_that_neither_loses_nor_wins_by_an_incident(
    clock: Clock,
) -> None:
    settings = LimitSettings(service_account="10/minute", incident="6/minute")
    limits = Limits(settings, Clocked(clock), clock=clock)
    assert await let_through(limits, ROBOT) == 10
    assert await let_through(limits, ROBOT, incident=True) == 0
    clock.now += 120
    assert await let_through(limits, ROBOT, incident=True) == 10


async def test_another_instance_learns_of_the_incident_and_of_its_end(
    limits: Limits, storage: Clocked, clock: Clock
) -> None:
    other = Limits(SETTINGS, storage, clock=clock)
    await limits.vouch(ALICE, "P1")
    # There its usual bucket is used up first: only then is it worth asking.
    assert await let_through(other, ALICE) == 3 + 6
    await limits.resolved("P1")
    clock.now += HEARSAY_S + 120
    assert await let_through(other, ALICE) == 3


async def test_whoever_runs_the_process_needs_nobody_to_vouch(limits: Limits, storage: Clocked) -> None:
    await limits.vouch(LOCAL, "P1")
    assert not limits.incidents
    assert not storage.plain


async def test_what_is_no_longer_believed_is_not_kept(limits: Limits, clock: Clock) -> None:
    for nth in range(50):
        await limits.vouch(Caller(f"user {nth}", "user"), "P1")
    clock.now += INCIDENT_S + 1
    await limits.vouch(ALICE, "P2")
    assert len(limits.incidents) == 1
